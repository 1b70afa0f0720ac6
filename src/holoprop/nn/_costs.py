"""Costs of a prediction against a target, holomorphic in the prediction."""

import abc
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._types import Array, Inexact, Scalar, Target


class AbstractCost(eqx.Module):
    """A cost of one example.

    Attributes:
        has_readout: Whether the prediction is read from the last hidden layer by a coupling outside
            the state (the paper's scheme for cross-entropy), or is the last layer of the state.
    """

    has_readout: eqx.AbstractClassVar[bool]

    @abc.abstractmethod
    def __call__(self, prediction: Inexact[Array, " classes"], target: Target) -> Scalar:
        """The cost; `target` is a class index, or a real vector as long as the prediction."""


def as_vector(target: Target, prediction: Inexact[Array, " classes"]) -> Array:
    """A class index as a one-hot vector, a vector as it is; in the prediction's precision."""
    dtype = jnp.finfo(prediction.dtype).dtype
    target = jnp.asarray(target)
    if target.ndim == 0:
        return jax.nn.one_hot(target, prediction.shape[0], dtype=dtype)
    return target.astype(dtype)


class CrossEntropy(AbstractCost):
    """-y . log softmax(prediction), the prediction read by a readout outside the state (B.1).

    Example:
        >>> round(float(CrossEntropy()(jnp.zeros(4), 1)), 4)
        1.3863
    """

    has_readout: ClassVar[bool] = True

    def __call__(self, prediction: Inexact[Array, " classes"], target: Target) -> Scalar:
        """The cross-entropy of softmax(prediction) with a class index or a vector of weights."""
        y = as_vector(target, prediction)
        # Shifted by a real number without derivative: exact, and holomorphic (see SoftmaxPool).
        shift = jax.lax.stop_gradient(jnp.max(jnp.real(prediction)))
        log_sum = jnp.log(jnp.sum(jnp.exp(prediction - shift))) + shift
        return jnp.sum(y) * log_sum - jnp.sum(y * prediction)


class SquaredError(AbstractCost):
    """|prediction - y|^2 / 2 without a conjugate; the output layer is part of the state.

    Example:
        >>> float(SquaredError()(jnp.array([0.0, 1.0]), 0))
        1.0
    """

    has_readout: ClassVar[bool] = False

    def __call__(self, prediction: Inexact[Array, " classes"], target: Target) -> Scalar:
        """Half the sum of squared differences from a one-hot class index, or from a vector."""
        y = as_vector(target, prediction)
        return jnp.sum((prediction - y) ** 2) / 2
