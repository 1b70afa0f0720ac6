"""One of two processes that train together: `test_devices.py` runs it twice.

From the folder it takes a network's checkpoint of one process, and into it the first of the two
writes what they come to.
"""

import os
import sys
from pathlib import Path

import jax
import numpy as np
from on_eight_devices import digits, method, network

from holoprop.runs._checkpoints import Checkpoints, Saved
from holoprop.training import fit, restored_state


def train(folder, name, *, devices=(), start=None):
    """Twenty steps of which the twelfth is kept; returns the weights."""
    data, own = digits(np.float64), method()

    def keep(state):
        # In the middle of an epoch.
        if (state.epoch, state.batch) == (3, 2) and start is None and jax.process_index() == 0:
            Checkpoints(Path(folder) / name, keep=1).save(Saved(12, *state.saved()))

    trained = fit(
        network(np.float64),
        data.take(slice(80)),
        data.take(slice(13)),
        method=own,
        epochs=4,
        batch_size=16,
        seed=0,
        start=start,
        devices=devices,
        on_state=keep,
    )
    return [np.asarray(leaf) for leaf in jax.tree.leaves(trained)]


def left_at(folder, name):
    """Where training goes on from, of a checkpoint."""
    saved = Checkpoints(Path(folder) / name, keep=1).newest(print)
    return restored_state(method(), network(np.float64), saved.arrays, saved.record)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_disable_most_optimizations", True)
    here, address, index = sys.argv[1:]
    jax.distributed.initialize(address, 2, int(index))
    devices = jax.devices()
    assert {device.process_index for device in devices} == {0, 1}
    whole = train(here, "two", devices=devices)
    continued = train(here, "one", devices=devices, start=left_at(here, "one"))
    if index == "0":
        np.savez(os.path.join(here, "two.npz"), *whole, *continued)
    jax.distributed.shutdown()
