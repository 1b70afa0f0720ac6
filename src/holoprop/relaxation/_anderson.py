"""Anderson mixing of another relaxation's steps, right for complex states."""

import itertools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._tree import is_complex
from holoprop._types import Array, Bool, Float, Inexact, Int, PyTree, State
from holoprop.nn import Precision
from holoprop.relaxation._distance import Distance, Goal, Moves
from holoprop.relaxation._lanes import Lanes
from holoprop.relaxation._mixing import Guard, mixing_weights
from holoprop.relaxation._relaxation import AbstractRelaxation, Tolerance
from holoprop.relaxation._updates import AbstractUpdate, Sequential

# A state climbs if its change grows by more than this part of the way it went.
_CLIMB = 0.02


# A converter, because it runs before a type checker would complain in words of its own.
def _as_update(value: Any) -> Any:
    if not isinstance(value, AbstractUpdate):
        raise ValueError(
            f"inner is {value!r}, whose steps are more than one update of the state: give "
            "Sequential(), Synchronous() or GradientFlow(dt)."
        )
    return value


class Anderson(AbstractRelaxation):
    """Mixes the last few steps of another relaxation so that their changes cancel.

    With g_i the results and f_i the changes of the last steps, the next carry is sum_i a_i g_i,
    where the a_i sum to one and minimise |sum_i a_i f_i|. For complex states the a_i are complex
    and the Gram matrix is f_i^* . f_j, with the conjugate. Where changes no longer shrink, or a
    free state is leaving an unstable equilibrium, plain steps of the relaxation inside follow.
    Equilibria, stopping and noise are those of the relaxation inside; residuals are estimated from
    the mixed steps. It solves for an equilibrium, not for a minimum: where there are several
    it may come to another one than the relaxation inside would, an unstable one among them, most of
    all from close to a saddle. Where the path itself is the physics, use the relaxation inside
    alone.

    Arguments:
        inner: `Sequential()` (default), `Synchronous()` or `GradientFlow(dt)`, or an update of
            one's own.
        depth: How many steps are mixed, 2 or more; default 5.

    Raises:
        ValueError: If depth is out of range.

    Example:
        >>> Anderson(Sequential(tolerance=1e-5)).tolerance
        1e-05

    Reference: Anderson (1965); Walker and Ni (2011), doi 10.1137/10078356X.
    """

    inner: AbstractUpdate = eqx.field(default=Sequential(), converter=_as_update)
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

    def init(self, lanes: Lanes, extended: PyTree[Any]) -> "_Carry":
        """The inner carry, and empty histories of results and of changes."""
        state = lanes.states(extended)
        flat, position, leaves = _flat(extended), _as_reals(state), jax.tree.leaves(state)
        count, reals = position.shape
        return _Carry(
            extended=extended,
            moves=Moves.none(state),
            results=jnp.zeros((count, self.depth, flat.shape[1]), flat.dtype),
            changes=jnp.zeros((count, self.depth, reals), position.dtype),
            gram=jnp.zeros((count, self.depth, self.depth), jnp.result_type(*leaves)),
            guard=Guard.start(count, self.depth, position.dtype),
            before=(position, position),
        )

    def step(
        self,
        lanes: Lanes,
        carry: "_Carry",
        *,
        count: Int[jax.Array, ""],
        noise: State | None,
        backwards: bool,
    ) -> "_Carry":
        """One step of the inner relaxation, mixed with those before it."""
        result, move = self.inner.update_all(
            lanes, carry.extended, noise=noise, backwards=backwards
        )
        old_state = lanes.states(carry.extended)
        old, change = _as_reals(old_state), _as_reals(move)
        slot = count % self.depth
        newest = jnp.arange(self.depth) == slot

        put = jax.lax.dynamic_update_index_in_dim
        results = put(carry.results, _flat(result), slot, 1)
        changes = put(carry.changes, change, slot, 1)
        # Only the newest change's products are new: f_i^* . f, real and imaginary part.
        row = jnp.einsum("ldn,ln->ld", changes, change)
        if is_complex(move):
            row = jax.lax.complex(row, jnp.einsum("ldn,ln->ld", changes, _turned(change)))
        gram = jnp.where(
            newest,
            row[:, :, None],
            jnp.where(newest[:, None], jnp.conj(row)[:, None, :], carry.gram),
        )
        length = jnp.real(jnp.sum(jnp.where(newest, row, 0), 1))
        before, climbs = carry.before, None
        if not backwards:
            before, climbs = (old, change), _climbs(carry.before, (old, change))
        guard = carry.guard.seen(length, self.depth, climbs=climbs)
        age = (slot - jnp.arange(self.depth)) % self.depth
        weights = mixing_weights(
            gram,
            # Its slope would not be a number at zero, and nothing depends on it but rounding.
            jnp.sqrt(jnp.sum(jax.lax.stop_gradient(old + change) ** 2, axis=1)),
            newest=newest,
            valid=age < guard.mixable[:, None],
        )

        # Written out: XLA sums over a leading axis twenty times slower on a CPU.
        factors = weights.astype(results.dtype)
        terms = [factors[:, i, None] * results[:, i] for i in range(self.depth)]
        mixed = _unflat(sum(terms[1:], terms[0]), result)
        mixed_move = jax.tree.map(_longer, _minus(lanes.states(mixed), old_state), move)
        moves = carry.moves.then(mixed_move)
        return _Carry(mixed, moves, results, changes, gram, guard, before)

    def distance(
        self, lanes: Lanes, carry: "_Carry", state: State, goal: Goal, *, newest: bool
    ) -> Distance:
        """By the last two mixed steps, which lead to equilibrium if any do."""
        return lanes.distance(carry.moves, state, goal, newest=newest)

    def state(self, lanes: Lanes, carry: "_Carry") -> State:
        """The mixed states."""
        return lanes.states(carry.extended)


