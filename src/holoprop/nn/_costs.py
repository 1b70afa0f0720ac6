"""Costs of a prediction against a target, holomorphic in the prediction."""

import abc
from typing import Any, ClassVar

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
        """The cost; `target` is a class index, or a real vector as long as the prediction.

        It raises `ValueError` for a target of another shape and for a class index known to be out
        of range; of one that it cannot know (under `jax.jit` or `jax.vmap`) it is not a number.
        """


def as_vector(target: Target, prediction: Inexact[Array, "*shape"]) -> Array:
    """A class index as a one-hot vector, numbers as they are; in the prediction's precision.

    A class index that is out of range is a `ValueError` where its value is known. Under a trace it
    is a vector of numbers that are not, so that no cost and no slope of it is finite.
    """
    shape, dtype = jnp.shape(target), jnp.result_type(target)
    own = jnp.finfo(prediction.dtype).dtype
    if shape == () and jnp.issubdtype(dtype, jnp.integer) and prediction.ndim == 1:
        return _one_hot(target, prediction.shape[0]).astype(own)
    # Of other shapes, the difference from the prediction would be one of all pairs.
    if shape != prediction.shape or jnp.issubdtype(dtype, jnp.complexfloating):
        raise ValueError(
            f"target has shape {shape} and dtype {dtype}, but the prediction has shape "
            f"{prediction.shape}: give real numbers in the prediction's shape or, for a vector of "
            "classes, one integer without axes."
        )
    return jnp.asarray(target, own)


def _one_hot(index: Any, classes: int) -> Array:
    if not isinstance(index, jax.core.Tracer) and not 0 <= int(index) < classes:
        raise ValueError(
            f"target is {int(index)}, but the prediction has {classes} classes: class indices must "
            f"be from 0 to {classes - 1}."
        )
    # Not by jax.nn.one_hot: it counts the classes in the index's own type, which may be too small.
    hot = jnp.arange(classes) == index
    return jnp.where(jnp.any(hot), hot, jnp.nan)


class CrossEntropy(AbstractCost):
    """-y . log softmax(prediction), the prediction read by a readout outside the state (B.1).

    Example:
        >>> round(float(CrossEntropy()(jnp.zeros(4), 1)), 4)
        1.3863
    """

    has_readout: ClassVar[bool] = True

    def __call__(self, prediction: Inexact[Array, "*shape"], target: Target) -> Scalar:
        """The cross-entropy of softmax(prediction) with a class index or a vector of weights."""
        if prediction.ndim != 1:
            raise ValueError(
                f"prediction has shape {prediction.shape}, but CrossEntropy takes one vector of "
                "classes: map it over all other axes with jax.vmap, and sum."
            )
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

    def __call__(self, prediction: Inexact[Array, "*shape"], target: Target) -> Scalar:
        """Half the sum of squared differences from a one-hot class index, or from a vector."""
        y = as_vector(target, prediction)
        return jnp.sum((prediction - y) ** 2) / 2
