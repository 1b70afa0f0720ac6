"""The linear algebra of Anderson mixing: which earlier steps are mixed, and with what weights."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._tree import real_dtype
from holoprop._types import Array, Bool, Float, Inexact, Int

# Rounding of a change, in units of the precision times the size of the state.
_ROUNDING = 10.0
# Rounding of the scaled Gram matrix's entries, in units of the precision.
_RIDGE = 100.0


class Guard(eqx.Module):
    """When to stop mixing: where changes no longer shrink, extrapolating them leads nowhere.

    A network can linger where it all but settles, and only then move on to its equilibrium. There
    the mixed changes have a minimum that is no zero, and mixing alone would circle round it for
    ever. So where no change has been shorter than all before it for as many steps as are mixed, the
    history is forgotten and plain steps follow, twice as many each time; they pass such a place as
    the relaxation inside does.

    Attributes:
        shortest: Change since mixing began anew, squared.
        counts: Steps since that was seen; changes on record since mixing ended last; plain steps
            still to go, and how many the next time.
    """

    shortest: Float[Array, " lanes"]
    # In one array: each by itself would cost a kernel, to compile and in every step.
    counts: Int[Array, "lanes 4"]

    @staticmethod
    def start(lanes: int, depth: int, dtype: Any) -> "Guard":
        """Before the first step."""
        counts = jnp.broadcast_to(jnp.array([0, 0, 0, depth]), (lanes, 4))
        return Guard(jnp.full(lanes, jnp.inf, dtype), counts)

    def seen(
        self, length: Float[Array, " lanes"], depth: int, *, climbs: Bool[Array, " lanes"] | None
    ) -> "Guard":
        """After a step.

        Arguments:
            length: Of its change, squared.
            depth: How many steps are mixed.
            climbs: Whether nothing older than this change may be mixed from here on, or None.
        """
        stale, recorded, plain, penalty = jnp.moveaxis(self.counts, 1, 0)
        stale = jnp.where(length < self.shortest, 0, stale + 1)
        ends = (plain == 0) & (stale >= depth)
        anew = ends | (plain > 0)
        recorded = jnp.where(ends, 1, recorded + 1)
        if climbs is not None:
            recorded = jnp.where(climbs, 1, recorded)
        counts = [
            jnp.where(anew, 0, stale),
            recorded,
            jnp.where(ends, penalty, jnp.maximum(plain - 1, 0)),
            jnp.where(ends, 2 * penalty, penalty),
        ]
        shortest = jnp.where(anew, jnp.inf, jnp.minimum(length, self.shortest))
        return Guard(shortest, jnp.stack(counts, axis=1))

    @property
    def mixable(self) -> Int[Array, " lanes"]:
        """How many of the newest changes may be mixed; one alone is a plain step."""
        return jnp.where(self.counts[:, 2] > 0, 1, self.counts[:, 1])


def mixing_weights(
    gram: Inexact[Array, "lanes depth depth"],
    size: Float[Array, " lanes"],
    *,
    newest: Bool[Array, " depth"],
    valid: Bool[Array, "lanes depth"],
) -> Inexact[Array, "lanes depth"]:
    """The weights that sum to one and minimise the mixed change, zero for slots not yet filled.

    Arguments:
        gram: Products of the changes.
        size: Length of the state.
        newest: Which slot holds the newest change.
        valid: Which slots hold changes that may be mixed; the newest is one of them.
    """
    precision = jnp.finfo(real_dtype(gram))
    # Changes shrink from step to step; scaled to unit length, or to that of their rounding, their
    # Gram matrix stays solvable. The weights do not depend on the scale: it needs no derivative.
    diagonal = jax.lax.stop_gradient(jnp.real(jnp.diagonal(gram, axis1=1, axis2=2)))
    least = float(precision.tiny) ** 0.5
    rounding = jnp.maximum(_ROUNDING * precision.eps * size[:, None], least)
    length = jnp.maximum(jnp.sqrt(diagonal), rounding)
    both = valid[:, :, None] & valid[:, None, :]
    eye = jnp.eye(gram.shape[1], dtype=gram.dtype)
    gram = jnp.where(both, gram / length[:, :, None] / length[:, None, :], eye)
    # What is rounding in a change must not be cancelled against what is rounding in another: it
    # counts as independent, and near equilibrium the weights tend to those of a plain average.
    noise = (rounding / length) ** 2
    gram = gram * (1 + _RIDGE * precision.eps * eye) + eye * noise[:, None, :]
    # Relative to the newest change, usually the shortest, so that nothing overflows.
    shortest = jnp.sum(jnp.where(newest, length, 0.0), axis=1, keepdims=True)
    ones = jnp.where(valid, shortest / length, 0.0)
    solution = _solve(gram, ones) * ones
    return solution / jnp.sum(solution, axis=1, keepdims=True)


def _solve(
    matrix: Inexact[Array, "lanes n n"], b: Inexact[Array, "lanes n"]
) -> Inexact[Array, "lanes n"]:
    """Gauss elimination of small positive definite systems, written out.

    A library call would visit the small matrices one by one; this works on all of them at once, and
    needs no pivots because they are positive definite.
    """
    count = matrix.shape[1]
    rows = jnp.concatenate([matrix, b[:, :, None].astype(matrix.dtype)], axis=2)

    def eliminate(
        pivot: Int[Array, ""], rows: Inexact[Array, "lanes n n1"]
    ) -> Inexact[Array, "lanes n n1"]:
        own = jax.lax.dynamic_index_in_dim(rows, pivot, 1)
        own = own / jax.lax.dynamic_index_in_dim(own, pivot, 2)
        column = jax.lax.dynamic_index_in_dim(rows, pivot, 2)
        is_pivot = (jnp.arange(count) == pivot)[:, None]
        return jnp.where(is_pivot, own, rows - column * own)

    # A loop of its own, because it compiles in a third of the time and runs as fast.
    return jax.lax.fori_loop(0, count, eliminate, rows)[:, :, -1]
