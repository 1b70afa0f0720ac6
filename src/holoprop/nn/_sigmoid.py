"""The logistic sigmoid in the complex plane, its integral, and its change without lost digits."""

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._tree import expm1
from holoprop._types import Array, Bool, Float, Inexact


def sigmoid(z: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
    """1 / (1 + exp(-z)) without overflow, for real and complex input."""
    if not jnp.issubdtype(z.dtype, jnp.complexfloating):
        return jax.nn.sigmoid(z)
    # Both branches are the same holomorphic function; choosing by the sign of the real part only
    # keeps the exponential below one.
    positive = jnp.real(z) >= 0
    e = jnp.exp(jnp.where(positive, -z, z))
    return jnp.where(positive, 1.0, e) / (1.0 + e)


def softplus(z: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
    """log(1 + exp(z)) without overflow; in the complex plane up to the logarithm's branch."""
    positive = jnp.real(z) >= 0
    return jnp.where(positive, z, 0.0) + jnp.log1p(jnp.exp(jnp.where(positive, -z, z)))


# Beyond this exponent a sigmoid's change is its limit to rounding, in float64 too.
_LARGEST = 80.0


class SigmoidChange(eqx.Module):
    """sigmoid(z + d) - sigmoid(z) at several z that share one change d.

    With u = sigmoid(z), v = sigmoid(-z) and e = expm1(d) it is u v e / (1 + u e). For a negative
    real part of d the same is written as -u v e / (1 + v e) with e = expm1(-d): then no sum loses
    digits either.
    """

    positive: Bool[Array, "*shape"]
    e: Inexact[Array, "*shape"]

    @staticmethod
    def of(d: Inexact[Array, "*shape"]) -> "SigmoidChange":
        """For a change d."""
        positive = jnp.real(d) >= 0
        forward = jnp.where(positive, d, -d)
        # Real and imaginary part are cut together with the size: an infinite e would give 0/0.
        return SigmoidChange(
            positive, expm1(jnp.where(jnp.real(forward) < _LARGEST, forward, _LARGEST))
        )

    def at(self, u: Float[Array, "*shape"], v: Float[Array, "*shape"]) -> Inexact[Array, "*shape"]:
        """At the sigmoid u = sigmoid(z) and its complement v = sigmoid(-z)."""
        slope = u * v
        weight = jnp.where(self.positive, u, v)
        return jnp.where(self.positive, slope, -slope) * self.e / (1 + weight * self.e)


def both_sides(z: Inexact[Array, "*shape"]) -> tuple[Array, Array]:
    """Sigmoid of z and of -z: one less the other would lose the smaller one's digits."""
    return sigmoid(z), sigmoid(-z)
