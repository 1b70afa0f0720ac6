"""How the state of one example moves in one step.

A step returns where it leads and the move of the state, each as accurate as it can be: the move is
known also where the state is too large to hold it.

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
    def synchronous(self, extended: PyTree[Any], noise: State | None) -> tuple[PyTree[Any], State]:
        """Every unit takes the value that its input asks for, from the old state of all others."""

    @abc.abstractmethod
    def sequential(
        self, extended: PyTree[Any], noise: State | None, *, backwards: bool
    ) -> tuple[PyTree[Any], State]:
        """The same block after block, each from the newest state of the others."""

    def part_way(
        self, extended: PyTree[Any], end: PyTree[Any], move: State, part: float
    ) -> PyTree[Any]:
        """The extended state a part of the way to where a step leads.

        Arguments:
            extended: Where the step begins.
            end: Where it leads.
            move: Of the state.
            part: From 0 to 1.
        """
        return jax.tree.map(lambda a, b: a + part * (b - a), extended, end)


class AbstractStateDynamics(AbstractDynamics):
    """Dynamics that keep nothing beside the state; the blocks are the leaves of the state."""

    @abc.abstractmethod
    def move(self, state: State) -> State:
        """What every unit's input asks it to change by, without noise."""

    def extend(self, state: State) -> State:
        """The state itself."""
        return state

    def state(self, extended: State) -> State:
        """The state itself."""
        return extended

    def synchronous(self, extended: State, noise: State | None) -> tuple[State, State]:
        """All units at once."""
        move = _plus(self.move(extended), noise)
        return _plus(extended, move), move

    def sequential(
        self, extended: State, noise: State | None, *, backwards: bool
    ) -> tuple[State, State]:
        """Leaf after leaf."""
        leaves, structure = jax.tree.flatten(extended)
        moves = list(leaves)
        order = range(len(leaves))
        for i in reversed(order) if backwards else order:
            new, move = self.synchronous(jax.tree.unflatten(structure, leaves), noise)
            leaves[i], moves[i] = jax.tree.leaves(new)[i], jax.tree.leaves(move)[i]
        return jax.tree.unflatten(structure, leaves), jax.tree.unflatten(structure, moves)

    def part_way(self, extended: State, end: State, move: State, part: float) -> State:
        """By the move itself."""
        return jax.tree.map(lambda s, m: s + part * m, extended, move)


class GradientDynamics(AbstractStateDynamics):
    """s <- s - dE/ds + force, the unit step of Eq. (1).

    For E = |s|^2/2 - Phi(s) this is the fixed-point map s <- dPhi/ds.
    """

    energy: Callable[[State], Scalar]
    force: Callable[[State], State] | None

    def move(self, state: State) -> State:
        """Down the energy's slope."""
        slope = holomorphic_grad(self.energy, state)
        down = jax.tree.map(lambda g: -g, slope)
        return _plus(down, None if self.force is None else self.force(state))


class GradientDeviation(AbstractStateDynamics):
    """delta <- delta - [dE/ds(s_0 + delta) - dE/ds(s_0)] + force(s_0 + delta), for any energy."""

    energy: Callable[[State], Scalar]
    centre: State
    force: Callable[[State], State] | None

    def move(self, state: State) -> State:
        """Down the slope's change from the centre."""
        change = change_along(lambda s: holomorphic_grad(self.energy, s), self.centre, state)
        down = jax.tree.map(lambda g: -g, change)
        if self.force is None:
            return down
        return _plus(down, self.force(jax.tree.map(lambda c, d: c + d, self.centre, state)))


def _plus(state: State, push: State | None) -> State:
    return state if push is None else jax.tree.map(lambda s, p: s + p, state, push)
