"""Couplings between neighbouring layers: dense, and convolutional with pooling.

A coupling adds s_out . (P(W s_in) + b) to Phi, the negative interaction energy: W a real linear
map, P a pooling or nothing, b a bias of each unit or channel. `linear` gives z = W s_in, `drive`
what the upper layer receives, `feedback` what the lower one does: W^T applied to what `pull` gives.
"""

import abc
import math

import equinox as eqx
import jax.numpy as jnp

from holoprop._types import Array, Float, Inexact, Key, PyTree, Scalar
from holoprop.nn._initialisers import truncated_normal
from holoprop.nn._linear_maps import (
    AbstractLinearMap,
    ConvMap,
    DenseMap,
    Precision,
    convolved_shape,
)
from holoprop.nn._pooling import AbstractPooling


class AbstractCoupling(eqx.Module):
    """A coupling of two layers, on one example.

    Attributes:
        weight: Real; the linear map's weights.
        bias: Real; one number for each unit, or each channel, of the upper layer.
        in_shape: Shape of the lower layer.
    """

    weight: eqx.AbstractVar[Float[Array, "..."]]
    bias: eqx.AbstractVar[Float[Array, " out"]]
    in_shape: eqx.AbstractVar[tuple[int, ...]]

    @property
    @abc.abstractmethod
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the upper layer."""

    def non_holomorphic(self) -> tuple[str, ...]:
        """Names of its components that are not holomorphic; none unless a coupling says so."""
        return ()

    @abc.abstractmethod
    def linear_map(self, precision: Precision = None) -> AbstractLinearMap:
        """W and its transpose, ready for many applications."""

    @abc.abstractmethod
    def drive(self, z: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
        """P(z) + b, the upper layer's input from below: dPhi/ds_out."""

    @abc.abstractmethod
    def pull(self, z: Inexact[Array, "..."], above: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
        """P'(z)^T s_out: dPhi/dz, which W^T takes down to the lower layer."""

    @abc.abstractmethod
    def base(self, z: Inexact[Array, "..."]) -> PyTree:
        """What the changes below need of the pre-pooling value `z`, computed once."""

    @abc.abstractmethod
    def drive_change(self, base: PyTree, zeta: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
        """How the drive changes from z to z + zeta, accurate relative to zeta."""

    @abc.abstractmethod
    def pull_change(
        self,
        base: PyTree,
        zeta: Inexact[Array, "..."],
        above: Inexact[Array, "..."],
        delta: Inexact[Array, "..."],
    ) -> Inexact[Array, "..."]:
        """How the pull changes from z to z + zeta and from `above` to above + delta."""

    def linear(self, below: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
        """z = W s_in, before pooling and bias."""
        return self.linear_map().forward(below)

    def feedback(
        self, z: Inexact[Array, "..."], above: Inexact[Array, "..."]
    ) -> Inexact[Array, "..."]:
        """The lower layer's input from above at pre-pooling value `z`: dPhi/ds_in."""
        return self.linear_map().transposed(self.pull(z, above))

    def phi(self, below: Inexact[Array, "..."], above: Inexact[Array, "..."]) -> Scalar:
        """s_out . (P(W s_in) + b)."""
        return jnp.sum(above * self.drive(self.linear(below)))


class Dense(AbstractCoupling):
    """Every unit of the lower layer, of whatever shape, to every unit of a flat upper layer.

    Arguments:
        weight: [out, in], real.
        bias: [out], real.
        in_shape: Shape of the lower layer; its product is `in`.

    Example:
        >>> import jax
        >>> coupling = Dense.init((2, 3), 4, key=jax.random.key(0))
        >>> coupling.linear(jnp.ones((2, 3))).shape
        (4,)
    """

    weight: Float[Array, "out in"]
    bias: Float[Array, " out"]
    in_shape: tuple[int, ...] = eqx.field(static=True)

    @staticmethod
    def init(
        in_shape: tuple[int, ...], size: int, *, weight_std: float | None = None, key: Key
    ) -> "Dense":
        """Truncated normal weights (deviation 1/sqrt(fan-in) unless given), zero bias."""
        fan_in = math.prod(in_shape)
        weight = truncated_normal(key, (size, fan_in), fan_in, weight_std)
        return Dense(weight, jnp.zeros(size, weight.dtype), in_shape)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the upper layer: flat."""
        return (self.weight.shape[0],)

    def linear_map(self, precision: Precision = None) -> DenseMap:
        """The matrix."""
        return DenseMap(self.weight, self.in_shape, precision)

    def drive(self, z: Inexact[Array, " out"]) -> Inexact[Array, " out"]:
        """Z + b."""
        return z + self.bias

    def pull(self, z: Inexact[Array, " out"], above: Inexact[Array, " out"]) -> Array:
        """The upper layer itself."""
        return above

    def base(self, z: Inexact[Array, " out"]) -> PyTree:
        """Nothing: the coupling is bilinear."""
        return ()

    def drive_change(self, base: PyTree, zeta: Inexact[Array, " out"]) -> Inexact[Array, " out"]:
        """Zeta: the bias stays."""
        return zeta

    def pull_change(
        self,
        base: PyTree,
        zeta: Inexact[Array, " out"],
        above: Inexact[Array, " out"],
        delta: Inexact[Array, " out"],
    ) -> Inexact[Array, " out"]:
        """The upper layer's change."""
        return delta


class Conv(AbstractCoupling):
    """A convolution, then a pooling if there is one.

    Arguments:
        weight: [height, width, in channels, out channels], real.
        bias: [out channels], real; added after pooling.
        in_shape: (height, width, channels) of the lower layer.
        padding: Zeros on each side, 0 or more.
        pooling: An `AbstractPooling`, or None.

    Raises:
        ValueError: If no output would be left.

    Example:
        >>> import jax
        >>> coupling = Conv.init((8, 8, 3), 5, key=jax.random.key(0))
        >>> coupling.linear(jnp.ones((8, 8, 3))).shape
        (8, 8, 5)
    """

    weight: Float[Array, "kh kw in out"]
    bias: Float[Array, " out"]
    in_shape: tuple[int, ...] = eqx.field(static=True)
    padding: int = eqx.field(default=1, static=True)
    pooling: AbstractPooling | None = None

    @staticmethod
    def init(
        in_shape: tuple[int, int, int],
        channels: int,
        *,
        kernel: int = 3,
        padding: int = 1,
        pooling: AbstractPooling | None = None,
        weight_std: float | None = None,
        key: Key,
    ) -> "Conv":
        """Truncated normal weights (deviation 1/sqrt(fan-in) unless given), zero bias."""
        fan_in = kernel * kernel * in_shape[2]
        weight = truncated_normal(key, (kernel, kernel, in_shape[2], channels), fan_in, weight_std)
        return Conv(weight, jnp.zeros(channels, weight.dtype), in_shape, padding, pooling)

    def __check_init__(self) -> None:
        if min(self.out_shape) < 1:
            raise ValueError(
                f"in_shape {self.in_shape} is too small: convolution and pooling leave "
                f"{self.out_shape}. Use larger images, more padding or less pooling."
            )

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the upper layer, after pooling."""
        height, width, channels = convolved_shape(self.in_shape, self.weight.shape, self.padding)
        if self.pooling is None:
            return (height, width, channels)
        return (height // self.pooling.window, width // self.pooling.window, channels)

    def non_holomorphic(self) -> tuple[str, ...]:
        """The pooling, if it is not."""
        if self.pooling is None or self.pooling.holomorphic:
            return ()
        return (f"pooling {type(self.pooling).__name__}",)

    def linear_map(self, precision: Precision = None) -> ConvMap:
        """The convolution."""
        return ConvMap.of(self.weight, self.in_shape, self.padding, precision)

    def drive(self, z: Inexact[Array, "h2 w2 out"]) -> Inexact[Array, "h3 w3 out"]:
        """P(z) + b."""
        pooled = z if self.pooling is None else self.pooling(z)
        return pooled + self.bias

    def pull(
        self, z: Inexact[Array, "h2 w2 out"], above: Inexact[Array, "h3 w3 out"]
    ) -> Inexact[Array, "h2 w2 out"]:
        """P'(z)^T s_out, the exact derivative of the pooled value."""
        return above if self.pooling is None else self.pooling.feedback(z, above)

    def base(self, z: Inexact[Array, "h2 w2 out"]) -> PyTree:
        """The pooling's base and derivative at `z`."""
        return None if self.pooling is None else (self.pooling.base(z), self.pooling.derivative(z))

    def drive_change(
        self, base: PyTree, zeta: Inexact[Array, "h2 w2 out"]
    ) -> Inexact[Array, "h3 w3 out"]:
        """The pooled value's change: the bias stays."""
        return zeta if self.pooling is None else self.pooling.change(base[0], zeta)[0]

    def pull_change(
        self,
        base: PyTree,
        zeta: Inexact[Array, "h2 w2 out"],
        above: Inexact[Array, "h3 w3 out"],
        delta: Inexact[Array, "h3 w3 out"],
    ) -> Inexact[Array, "h2 w2 out"]:
        """P' delta + dP' (above + delta), by the product rule for differences."""
        if self.pooling is None:
            return delta
        pooling_base, derivative = base
        _, moved = self.pooling.change(pooling_base, zeta)
        old = derivative * self.pooling.spread(delta, zeta.shape)
        return old + moved * self.pooling.spread(above + delta, zeta.shape)