class _Carry(eqx.Module):
    """What mixing keeps from one step to the next.

    Attributes:
        extended: Extended states, mixed.
        moves: How the mixed states have moved.
        results: Where the last inner steps led, flat.
        changes: The changes of their states, as reals.
        gram: Products of the changes.
        guard: When to stop mixing.
        before: State and change one step ago, as reals.
    """

    extended: PyTree[Any]
    moves: Moves
    results: Inexact[Array, "lanes depth numbers"]
    changes: Float[Array, "lanes depth reals"]
    gram: Inexact[Array, "lanes depth depth"]
    guard: Guard
    before: tuple[Float[Array, "lanes reals"], Float[Array, "lanes reals"]]


def _minus(a: State, b: State) -> State:
    return jax.tree.map(lambda u, v: u - v, a, b)


def _longer(mixed: Array, inner: Array) -> Array:
    """Element by element the longer of a mixed move and the inner one.

    The mixed one is zero where the state is too large to hold it, and the inner one is known.
    """
    return jnp.where(jnp.abs(mixed) < jnp.abs(inner), inner, mixed)


def _flat(tree: PyTree[Any]) -> Inexact[Array, "lanes numbers"]:
    """All numbers of each lane in one row."""
    return jnp.concatenate([a.reshape(a.shape[0], -1) for a in jax.tree.leaves(tree)], axis=1)


def _unflat(flat: Inexact[Array, "lanes numbers"], like: PyTree[Any]) -> PyTree[Any]:
    """The tree whose numbers these are."""
    leaves, structure = jax.tree.flatten(like)
    sizes = [math.prod(leaf.shape[1:]) for leaf in leaves]
    pieces = jnp.split(flat, list(itertools.accumulate(sizes))[:-1], axis=1)
    shaped = [
        piece.reshape(leaf.shape).astype(leaf.dtype)
        for piece, leaf in zip(pieces, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, shaped)


def _as_reals(tree: PyTree[Any]) -> Float[Array, "lanes reals"]:
    """All numbers of each lane in one row, imaginary parts after the real ones."""
    if not is_complex(tree):
        return _flat(tree)
    return _flat((jax.tree.map(jnp.real, tree), jax.tree.map(jnp.imag, tree)))


def _turned(reals: Float[Array, "lanes reals"]) -> Float[Array, "lanes reals"]:
    """-i times complex numbers, both as reals."""
    real, imaginary = jnp.split(reals, 2, axis=1)
    return jnp.concatenate([imaginary, -real], axis=1)


def _climbs(before: tuple[Array, Array], now: tuple[Array, Array]) -> Bool[Array, " lanes"]:
    """Whether a state's change grows along its way: it is leaving an unstable equilibrium.

    A free phase passes such places on its way down, and mixing would lead back to them, as Newton's
    method does. What fails there is the curvature condition of quasi-Newton methods.

    Arguments:
        before: State and change one step ago, as reals.
        now: State and change.
    """
    way, growth = now[0] - before[0], now[1] - before[1]
    return jnp.sum(way * growth, axis=1) > _CLIMB * jnp.sum(way**2, axis=1)
