"""Lanes: one example under one nudge each, many of them side by side."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax

from holoprop._types import Inexact, Int, PyTree, Scalar, State
from holoprop.energies import AbstractEnergy
from holoprop.nn import Precision
from holoprop.relaxation._distance import Distance, Goal, Moves, along_the_slope
from holoprop.relaxation._problem import Prepared, Problem, dynamics, prepare

# What differs between lanes that stand in one row: what is prepared, and the nudge if it does.
Content = tuple[Prepared, Inexact[jax.Array, " held"] | None]


class Lanes(eqx.Module):
    """Relaxation problems that go through a loop together.

    Whatever a lane has stands in arrays with a leading axis [lanes]. That examples and points make
    a grid is known here alone.

    Attributes:
        energy: Of all lanes.
        maps: What its numerics computed once for all.
        prepared: What relaxation does not change, with a leading axis.
        nudge: Scalar, [points] or [lanes]; or None.
        shape: (lanes,), or (points, batch) of a grid.
        axes: For each axis of `shape`, the last first, whether `prepared` and `nudge` have it.
    """

    energy: AbstractEnergy
    maps: PyTree[Any]
    prepared: Prepared
    nudge: Inexact[jax.Array, "*nudges"] | None
    shape: tuple[int, ...] = eqx.field(static=True)
    axes: tuple[tuple[int | None, int | None], ...] = eqx.field(static=True)

    @staticmethod
    def of(
        problem: Problem, nudge: Inexact[jax.Array, "*points"] | None, precision: Precision
    ) -> "Lanes":
        """All examples of a problem under all nudges."""
        maps, prepared = problem.energy.numerics().maps(precision), prepare(problem)
        if nudge is None or nudge.ndim == 0:
            return Lanes(problem.energy, maps, prepared, nudge, (problem.batch,), ((0, None),))
        shape = (nudge.shape[0], problem.batch)
        return Lanes(problem.energy, maps, prepared, nudge, shape, ((0, None), (None, 0)))

    @property
    def count(self) -> int:
        """How many there are."""
        return math.prod(self.shape)

    def map(self, function: Callable[..., Any], *trees: Any) -> Any:
        """Map a function of one lane's dynamics, and of its part of some trees, over all lanes."""

        def one(prepared: Prepared, nudge: Scalar | None, *trees: Any) -> Any:
            return function(dynamics(self.energy, prepared, nudge, self.maps), *trees)

        return self.over_all(one, *trees)

    def states(self, extended: PyTree[Any]) -> State:
        """The states of extended states, [lanes, ...]."""
        return self.map(lambda dynamics, extended: dynamics.state(extended), extended)

    def distance(self, moves: Moves, state: State, goal: Goal, *, newest: bool) -> Distance:
        """Every lane's distance from its equilibrium, by its last two moves.

        Arguments:
            moves: [lanes, ...].
            state: [lanes, ...]: whose distance is asked for.
            goal: When it is near enough.
            newest: Whether the last move led to `state`, and not from it.
        """

        def one(prepared: Prepared, nudge: Scalar | None, moves: Moves, state: State) -> Distance:
            return moves.distance(state, prepared.origin, goal, newest=newest)

        return self.over_all(one, moves, state)

    def distance_along_the_slope(self, state: State, goal: Goal) -> Distance:
        """Every lane's distance along the slope of its energy.

        Arguments:
            state: [lanes, ...]: whose distance is asked for.
            goal: When it is near enough.
        """

        def one(prepared: Prepared, nudge: Scalar | None, state: State) -> Distance:
            own = dynamics(self.energy, prepared, nudge, self.maps)

            def move(state: State) -> State:
                return own.synchronous(own.extend(state), None)[1]

            return along_the_slope(move, state, prepared.origin, goal)

        return self.over_all(one, jax.lax.stop_gradient(state))

    def over_all(self, one: Callable[..., Any], *trees: Any) -> Any:
        """Map a function of what is prepared, the nudge and some trees."""
        for axes in self.axes:
            one = jax.vmap(one, in_axes=(*axes, *(0 for _ in trees)))
        return self.in_row(one(self.prepared, self.nudge, *self.in_grid(trees)))

    def in_grid(self, tree: PyTree[Any]) -> PyTree[Any]:
        """Arrays [lanes, ...] as [*shape, ...]."""
        return jax.tree.map(lambda a: a.reshape(*self.shape, *a.shape[1:]), tree)

    def in_row(self, tree: PyTree[Any]) -> PyTree[Any]:
        """Arrays [*shape, ...] as [lanes, ...]."""
        axes = len(self.shape)
        return jax.tree.map(lambda a: a.reshape(self.count, *a.shape[axes:]), tree)

    def content(self, lanes: Int[jax.Array, " held"]) -> Content:
        """What some lanes have."""
        point, example = (lanes, lanes) if len(self.shape) == 1 else divmod(lanes, self.shape[1])
        prepared = jax.tree.map(lambda a: rows(a, example), self.prepared)
        if self.axes[-1][1] is None or self.nudge is None:
            return prepared, None
        return prepared, rows(self.nudge, point)

    def holding(self, content: Content) -> "Lanes":
        """Some lanes in one row, by what each of them has."""
        prepared, nudge = content
        count = jax.tree.leaves(prepared)[0].shape[:1]
        axis = None if nudge is None else 0
        nudge = self.nudge if nudge is None else nudge
        return Lanes(self.energy, self.maps, prepared, nudge, count, ((0, axis),))


def rows(a: jax.Array, at: Int[jax.Array, " held"]) -> jax.Array:
    """Some rows of an array; all of them are there."""
    return a.at[at].get(mode="promise_in_bounds")
