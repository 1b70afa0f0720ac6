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
        stale: Steps since it was seen.
        recorded: Changes on record since mixing ended last.
        plain: Plain steps still to go.
        penalty: Plain steps the next time.
    """

    shortest: Float[Array, ""]
    stale: Int[Array, ""]
    recorded: Int[Array, ""]
    plain: Int[Array, ""]
    penalty: Int[Array, ""]

    @staticmethod
    def start(depth: int, dtype: Any) -> "Guard":
        """Before the first step."""
        zero = jnp.array(0)
        return Guard(jnp.array(jnp.inf, dtype), zero, zero, zero, zero + depth)

    def seen(self, length: Float[Array, ""], depth: int) -> "Guard":
        """After a step whose change has this squared length."""
        stale = jnp.where(length < self.shortest, 0, self.stale + 1)
        ends = (self.plain == 0) & (stale >= depth)
        anew = ends | (self.plain > 0)
        return Guard(
            jnp.where(anew, jnp.inf, jnp.minimum(length, self.shortest)),
            jnp.where(anew, 0, stale),
            jnp.where(ends, 1, self.recorded + 1),
            jnp.where(ends, self.penalty, jnp.maximum(self.plain - 1, 0)),
            jnp.where(ends, 2 * self.penalty, self.penalty),
        )

    def forget(self, when: Bool[Array, ""]) -> "Guard":
        """Mix nothing older than the newest change from here on."""
        recorded = jnp.where(when, jnp.minimum(self.recorded, 1), self.recorded)
        return Guard(self.shortest, self.stale, recorded, self.plain, self.penalty)

    @property
    def mixable(self) -> Int[Array, ""]:
        """How many of the newest changes may be mixed; one alone is a plain step."""
        return jnp.where(self.plain > 0, 1, self.recorded)


def mixing_weights(
    gram: Inexact[Array, "depth depth"],
    size: Float[Array, ""],
    *,
    newest: Bool[Array, " depth"],
    valid: Bool[Array, " depth"],
) -> Inexact[Array, " depth"]:
    """The weights that sum to one and minimise the mixed change, zero for slots not yet filled.

    Arguments:
        gram: Products of the changes.
        size: Length of the state.
        newest: Which slot holds the newest change.
        valid: Which slots hold changes that may be mixed; the newest is one of them.
    """
    depth = gram.shape[0]
    precision = jnp.finfo(real_dtype(gram))
    # Changes shrink from step to step; scaled to unit length, their Gram matrix stays solvable.
    length = jnp.sqrt(jnp.maximum(jnp.real(jnp.diagonal(gram)), precision.tiny))
    gram = jnp.where(valid[:, None] & valid, gram / length[:, None] / length, jnp.eye(depth))
    # What is rounding in a change must not be cancelled against what is rounding in another: it
    # counts as independent, and near rest the weights tend to those of a plain average.
    noise = (_ROUNDING * precision.eps * size / length) ** 2
    gram = gram + jnp.diag(noise + _RIDGE * precision.eps)
    # Relative to the newest change, usually the shortest, so that nothing overflows.
    ones = jnp.where(valid, jnp.sum(jnp.where(newest, length, 0.0)) / length, 0.0)
    solution = _solve(gram, ones) * ones
    return solution / jnp.sum(solution)


def _solve(matrix: Inexact[Array, "n n"], b: Inexact[Array, " n"]) -> Inexact[Array, " n"]:
    """Gauss elimination of a small positive definite system, written out.

    A library call would visit the batch's small matrices one by one; this works on all of them at
    once, and needs no pivots because the matrix is positive definite.
    """
    count = matrix.shape[0]
    rows = jnp.concatenate([matrix, b[:, None].astype(matrix.dtype)], axis=1)

    def eliminate(pivot: Int[Array, ""], rows: Inexact[Array, "n n1"]) -> Inexact[Array, "n n1"]:
        own = jax.lax.dynamic_index_in_dim(rows, pivot, 0, keepdims=False)
        own = own / jax.lax.dynamic_index_in_dim(own, pivot, 0, keepdims=False)
        column = jax.lax.dynamic_index_in_dim(rows, pivot, 1)
        is_pivot = (jnp.arange(count) == pivot)[:, None]
        return jnp.where(is_pivot, own, rows - column * own)

    # A loop of its own, because it compiles in a third of the time and runs as fast.
    return jax.lax.fori_loop(0, count, eliminate, rows)[:, -1]
