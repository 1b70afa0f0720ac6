"""Layered networks: couplings in a row, relaxed by the fixed-point map of Appendix B."""

import itertools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._checks import check_inputs, check_targets
from holoprop._types import Array, Inexact, Input, PyTree, Scalar, Target
from holoprop.energies._energy import AbstractEnergy, is_shipped
from holoprop.energies._layered_dynamics import Layers
from holoprop.energies._layered_numerics import LayeredNumerics
from holoprop.nn import AbstractActivation, AbstractCost, AbstractCoupling, Dense


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

    @property
    def dtype(self) -> Any:
        """Of the states: the largest of the couplings' arrays."""
        return jnp.result_type(*self._dtypes)

    @property
    def _dtypes(self) -> set[Any]:
        return {a.dtype for c in self.couplings for a in (c.weight, c.bias)}

    def init_state(self, x: Input) -> Layers:
        """Zeros in every layer, in the weights' dtype."""
        dtype = self.dtype
        return tuple(jnp.zeros(c.out_shape, dtype) for c in self.couplings)

    def logits(self, state: Layers) -> Inexact[Array, " classes"]:
        """The prediction: the readout of the last layer, or the last layer itself."""
        if self.readout is None:
            return state[-1].reshape(-1)
        return self.readout.drive(self.readout.linear(state[-1]))

    def cost(self, state: Layers, y: Target) -> Scalar:
        """The cost of the prediction; `y` is a class index or a vector of `classes` numbers."""
        return self.cost_function(self.logits(state), y)

    def energy(self, state: Layers, x: Input) -> Scalar:
        """E = sum_l [s_l . u_l - A(u_l)] - Phi, with u_l = dPhi/ds_l and A' = activation.

        This is the Legendre form of the fixed-point map's energy, written without the inverse of
        the activation, which need not exist: dE/ds = Phi'' (s - activation(u)), so that E is
        stationary exactly at the map's fixed points (for invertible Phi''), and there dE/dtheta is
        -dPhi/dtheta. For the identity it is |s|^2/2 - Phi there. Relaxation follows the map, not
        the descent of this scalar.
        """
        numerics = self.numerics()
        dynamics = numerics.dynamics(numerics.prepare(x), None, numerics.maps())
        inputs = dynamics.inputs(dynamics.extend(state))
        legendre = sum(
            jnp.sum(s * u - self.activation.primitive(u))
            for s, u in zip(state, inputs, strict=True)
        )
        return legendre + numerics.interaction(state, x)

    def numerics(self) -> LayeredNumerics:
        """Prepared linear maps, sweeps that apply each once, and deviations in closed form."""
        couplings = self.couplings
        if len(self._dtypes) > 1:
            dtype = self.dtype
            couplings = jax.tree.map(
                lambda a: a.astype(dtype) if eqx.is_inexact_array(a) else a, couplings
            )
        return LayeredNumerics(couplings, self.activation)

    def non_holomorphic(self) -> tuple[str, ...]:
        """The activation, and what each coupling names of itself."""
        row = [*self.couplings, *([] if self.readout is None else [self.readout])]
        names = [
            f"{name} of layer {index + 1}"
            for index, coupling in enumerate(row)
            for name in coupling.non_holomorphic()
        ]
        if not self.activation.holomorphic:
            names.insert(0, f"activation {type(self.activation).__name__}")
        return tuple(names)

    def declares_holomorphy(self) -> bool:
        """Unless a coupling, the activation or the cost is one's own."""
        return is_shipped(self)

    def check(self, x: PyTree[Any], y: PyTree[Any] | None) -> None:
        """Raise `ValueError` where a batch's shapes or types do not fit the network.

        Arguments:
            x: [batch, *input_shape], real floating point; a network that begins with a dense
                coupling takes any shape of the same size.
            y: [batch] integers from 0 to classes - 1, or [batch, classes] real; or None.
        """
        check_inputs(x, self.input_shape, flatten=isinstance(self.couplings[0], Dense))
        check_targets(y, self.classes)
