"""How well two gradients agree."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._tree import squared_norm
from holoprop._types import Array, Float, PyTree


class Alignment(eqx.Module):
    """Agreement of a gradient with a reference.

    Attributes:
        cosine: Real scalar from -1 to 1: of the whole gradients, laid out as one vector each.
        relative_error: Real scalar: |grads - reference| / |reference|.
        layers: For each array, by its place in the tree, a pair (cosine, relative error).
    """

    cosine: Float[Array, ""]
    relative_error: Float[Array, ""]
    layers: dict[str, tuple[Float[Array, ""], Float[Array, ""]]]


def gradient_alignment(grads: PyTree[Any], reference: PyTree[Any]) -> Alignment:
    """Cosine and relative error of a gradient against a reference, whole and by layer.

    Where the reference is zero, cosine and relative error are 1 and 0 if the gradient is zero too,
    else 0 and infinite.

    Arguments:
        grads: Tree of real arrays, as `value_and_grad` returns it.
        reference: A tree of the same structure.

    Returns:
        An `Alignment`.

    Raises:
        ValueError: If the trees or the arrays' shapes differ.

    Example:
        >>> a = gradient_alignment({"w": jnp.array([1.0, 0.0])}, {"w": jnp.array([1.0, 1.0])})
        >>> round(float(a.cosine), 4), round(float(a.relative_error), 4)
        (0.7071, 0.7071)
    """
    try:
        shapes = jax.tree.map(lambda g, r: jnp.shape(g) == jnp.shape(r), grads, reference)
    except ValueError:
        shapes = False
    if not jax.tree.all(shapes):
        raise ValueError(
            "grads and reference differ in structure or shapes: both must be gradients of the same "
            "network."
        )
    named, others = jax.tree_util.tree_leaves_with_path(grads), jax.tree.leaves(reference)
    layers = {
        jax.tree_util.keystr(path).lstrip("."): _compare(g, r)
        for (path, g), r in zip(named, others, strict=True)
    }
    cosine, relative_error = _compare([g for _, g in named], others)
    return Alignment(cosine, relative_error, layers)


def _compare(g: PyTree[Any], r: PyTree[Any]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Cosine and relative error, scaled so that neither very small nor large gradients lose."""
    leaves = [*jax.tree.leaves(g), *jax.tree.leaves(r)]
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(leaf), initial=0) for leaf in leaves]))
    scale = jnp.where(largest > 0, largest, 1)
    g, r = jax.tree.map(lambda leaf: leaf / scale, (g, r))
    difference = jnp.sqrt(squared_norm(jax.tree.map(lambda a, b: a - b, g, r)))
    size_g, size_r = jnp.sqrt(squared_norm(g)), jnp.sqrt(squared_norm(r))
    inner = sum(jnp.sum(a * b) for a, b in zip(jax.tree.leaves(g), jax.tree.leaves(r), strict=True))
    both_zero = (size_g == 0) & (size_r == 0)
    product = size_g * size_r
    cosine = jnp.where(product > 0, inner / jnp.where(product > 0, product, 1), both_zero * 1.0)
    error = jnp.where(both_zero, 0.0, difference / size_r)
    return jnp.clip(cosine, -1, 1), error
