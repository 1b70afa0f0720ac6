"""Descent that finds its own step: the default for an energy of one's own."""

import functools
import operator
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._tree import real_dtype
from holoprop._types import Array, Bool, Float, Inexact, Int, PyTree, RealScalar, Scalar, State
from holoprop._varying import alike
from holoprop.energies import AbstractDynamics
from holoprop.relaxation._distance import (
    Distance,
    Goal,
    near_enough,
    root_mean_square,
    sizes_and_units,
)
from holoprop.relaxation._lanes import Lanes
from holoprop.relaxation._relaxation import AbstractRelaxation, Tolerance, as_tolerance

# Of the power iteration for each leaf's largest curvature.
_ITERATIONS = 4
# A slope that has grown by more is beyond what the step knew; it is taken again, so much shorter.
_GROWTH, _SHORTER = 1000.0, 0.1
_RAMP = 100.0
_LONGER = 10.0
# The shortest of so many steps is taken where the two rules differ by more than the share.
_MEMORY, _SHARE = 5, 0.5
# How fast a long step is forgotten in the estimate of the distance.
_FORGET = 0.997
# Rounding of a slope over its curvature, in units of the precision times the size of the state.
_ROUNDING = 4.0


class Descent(AbstractRelaxation):
    """Down the energy's slope, in steps as long as its curvature lets them be.

    Every leaf of the state is scaled by its own largest curvature at the start, found by power
    iteration; from there on the length of a step is that of Barzilai and Borwein, in the variant
    that takes short steps until a long one will do (ABBmin), right for complex states as well. So
    it needs no setting and knows no units: multiplied by any constant, energy and state take the
    same steps. A step after which the slope is ten times as large is taken back and shortened.

    The residual is the longest step of late times the slope, relative to the state's size: along
    a soft mode, the distance that is left. Where a soft mode makes rounding larger than the
    tolerance, the default tolerance allows for it, up to a third of the digits, and the residual
    says how much it may be.

    It goes to a minimum near the start and not necessarily to that in whose basin the start lies.
    Where the path itself is the physics, use `GradientFlow`.

    Arguments:
        tolerance: Residual at which an example has settled: positive, or "auto" for what the
            gradient needs, or None (default) for 1e-6 in float32 and 1e-13 in float64, or what
            rounding allows.
        max_steps: Largest number of steps, 1 or more; default 10000. One step costs one gradient.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> Descent(tolerance=1e-4).max_steps
        10000

    Reference: Barzilai and Borwein (1988), doi 10.1093/imanum/8.1.141; Frassoldati, Zanghirati and
        Zanni (2008), doi 10.3934/jimo.2008.4.299.
    """

    tolerance: Tolerance = eqx.field(
        default=None, kw_only=True, static=True, converter=as_tolerance
    )
    max_steps: int = eqx.field(default=10000, kw_only=True, static=True)

    @property
    def steps(self) -> None:
        """It goes on until it has settled."""

    @property
    def noise(self) -> float:
        """None."""
        return 0.0

    @property
    def knows_curvature(self) -> bool:
        """By the lengths of its steps."""
        return True

    def init(self, lanes: Lanes, extended: PyTree[Any]) -> "_Carry":
        """The state, its slope and the curvatures there."""
        return lanes.map(_begin, lanes.states(extended))

    def step(
        self,
        lanes: Lanes,
        carry: "_Carry",
        *,
        count: Int[jax.Array, ""],
        noise: State | None,
        backwards: bool,
    ) -> "_Carry":
        """One step of every lane."""
        return lanes.map(_step, carry)

    def distance(
        self, lanes: Lanes, carry: "_Carry", state: State, goal: Goal, *, newest: bool
    ) -> Distance:
        """The longest step of late, times the slope."""
        return lanes.over_all(
            lambda prepared, nudge, carry: _distance(carry, prepared.origin, goal), carry
        )

    def state(self, lanes: Lanes, carry: "_Carry") -> State:
        """Where the last step that was kept led."""
        return carry.state


class _Carry(eqx.Module):
    """What descent keeps from one step to the next, of one example or of all lanes.

    Attributes:
        state: Where the slope is known.
        move: Minus the slope there, each leaf over its curvature: a step of length one.
        curvatures: The largest of each leaf, at the start.
        start: Root mean squares of the leaves at the start.
        length: Of the next step.
        short: The last lengths by the rule that makes short ones.
        longest: Length of late by the rule that makes long ones.
        climbs: Whether the last step went along a negative curvature.
    """

    state: State
    move: State
    curvatures: tuple[Float[Array, "*lanes"], ...]
    start: tuple[Float[Array, "*lanes"], ...]
    length: Inexact[Array, "*lanes"]
    short: Inexact[Array, "*lanes memory"]
    longest: Float[Array, "*lanes"]
    climbs: Bool[Array, "*lanes"]


