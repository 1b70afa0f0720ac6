"""Integrals along a straight segment, by Gauss-Legendre quadrature."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from holoprop._tree import real_dtype
from holoprop._types import Array, Float, PyTree, Scalar, State


def _nodes(count: int, dtype: Any) -> tuple[Float[Array, " count"], Float[Array, " count"]]:
    """Nodes and weights on [0, 1]."""
    nodes, weights = _legendre(count)
    return jnp.asarray((nodes + 1) / 2, dtype), jnp.asarray(weights / 2, dtype)


@functools.cache
def _legendre(count: int) -> tuple[np.ndarray, np.ndarray]:
    """On [-1, 1]; kept, because many nodes take half a second."""
    return np.polynomial.legendre.leggauss(count)


def mean_along(function: Callable[[Array], Array], end: Array, *, count: int = 256) -> Array:
    """The mean of f(t end) over t from 0 to 1, elementwise."""
    nodes, weights = _nodes(count, real_dtype(end))
    return jnp.tensordot(weights, jax.vmap(lambda t: function(t * end))(nodes), 1)


def change_along(
    function: Callable[[State], PyTree[Any]], centre: State, delta: State, *, count: int = 8
) -> Any:
    """f(centre + delta) - f(centre), as the integral of f's derivative along the segment.

    With one Jacobian-vector product at each node the result is accurate relative to delta, however
    small it is. Eight nodes are exact to rounding in float64 for deviations of the size of a unit's
    own range.
    """
    dtype = jnp.result_type(*jax.tree.leaves(delta))
    centre = jax.tree.map(lambda c: c.astype(dtype), centre)

    def slope(t: Scalar, weight: Scalar) -> Any:
        at = jax.tree.map(lambda c, d: c + t * d, centre, delta)
        _, out = jax.jvp(function, (at,), (delta,))
        return jax.tree.map(lambda o: weight * o, out)

    slopes = jax.vmap(slope)(*_nodes(count, real_dtype(delta)))
    return jax.tree.map(lambda o: jnp.sum(o, axis=0), slopes)
