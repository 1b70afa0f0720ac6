"""Networks and energies that the tests share, and changes of their precision."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

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
