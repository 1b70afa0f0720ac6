"""Anderson mixing of another relaxation's steps, right for complex states."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from holoprop._dynamics import AbstractDynamics
from holoprop._linear_maps import Precision
from holoprop._relaxation import AbstractRelaxation, Tolerance
from holoprop._steppers import Sequential
from holoprop._tree import dot, is_complex, real_dtype, squared_norm
from holoprop._types import Array, Bool, Float, Inexact, Int, PyTree, State

# Rounding of a change, in units of the precision times the size of the state.
_ROUNDING = 10.0
# Rounding of the scaled Gram matrix's entries, in units of the precision.
_RIDGE = 100.0
# A state climbs if its change grows by more than this part of the way it went.
_CLIMB = 0.02


class Anderson(AbstractRelaxation):
    """Mixes the last few steps of another relaxation so that their changes cancel.

    With g_i the results and f_i the changes of the last steps, the next carry is sum_i a_i g_i,
    where the a_i sum to one and minimise |sum_i a_i f_i|. For complex states the a_i are complex
    and the Gram matrix is f_i^* . f_j, with the conjugate. Where changes no longer shrink, or a
    free state is leaving an unstable equilibrium, plain steps of the relaxation inside follow.
    Equilibria, stopping and noise are those of the relaxation inside; the residual is of its step,
    not of the mixed one. It looks for rest, not for a minimum: where there are several equilibria
    it may come to another one than the relaxation inside would, an unstable one among them, most of
    all from close to a saddle. Where the path itself is the physics, use the relaxation inside
    alone.

    Arguments:
        inner: `Sequential()` (default), `Synchronous()` or `GradientFlow(dt)`.
        depth: How many steps are mixed, 2 or more; default 5.

    Raises:
        ValueError: If depth is out of range.

    Example:
        >>> Anderson(Sequential(tolerance=1e-5)).tolerance
        1e-05

    Reference: Anderson (1965); Walker and Ni (2011), doi 10.1137/10078356X.
    """

    inner: AbstractRelaxation
    depth: int = eqx.field(static=True)
    # Of the relaxation inside, which alone decides them.
    steps: int | None = eqx.field(static=True)
    tolerance: Tolerance = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)
    noise: float = eqx.field(static=True)
    precision: Precision = eqx.field(static=True)

    def __init__(self, inner: AbstractRelaxation | None = None, depth: int = 5) -> None:
        if not isinstance(depth, int) or depth < 2:
            raise ValueError(f"depth must be a whole number, 2 or more; got {depth!r}.")
        self.inner = Sequential() if inner is None else inner
        self.depth = depth
        self.steps, self.tolerance = self.inner.steps, self.inner.tolerance
        self.max_steps, self.noise = self.inner.max_steps, self.inner.noise
        self.precision = self.inner.precision

    @property
    def from_feed_forward(self) -> bool:
        """As the relaxation inside."""
        return self.inner.from_feed_forward

    def init(self, dynamics: AbstractDynamics, carry: PyTree[Any]) -> PyTree[Any]:
        """The inner carry, and empty histories of results and of changes."""
        carry = self.inner.init(dynamics, carry)
        state = self.inner.state(dynamics, carry)

        def history(entry: Array) -> Array:
            return jnp.zeros((self.depth, entry.size), entry.dtype)

        return (
            carry,
            history(ravel_pytree(carry)[0]),
            history(_as_reals(state)),
            jnp.zeros((self.depth, self.depth), jax.tree.leaves(state)[0].dtype),
            _Guard.start(self.depth, real_dtype(state)),
            (state, state),
        )

    def step(
        self,
        dynamics: AbstractDynamics,
        carry: PyTree[Any],
        *,
        count: Int[jax.Array, ""],
        noise: State | None,
        backwards: bool,
    ) -> tuple[PyTree[Any], Float[jax.Array, ""]]:
        """One step of the inner relaxation, mixed with those before it."""
        current, results, changes, gram, guard, before = carry
        result, moved = self.inner.step(
            dynamics, current, count=count, noise=noise, backwards=backwards
        )
        old, new = self.inner.state(dynamics, current), self.inner.state(dynamics, result)
        change = jax.tree.map(lambda a, b: a - b, new, old)
        slot = count % self.depth

        flat, unravel = ravel_pytree(result)
        put = functools.partial(jax.lax.dynamic_update_index_in_dim, index=slot, axis=0)
        results, changes = put(results, flat), put(changes, _as_reals(change))
        # Only the newest change's products are new: f_i^* . f, real and imaginary part.
        row = changes @ _as_reals(change)
        if is_complex(change):
            turned = jax.tree.map(lambda f: -1j * f, change)
            row = jax.lax.complex(row, changes @ _as_reals(turned))
        newest = jnp.arange(self.depth) == slot
        gram = jnp.where(newest, row[:, None], jnp.where(newest[:, None], jnp.conj(row), gram))
        guard = guard.seen(jnp.real(jnp.sum(jnp.where(newest, row, 0))), self.depth)
        if not backwards:
            guard = guard.forget(_climbs(before, (old, change)))
            before = (old, change)
        age = (slot - jnp.arange(self.depth)) % self.depth
        weights = _mixing_weights(
            gram, jnp.sqrt(squared_norm(new)), newest=newest, valid=age < guard.mixable
        )

        # Written out: XLA sums over a leading axis twenty times slower on a CPU.
        factors = weights.astype(results.dtype)
        terms = [factors[i] * results[i] for i in range(self.depth)]
        mixed = unravel(sum(terms[1:], terms[0]))
        return (mixed, results, changes, gram, guard, before), moved

    def state(self, dynamics: AbstractDynamics, carry: PyTree[Any]) -> State:
        """The mixed state."""
        return self.inner.state(dynamics, carry[0])


def _as_reals(tree: PyTree[Any]) -> Float[Array, " reals"]:
    """All numbers of a tree in one row, imaginary parts after the real ones."""
    leaves = [leaf.reshape(-1) for leaf in jax.tree.leaves(tree)]
    if is_complex(tree):
        leaves = [part for leaf in leaves for part in (jnp.real(leaf), jnp.imag(leaf))]
    return jnp.concatenate(leaves)


def _climbs(before: tuple[State, State], now: tuple[State, State]) -> Bool[Array, ""]:
    """Whether a state's change grows along its way: it is leaving an unstable equilibrium.

    A free phase passes such places on its way down, and mixing would lead back to them, as Newton's
    method does. What fails there is the curvature condition of quasi-Newton methods.

    Arguments:
        before: State and change one step ago.
        now: State and change.
    """
    way, growth = jax.tree.map(lambda a, b: a - b, now, before)
    product = jnp.real(dot(jax.tree.map(jnp.conj, way), growth))
    return product > _CLIMB * squared_norm(way)


class _Guard(eqx.Module):
    """When to stop mixing: where changes no longer shrink, extrapolating them leads nowhere.

    A network can linger where it all but rests, and only then move on to its equilibrium. There
    the mixed changes have a minimum that is no zero, and mixing alone would circle round it for
    ever. So where no change has been shorter than all before it for as many steps as are mixed, the
    history is forgotten and plain steps follow, twice as many each time; they pass such a place as
    the relaxation inside does.

    Attributes:
        shortest: Change since mixing began anew, squared.
        stale: Steps since it was seen.
        recorded: Changes on record since mixing ended last.
        plain: Plain steps still to go.
        sentence: Plain steps the next time.
    """

    shortest: Float[Array, ""]
    stale: Int[Array, ""]
    recorded: Int[Array, ""]
    plain: Int[Array, ""]
    sentence: Int[Array, ""]

    @staticmethod
    def start(depth: int, dtype: Any) -> "_Guard":
        """Before the first step."""
        zero = jnp.array(0)
        return _Guard(jnp.array(jnp.inf, dtype), zero, zero, zero, zero + depth)

    def seen(self, length: Float[Array, ""], depth: int) -> "_Guard":
        """After a step whose change has this squared length."""
        stale = jnp.where(length < self.shortest, 0, self.stale + 1)
        ends = (self.plain == 0) & (stale >= depth)
        anew = ends | (self.plain > 0)
        return _Guard(
            jnp.where(anew, jnp.inf, jnp.minimum(length, self.shortest)),
            jnp.where(anew, 0, stale),
            jnp.where(ends, 1, self.recorded + 1),
            jnp.where(ends, self.sentence, jnp.maximum(self.plain - 1, 0)),
            jnp.where(ends, 2 * self.sentence, self.sentence),
        )

    def forget(self, when: Bool[Array, ""]) -> "_Guard":
        """Mix nothing older than the newest change from here on."""
        recorded = jnp.where(when, jnp.minimum(self.recorded, 1), self.recorded)
        return _Guard(self.shortest, self.stale, recorded, self.plain, self.sentence)

    @property
    def mixable(self) -> Int[Array, ""]:
        """How many of the newest changes may be mixed; one alone is a plain step."""
        return jnp.where(self.plain > 0, 1, self.recorded)


def _mixing_weights(
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

    A batched library call would visit the batch's small matrices one by one; this works on all of
    them at once, and needs no pivots because the matrix is positive definite.
    """
    count = matrix.shape[0]
    rows = jnp.concatenate([matrix, b[:, None].astype(matrix.dtype)], axis=1)
    for pivot in range(count):
        own = rows[pivot] / rows[pivot, pivot]
        is_pivot = (jnp.arange(count) == pivot)[:, None]
        rows = jnp.where(is_pivot, own, rows - rows[:, pivot, None] * own)
    return rows[:, -1]
