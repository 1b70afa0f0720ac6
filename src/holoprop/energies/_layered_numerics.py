"""How a layered network is computed with: prepared maps, sweeps, deviations in closed form."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._types import Array, Input, PyTree, Scalar
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
            z = coupling.linear(centre[index]), coupling.linear(delta[index])
            total = total - _phi_change(coupling, z, (centre[index + 1], delta[index + 1]))
        return total

    def interaction_difference(self, centre: Layers, delta: Layers, x: Input) -> Scalar:
        """-Phi's difference between two opposite deviations, for one application of each map."""
        total = 2 * self._input_term(delta[0], x)
        for index, coupling in enumerate(self.couplings[1:]):
            z = coupling.linear(centre[index]), coupling.linear(delta[index])
            total = total - _phi_difference(coupling, z, (centre[index + 1], delta[index + 1]))
        return total

    def _input_term(self, above: Array, x: Input) -> Scalar:
        """The first coupling's part of -Phi, with derivatives by the local rule."""
        first = self.couplings[0]
        return -_phi(first, (first.linear(self.input(x)),), (above,))


# From a coupling, pre-pooling values and activities to a term of Phi, and its derivatives by the
# pre-pooling values.
_Term = Callable[[AbstractCoupling, Layers, Layers], tuple[Scalar, Layers]]


def _by_local_rule(term: _Term) -> Callable[[AbstractCoupling, Layers, Layers], Scalar]:
    """A term of Phi whose derivatives by pre-pooling values are those that it knows.

    What makes these values is differentiated by the chain rule, and no pooling is. What the rule
    makes is differentiated as anything else is, so that derivatives of a gradient are right too.
    """

    @eqx.filter_custom_jvp
    def value(coupling: AbstractCoupling, z: Layers, activities: Layers) -> Scalar:
        return term(coupling, z, activities)[0]

    @value.def_jvp
    def slope(primals: Any, tangents: Any) -> tuple[Scalar, Scalar]:
        coupling, z, activities = primals
        dcoupling, dz, dactivities = tangents
        # None stands for no tangent.
        direction = dcoupling, dactivities
        moves = jax.tree.map(lambda d: d is not None, direction, is_leaf=lambda d: d is None)
        moving, still = eqx.partition((coupling, activities), moves)

        def at(moving: PyTree[Any]) -> tuple[Scalar, Layers]:
            coupling, activities = eqx.combine(moving, still)
            return term(coupling, z, activities)

        found, change, pulls = jax.jvp(at, (moving,), (direction,), has_aux=True)
        for pull, d in zip(pulls, dz, strict=True):
            if d is not None:
                change = change + jnp.sum(pull * d)
        return found, change

    return value


@_by_local_rule
def _phi(coupling: AbstractCoupling, z: Layers, activities: Layers) -> tuple[Scalar, Layers]:
    """Phi itself."""
    (at,), (above,) = z, activities
    return jnp.sum(above * coupling.drive(at)), (coupling.pull(at, above),)


@_by_local_rule
def _phi_change(coupling: AbstractCoupling, z: Layers, activities: Layers) -> tuple[Scalar, Layers]:
    """Its change from (z, above) to (z + zeta, above + alpha)."""
    (at, moved), (above, alpha) = z, activities
    base = coupling.base(at)
    change = coupling.drive_change(base, moved)
    value = jnp.sum(alpha * coupling.drive(at)) + jnp.sum((above + alpha) * change)
    pull = coupling.pull_change(base, moved, above, alpha)
    return value, (pull, coupling.pull(at, above) + pull)


@_by_local_rule
def _phi_difference(
    coupling: AbstractCoupling, z: Layers, activities: Layers
) -> tuple[Scalar, Layers]:
    """Its difference between (z + zeta, above + alpha) and (z - zeta, above - alpha)."""
    (at, moved), (above, alpha) = z, activities
    base = coupling.base(at)
    up, down = coupling.drive_change(base, moved), coupling.drive_change(base, -moved)
    value = jnp.sum(above * (up - down)) + jnp.sum(alpha * (2 * coupling.drive(at) + up + down))
    up = coupling.pull_change(base, moved, above, alpha)
    down = coupling.pull_change(base, -moved, above, -alpha)
    return value, (up - down, 2 * coupling.pull(at, above) + up + down)
