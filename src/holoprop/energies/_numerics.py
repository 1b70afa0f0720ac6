"""How an energy is computed with: its steps, its deviations, and its derivatives by parameters.

Whoever writes an energy need not know of this: `GradientNumerics` serves any. A network that can do
the same faster, or without losing digits, returns numerics of its own from
`AbstractEnergy.numerics`, as `LayeredNetwork` does. Whatever they return, the equilibria and the
gradients are those of the energy; only cost and rounding may differ.
"""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax

from holoprop._quadrature import change_along
from holoprop._types import Input, PyTree, Scalar, State
from holoprop.energies._dynamics import AbstractDynamics, GradientDeviation, GradientDynamics
from holoprop.nn import Precision

Force = Callable[[State], State]


class AbstractNumerics(eqx.Module):
    """An energy as relaxations and estimators see it, on one example.

    Attributes:
        fixed_point_map: Whether the synchronous step is a fixed-point map that settles when it is
            iterated. It is then relaxed by sweeps unless asked otherwise, else by gradient flow.
        closed_deviation: Whether a deviation costs no more than a state, so that nudged phases
            relax deviations unless asked otherwise.
    """

    fixed_point_map: eqx.AbstractClassVar[bool]
    closed_deviation: eqx.AbstractClassVar[bool]

    @abc.abstractmethod
    def maps(self, precision: Precision = None) -> PyTree[Any]:
        """What a relaxation needs of the parameters alone, computed once for all examples.

        Arguments:
            precision: Of products with parameters; `ValueError` where it cannot be lowered.
        """

    @abc.abstractmethod
    def prepare(self, x: Input) -> PyTree[Any]:
        """What of an input does not change during relaxation, computed once."""

    @abc.abstractmethod
    def dynamics(
        self, prepared: PyTree[Any], force: Force | None, maps: PyTree[Any]
    ) -> AbstractDynamics:
        """How a state moves.

        Arguments:
            prepared: From `prepare`.
            force: Of the nudge, -beta dl/ds as a function of the state; or None.
            maps: From `maps`.
        """

    @abc.abstractmethod
    def prepare_deviation(self, x: Input, centre: State) -> PyTree[Any]:
        """What does not change while a deviation from the free equilibrium `centre` relaxes."""

    @abc.abstractmethod
    def deviation(
        self, prepared: PyTree[Any], force: Force | None, maps: PyTree[Any]
    ) -> AbstractDynamics:
        """How a deviation moves; `force` is a function of the whole state."""

    def nudged_part(self, state: State) -> State:
        """Those leaves of a state that a nudge reaches first, or all where that is not known.

        An error of the response shows there, and nothing but their own step need be computed.
        """
        return state

    @abc.abstractmethod
    def interaction(self, state: State, x: Input) -> Scalar:
        """A scalar with the energy's derivatives by the parameters and the input, at any state."""

    @abc.abstractmethod
    def interaction_change(self, centre: State, delta: State, x: Input) -> Scalar:
        """Change of `interaction` from `centre` to `centre + delta`, accurate relative to delta.

        It has to have the derivatives by the parameters and the input, and these have to have
        theirs, by centre and delta too, for whoever differentiates a gradient.
        """

    def interaction_difference(self, centre: State, delta: State, x: Input) -> Scalar:
        """`interaction` at `centre + delta` less that at `centre - delta`, as accurate."""
        opposite = jax.tree.map(lambda d: -d, delta)
        return self.interaction_change(centre, delta, x) - self.interaction_change(
            centre, opposite, x
        )


class GradientNumerics(AbstractNumerics):
    """Of any energy, by its derivatives: -dE/ds for states, an integral of it for deviations.

    Arguments:
        energy: E as a function of a state and an input, holomorphic in the state.
    """

    fixed_point_map: ClassVar[bool] = False
    closed_deviation: ClassVar[bool] = False
    energy: Callable[[State, Input], Scalar]

    def maps(self, precision: Precision = None) -> PyTree[Any]:
        """Nothing: what is inside of the energy is not known."""
        if precision is not None:
            raise ValueError(
                f"precision={precision!r} lowers the linear maps of a LayeredNetwork, and this "
                "energy has none that are known: leave precision out."
            )
        return None

    def prepare(self, x: Input) -> Input:
        """The input itself."""
        return x

    def dynamics(self, prepared: Input, force: Force | None, maps: PyTree[Any]) -> GradientDynamics:
        """Along -dE/ds plus the nudge's force."""
        return GradientDynamics(lambda state: self.energy(state, prepared), force)

    def prepare_deviation(self, x: Input, centre: State) -> tuple[Input, State]:
        """Input and centre themselves."""
        return x, centre

    def deviation(
        self, prepared: tuple[Input, State], force: Force | None, maps: PyTree[Any]
    ) -> GradientDeviation:
        """Along the change of -dE/ds plus the nudge's force."""
        x, centre = prepared
        return GradientDeviation(lambda state: self.energy(state, x), centre, force)

    def interaction(self, state: State, x: Input) -> Scalar:
        """The energy itself."""
        return self.energy(state, x)

    def interaction_change(self, centre: State, delta: State, x: Input) -> Scalar:
        """By quadrature along the segment."""
        return change_along(lambda state: self.energy(state, x), centre, delta)
