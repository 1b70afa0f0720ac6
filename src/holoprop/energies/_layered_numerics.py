"""How a layered network is computed with: prepared maps, sweeps, deviations in closed form."""

from typing import ClassVar

import jax
import jax.numpy as jnp

from holoprop._types import Array, Input, Scalar
from holoprop.energies._layered_dynamics import (
    Centre,
    LayeredDeviation,
    LayeredDynamics,
    Layers,
    Maps,
)
from holoprop.energies._numerics import AbstractNumerics, Force
from holoprop.nn import AbstractActivation, AbstractCoupling, Precision


class LayeredNumerics(AbstractNumerics):
    """Of couplings in a row, by the fixed-point map of Appendix B.

    Arguments:
        couplings: From the input upwards.
        activation: Of every layer.
    """

    fixed_point_map: ClassVar[bool] = True
    closed_deviation: ClassVar[bool] = True
    couplings: tuple[AbstractCoupling, ...]
    activation: AbstractActivation

    def input(self, x: Input) -> Array:
        """The input as the first coupling takes it, in the network's own precision."""
        # Inputs are often made by NumPy in float64.
        first = self.couplings[0]
        return jnp.asarray(x, first.weight.dtype).reshape(first.in_shape)

    def maps(self, precision: Precision = None) -> Maps:
        """The linear map of every coupling."""
        return tuple(c.linear_map(precision) for c in self.couplings)

    def prepare(self, x: Input) -> Array:
        """The first layer's input from below, which relaxation does not change."""
        first = self.couplings[0]
        return first.drive(first.linear(self.input(x)))

    def dynamics(self, prepared: Array, force: Force | None, maps: Maps) -> LayeredDynamics:
        """The fixed-point map."""
        return LayeredDynamics(self.couplings, maps, self.activation, prepared, force)

    def prepare_deviation(self, x: Input, centre: Layers) -> Centre:
        """The bases of all difference forms at a free equilibrium."""
        return Centre.of(self.dynamics(self.prepare(x), None, self.maps()), centre)

    def deviation(self, prepared: Centre, force: Force | None, maps: Maps) -> LayeredDeviation:
        """The map for deviations, in closed form."""
        return LayeredDeviation(self.couplings, maps, self.activation, prepared, force)

    def nudged_part(self, state: Layers) -> Layers:
        """The last layer."""
        return state[-1:]

    def interaction(self, state: Layers, x: Input) -> Scalar:
        """-Phi, the only part of the energy in which parameters and input stand."""
        below = (self.input(x), *state[:-1])
        phis = [
            c.phi(s_in, s_out) for c, s_in, s_out in zip(self.couplings, below, state, strict=True)
        ]
        return -sum(phis[1:], phis[0])

    def interaction_change(self, centre: Layers, delta: Layers, x: Input) -> Scalar:
        """-Phi's change, with derivatives by the local rule: pull times lower activity."""
        total = self._input_term(delta[0], x)
        for index, coupling in enumerate(self.couplings[1:]):
            z, zeta = coupling.linear(centre[index]), coupling.linear(delta[index])
            above, alpha = centre[index + 1], delta[index + 1]
            at, moved = jax.lax.stop_gradient((z, zeta))
            base = coupling.base(at)
            change = coupling.drive_change(base, moved)
            total = total - jnp.sum(alpha * coupling.drive(at)) - jnp.sum((above + alpha) * change)
            pull = coupling.pull_change(base, moved, above, alpha)
            total = total - _along(pull, z) - _along(coupling.pull(at, above) + pull, zeta)
        return total

    def interaction_difference(self, centre: Layers, delta: Layers, x: Input) -> Scalar:
        """-Phi's difference between two opposite deviations, for one application of each map."""
        total = 2 * self._input_term(delta[0], x)
        for index, coupling in enumerate(self.couplings[1:]):
            z, zeta = coupling.linear(centre[index]), coupling.linear(delta[index])
            above, alpha = centre[index + 1], delta[index + 1]
            at, moved = jax.lax.stop_gradient((z, zeta))
            base = coupling.base(at)
            up, down = coupling.drive_change(base, moved), coupling.drive_change(base, -moved)
            total = total - jnp.sum(above * (up - down))
            total = total - jnp.sum(alpha * (2 * coupling.drive(at) + up + down))
            up = coupling.pull_change(base, moved, above, alpha)
            down = coupling.pull_change(base, -moved, above, -alpha)
            total = total - _along(up - down, z)
            total = total - _along(2 * coupling.pull(at, above) + up + down, zeta)
        return total

    def _input_term(self, above: Array, x: Input) -> Scalar:
        """The first coupling's part of -Phi, with derivatives by the local rule."""
        first = self.couplings[0]
        z = first.linear(self.input(x))
        at = jax.lax.stop_gradient(z)
        return -jnp.sum(above * first.drive(at)) - _along(first.pull(at, above), z)


def _along(pull: Array, z: Array) -> Scalar:
    """Nothing, with the derivative `pull` by a pre-pooling value.

    It stands for a value whose derivative is known: what makes z and nothing else is differentiated
    by the chain rule, in particular no pooling.
    """
    return jnp.sum(jax.lax.stop_gradient(pull) * (z - jax.lax.stop_gradient(z)))
