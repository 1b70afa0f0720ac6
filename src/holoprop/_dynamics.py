"""How the state of one example moves in one step.

A dynamics works on a carry: the state together with whatever is worth keeping from one step to the
next. A carry lives in a linear space (what it keeps beside the state is linear in the state), so
that carries can be mixed and interpolated as states are, and the carry of zero is zero.
"""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax

from holoprop._segment import change_along
from holoprop._tree import holomorphic_grad
from holoprop._types import PyTree, Scalar, State


class AbstractDynamics(eqx.Module):
    """One step of one example's settling, all units at once or block after block."""

    @abc.abstractmethod
    def begin(self, state: State) -> PyTree[Any]:
        """The carry of a state."""

    @abc.abstractmethod
    def state(self, carry: PyTree[Any]) -> State:
        """The state of a carry."""

    def feed_forward(self, state: State) -> PyTree[Any]:
        """A carry nearer to rest than that of the energy's own starting state, where one is known.

        Arguments:
            state: The energy's own starting state.
        """
        return self.begin(state)

    @abc.abstractmethod
    def synchronous(self, carry: PyTree[Any], noise: State | None) -> PyTree[Any]:
        """Every unit takes the value that its input asks for, from the old state of all others."""

    @abc.abstractmethod
    def sequential(
        self, carry: PyTree[Any], noise: State | None, *, backwards: bool
    ) -> PyTree[Any]:
        """The same block after block, each from the newest state of the others."""

    @property
    def floor(self) -> float:
        """Size below which a state counts as that large in a residual, in units of sqrt(eps).

        A network at rest at zero has settled, whatever its next step is relative to nothing.
        """
        return 1.0


class GradientDynamics(AbstractDynamics):
    """s <- s - dE/ds + force, the unit step of Eq. (1); the blocks are the leaves of the state.

    For E = |s|^2/2 - Phi(s) this is the fixed-point map s <- dPhi/ds.
    """

    energy: Callable[[State], Scalar]
    force: Callable[[State], State] | None

    def begin(self, state: State) -> State:
        """The carry is the state."""
        return state

    def state(self, carry: State) -> State:
        """The carry is the state."""
        return carry

    def _step(self, state: State, noise: State | None) -> State:
        new = jax.tree.map(lambda s, g: s - g, state, holomorphic_grad(self.energy, state))
        for push in (None if self.force is None else self.force(state), noise):
            if push is not None:
                new = jax.tree.map(lambda s, p: s + p, new, push)
        return new

    def synchronous(self, carry: State, noise: State | None) -> State:
        """All units at once."""
        return self._step(carry, noise)

    def sequential(self, carry: State, noise: State | None, *, backwards: bool) -> State:
        """Leaf after leaf."""
        return leaf_by_leaf(self._step, carry, noise, backwards=backwards)


class GradientDeviation(AbstractDynamics):
    """delta <- delta - [dE/ds(s_0 + delta) - dE/ds(s_0)] + force(s_0 + delta), for any energy."""

    energy: Callable[[State], Scalar]
    centre: State
    force: Callable[[State], State] | None

    def begin(self, state: State) -> State:
        """The carry is the deviation."""
        return state

    def state(self, carry: State) -> State:
        """The carry is the deviation."""
        return carry

    def _step(self, delta: State, noise: State | None) -> State:
        change = change_along(lambda s: holomorphic_grad(self.energy, s), self.centre, delta)
        new = jax.tree.map(lambda d, g: d - g, delta, change)
        whole = jax.tree.map(lambda c, d: c + d, self.centre, delta)
        for push in (None if self.force is None else self.force(whole), noise):
            if push is not None:
                new = jax.tree.map(lambda s, p: s + p, new, push)
        return new

    def synchronous(self, carry: State, noise: State | None) -> State:
        """All units at once."""
        return self._step(carry, noise)

    def sequential(self, carry: State, noise: State | None, *, backwards: bool) -> State:
        """Leaf after leaf."""
        return leaf_by_leaf(self._step, carry, noise, backwards=backwards)

    @property
    def floor(self) -> float:
        """A deviation is measured by its own size, however small."""
        return 0.0


def leaf_by_leaf(
    step: Callable[[State, State | None], State],
    state: State,
    noise: State | None,
    *,
    backwards: bool,
) -> State:
    """Apply a step to one leaf after another, each from the newest values of the others."""
    leaves, structure = jax.tree.flatten(state)
    order = range(len(leaves))
    for i in reversed(order) if backwards else order:
        leaves[i] = jax.tree.leaves(step(jax.tree.unflatten(structure, leaves), noise))[i]
    return jax.tree.unflatten(structure, leaves)
