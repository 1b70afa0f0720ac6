"""One batched convolution and its transpose, each in the formulations that compete for the limit.

All take images [rows, height, width, channels] and the forward weights [kernel height, kernel
width, in, out], flipped where it says so, and compute in the images' own precision.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

_EXACT = jax.lax.Precision.HIGHEST


def convolve(s: jax.Array, weight: jax.Array, padding: int) -> jax.Array:
    """W * s, left to the compiler."""
    return jax.lax.conv_general_dilated(
        s,
        weight,
        window_strides=(1, 1),
        padding=[(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=_EXACT,
    )


def over_patches(s: jax.Array, weight: jax.Array, padding: int) -> jax.Array:
    """W * s, as one matrix product over patches."""
    kernel_height, kernel_width, _, out = weight.shape
    padded = jnp.pad(s, [(0, 0), (padding, padding), (padding, padding), (0, 0)])
    height, width = padded.shape[1] - kernel_height + 1, padded.shape[2] - kernel_width + 1
    patches = jnp.concatenate(
        [
            padded[:, i : i + height, j : j + width]
            for i in range(kernel_height)
            for j in range(kernel_width)
        ],
        axis=-1,
    )
    return jnp.matmul(patches, weight.reshape(-1, out), precision=_EXACT)


def flipped(weight: jax.Array) -> jax.Array:
    """The weights with which a convolution is the transpose."""
    return jnp.flip(weight, (0, 1)).swapaxes(2, 3)


def transpose_by_flipped(z: jax.Array, weight: jax.Array, padding: int) -> jax.Array:
    """W^T * z, as the compiler's convolution with the flipped weights."""
    return convolve(z, weight, weight.shape[0] - 1 - padding)


def transpose_over_patches(z: jax.Array, weight: jax.Array, padding: int) -> jax.Array:
    """W^T * z, as one matrix product over patches with the flipped weights."""
    return over_patches(z, weight, weight.shape[0] - 1 - padding)


def transpose_by_scattering(z: jax.Array, weight: jax.Array, padding: int) -> jax.Array:
    """W^T * z, as one matrix product that gives each patch its share, and the shares' sum."""
    kernel_height, kernel_width, channels, out = weight.shape
    rows, height, width, _ = z.shape
    shares = jnp.matmul(z, weight.reshape(-1, out).T, precision=_EXACT)
    shares = shares.reshape(rows, height, width, kernel_height * kernel_width, channels)
    tall, wide = height + kernel_height - 1, width + kernel_width - 1
    total = jnp.zeros((rows, tall, wide, channels), z.dtype)
    for i in range(kernel_height):
        for j in range(kernel_width):
            share = shares[:, :, :, kernel_width * i + j]
            around = [(0, 0), (i, tall - height - i), (j, wide - width - j), (0, 0)]
            total = total + jnp.pad(share, around)
    return total[:, padding : tall - padding, padding : wide - padding]


class Formulation(NamedTuple):
    """A way to apply a map many times.

    Attributes:
        prepare: What becomes of the forward weights once, before.
        apply: From images, those weights and the forward padding to the result.
    """

    prepare: Callable[[jax.Array], jax.Array]
    apply: Callable[[jax.Array, jax.Array, int], jax.Array]


def _as_they_are(weight: jax.Array) -> jax.Array:
    return weight


FORWARD = {
    "convolution": Formulation(_as_they_are, convolve),
    "patches": Formulation(_as_they_are, over_patches),
}
TRANSPOSED = {
    "flipped convolution": Formulation(flipped, transpose_by_flipped),
    "patches": Formulation(flipped, transpose_over_patches),
    "scattered patches": Formulation(_as_they_are, transpose_by_scattering),
}
