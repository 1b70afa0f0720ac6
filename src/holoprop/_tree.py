"""Helpers for arrays and trees of them: products, norms, real and complex arithmetic."""

import operator
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from holoprop._types import Array, Bool, Float, Inexact, PyTree, RealScalar, Scalar, State


def as_arrays(tree: PyTree[Any]) -> PyTree[Any]:
    """The same tree with its floating-point numbers, Python's and NumPy's, as arrays of JAX.

    JAX differentiates by a Python float, but `is_inexact_array` is False for it, a custom rule is
    handed it as it is, and a compiled program takes it for a constant. As an array it stays weakly
    typed, so that it does not decide the precision of anything. All other leaves stay as they are.
    """

    def convert(leaf: Any) -> Any:
        if isinstance(leaf, float):
            return jnp.asarray(leaf)
        known = isinstance(leaf, np.ndarray | np.generic)
        return jnp.asarray(leaf) if known and jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf

    return jax.tree.map(convert, tree)


def at_least_single(tree: PyTree[Any]) -> PyTree[Any]:
    """The same tree with its arrays of half precision in float32: half is for storing alone."""

    def widen(leaf: Any) -> Any:
        dtype = getattr(leaf, "dtype", None)
        if dtype is None or not jnp.issubdtype(dtype, jnp.inexact) or jnp.finfo(dtype).bits >= 32:
            return leaf
        return leaf.astype(jnp.float32)

    return jax.tree.map(widen, tree)


def as_parameters(tree: PyTree[Any]) -> PyTree[Any]:
    """An energy as it is computed with: its floating-point numbers as arrays, none of them half."""
    return at_least_single(as_arrays(tree))


def as_stored(tree: PyTree[Any], stored: PyTree[Any]) -> PyTree[Any]:
    """The same tree in the dtypes of another one."""
    return jax.tree.map(
        lambda a, like: a if a.dtype == like.dtype else a.astype(like.dtype), tree, stored
    )


def is_real_array(leaf: Any) -> bool:
    """Whether a leaf is a floating-point array that is not complex."""
    return eqx.is_inexact_array(leaf) and not jnp.issubdtype(leaf.dtype, jnp.complexfloating)


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


def unit(tree: State) -> tuple[State, RealScalar, RealScalar]:
    """A tree scaled to length one, and two factors whose product is its length; zero stays zero.

    Squares of tiny and of huge numbers are none in their precision, nor is the length of the
    hugest. So the second factor is of the largest number's size, and the first of the size of the
    root of their count.
    """
    largest = _largest(tree)
    tree = scaled(tree, 1 / largest)
    length = jnp.sqrt(squared_norm(tree))
    length = jnp.where(length == 0, 1, length)
    return scaled(tree, 1 / length), length, largest


def norm(tree: State) -> RealScalar:
    """Length of all leaves as one vector, right for tiny and huge numbers as well."""
    largest = _largest(tree)
    return largest * jnp.sqrt(squared_norm(scaled(tree, 1 / largest)))


def _largest(tree: State) -> RealScalar:
    """Size of the largest real or imaginary part, or one for zero.

    Such that its inverse is a number, by which one multiplies: a compiler makes one division by
    two numbers of two.
    """
    parts = [part for leaf in jax.tree.leaves(tree) for part in (jnp.real(leaf), jnp.imag(leaf))]
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(part), initial=0) for part in parts]))
    tiny = float(jnp.finfo(largest.dtype).tiny)
    return jnp.where(largest == 0, 1, jnp.clip(largest, tiny, 1 / tiny))


def scaled(tree: State, *factors: RealScalar) -> State:
    """A tree times one factor after another, in its own dtypes."""
    for factor in factors:
        tree = jax.tree.map(lambda leaf, factor=factor: (leaf * factor).astype(leaf.dtype), tree)
    return tree


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
