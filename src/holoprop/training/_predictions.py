"""Predictions against labels."""

import jax.numpy as jnp
from jaxtyping import Array


def is_wrong(logits: Array, labels: Array) -> Array:
    """Whether each prediction misses its class; a prediction that is not finite does."""
    truth = labels if labels.ndim == 1 else jnp.argmax(labels, axis=-1)
    finite = jnp.all(jnp.isfinite(logits), axis=-1)
    return ~finite | (jnp.argmax(jnp.real(logits), axis=-1) != truth)


def is_not_among(logits: Array, labels: Array, best: int) -> Array:
    """Whether each class is not among so many of the prediction's best, ties in its favour."""
    truth = labels if labels.ndim == 1 else jnp.argmax(labels, axis=-1)
    values, finite = jnp.real(logits), jnp.all(jnp.isfinite(logits), axis=-1)
    own = jnp.take_along_axis(values, truth[:, None].astype(int), axis=-1)
    return ~finite | (jnp.sum(values > own, axis=-1) >= best)
