"""How far a state still is from equilibrium: the residual, estimated from its last two moves.

A small step is not nearness. A slow mode, a small leaf beside a large one, or a state too large to
hold its update all take small steps far from equilibrium. If moves shrink by a factor rho from one
to the next, those still to come add up to 1 / (1 - rho) times the last one; that sum, relative to
the size of what is sought, and for the leaf where it is largest, is the residual.
"""

import functools
import operator
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._tree import real_dtype
from holoprop._types import Array, Bool, Float, Inexact, RealScalar, State

# A state whose root mean square passes this has diverged: beyond any unit that a state is given in,
# and small enough that its square is finite in float32.
_BOUND = 1e16
# Moves of so many roundings of the state tell nothing of those that follow.
_ROUNDING = 2.0
# Of the last move's distance, so much is taken to be left at least after it.
_LEAST_RATE = 0.2
# A slope is rounded to so many units of the precision, relative to the stiffest mode's.
_SLOPE_ROUNDING = 4.0
# Rounding may take so many of the digits, as a power of the precision.
_DIGITS = 1 / 3


class Goal(eqx.Module):
    """How near is near enough.

    Attributes:
        tolerance: On the residual of every leaf.
        rounding: Part of a leaf's own size that is near enough whatever the tolerance, because
            rounding allows no more; None where a tolerance was asked for by number.
    """

    tolerance: float | RealScalar
    rounding: float | RealScalar | None

    def after(self, moves: RealScalar, dtype: Any) -> "Goal":
        """The same where the slope's rounding is so many moves of length one from the end.

        Rounding may grow with them up to a third of the digits.
        """
        if self.rounding is None:
            return self
        eps = float(jnp.finfo(dtype).eps)
        grown = jnp.clip(_SLOPE_ROUNDING * eps * moves, self.rounding, eps**_DIGITS)
        return Goal(self.tolerance, grown)


class Distance(eqx.Module):
    """Estimated distances from equilibrium.

    Attributes:
        residual: Relative to the size of what is sought, of the leaf where that is largest;
            infinite where the state has diverged.
        settled: Whether every leaf is near enough.
    """

    residual: Float[Array, "*lanes"]
    settled: Bool[Array, "*lanes"]


class Moves(eqx.Module):
    """The last two moves of one example or, with a leading axis, of all lanes.

    Attributes:
        last: The newest move, as it was meant: also where the state was too large to hold it.
        before: The move before it, or zero.
        start: Root mean squares of the leaves of the state that relaxation began with. A state that
            goes to zero has arrived when it is a rounding of what it was.
    """

    last: State
    before: State
    start: tuple[Float[Array, "*lanes"], ...]

    @staticmethod
    def none(state: State) -> "Moves":
        """Before the first move, [lanes, ...]."""
        nothing = jax.tree.map(jnp.zeros_like, state)
        start = tuple(jax.vmap(root_mean_square)(leaf) for leaf in jax.tree.leaves(state))
        return Moves(nothing, nothing, jax.lax.stop_gradient(start))

    def then(self, move: State) -> "Moves":
        """After one more."""
        return Moves(jax.lax.stop_gradient(move), self.last, self.start)

    def distance(self, state: State, origin: State | None, goal: Goal, *, newest: bool) -> Distance:
        """The estimate for one example.

        The rate rho is the projection of the last move on the one before, over all leaves, each
        relative to its size. Moves below rounding tell no rate; see `along_the_slope` for what they
        may hide.

        Arguments:
            state: Before the last move.
            origin: What the state is a response from, or None where the state is sought itself.
            goal: When it is near enough.
            newest: Whether the distance of the state after the last move is asked for.
        """
        precision = jnp.finfo(real_dtype(state))
        sizes, units = sizes_and_units(state, origin, self.start)
        last, before = (
            [leaf / unit for leaf, unit in zip(jax.tree.leaves(move), units, strict=True)]
            for move in (self.last, self.before)
        )
        lengths = [mean_square(leaf) for leaf in last]
        whole, whole_before = _total(lengths), _total([mean_square(leaf) for leaf in before])
        product = _total([_mean_product(a, b) for a, b in zip(last, before, strict=True)])
        # A first move tells nothing of those that follow.
        rate = jnp.where(whole_before > 0, product / _nonzero(whole_before), 1.0)
        above = [
            length > (_ROUNDING * precision.eps * size / unit) ** 2
            for length, size, unit in zip(lengths, sizes, units, strict=True)
        ]
        told = functools.reduce(jnp.logical_or, above)
        left = jnp.where(told, 1 / jnp.maximum(1 - jnp.maximum(rate, 0), precision.eps), 1.0)
        if newest:
            left = left * jnp.clip(jnp.sqrt(whole / _nonzero(whole_before)), _LEAST_RATE, 1.0)
        return near_enough([left * jnp.sqrt(a) for a in lengths], sizes, units, goal)


