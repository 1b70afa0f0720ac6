"""Helpers for arrays and trees of them: products, norms, real and complex arithmetic."""

import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from holoprop._types import Array, Bool, Float, Inexact, Scalar, State


def is_complex(tree: State) -> bool:
    """Whether any leaf of a tree has a complex dtype."""
    return any(jnp.issubdtype(leaf.dtype, jnp.complexfloating) for leaf in jax.tree.leaves(tree))


def to_complex(tree: State) -> State:
    """The same tree in complex arithmetic of the same precision."""
    return jax.tree.map(lambda leaf: leaf.astype(jnp.result_type(leaf.dtype, jnp.complex64)), tree)


def real_dtype(tree: State) -> Any:
    """The real dtype of a tree's precision: float32 for complex64, float64 for complex128."""
    dtype = jnp.result_type(*(leaf.dtype for leaf in jax.tree.leaves(tree)))
    return jnp.finfo(dtype).dtype


def dot(a: State, b: State) -> Scalar:
    """Sum of products over all leaves, without a conjugate: bilinear, hence holomorphic."""
    return jax.tree.reduce(operator.add, jax.tree.map(lambda u, v: jnp.sum(u * v), a, b))


def squared_norm(tree: State) -> Float[Array, ""]:
    """Sum of squared absolute values over all leaves, real."""
    # Not |z|^2 by abs: its square root costs time and has no derivative at zero.
    return jax.tree.reduce(
        operator.add,
        jax.tree.map(lambda z: jnp.sum(jnp.real(z) ** 2 + jnp.imag(z) ** 2), tree),
    )


def where_examples(mask: Bool[Array, "*lead"], a: State, b: State) -> State:
    """Choose between two batched trees example by example; `mask` has their leading axes."""

    def choose(u: Array, v: Array) -> Array:
        return jnp.where(mask.reshape(mask.shape + (1,) * (u.ndim - mask.ndim)), u, v)

    return jax.tree.map(choose, a, b)


def apply_real(linear: Callable[[Array], Array], z: Array) -> Array:
    """Apply a real linear map to a real or complex array.

    The weights are real, so a complex array passes as two real ones, stacked along a new axis
    that batches the map: half the work of a complex-by-complex product.
    """
    if not jnp.issubdtype(z.dtype, jnp.complexfloating):
        return linear(z)
    real, imaginary = jax.vmap(linear)(jnp.stack([jnp.real(z), jnp.imag(z)]))
    return jax.lax.complex(real, imaginary)


def holomorphic_grad(function: Callable[[State], Scalar], state: State) -> State:
    """The complex derivative df/ds of a holomorphic scalar, or the gradient of a real one.

    JAX returns for a holomorphic f the derivative f' itself, without a conjugate; that is the
    derivative in dF/ds of Eq. (1), and the convention used throughout.
    """
    return jax.grad(function, holomorphic=is_complex(state))(state)


def expm1(z: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
    """exp(z) - 1, accurate near zero."""
    if not jnp.issubdtype(z.dtype, jnp.complexfloating):
        return jnp.expm1(z)
    x, y = jnp.real(z), jnp.imag(z)
    # cos y - 1 = -2 sin(y/2)^2 and sin y = 2 sin(y/2) cos(y/2).
    half_sine, half_cosine = jnp.sin(y / 2), jnp.cos(y / 2)
    grown = jnp.expm1(x)
    drop = 2 * half_sine * half_sine
    real = grown - (grown + 1) * drop
    return jax.lax.complex(real, (grown + 1) * (2 * half_sine * half_cosine))
