"""Many relaxation problems side by side: a batch of examples, under one nudge or a circle."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._energy import AbstractEnergy
from holoprop._linear_maps import Precision
from holoprop._problem import Given, Problem, dynamics, prepare
from holoprop._types import Array, Inexact, Int, PyTree, Scalar

# Units of an example of a large network.
_MANY_UNITS = 2**14


def is_large(states: PyTree[Any]) -> bool:
    """Whether a batch's examples have so many units that few together keep a processor busy.

    Such networks are convolutional and take long to compile.
    """
    return sum(math.prod(leaf.shape[1:]) for leaf in jax.tree.leaves(states)) >= _MANY_UNITS


def takes_turns(states: PyTree[Any]) -> bool:
    """Whether examples settle few at a time: large ones on a processor, not on an accelerator."""
    return is_large(states) and jax.default_backend() == "cpu"


class Crowd(eqx.Module):
    """The relaxation problems that go through a loop together.

    Attributes:
        energy: Of all.
        shared: What it computed once for all.
        given: What relaxation does not change, with a leading axis.
        nudge: Scalar, [points] or one for each row; or None.
        shape: Leading axes of states: (batch,), (points, batch) or (rows,).
        levels: For each axis, the last first, whether `given` and `nudge` have it.
    """

    energy: AbstractEnergy
    shared: PyTree[Any]
    given: Given
    nudge: Inexact[Array, "*points"] | None
    shape: tuple[int, ...] = eqx.field(static=True)
    levels: tuple[tuple[int | None, int | None], ...] = eqx.field(static=True)

    @staticmethod
    def of(
        problem: Problem, nudge: Inexact[Array, "*points"] | None, precision: Precision
    ) -> "Crowd":
        """All examples of a problem under all nudges."""
        shared, given = problem.energy.share(precision), prepare(problem)
        if nudge is None or nudge.ndim == 0:
            return Crowd(problem.energy, shared, given, nudge, (problem.batch,), ((0, None),))
        shape = (nudge.shape[0], problem.batch)
        return Crowd(problem.energy, shared, given, nudge, shape, ((0, None), (None, 0)))

    def map(self, function: Callable[..., Any], *rest: Any) -> Any:
        """Map a function of one example's dynamics over everyone."""

        def one(given: Given, beta: Scalar | None, *rest: Any) -> Any:
            return function(dynamics(self.energy, given, beta, self.shared), *rest)

        for axes in self.levels:
            one = jax.vmap(one, in_axes=(*axes, *(0 for _ in rest)))
        return one(self.given, self.nudge, *rest)

    def rows(self, tree: PyTree[Any], chosen: Int[Array, " rows"]) -> PyTree[Any]:
        """Some of everyone's values, in one row."""
        axes = len(self.shape)
        return jax.tree.map(lambda a: a.reshape(-1, *a.shape[axes:])[chosen], tree)

    def one(self, row: Int[Array, ""]) -> tuple[Given, Inexact[Array, " rows"] | None]:
        """What one of everyone is given: `changing` of a row that it stands in alone."""
        point, example = (row, row) if len(self.shape) == 1 else jnp.divmod(row, self.shape[1])
        given = jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, example, 1), self.given)
        if self.nudge is None or self.nudge.ndim == 0:
            return given, None
        return given, jax.lax.dynamic_slice_in_dim(self.nudge, point, 1)

    @property
    def changing(self) -> tuple[Given, Inexact[Array, " rows"] | None]:
        """What differs between those of a crowd that stands in one row."""
        return self.given, self.nudge if self.levels[-1][1] == 0 else None

    def seated(self, changing: tuple[Given, Inexact[Array, " rows"] | None]) -> "Crowd":
        """Some of everyone, in one row, by what each of them is given."""
        given, nudge = changing
        rows = jax.tree.leaves(given)[0].shape[:1]
        axis = None if nudge is None else 0
        nudge = self.nudge if nudge is None else nudge
        return Crowd(self.energy, self.shared, given, nudge, rows, ((0, axis),))

    def take(self, chosen: Int[Array, " rows"]) -> "Crowd":
        """A crowd of some, in one row."""
        example, nudge, axis = chosen, self.nudge, self.levels[-1][1]
        if nudge is not None and len(self.shape) == 2:
            point, example = jnp.divmod(chosen, self.shape[1])
            nudge = nudge[point]
        elif nudge is not None and axis is not None:
            nudge = nudge[chosen]
        given = jax.tree.map(lambda a: a[example], self.given)
        return Crowd(self.energy, self.shared, given, nudge, chosen.shape, ((0, axis),))

    def merge(self, whole: Array, some: Array, *, place: Int[Array, " everyone"]) -> Array:
        """Everyone's values, from the row of `some` where one's place is in it."""
        axes = len(self.shape)
        inside = (place < some.shape[0]).reshape(self.shape + (1,) * (whole.ndim - axes))
        late = some[jnp.minimum(place, some.shape[0] - 1)].reshape(whole.shape)
        return jnp.where(inside, late, whole)