def along_the_slope(
    move: Callable[[State], State], state: State, origin: State | None, goal: Goal
) -> Distance:
    """The distance along an energy's slope, where the slope ends by its own curvature.

    An energy without curvature to speak of moves so little that it looks at rest anywhere. With m
    the move, minus the slope, and H the curvature, m . m / m . H m moves lead to where the slope
    ends. Rounding of a stiff leaf can be all there is of the slope, so each leaf is asked by itself
    too.

    Arguments:
        move: Minus the slope of one example's energy.
        state: Of the example.
        origin: What it is a response from, or None.
        goal: When it is near enough.
    """
    last, turned = jax.linearize(move, state)
    leaves, structure = jax.tree.flatten(last)
    peak = functools.reduce(jnp.maximum, [jnp.max(jnp.abs(m), initial=0) for m in leaves])
    unit_move = [(m / _nonzero(peak)).astype(m.dtype) for m in leaves]
    precision = jnp.finfo(real_dtype(state))
    start = tuple(root_mean_square(leaf) for leaf in jax.tree.leaves(state))
    sizes, units = sizes_and_units(state, origin, start)
    lengths = [root_mean_square(m) for m in leaves]

    def along(part: list[RealScalar]) -> Distance:
        """Where the leaves move that have a one, and the others stay."""
        moved = [m * p.astype(m.dtype) for m, p in zip(unit_move, part, strict=True)]
        bent = jax.tree.leaves(turned(jax.tree.unflatten(structure, moved)))
        curvature = -_total([jnp.real(jnp.vdot(m, h)) for m, h in zip(moved, bent, strict=True)])
        whole = _total([jnp.sum(jnp.abs(m) ** 2) for m in moved])
        moves = jnp.where(curvature > 0, whole / _nonzero(curvature), 1 / precision.eps)
        distances = [
            jnp.where(p * length > 0, moves * (length / unit), 0.0)
            for p, length, unit in zip(part, lengths, units, strict=True)
        ]
        # Steps of one length for all modes leave some more of it.
        return near_enough(distances, sizes, units, goal.after(2 * moves, precision.dtype))

    count = len(leaves)
    parts = (
        jnp.ones((1, 1)) if count == 1 else jnp.concatenate([jnp.ones((1, count)), jnp.eye(count)])
    )
    found = jax.vmap(along)(list(parts.T))
    return Distance(jnp.max(found.residual), jnp.all(found.settled))


def sizes_and_units(
    state: State, origin: State | None, start: tuple[RealScalar, ...]
) -> tuple[list[RealScalar], list[RealScalar]]:
    """Of each leaf its own size, and the size of what is sought, by which distances are measured.

    Arguments:
        state: Of one example.
        origin: What it is a response from, or None.
        start: Sizes of the leaves of the state that relaxation began with.
    """
    state, origin = jax.lax.stop_gradient((state, origin))
    precision = jnp.finfo(real_dtype(state))
    sizes = [root_mean_square(leaf) for leaf in jax.tree.leaves(state)]
    sought, least = sizes, float(precision.eps) ** 0.5
    if origin is not None:
        response = jax.tree.map(lambda s, o: s - o.astype(s.dtype), state, origin)
        # What the start was says nothing of a response.
        sought, least = [root_mean_square(leaf) for leaf in jax.tree.leaves(response)], 0.0
    tiny = float(precision.tiny) ** 0.5
    units = [
        jnp.maximum(jnp.maximum(size, least * first), tiny)
        for size, first in zip(sought, start, strict=True)
    ]
    return sizes, units


def near_enough(
    distances: list[RealScalar], sizes: list[RealScalar], units: list[RealScalar], goal: Goal
) -> Distance:
    """The residual, and whether it will do.

    Arguments:
        distances: Of each leaf, in its unit.
        sizes: Of each leaf.
        units: Of each leaf.
        goal: When it is near enough.
    """
    settled = jnp.array(True)
    for distance, size, unit in zip(distances, sizes, units, strict=True):
        allowed = goal.tolerance
        if goal.rounding is not None:
            allowed = jnp.maximum(allowed, goal.rounding * size / unit)
        settled = settled & (distance <= allowed)
    bounded = functools.reduce(jnp.maximum, sizes) < _BOUND
    residual = functools.reduce(jnp.maximum, distances)
    return Distance(jnp.where(bounded, residual, jnp.inf), settled & bounded)


def mean_square(leaf: Inexact[Array, "..."]) -> RealScalar:
    """Of absolute values; zero of nothing."""
    return jnp.sum(jnp.real(leaf) ** 2 + jnp.imag(leaf) ** 2) / max(1, leaf.size)


def root_mean_square(leaf: Inexact[Array, "..."]) -> RealScalar:
    """Of absolute values; zero of nothing."""
    return jnp.sqrt(mean_square(leaf))


def _mean_product(a: Inexact[Array, "..."], b: Inexact[Array, "..."]) -> RealScalar:
    product = jnp.real(a) * jnp.real(b) + jnp.imag(a) * jnp.imag(b)
    return jnp.sum(product) / max(1, a.size)


def _total(values: list[RealScalar]) -> RealScalar:
    return functools.reduce(operator.add, values)


def _nonzero(value: RealScalar) -> RealScalar:
    return jnp.where(value > 0, value, 1.0)