def _move(dynamics: AbstractDynamics, state: State) -> State:
    """Minus the slope."""
    return dynamics.synchronous(dynamics.extend(state), None)[1]


def _begin(dynamics: AbstractDynamics, state: State) -> _Carry:
    move = _move(dynamics, state)
    at, still = jax.lax.stop_gradient((state, move))
    _, along = jax.linearize(lambda s: _move(dynamics, s), at)
    curvatures = _curvatures(along, at)
    dtype = jnp.result_type(*jax.tree.leaves(state))
    precision = jnp.finfo(dtype)
    return _Carry(
        state=state,
        move=_scaled(move, curvatures),
        curvatures=curvatures,
        start=tuple(root_mean_square(leaf) for leaf in jax.tree.leaves(at)),
        length=jnp.ones((), dtype),
        short=jnp.full(_MEMORY, jnp.inf, dtype),
        longest=_way(along, still, curvatures).astype(precision.dtype),
        climbs=jnp.array(False),
    )


def _way(
    along: Callable[[State], State], move: State, curvatures: tuple[RealScalar, ...]
) -> RealScalar:
    """The length of a step along the slope to where it ends by its own curvature, if it does."""
    way = _scaled(move, curvatures)
    peak = _peak(way)
    way = jax.tree.map(lambda w: (w / _nonzero(peak)).astype(w.dtype), way)
    turn = _scaled(jax.tree.map(lambda t: -t, along(way)), curvatures)
    weights = _weights(curvatures)
    whole, curve = jnp.real(_inner(way, way, weights)), jnp.real(_inner(way, turn, weights))
    return jnp.where(curve > 0, whole / _nonzero(curve), 1 / jnp.finfo(whole.dtype).eps)


def _curvatures(along: Callable[[State], State], state: State) -> tuple[RealScalar, ...]:
    """The largest curvature of each leaf alone, all others held, by power iteration.

    Arguments:
        along: Minus the curvature times a displacement.
        state: Where that is.
    """
    leaves, structure = jax.tree.flatten(state)
    keys = jax.random.split(jax.random.key(0), len(leaves))
    first = [
        jax.random.normal(key, leaf.shape, real_dtype(leaf)).astype(leaf.dtype)
        for key, leaf in zip(keys, leaves, strict=True)
    ]

    def largest(place: Int[Array, ""]) -> RealScalar:
        def alone(vector: list[Array]) -> tuple[list[Array], RealScalar]:
            """Of this leaf alone, at unit size, and the size that it had."""
            vector = [jnp.where(place == i, v, 0) for i, v in enumerate(vector)]
            peak = functools.reduce(jnp.maximum, [jnp.max(jnp.abs(v), initial=0) for v in vector])
            vector = [v / jnp.where(peak > 0, peak, 1) for v in vector]
            size = jnp.sqrt(sum(jnp.sum(jnp.abs(v) ** 2) for v in vector))
            return [v / jnp.where(size > 0, size, 1) for v in vector], peak * size

        def iterate(
            _: Int[Array, ""], now: tuple[list[Array], RealScalar]
        ) -> tuple[list[Array], RealScalar]:
            vector = [v.astype(s.dtype) for v, s in zip(now[0], leaves, strict=True)]
            return alone(jax.tree.leaves(along(jax.tree.unflatten(structure, vector))))

        return jax.lax.fori_loop(0, _ITERATIONS, iterate, alike(alone(first)))[1]

    found = jax.vmap(largest)(jnp.arange(len(leaves)))
    # A leaf without curvature is left to the others' or, if none has any, to the units given.
    least = jnp.finfo(found.dtype).eps * jnp.max(found)
    usable = jnp.isfinite(found) & (found > least)
    typical = jnp.where(least > 0, jnp.max(jnp.where(usable, found, 0)), 1)
    return tuple(jnp.where(usable, found, typical))


def _step(dynamics: AbstractDynamics, carry: _Carry) -> _Carry:
    state = jax.tree.map(lambda s, m: s + carry.length * m, carry.state, carry.move)
    move = _scaled(_move(dynamics, state), carry.curvatures)
    # Reverse mode goes through the steps as they are long, and not through why.
    known, new = jax.lax.stop_gradient((carry, (state, move)))
    kept = _size(new[1], known.curvatures) <= _GROWTH * _size(known.move, known.curvatures)
    further = _lengthened(known, *new)
    shorter = eqx.tree_at(lambda c: c.length, known, _SHORTER * known.length)
    further, shorter = (
        eqx.tree_at(lambda c: (c.state, c.move), c, way)
        for c, way in ((further, (state, move)), (shorter, (carry.state, carry.move)))
    )
    return jax.tree.map(lambda a, b: jnp.where(kept, a, b), further, shorter)


