"""The abstract energy: what one's own network has to say about itself."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax

from holoprop._dynamics import (
    AbstractDynamics,
    GradientDeviation,
    GradientDynamics,
)
from holoprop._linear_maps import Precision
from holoprop._segment import change_along
from holoprop._types import Array, Inexact, Input, PyTree, Scalar, State, Target


class AbstractEnergy(eqx.Module):
    """A holomorphic energy E(theta, s, x) of one example; theta are the module's real arrays.

    One's own energy is a subclass with two or three methods, on one example, without a batch axis:
    `energy`, `init_state` and, if it is to be trained, `cost`. Its equilibria are those of Eq. (1),
    ds/dt = -dE/ds. Written with functions that are complex-differentiable (no `abs`, `conj`,
    `real`, `max`; see `check_holomorphic`), it serves complex nudges as it stands.

    Example:
        >>> import jax, jax.numpy as jnp, holoprop as hp
        >>> class Spring(hp.AbstractEnergy):
        ...     stiffness: jax.Array
        ...
        ...     def energy(self, state, x):
        ...         return self.stiffness * state["u"] ** 2 / 2 - x * state["u"]
        ...
        ...     def init_state(self, x):
        ...         return {"u": jnp.zeros_like(x)}
        ...
        ...     def cost(self, state, y):
        ...         return (state["u"] - y) ** 2 / 2
        >>> spring = Spring(jnp.array(2.0))
        >>> rest = hp.relax(spring, jnp.array([1.0, 3.0]))
        >>> [round(float(u), 3) for u in rest.state["u"]]
        [0.5, 1.5]
    """

    # Whether deviations cost no more than states, so that they are the default.
    closed_deviation: ClassVar[bool] = False

    @abc.abstractmethod
    def energy(self, state: State, x: Input) -> Scalar:
        """E(theta, s, x): a scalar, complex if the state is, real if the state is real.

        Arguments:
            state: A tree of arrays shaped as `init_state` makes it.
            x: The input of one example.
        """

    @abc.abstractmethod
    def init_state(self, x: Input) -> State:
        """Where relaxation starts: a tree of real floating-point arrays.

        Arguments:
            x: The input of one example.
        """

    def cost(self, state: State, y: Target) -> Scalar:
        """l(theta, s, y): the cost of one example, holomorphic in the state.

        Arguments:
            state: A tree of arrays shaped as `init_state` makes it.
            y: The target of one example.

        Raises:
            TypeError: If the energy does not define a cost.
        """
        raise TypeError(
            f"{type(self).__name__} has no cost, so it cannot be nudged towards a target: define "
            "cost(self, state, y)."
        )

    def logits(self, state: State) -> Inexact[Array, " classes"] | None:
        """What the predicted class is read from (the largest), or None where there are no classes.

        Arguments:
            state: A tree of arrays shaped as `init_state` makes it.
        """
        return None

    # What follows has a default for every energy; a network overrides it where it knows better.

    def prepare(self, x: Input) -> PyTree[Any]:
        """What does not change during relaxation, computed once from the input."""
        return x

    def share(self, precision: Precision = None) -> PyTree[Any]:
        """What a relaxation needs of the parameters alone, computed once for all examples.

        Arguments:
            precision: Of products with parameters, where the energy knows how to lower it.
        """
        if precision is not None:
            raise ValueError(
                f"precision={precision!r} lowers the linear maps of a LayeredNetwork, and "
                f"{type(self).__name__} is none: leave precision out."
            )
        return None

    def dynamics(
        self,
        prepared: PyTree[Any],
        force: Callable[[State], State] | None,
        shared: PyTree[Any] = None,
    ) -> AbstractDynamics:
        """How a state moves: by default along -dE/ds plus the nudge's force -beta dl/ds.

        Arguments:
            prepared: From `prepare`.
            force: Of the nudge, or None.
            shared: From `share`; None to compute it here.
        """
        return GradientDynamics(lambda state: self.energy(state, prepared), force)

    def interaction(self, state: State, x: Input) -> Scalar:
        """A scalar with the energy's derivative by the parameters and the input, at any state."""
        return self.energy(state, x)

    def prepare_deviation(self, x: Input, centre: State) -> PyTree[Any]:
        """What does not change while a deviation from the free equilibrium `centre` relaxes."""
        return x, centre

    def deviation(
        self,
        prepared: PyTree[Any],
        force: Callable[[State], State] | None,
        shared: PyTree[Any] = None,
    ) -> AbstractDynamics:
        """How a deviation moves; `force` is a function of the whole state."""
        x, centre = prepared
        return GradientDeviation(lambda state: self.energy(state, x), centre, force)

    def interaction_change(self, centre: State, delta: State, x: Input) -> Scalar:
        """Change of `interaction` from `centre` to `centre + delta`, accurate relative to delta.

        It has to have the derivatives by the parameters and the input, and no others.
        """
        return change_along(lambda state: self.interaction(state, x), centre, delta)

    def interaction_difference(self, centre: State, delta: State, x: Input) -> Scalar:
        """`interaction` at `centre + delta` less that at `centre - delta`, as accurate."""
        opposite = jax.tree.map(lambda d: -d, delta)
        return self.interaction_change(centre, delta, x) - self.interaction_change(
            centre, opposite, x
        )

    def non_holomorphic_parts(self) -> tuple[str, ...]:
        """Names of the parts that are known not to be holomorphic."""
        return ()

    def check(self, x: PyTree[Any], y: PyTree[Any] | None) -> None:
        """Raise `ValueError` where a batch's shapes or types do not fit; values are not seen."""
