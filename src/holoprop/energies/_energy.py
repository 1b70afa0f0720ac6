"""The abstract energy: what one's own network has to say about itself."""

import abc
from typing import Any

import equinox as eqx

from holoprop._types import Array, Inexact, Input, PyTree, Scalar, State, Target
from holoprop.energies._numerics import AbstractNumerics, GradientNumerics


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
        >>> equilibrium = hp.relax(spring, jnp.array([1.0, 3.0]))
        >>> [round(float(u), 3) for u in equilibrium.state["u"]]
        [0.5, 1.5]
    """

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

    def check(self, x: PyTree[Any], y: PyTree[Any] | None) -> None:
        """Raise `ValueError` where a batch's shapes or types do not fit; values are not seen."""

    def non_holomorphic(self) -> tuple[str, ...]:
        """Names of the components that are known not to be holomorphic."""
        return ()

    def numerics(self) -> AbstractNumerics:
        """How to compute with the energy; by its derivatives unless a network knows a faster way.

        It also says which relaxation is the default.
        """
        return GradientNumerics(self.energy)
