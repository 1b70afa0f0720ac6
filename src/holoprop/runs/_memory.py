"""Whether a network can be trained in this machine's memory, before any of it is taken."""

import os
from typing import Any

import equinox as eqx
import jax

from holoprop.runs._config import TrainConfig
from holoprop.runs._networks import Custom

# Weights, their gradient, and the weights after the step.
_COPIES = 3


def check_memory(config: TrainConfig) -> None:
    """Raise `ValueError` where weights, gradient and optimiser alone are more than there is.

    States, and what a compiler sets aside, come on top. An energy of one's own is not looked at: it
    may be built by any code.

    Arguments:
        config: Of the run.
    """
    needed, have = memory_needed(config), available()
    if needed > have:
        count = sum(leaf.size for leaf in jax.tree.leaves(_weights(config)))
        raise ValueError(
            f"the network has {count:.2g} parameters: training takes {needed / 1e9:.0f} GB at "
            f"least, and there are {have / 1e9:.0f} GB: choose a smaller network."
        )


def memory_needed(config: TrainConfig) -> int:
    """Bytes that weights, gradient and optimiser take; none for an energy of one's own.

    Arguments:
        config: Of the run.
    """
    if isinstance(config.network, Custom):
        return 0
    weights = _weights(config)
    optimiser = config.optimiser.build(steps=1, epochs=1)
    return _COPIES * _size(weights) + _size(eqx.filter_eval_shape(optimiser.init, weights))


def _weights(config: TrainConfig) -> Any:
    network = eqx.filter_eval_shape(config.network.build, seed=config.seed)
    return eqx.filter(network, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))


def available() -> int:
    """Bytes of memory that the device has that would be used."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int((device.memory_stats() or {}).get("bytes_limit", 2**63))


def _size(tree: Any) -> int:
    leaves = jax.tree.leaves(eqx.filter(tree, lambda a: isinstance(a, jax.ShapeDtypeStruct)))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
