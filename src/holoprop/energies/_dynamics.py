"""How the state of one example moves in one step.

A dynamics works on an extended state: the state together with whatever is worth keeping from one
step to the next. Extended states make a linear space (what they hold beside the state is linear in
it), so that they can be mixed and interpolated as states are, and that of zero is zero.
"""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax

from holoprop._quadrature import change_along
from holoprop._tree import holomorphic_grad
from holoprop._types import PyTree, Scalar, State


class AbstractDynamics(eqx.Module):
    """One step of one example, all units at once or block after block."""

    @abc.abstractmethod
    def extend(self, state: State) -> PyTree[Any]:
        """The extended state of a state."""

    @abc.abstractmethod
    def state(self, extended: PyTree[Any]) -> State:
        """The state of an extended state."""

    def feed_forward(self, state: State) -> PyTree[Any]:
        """An extended state nearer to equilibrium than the energy's own start, where one is known.

        Arguments:
            state: The energy's own starting state.
        """
        return self.extend(state)

    @abc.abstractmethod
    def synchronous(self, extended: PyTree[Any], noise: State | None) -> PyTree[Any]:
        """Every unit takes the value that its input asks for, from the old state of all others."""

    @abc.abstractmethod
    def sequential(
        self, extended: PyTree[Any], noise: State | None, *, backwards: bool
    ) -> PyTree[Any]:
        """The same block after block, each from the newest state of the others."""

    @property
    def floor(self) -> float:
        """Size below which a state counts as that large in a residual, in units of sqrt(eps).

        A network in equilibrium at zero has settled, whatever its next step is relative to nothing.
        """
        return 1.0


class AbstractStateDynamics(AbstractDynamics):
    """Dynamics that keep nothing beside the state; the blocks are the leaves of the state."""

    @abc.abstractmethod
    def update(self, state: State) -> State:
        """The new value of every unit, without noise."""

    def extend(self, state: State) -> State:
        """The state itself."""
        return state

    def state(self, extended: State) -> State:
        """The state itself."""
        return extended

    def synchronous(self, extended: State, noise: State | None) -> State:
        """All units at once."""
        return _pushed(self.update(extended), noise)

    def sequential(self, extended: State, noise: State | None, *, backwards: bool) -> State:
        """Leaf after leaf."""
        leaves, structure = jax.tree.flatten(extended)
        order = range(len(leaves))
        for i in reversed(order) if backwards else order:
            state = jax.tree.unflatten(structure, leaves)
            leaves[i] = jax.tree.leaves(self.synchronous(state, noise))[i]
        return jax.tree.unflatten(structure, leaves)


class GradientDynamics(AbstractStateDynamics):
    """s <- s - dE/ds + force, the unit step of Eq. (1).

    For E = |s|^2/2 - Phi(s) this is the fixed-point map s <- dPhi/ds.
    """

    energy: Callable[[State], Scalar]
    force: Callable[[State], State] | None

    def update(self, state: State) -> State:
        """Down the energy's slope."""
        slope = holomorphic_grad(self.energy, state)
        new = jax.tree.map(lambda s, g: s - g, state, slope)
        return _pushed(new, None if self.force is None else self.force(state))


class GradientDeviation(AbstractStateDynamics):
    """delta <- delta - [dE/ds(s_0 + delta) - dE/ds(s_0)] + force(s_0 + delta), for any energy."""

    energy: Callable[[State], Scalar]
    centre: State
    force: Callable[[State], State] | None

    def update(self, state: State) -> State:
        """Down the slope's change from the centre."""
        change = change_along(lambda s: holomorphic_grad(self.energy, s), self.centre, state)
        new = jax.tree.map(lambda d, g: d - g, state, change)
        if self.force is None:
            return new
        return _pushed(new, self.force(jax.tree.map(lambda c, d: c + d, self.centre, state)))

    @property
    def floor(self) -> float:
        """A deviation is measured by its own size, however small."""
        return 0.0


def _pushed(state: State, push: State | None) -> State:
    return state if push is None else jax.tree.map(lambda s, p: s + p, state, push)
