"""Anderson mixing of another relaxation's steps, right for complex states."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from holoprop._tree import is_complex, real_dtype
from holoprop._types import Array, Bool, Float, Int, PyTree, State
from holoprop.energies import AbstractDynamics
from holoprop.nn import Precision
from holoprop.relaxation._mixing import Guard, mixing_weights
from holoprop.relaxation._relaxation import AbstractRelaxation, Tolerance
from holoprop.relaxation._updates import Sequential

# A state climbs if its change grows by more than this part of the way it went.
_CLIMB = 0.02


class Anderson(AbstractRelaxation):
    """Mixes the last few steps of another relaxation so that their changes cancel.

    With g_i the results and f_i the changes of the last steps, the next carry is sum_i a_i g_i,
    where the a_i sum to one and minimise |sum_i a_i f_i|. For complex states the a_i are complex
    and the Gram matrix is f_i^* . f_j, with the conjugate. Where changes no longer shrink, or a
    free state is leaving an unstable equilibrium, plain steps of the relaxation inside follow.
    Equilibria, stopping and noise are those of the relaxation inside; the residual is of its step,
    not of the mixed one. It solves for an equilibrium, not for a minimum: where there are several
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

    inner: AbstractRelaxation = Sequential()
    depth: int = eqx.field(default=5, static=True)

    def __check_init__(self) -> None:
        if not isinstance(self.depth, int) or self.depth < 2:
            raise ValueError(f"depth must be a whole number, 2 or more; got {self.depth!r}.")

    @property
    def steps(self) -> int | None:
        """Of the relaxation inside."""
        return self.inner.steps

    @property
    def tolerance(self) -> Tolerance:
        """Of the relaxation inside."""
        return self.inner.tolerance

    @property
    def max_steps(self) -> int:
        """Of the relaxation inside."""
        return self.inner.max_steps

    @property
    def noise(self) -> float:
        """Of the relaxation inside."""
        return self.inner.noise

    @property
    def precision(self) -> Precision:
        """Of the relaxation inside."""
        return self.inner.precision

    @property
    def from_feed_forward(self) -> bool:
        """As the relaxation inside."""
        return self.inner.from_feed_forward

    def init(self, dynamics: AbstractDynamics, extended: PyTree[Any]) -> "_Carry":
        """The inner carry, and empty histories of results and of changes."""
        inner = self.inner.init(dynamics, extended)
        state = self.inner.state(dynamics, inner)
        position = _as_reals(state)

        def history(entry: Array) -> Array:
            return jnp.zeros((self.depth, entry.size), entry.dtype)

        return _Carry(
            inner=inner,
            results=history(ravel_pytree(inner)[0]),
            changes=history(position),
            gram=jnp.zeros((self.depth, self.depth), jax.tree.leaves(state)[0].dtype),
            guard=Guard.start(self.depth, real_dtype(state)),
            before=(position, position),
        )

    def step(
        self,
        dynamics: AbstractDynamics,
        carry: "_Carry",
        *,
        count: Int[jax.Array, ""],
        noise: State | None,
        backwards: bool,
    ) -> tuple["_Carry", Float[jax.Array, ""]]:
        """One step of the inner relaxation, mixed with those before it."""
        result, moved = self.inner.step(
            dynamics, carry.inner, count=count, noise=noise, backwards=backwards
        )
        new_state = self.inner.state(dynamics, result)
        old, new = _as_reals(self.inner.state(dynamics, carry.inner)), _as_reals(new_state)
        change = new - old
        slot = count % self.depth
        newest = jnp.arange(self.depth) == slot

        flat, unravel = ravel_pytree(result)
        put = functools.partial(jax.lax.dynamic_update_index_in_dim, index=slot, axis=0)
        results, changes = put(carry.results, flat), put(carry.changes, change)
        # Only the newest change's products are new: f_i^* . f, real and imaginary part.
        row = changes @ change
        if is_complex(new_state):
            row = jax.lax.complex(row, changes @ _turned(change))
        gram = jnp.where(
            newest, row[:, None], jnp.where(newest[:, None], jnp.conj(row), carry.gram)
        )
        guard = carry.guard.seen(jnp.real(jnp.sum(jnp.where(newest, row, 0))), self.depth)
        before = carry.before
        if not backwards:
            guard = guard.forget(_climbs(before, (old, change)))
            before = (old, change)
        age = (slot - jnp.arange(self.depth)) % self.depth
        weights = mixing_weights(
            gram, jnp.sqrt(jnp.sum(new**2)), newest=newest, valid=age < guard.mixable
        )

        # Written out: XLA sums over a leading axis twenty times slower on a CPU.
        factors = weights.astype(results.dtype)
        terms = [factors[i] * results[i] for i in range(self.depth)]
        mixed = unravel(sum(terms[1:], terms[0]))
        return _Carry(mixed, results, changes, gram, guard, before), moved

    def state(self, dynamics: AbstractDynamics, carry: "_Carry") -> State:
        """The mixed state."""
        return self.inner.state(dynamics, carry.inner)


class _Carry(eqx.Module):
    """What mixing keeps from one step to the next.

    Attributes:
        inner: The carry of the relaxation inside, mixed.
        results: The last steps' carries, one a row.
        changes: The changes of their states, as reals.
        gram: Products of the changes.
        guard: When to stop mixing.
        before: State and change one step ago, as reals.
    """

    inner: PyTree[Any]
    results: Array
    changes: Float[Array, "depth reals"]
    gram: Array
    guard: Guard
    before: tuple[Float[Array, " reals"], Float[Array, " reals"]]


def _as_reals(tree: PyTree[Any]) -> Float[Array, " reals"]:
    """All numbers of a tree in one row, imaginary parts after the real ones."""
    leaves = [leaf.reshape(-1) for leaf in jax.tree.leaves(tree)]
    if is_complex(tree):
        leaves = [*map(jnp.real, leaves), *map(jnp.imag, leaves)]
    return jnp.concatenate(leaves)


def _turned(reals: Float[Array, " reals"]) -> Float[Array, " reals"]:
    """-i times a complex tree, both as reals."""
    real, imaginary = jnp.split(reals, 2)
    return jnp.concatenate([imaginary, -real])


def _climbs(before: tuple[Array, Array], now: tuple[Array, Array]) -> Bool[Array, ""]:
    """Whether a state's change grows along its way: it is leaving an unstable equilibrium.

    A free phase passes such places on its way down, and mixing would lead back to them, as Newton's
    method does. What fails there is the curvature condition of quasi-Newton methods.

    Arguments:
        before: State and change one step ago, as reals.
        now: State and change.
    """
    way, growth = now[0] - before[0], now[1] - before[1]
    return jnp.sum(way * growth) > _CLIMB * jnp.sum(way**2)
