"""Lanes: one example under one nudge each, many of them side by side."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._types import Inexact, Int, PyTree, Scalar
from holoprop.energies import AbstractEnergy
from holoprop.nn import Precision
from holoprop.relaxation._problem import Prepared, Problem, dynamics, prepare

# What differs between lanes that stand in one row: what is prepared, and the nudge if it does.
Content = tuple[Prepared, Inexact[jax.Array, " lanes"] | None]


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

    def content(self, lane: Int[jax.Array, ""]) -> Content:
        """What one lane has, with an axis of one."""
        point, example = (lane, lane) if len(self.shape) == 1 else jnp.divmod(lane, self.shape[1])
        prepared = jax.tree.map(
            lambda a: jax.lax.dynamic_slice_in_dim(a, example, 1), self.prepared
        )
        if self.axes[-1][1] is None or self.nudge is None:
            return prepared, None
        return prepared, jax.lax.dynamic_slice_in_dim(self.nudge, point, 1)

    def holding(self, content: Content) -> "Lanes":
        """Some lanes in one row, by what each of them has."""
        prepared, nudge = content
        count = jax.tree.leaves(prepared)[0].shape[:1]
        axis = None if nudge is None else 0
        nudge = self.nudge if nudge is None else nudge
        return Lanes(self.energy, self.maps, prepared, nudge, count, ((0, axis),))
