"""How weights begin."""

import math

import jax

from holoprop._types import Array, Key


def truncated_normal(key: Key, shape: tuple[int, ...], fan_in: int, std: float | None) -> Array:
    """Weights from a normal distribution of deviation `std`, cut at two deviations.

    The default deviation is 1/sqrt(fan_in). As in the paper's program `std` belongs to the
    distribution before the cut; the weights' own deviation is 0.88 times as large.
    """
    std = 1 / math.sqrt(fan_in) if std is None else std
    if not 0 < std < math.inf:
        raise ValueError(f"weight_std must be a positive number; got {std!r}.")
    return std * jax.random.truncated_normal(key, -2.0, 2.0, shape)
