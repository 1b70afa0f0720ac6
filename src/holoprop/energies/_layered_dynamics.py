"""How the layers of a network move: as they are, and as deviations from the free equilibrium.

Both go through the couplings in the same way. The extended state is (state, z): each layer's
activity, and for every coupling above the first its pre-pooling value z_l = W_l s_{l-1} of the
current state. With it a step costs one forward and one feedback application of each coupling, in
either order of update.
"""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax

from holoprop._types import Array, Inexact, PyTree, State
from holoprop.energies._dynamics import AbstractDynamics
from holoprop.nn import AbstractActivation, AbstractCoupling, AbstractLinearMap

Layers = tuple[Inexact[Array, "..."], ...]
Extended = tuple[Layers, Layers]
Maps = tuple[AbstractLinearMap, ...]


class AbstractLayeredDynamics(AbstractDynamics):
    """Layers in a row, each with an input from below, from above and from the nudge."""

    couplings: eqx.AbstractVar[tuple[AbstractCoupling, ...]]
    maps: eqx.AbstractVar[Maps]

    @abc.abstractmethod
    def input(self, layer: int, state: Layers, z: Layers) -> Array:
        """What one layer (counted from 0) receives, before noise."""

    @abc.abstractmethod
    def activity(self, layer: int, u: Array) -> Array:
        """What the layer makes of it."""

    def extend(self, state: State) -> Extended:
        """The state with the pre-pooling values that belong to it."""
        upper = self.maps[1:]
        return state, tuple(m.forward(s) for m, s in zip(upper, state[:-1], strict=True))

    def state(self, extended: Extended) -> State:
        """The activities."""
        return extended[0]

    def inputs(self, extended: Extended) -> Layers:
        """The input of every layer."""
        state, z = extended
        return tuple(self.input(layer, state, z) for layer in range(len(state)))

    def synchronous(self, extended: Extended, noise: State | None) -> tuple[Extended, Layers]:
        """All layers at once (Appendix B)."""
        inputs = self.inputs(extended)
        if noise is not None:
            inputs = tuple(u + eta for u, eta in zip(inputs, noise, strict=True))
        new = tuple(self.activity(layer, u) for layer, u in enumerate(inputs))
        return self.extend(new), _move(extended[0], new)

    def sequential(
        self, extended: Extended, noise: State | None, *, backwards: bool
    ) -> tuple[Extended, Layers]:
        """Layer after layer, front to back or back to front."""
        state, z = map(list, extended)
        order = range(len(state))
        for layer in reversed(order) if backwards else order:
            u = self.input(layer, tuple(state), tuple(z))
            if noise is not None:
                u = u + noise[layer]
            state[layer] = self.activity(layer, u)
            if layer + 1 < len(state):
                z[layer] = self.maps[layer + 1].forward(state[layer])
        return (tuple(state), tuple(z)), _move(extended[0], tuple(state))


class LayeredDynamics(AbstractLayeredDynamics):
    """s_l <- activation(dPhi/ds_l - beta dl/ds_l), the fixed-point map of Appendix B."""

    couplings: tuple[AbstractCoupling, ...]
    maps: Maps
    activation: AbstractActivation
    input_drive: Inexact[Array, "..."]
    force: Callable[[State], State] | None

    def input(self, layer: int, state: Layers, z: Layers) -> Array:
        """dPhi/ds - beta dl/ds."""
        u = self.input_drive if layer == 0 else self.couplings[layer].drive(z[layer - 1])
        if layer + 1 < len(self.couplings):
            pull = self.couplings[layer + 1].pull(z[layer], state[layer + 1])
            u = u + self.maps[layer + 1].transposed(pull)
        if self.force is not None:
            u = u + self.force(state)[layer]
        return u

    def activity(self, layer: int, u: Array) -> Array:
        """The activation."""
        return self.activation(u)

    def feed_forward(self, state: State) -> Extended:
        """Each layer from the one below alone: half the price of a sweep."""
        layers: list[Array] = []
        z: list[Array] = []
        for layer, like in enumerate(state):
            u = self.couplings[layer].drive(z[-1]) if layer else self.input_drive
            layers.append(self.activation(u).astype(like.dtype))
            if layer + 1 < len(state):
                z.append(self.maps[layer + 1].forward(layers[-1]))
        return tuple(layers), tuple(z)


class Centre(eqx.Module):
    """A free equilibrium of one example, and what the difference forms need of it.

    Attributes:
        state: Each layer's activity.
        activations: For each layer, the activation's base at its input.
        couplings: For each coupling above the first, its base at its pre-pooling value.
    """

    state: Layers
    activations: tuple[PyTree[Any], ...]
    couplings: tuple[PyTree[Any], ...]

    @staticmethod
    def of(dynamics: LayeredDynamics, state: Layers) -> "Centre":
        """Of an equilibrium of the free dynamics."""
        _, z = extended = dynamics.extend(state)
        return Centre(
            state,
            tuple(dynamics.activation.base(u) for u in dynamics.inputs(extended)),
            tuple(c.base(value) for c, value in zip(dynamics.couplings[1:], z, strict=True)),
        )


class LayeredDeviation(AbstractLayeredDynamics):
    """The same map for delta = s - s_0, in which nothing is a difference of two large numbers.

    delta_l <- activation(a_l + change of input) - activation(a_l), a_l the input there. The drive
    of the network's input does not change and falls out. If the centre is not quite an equilibrium,
    this is the response round it all the same: without a nudge delta is exactly zero.
    """

    couplings: tuple[AbstractCoupling, ...]
    maps: Maps
    activation: AbstractActivation
    centre: Centre
    force: Callable[[State], State] | None

    def input(self, layer: int, state: Layers, z: Layers) -> Array:
        """The change of a layer's input."""
        base, s0 = self.centre.couplings, self.centre.state
        terms = []
        if layer > 0:
            terms.append(self.couplings[layer].drive_change(base[layer - 1], z[layer - 1]))
        if layer + 1 < len(self.couplings):
            pull = self.couplings[layer + 1].pull_change(
                base[layer], z[layer], s0[layer + 1], state[layer + 1]
            )
            terms.append(self.maps[layer + 1].transposed(pull))
        if self.force is not None:
            terms.append(self.force(jax.tree.map(lambda a, b: a + b, s0, state))[layer])
        return sum(terms[1:], terms[0]) if terms else jax.numpy.zeros_like(state[layer])

    def activity(self, layer: int, u: Array) -> Array:
        """The activation's change from its base."""
        return self.activation.change(self.centre.activations[layer], u)


def _move(old: Layers, new: Layers) -> Layers:
    return tuple(b - a for a, b in zip(old, new, strict=True))
