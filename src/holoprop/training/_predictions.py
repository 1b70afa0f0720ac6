"""Predictions against labels."""

import jax.numpy as jnp
from jaxtyping import Array


def is_wrong(logits: Array, labels: Array) -> Array:
    """Whether each prediction misses its class; a prediction that is not finite does."""
    truth = labels if labels.ndim == 1 else jnp.argmax(labels, axis=-1)
    finite = jnp.all(jnp.isfinite(logits), axis=-1)
    return ~finite | (jnp.argmax(jnp.real(logits), axis=-1) != truth)
