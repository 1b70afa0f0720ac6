"""Layered networks: couplings in a row, relaxed by the fixed-point map of Appendix B."""

import itertools
import math
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from holoprop._activations import AbstractActivation
from holoprop._checks import check_inputs, check_targets
from holoprop._costs import AbstractCost
from holoprop._couplings import AbstractCoupling, Conv, Dense
from holoprop._energy import AbstractEnergy
from holoprop._layered_dynamics import Centre, LayeredDeviation, LayeredDynamics, Layers, Maps
from holoprop._linear_maps import Precision
from holoprop._types import Array, Inexact, Input, PyTree, Scalar, State, Target


def _along(pull: Array, z: Array) -> Scalar:
    """Nothing, with the derivative `pull` by a pre-pooling value.

    It stands for a value whose derivative is known: what makes z and nothing else is differentiated
    by the chain rule, in particular no pooling.
    """
    return jnp.sum(jax.lax.stop_gradient(pull) * (z - jax.lax.stop_gradient(z)))


class LayeredNetwork(AbstractEnergy):
    """Layers s_1 ... s_n over an input s_0 = x, neighbours coupled, and a cost on top.

    With Phi = sum_l s_l . (P_l(W_l s_{l-1}) + b_l), the couplings' terms, a layer settles where

        s_l = activation(dPhi/ds_l - beta dl/ds_l),

    which is the dynamics of Appendix B. With `CrossEntropy` the class is read from the last layer
    by the readout, a coupling outside the state: prediction = W s_n + b. With `SquaredError` the
    last layer is the prediction, and is nudged.

    Arguments:
        couplings: From the input upwards; each one's `in_shape` is the `out_shape` of the one
            below.
        activation: Of every layer of the state.
        cost: `CrossEntropy()` or `SquaredError()`, or one's own `AbstractCost`.
        readout: A `Dense` coupling where the cost has a readout, else None.

    Raises:
        ValueError: If neighbours' shapes do not fit, or cost and readout do not.

    Example:
        >>> import jax, holoprop as hp
        >>> network = hp.mlp([6, 4, 4, 4], key=jax.random.key(0))
        >>> [layer.shape for layer in network.init_state(jnp.zeros(6))]
        [(4,), (4,)]
    """

    closed_deviation: ClassVar[bool] = True
    couplings: tuple[AbstractCoupling, ...]
    activation: AbstractActivation
    cost_function: AbstractCost
    readout: Dense | None

    def __init__(
        self,
        couplings: tuple[AbstractCoupling, ...],
        *,
        activation: AbstractActivation,
        cost: AbstractCost,
        readout: Dense | None = None,
    ) -> None:
        self.couplings = tuple(couplings)
        self.activation = activation
        self.cost_function = cost
        self.readout = readout

    def __check_init__(self) -> None:
        if not self.couplings:
            raise ValueError("couplings is empty: a network needs one layer or more.")
        if (self.readout is not None) != self.cost_function.has_readout:
            name = type(self.cost_function).__name__
            wants = "needs a readout" if self.cost_function.has_readout else "takes no readout"
            raise ValueError(f"cost {name} {wants}; got readout {self.readout!r}.")
        row = self.couplings if self.readout is None else (*self.couplings, self.readout)
        for index, (lower, upper) in enumerate(itertools.pairwise(row)):
            if lower.out_shape != upper.in_shape:
                raise ValueError(
                    f"coupling {index + 2} expects a lower layer of shape {upper.in_shape}, but "
                    f"coupling {index + 1} makes {lower.out_shape}."
                )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return self.couplings[0].in_shape

    @property
    def classes(self) -> int:
        """Length of the prediction."""
        top = self.couplings[-1] if self.readout is None else self.readout
        return math.prod(top.out_shape)

    def _input(self, x: Input) -> Array:
        # The network's own precision decides: inputs are often made by NumPy in float64.
        return jnp.asarray(x, self.couplings[0].weight.dtype).reshape(self.input_shape)

    def init_state(self, x: Input) -> Layers:
        """Zeros in every layer, in the weights' dtype."""
        return tuple(jnp.zeros(c.out_shape, c.weight.dtype) for c in self.couplings)

    def logits(self, state: Layers) -> Inexact[Array, " classes"]:
        """The prediction: the readout of the last layer, or the last layer itself."""
        if self.readout is None:
            return state[-1].reshape(-1)
        return self.readout.drive(self.readout.linear(state[-1]))

    def cost(self, state: Layers, y: Target) -> Scalar:
        """The cost of the prediction; `y` is a class index or a vector of `classes` numbers."""
        return self.cost_function(self.logits(state), y)

    def interaction(self, state: Layers, x: Input) -> Scalar:
        """-Phi, the only part of the energy in which parameters and input stand."""
        below = (self._input(x), *state[:-1])
        phis = [
            c.phi(s_in, s_out) for c, s_in, s_out in zip(self.couplings, below, state, strict=True)
        ]
        return -sum(phis[1:], phis[0])

    def energy(self, state: Layers, x: Input) -> Scalar:
        """E = sum_l [s_l . u_l - A(u_l)] - Phi, with u_l = dPhi/ds_l and A' = activation.

        This is the Legendre form of the fixed-point map's energy, written without the inverse of
        the activation, which need not exist: dE/ds = Phi'' (s - activation(u)), so that E is
        stationary exactly where the map rests (for invertible Phi''), and there dE/dtheta is
        -dPhi/dtheta. For the identity it is |s|^2/2 - Phi at rest. Relaxation follows the map, not
        the descent of this scalar.
        """
        rule = self.dynamics(self.prepare(x), None)
        inputs = rule.inputs(rule.begin(state))
        legendre = sum(
            jnp.sum(s * u - self.activation.primitive(u))
            for s, u in zip(state, inputs, strict=True)
        )
        return legendre + self.interaction(state, x)

    def prepare(self, x: Input) -> Array:
        """The first layer's input from below, which relaxation does not change."""
        first = self.couplings[0]
        return first.drive(first.linear(self._input(x)))

    def share(self, precision: Precision = None) -> Maps:
        """The linear map of every coupling."""
        return tuple(c.linear_map(precision) for c in self.couplings)

    def dynamics(
        self,
        prepared: Array,
        force: Callable[[State], State] | None,
        shared: Maps | None = None,
    ) -> LayeredDynamics:
        """The fixed-point map of Appendix B."""
        maps = self.share() if shared is None else shared
        return LayeredDynamics(self.couplings, maps, self.activation, prepared, force)

    def prepare_deviation(self, x: Input, centre: Layers) -> Centre:
        """The bases of all difference forms at a free equilibrium."""
        return Centre.of(self.dynamics(self.prepare(x), None), centre)

    def deviation(
        self,
        prepared: Centre,
        force: Callable[[State], State] | None,
        shared: Maps | None = None,
    ) -> LayeredDeviation:
        """The map for deviations, in closed form."""
        maps = self.share() if shared is None else shared
        return LayeredDeviation(self.couplings, maps, self.activation, prepared, force)

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
        z = first.linear(self._input(x))
        at = jax.lax.stop_gradient(z)
        return -jnp.sum(above * first.drive(at)) - _along(first.pull(at, above), z)

    def non_holomorphic_parts(self) -> tuple[str, ...]:
        """The activation, and each coupling's pooling, that are not holomorphic."""
        parts = []
        if not self.activation.holomorphic:
            parts.append(f"activation {type(self.activation).__name__}")
        for index, coupling in enumerate(self.couplings):
            pooling = coupling.pooling if isinstance(coupling, Conv) else None
            if pooling is not None and not pooling.holomorphic:
                parts.append(f"pooling {type(pooling).__name__} of layer {index + 1}")
        return tuple(parts)

    def check(self, x: PyTree[Any], y: PyTree[Any] | None) -> None:
        """Raise `ValueError` where a batch's shapes or types do not fit the network.

        Arguments:
            x: [batch, *input_shape], real floating point; a network that begins with a dense
                coupling takes any shape of the same size.
            y: [batch] integers from 0 to classes - 1, or [batch, classes] real; or None.
        """
        check_inputs(x, self.input_shape, flatten=isinstance(self.couplings[0], Dense))
        check_targets(y, self.classes)
