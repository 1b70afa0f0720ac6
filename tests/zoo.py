"""Networks and energies that the tests share, their gradients, and how two gradients differ."""

import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import holoprop as hp


class Circuit(hp.AbstractEnergy):
    """An energy of one's own with a nested state: leaves of different shapes, coupled smoothly.

    E = |u|^2/2 + |v|^2/2 - sum(tanh(A u) v) - x . B u - sum(sin(c * u) / 4); y pulls at v.
    """

    a: jax.Array
    b: jax.Array
    c: jax.Array

    @staticmethod
    def init(key: jax.Array) -> "Circuit":
        """Three inputs, five units u, four units v arranged as 2 x 2."""
        keys = jax.random.split(key, 3)
        return Circuit(
            0.4 * jax.random.normal(keys[0], (4, 5)),
            0.5 * jax.random.normal(keys[1], (3, 5)),
            jax.random.normal(keys[2], (5,)),
        )

    def energy(self, state: Any, x: Any) -> Any:
        u, v = state["low"]["u"], state["high"][0]
        pull = jnp.sum(jnp.tanh(self.a @ u) * v.reshape(-1)) + x["drive"] @ self.b @ u
        return (jnp.sum(u**2) + jnp.sum(v**2)) / 2 - pull - jnp.sum(jnp.sin(self.c * u)) / 4

    def init_state(self, x: Any) -> Any:
        dtype = self.c.dtype
        return {"low": {"u": jnp.zeros(5, dtype)}, "high": [jnp.zeros((2, 2), dtype)]}

    def cost(self, state: Any, y: Any) -> Any:
        return jnp.sum((state["high"][0] - y) ** 2) / 2


def cast(tree: Any, dtype: Any) -> Any:
    """All floating-point arrays of a tree in another precision."""
    return jax.tree.map(lambda a: a.astype(dtype) if eqx.is_inexact_array(a) else a, tree)


def five_points() -> tuple[Any, Any, Any]:
    """A small network and five examples, whose poles of s*(beta) all lie beyond 1."""
    network = hp.mlp([6, 4, 4, 4], weight_std=0.3, key=jax.random.key(0))
    return network, jax.random.uniform(jax.random.key(1), (5, 6)), jnp.array([0, 1, 2, 3, 1])


def circuit() -> tuple[Any, Any, Any]:
    """An energy of one's own and three examples."""
    x = {"drive": 0.5 * jax.random.normal(jax.random.key(105), (3, 3))}
    y = 0.5 * jax.random.normal(jax.random.key(205), (3, 2, 2))
    return Circuit.init(jax.random.key(5)), x, y


FLOW = hp.GradientFlow(0.4, tolerance=1e-14)


def plain(network: Any) -> dict[str, Any]:
    """One relaxation for both phases, the quickest to compile that the network settles under."""
    relaxation = hp.Sequential() if network.numerics().fixed_point_map else FLOW
    return {"free": relaxation, "nudged": relaxation}


@jax.jit
def _gradient(
    network: Any, x: Any, y: Any, estimator: Any, free: Any, nudged: Any
) -> tuple[Any, Any]:
    (_, aux), grads = hp.value_and_grad(
        network, x, y, estimator=estimator, free=free, nudged=nudged
    )
    return aux.unsettled, grads


def gradient(
    network: Any, x: Any, y: Any, estimator: Any, *, free: Any = None, nudged: Any = None
) -> Any:
    """The gradient, of all examples; one compiled program serves all radii.

    Relaxations that are not given are the library's own.
    """
    unsettled, grads = _gradient(network, x, y, estimator, free, nudged)
    assert int(unsettled) == 0
    return grads


def vector(tree: Any) -> np.ndarray:
    """All arrays of a tree as one, in double precision."""
    whole = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
    return whole.astype(np.result_type(whole, np.float64))


def error(a: Any, b: Any) -> float:
    """|a - b| / |b| over all arrays of two trees."""
    a, b = vector(a), vector(b)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def convolution(below, weight, padding):
    """A convolution by loops (a correlation, as in every network library)."""
    below = np.pad(below, [(padding, padding), (padding, padding), (0, 0)])
    kernel_height, kernel_width, _, channels = weight.shape
    height, width = below.shape[0] - kernel_height + 1, below.shape[1] - kernel_width + 1
    out = np.zeros((height, width, channels), below.dtype)
    for i, j in itertools.product(range(height), range(width)):
        window = below[i : i + kernel_height, j : j + kernel_width]
        out[i, j] = np.tensordot(window, weight, axes=3)
    return out


def branching(seed: int) -> tuple[Any, Any, Any]:
    """Five Gaussian inputs, one of which has a branch point of s*(beta) near 0.2."""
    network = hp.mlp([9, 7, 5, 6, 3], key=jax.random.key(seed))
    return network, jax.random.normal(jax.random.key(1), (5, 9)), jnp.array([0, 1, 2, 0, 1])


MIXED = {"free": hp.Anderson(), "nudged": hp.Anderson()}


@eqx.filter_jit
def each(network: Any, x: Any, y: Any, estimator: Any, relaxations: Any, key: Any = None) -> Any:
    """Gradient and record of every example by itself."""

    def one(x: Any, y: Any) -> Any:
        x, y = jax.tree.map(lambda a: a[None], (x, y))
        (_, aux), grads = hp.value_and_grad(
            network, x, y, estimator=estimator, key=key, throw=False, **relaxations
        )
        aux = aux.error, aux.error_parts, aux.trusted, aux.settled
        flat = jnp.concatenate([jnp.ravel(g) for g in jax.tree.leaves(grads)])
        return flat, jax.tree.map(lambda a: a[0], aux)

    return jax.vmap(one)(x, y)


def true_error(found: Any, exact: Any) -> np.ndarray:
    found, exact = (np.asarray(g, np.float64) for g in (found, exact))
    return np.linalg.norm(found - exact, axis=-1) / np.linalg.norm(exact, axis=-1)
