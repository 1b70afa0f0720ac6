"""The real linear maps inside couplings, in the forms in which a processor runs them well.

A map is made once before a relaxation and serves every example, point and step of it. Its weights
may be of a lower precision than the states: then both operands of each product are rounded to it,
and sums are taken in the states' own.
"""

import abc
import functools
from typing import Any, Literal, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from holoprop._platform import by_platform
from holoprop._tree import apply_real
from holoprop._types import Array, Float, Inexact

# How products are rounded: not at all (None), or operands to "bfloat16" or "tensorfloat32".
Precision: TypeAlias = Literal["bfloat16", "tensorfloat32"] | None
PRECISIONS = (None, "bfloat16", "tensorfloat32")

# A convolution is left to the compiler where its map is large and of many channels. Elsewhere it is
# one matrix product over patches: small maps leave the compiler's convolution mostly idle, and the
# transpose of one without full padding is run by XLA on a CPU in plain loops, fifty times slower.
_SMALL_MAP, _FEW_CHANNELS = 16, 8


class AbstractLinearMap(eqx.Module):
    """z = W s for one example, and its transpose."""

    @abc.abstractmethod
    def forward(self, below: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
        """W s."""

    @abc.abstractmethod
    def transposed(self, z: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
        """W^T z, in the lower layer's shape."""


def _rounded(a: Array, precision: Precision) -> Array:
    return a.astype(jnp.bfloat16) if precision == "bfloat16" else a


def _algorithm(precision: Precision) -> jax.lax.Precision:
    """TensorFloat-32 is what JAX's default means on a GPU; elsewhere it changes nothing."""
    return jax.lax.Precision.DEFAULT if precision == "tensorfloat32" else jax.lax.Precision.HIGHEST


class DenseMap(AbstractLinearMap):
    """A matrix, over the flattened lower layer.

    Attributes:
        weight: [out, in], real.
        in_shape: Shape of the lower layer.
        precision: Of the products.
    """

    weight: Float[Array, "out in"]
    in_shape: tuple[int, ...] = eqx.field(static=True)
    precision: Precision = eqx.field(default=None, static=True)

    def _product(self, s: Array, matrix: Array) -> Array:
        # Activities on the left: batched, this is one product without a transposed result.
        return jnp.matmul(
            _rounded(s, self.precision),
            _rounded(matrix, self.precision),
            precision=_algorithm(self.precision),
            preferred_element_type=s.dtype,
        )

    def forward(self, below: Inexact[Array, "..."]) -> Inexact[Array, " out"]:
        """W s, the lower layer flattened."""
        return apply_real(lambda s: self._product(s, self.weight.T), below.reshape(-1))

    def transposed(self, z: Inexact[Array, " out"]) -> Inexact[Array, "..."]:
        """W^T z."""
        return apply_real(lambda s: self._product(s, self.weight), z).reshape(self.in_shape)


def convolved_shape(
    in_shape: tuple[int, ...], weight_shape: tuple[int, ...], padding: int
) -> tuple[int, int, int]:
    """(height, width, channels) of a convolution with stride 1."""
    kernel_height, kernel_width, _, channels = weight_shape
    height, width = in_shape[:2]
    grow = 2 * padding + 1
    return (height + grow - kernel_height, width + grow - kernel_width, channels)


def _over_patches(s: Array, weight: Array, padding: int, precision: Precision) -> Array:
    """A convolution as one matrix product."""
    height, width, channels = convolved_shape(s.shape, weight.shape, padding)
    kernel_height, kernel_width = weight.shape[:2]
    padded = jnp.pad(s, [(padding, padding)] * 2 + [(0, 0)])
    # Along one axis after the other: each slice is a loop for the compiler to make.
    rows = [padded[:, j : j + width] for j in range(kernel_width)]
    strips = jnp.concatenate(rows, axis=-1)
    patches = jnp.concatenate([strips[i : i + height] for i in range(kernel_height)], axis=-1)
    product = jnp.matmul(
        _rounded(patches.reshape(height * width, -1), precision),
        weight.reshape(-1, channels),
        precision=_algorithm(precision),
        preferred_element_type=s.dtype,
    )
    return product.reshape(height, width, channels)


def _convolution(s: Array, weight: Array, padding: int, precision: Precision) -> Array:
    """A convolution as the compiler has it."""
    return jax.lax.conv_general_dilated(
        _rounded(s, precision)[None],
        weight,
        window_strides=(1, 1),
        padding=[(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=_algorithm(precision),
        preferred_element_type=s.dtype,
    )[0]


def _product(s: Array, weight: Array, padding: int, precision: Precision) -> Array:
    """A convolution in the form whose own derivatives are fast where it will run."""
    # Patches are nine times as large as what they are made of: not worth keeping.
    patches = jax.checkpoint(_over_patches, static_argnums=(2, 3))
    return by_platform(
        s,
        weight,
        cpu=lambda s, weight: patches(s, weight, padding, precision),
        default=lambda s, weight: _convolution(s, weight, padding, precision),
    )


# The same with derivatives of our own.
_convolve = jax.custom_jvp(_convolution, nondiff_argnums=(2, 3))


@functools.partial(_convolve.defjvp, symbolic_zeros=True)
def _slope(padding: int, precision: Precision, primals: Any, tangents: Any) -> tuple[Array, Array]:
    """Derivatives by matrix products on a CPU, else by convolutions.

    Reverse mode turns a convolution into ones with their axes in another order, which XLA on a CPU
    runs in plain loops wherever they stand inside a loop, fifty times slower.
    """
    (s, weight), (ds, dweight) = primals, tangents
    z = _convolve(s, weight, padding, precision)
    terms = []
    if not isinstance(ds, SymbolicZero):
        terms.append(_product(ds, weight, padding, precision))
    if not isinstance(dweight, SymbolicZero):
        terms.append(_product(s, dweight, padding, precision))
    return z, sum(terms[1:], terms[0]) if terms else jnp.zeros_like(z)


class ConvMap(AbstractLinearMap):
    """A convolution with stride 1.

    Attributes:
        weight: [height, width, in channels, out channels], real.
        flipped: The transpose's weights, [height, width, out channels, in channels].
        in_shape: (height, width, channels) of the lower layer.
        padding: Zeros on each side.
        precision: Of the products.
    """

    weight: Float[Array, "kh kw in out"]
    flipped: Float[Array, "kh kw out in"]
    in_shape: tuple[int, ...] = eqx.field(static=True)
    padding: int = eqx.field(static=True)
    precision: Precision = eqx.field(default=None, static=True)

    @staticmethod
    def of(
        weight: Float[Array, "kh kw in out"],
        in_shape: tuple[int, ...],
        padding: int,
        precision: Precision = None,
    ) -> "ConvMap":
        """The map of some weights."""
        weight = _rounded(weight, precision)
        flipped = jnp.flip(weight, (0, 1)).swapaxes(2, 3)
        return ConvMap(weight, flipped, in_shape, padding, precision)

    @property
    def z_shape(self) -> tuple[int, int, int]:
        """Shape of the result."""
        return convolved_shape(self.in_shape, self.weight.shape, self.padding)

    @property
    def _by_compiler(self) -> bool:
        height, width, channels = self.in_shape
        same = self.z_shape[:2] == (height, width)
        return same and height * width > _SMALL_MAP and channels >= _FEW_CHANNELS

    def forward(self, below: Inexact[Array, "h w c"]) -> Inexact[Array, "h2 w2 out"]:
        """W * s."""
        convolve = _convolve if self._by_compiler else _over_patches
        return apply_real(lambda s: convolve(s, self.weight, self.padding, self.precision), below)

    def transposed(self, z: Inexact[Array, "h2 w2 out"]) -> Inexact[Array, "h w c"]:
        """W^T * z."""
        if self._by_compiler:
            return apply_real(lambda s: _convolve(s, self.flipped, self.padding, self.precision), z)
        return apply_real(self._scatter_patches, z)

    def _scatter_patches(self, z: Array) -> Array:
        """Every patch's share of its pixels, added up."""
        kernel_height, kernel_width, channels, _ = self.weight.shape
        height, width, out = self.z_shape
        patches = jnp.matmul(
            _rounded(z.reshape(-1, out), self.precision),
            self.weight.reshape(-1, out).T,
            precision=_algorithm(self.precision),
            preferred_element_type=z.dtype,
        ).reshape(height, width, kernel_height, kernel_width, channels)
        tall, wide = height + kernel_height - 1, width + kernel_width - 1
        strips = jnp.zeros((tall, width, kernel_width, channels), z.dtype)
        for i in range(kernel_height):
            strips = strips + jnp.pad(patches[:, :, i], [(i, tall - height - i), *[(0, 0)] * 3])
        total = jnp.zeros((tall, wide, channels), z.dtype)
        for j in range(kernel_width):
            total = total + jnp.pad(strips[:, :, j], [(0, 0), (j, wide - width - j), (0, 0)])
        cut = self.padding
        return total[cut : tall - cut, cut : wide - cut]
