"""The continuous Hopfield network of Eq. (6): all-to-all, symmetric, some units clamped."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from holoprop._checks import check_inputs, check_targets
from holoprop._tree import apply_real
from holoprop._types import Array, Float, Inexact, Input, Key, PyTree, Scalar, Target
from holoprop.energies._energy import AbstractEnergy, is_shipped
from holoprop.nn import AbstractActivation, DSiLU, SquaredError, truncated_normal


class HopfieldNetwork(AbstractEnergy):
    """E = sum_i s_i^2 / 2 - sum_{i != j} w_ij f(s_i) f(s_j) / 2 - sum_i b_i f(s_i), Eq. (6).

    The clamped units hold the input; the state is the vector of all others, in ascending order of
    their index. The cost is half the squared error of the output units. The energy reads the
    weights through their symmetric part with a zero diagonal, so gradients are symmetric with a
    zero diagonal, and weights that start so stay so under any optimiser that works by entries.

    Arguments:
        units: Number of units, clamped ones included.
        clamped: Indices of the units that hold the input, in the input's order.
        outputs: Indices of the units that are compared with the target, in the target's order.
        activation: f; default `DSiLU()`, whose poles lie four times as far from the real axis as
            those of the shifted sigmoid, and leave room for large nudges.
        weight_std: Deviation of the truncated normal weights; default 1/sqrt(units).
        key: For the weights. Biases are zero.

    Raises:
        ValueError: If an index is out of range or stands twice, or an output is clamped.

    Example:
        >>> import jax
        >>> network = HopfieldNetwork(8, clamped=[0, 1, 2], outputs=[6, 7], key=jax.random.key(0))
        >>> network.init_state(jnp.zeros(3)).shape
        (5,)

    Reference: Laborieux and Zenke (2022), Eq. (6); Hopfield (1984).
    """

    weight: Float[Array, "units units"]
    bias: Float[Array, " units"]
    activation: AbstractActivation
    clamped: tuple[int, ...] = eqx.field(static=True)
    outputs: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        units: int,
        *,
        clamped: Sequence[int],
        outputs: Sequence[int],
        activation: AbstractActivation | None = None,
        weight_std: float | None = None,
        key: Key,
    ) -> None:
        self.clamped, self.outputs = tuple(map(int, clamped)), tuple(map(int, outputs))
        indices = self.clamped + self.outputs
        if len(set(indices)) < len(indices) or any(not 0 <= i < units for i in indices):
            raise ValueError(
                f"clamped {list(self.clamped)} and outputs {list(self.outputs)} must be different "
                f"units, with indices from 0 to {units - 1}."
            )
        drawn = truncated_normal(key, (units, units), units, weight_std)
        upper = jnp.triu(drawn, 1)
        self.weight = upper + upper.T
        self.bias = jnp.zeros(units, drawn.dtype)
        self.activation = DSiLU() if activation is None else activation

    @property
    def _free(self) -> list[int]:
        return [i for i in range(self.bias.shape[0]) if i not in self.clamped]

    def init_state(self, x: Input) -> Float[Array, " free"]:
        """Zeros, in the weights' dtype."""
        return jnp.zeros(len(self._free), self.weight.dtype)

    def energy(self, state: Inexact[Array, " free"], x: Input) -> Scalar:
        """Eq. (6) with the clamped units at the input `x`, [clamped] real."""
        # Clamped units first, then free ones; `place` puts each at its own index.
        place = np.argsort([*self.clamped, *self._free])
        s = jnp.concatenate([jnp.asarray(x, self.weight.dtype).astype(state.dtype), state])[place]
        weight = (self.weight + self.weight.T) / 2 * (1 - jnp.eye(s.shape[0], dtype=s.real.dtype))
        f = self.activation(s)
        pairs = jnp.sum(f * apply_real(lambda v: v @ weight, f))
        return jnp.sum(s**2) / 2 - pairs / 2 - jnp.sum(self.bias * f)

    def logits(self, state: Inexact[Array, " free"]) -> Inexact[Array, " outputs"]:
        """The output units' activities."""
        return state[np.searchsorted(self._free, self.outputs)]

    def cost(self, state: Inexact[Array, " free"], y: Target) -> Scalar:
        """Half the squared error of the output units from a class index or a vector."""
        return SquaredError()(self.logits(state), y)

    def non_holomorphic(self) -> tuple[str, ...]:
        """The activation, if it is not holomorphic."""
        if self.activation.holomorphic:
            return ()
        return (f"activation {type(self.activation).__name__}",)

    def declares_holomorphy(self) -> bool:
        """Unless the activation is one's own."""
        return is_shipped(self)

    def check(self, x: PyTree[Any], y: PyTree[Any] | None) -> None:
        """Raise `ValueError` where a batch's shapes or types do not fit the network.

        Arguments:
            x: [batch, clamped], real floating point.
            y: [batch] integers below the number of outputs, or [batch, outputs] real; or None.
        """
        check_inputs(x, (len(self.clamped),))
        check_targets(y, len(self.outputs))