def _lengthened(carry: _Carry, state: State, move: State) -> _Carry:
    """After a step that is kept: where it led, and the length of the next."""
    way = jax.tree.map(lambda m: carry.length * m, carry.move)
    turn = jax.tree.map(lambda a, b: a - b, carry.move, move)
    peak = jnp.maximum(_peak(way), _peak(turn))
    way, turn = (jax.tree.map(lambda v: v / _nonzero(peak), tree) for tree in (way, turn))
    weights = _weights(carry.curvatures)
    way_way, way_turn, turn_turn = (
        _inner(a, b, weights) for a, b in ((way, way), (way, turn), (turn, turn))
    )
    curves = jnp.real(way_turn)
    # What is rounding in the slope says nothing of the curvature.
    precision = jnp.finfo(real_dtype(state))
    rounding = [_ROUNDING * precision.eps * root_mean_square(s) for s in jax.tree.leaves(state)]
    told = _any_above(turn, [r / _nonzero(peak) for r in rounding])
    usable = told & (curves > 0)
    long = way_way / jnp.where(usable, way_turn, 1)
    short = jnp.conj(way_turn) / jnp.where(usable, turn_turn, 1)
    recent = jnp.concatenate([carry.short[1:], short[None].astype(carry.short.dtype)])
    shortest = recent[jnp.argmin(jnp.abs(recent))]
    length = jnp.where(jnp.abs(short) < _SHARE * jnp.abs(long), shortest, long)
    limit = _RAMP * jnp.abs(carry.length)
    length = length * jnp.minimum(1, limit / _nonzero(jnp.abs(length)))
    climbs = told & (curves <= 0)
    # Where no curvature is seen, or a negative one, a longer step is needed to see it or to leave.
    # Where one has been seen that was softer, a step for that will do.
    unknown = carry.longest >= 1 / precision.eps
    longer = jnp.maximum(_LONGER * jnp.abs(carry.length), jnp.where(unknown, 0, carry.longest))
    further = jnp.where(_any_above(move, rounding), longer, 1)
    length = jnp.where(usable, length, further)
    longest = jnp.maximum(jnp.abs(long), jnp.where(unknown, 0, _FORGET * carry.longest))
    return _Carry(
        state=state,
        move=move,
        curvatures=carry.curvatures,
        start=carry.start,
        length=length.astype(carry.length.dtype),
        short=jnp.where(usable, recent, carry.short),
        longest=jnp.where(usable, longest, carry.longest),
        climbs=climbs,
    )


def _any_above(tree: State, least: list[RealScalar]) -> Bool[Array, ""]:
    """Whether any leaf is larger than its least size."""
    sizes = [root_mean_square(leaf) for leaf in jax.tree.leaves(tree)]
    above = [size > bound for size, bound in zip(sizes, least, strict=True)]
    return functools.reduce(jnp.logical_or, above)


def _distance(carry: _Carry, origin: State | None, goal: Goal) -> Distance:
    sizes, units = sizes_and_units(carry.state, origin, carry.start)
    slopes = [root_mean_square(m) for m in jax.tree.leaves(carry.move)]
    precision = jnp.finfo(real_dtype(carry.state))
    longest = jnp.where(carry.climbs, 1 / precision.eps, carry.longest)
    # A slope that is rounding may be small by accident; none at all is not.
    distances = [
        jnp.where(slope > 0, longest * (jnp.maximum(slope, precision.eps * size) / unit), 0)
        for slope, size, unit in zip(slopes, sizes, units, strict=True)
    ]
    return near_enough(distances, sizes, units, goal.after(longest, precision.dtype))


def _scaled(move: State, curvatures: tuple[RealScalar, ...]) -> State:
    leaves, structure = jax.tree.flatten(move)
    return jax.tree.unflatten(structure, [m / c for m, c in zip(leaves, curvatures, strict=True)])


def _weights(curvatures: tuple[RealScalar, ...]) -> list[RealScalar]:
    """Curvatures relative to the largest: the metric in which all leaves are alike."""
    largest = functools.reduce(jnp.maximum, curvatures)
    return [c / largest for c in curvatures]


def _inner(a: State, b: State, weights: list[RealScalar]) -> Scalar:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), weights, strict=True)
    return functools.reduce(operator.add, [w * jnp.vdot(u, v) for u, v, w in pairs])


def _size(state: State, curvatures: tuple[RealScalar, ...]) -> RealScalar:
    """In the metric, without overflow or underflow; not a number where the state is not one."""
    peak = _peak(state)
    unit = jax.tree.map(lambda s: s / _nonzero(peak), state)
    return peak * jnp.sqrt(jnp.real(_inner(unit, unit, _weights(curvatures))))


def _peak(state: State) -> RealScalar:
    """The largest absolute value."""
    peaks = [jnp.max(jnp.abs(leaf), initial=0) for leaf in jax.tree.leaves(state)]
    return functools.reduce(jnp.maximum, peaks)


def _nonzero(value: RealScalar) -> RealScalar:
    return jnp.where(value > 0, value, 1.0)
