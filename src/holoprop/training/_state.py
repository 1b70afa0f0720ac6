"""Where training stands, and how it is kept and brought back to the bit."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

import holoprop as hp
from holoprop._tree import as_arrays
from holoprop.training._shards import is_weak, on_default_device
from holoprop.training._step import AbstractMethod


@dataclasses.dataclass
class TrainState:
    """Where training stands between two batches: `fit` goes on from it as if it had never ended.

    Attributes:
        network: After the last batch.
        optimiser_state: After the last batch.
        epoch: The running one, from 1; one more than there are after the last.
        batch: Batches of it that are done.
        seen: What each of them reported (`train_step`).
        seconds: That they took.
        first_loss: Of the first look at it, by which `fit` judges later ones; None before that.
        bad_looks: How many looks on end have found it astray.
    """

    network: hp.AbstractEnergy
    optimiser_state: PyTree[Any]
    epoch: int = 1
    batch: int = 0
    seen: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    first_loss: float | None = None
    bad_looks: int = 0

    def saved(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What brings it back: a tree of NumPy arrays, and a record for JSON."""
        leaves = jax.tree.leaves(_changing(self.network, self.optimiser_state))
        self.seen = jax.device_get(self.seen)
        arrays = {f"{index}": np.asarray(leaf) for index, leaf in enumerate(leaves)}
        tree: dict[str, Any] = {"leaves": arrays}
        if self.seen:
            tree["seen"] = jax.tree.map(lambda *values: np.stack(values), *self.seen)
        record = {
            "epoch": self.epoch,
            "batch": self.batch,
            "seconds": self.seconds,
            "first_loss": self.first_loss,
            "bad_looks": self.bad_looks,
            # Such a number decides no precision, and would do so if it came back as any other.
            "weak": [index for index, leaf in enumerate(leaves) if is_weak(leaf)],
        }
        return tree, record


def first_state(method: AbstractMethod, network: hp.AbstractEnergy) -> TrainState:
    """Where training of a network begins.

    Arguments:
        method: Its optimiser is used.
        network: At its initial weights.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from holoprop.training import Method
        >>> method = Method(
        ...     hp.Centred(0.1), hp.Sequential(), hp.Sequential(), optax.sgd(0.1), jnp.array
        ... )
        >>> state = first_state(method, hp.mlp([4, 3, 2], key=jax.random.key(0)))
        >>> state.epoch, state.batch
        (1, 0)
    """
    network = as_arrays(network)
    return TrainState(network, method.optimiser.init(eqx.filter(network, eqx.is_inexact_array)))


def restored_state(
    method: AbstractMethod,
    network: hp.AbstractEnergy,
    arrays: dict[str, Any],
    record: dict[str, Any],
) -> TrainState:
    """Where training stood when it was saved.

    Arguments:
        method: As it was.
        network: Of the same structure; its weights do not matter.
        arrays: The tree from `TrainState.saved`.
        record: From there, too.

    Raises:
        ValueError: If the arrays are not those of the network and the optimiser.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from holoprop.training import Method
        >>> one, other = (hp.mlp([4, 3, 2], key=jax.random.key(seed)) for seed in (0, 1))
        >>> method = Method(
        ...     hp.Centred(0.1), hp.Sequential(), hp.Sequential(), optax.sgd(0.1), jnp.array
        ... )
        >>> arrays, record = first_state(method, one).saved()
        >>> again = restored_state(method, other, arrays, record).network
        >>> bool(jnp.all(again.readout.weight == one.readout.weight))
        True
    """
    first = first_state(method, network)
    changing = _changing(first.network, first.optimiser_state)
    leaves, structure = jax.tree.flatten(changing)
    stored = [arrays["leaves"][f"{index}"] for index in range(len(arrays["leaves"]))]
    expected, found = ([np.shape(leaf) for leaf in tree] for tree in (leaves, stored))
    if expected != found:
        raise ValueError(
            f"arrays of shapes {found} were saved, but network and optimiser have {expected}: "
            "build both as they were."
        )
    weak = set(record["weak"])
    network_arrays, optimiser_arrays = jax.tree.unflatten(
        structure,
        [on_default_device(leaf, weak=index in weak) for index, leaf in enumerate(stored)],
    )
    return TrainState(
        eqx.combine(network_arrays, first.network),
        eqx.combine(optimiser_arrays, first.optimiser_state),
        record["epoch"],
        record["batch"],
        [jax.tree.map(lambda a, i=i: a[i], arrays["seen"]) for i in range(record["batch"])],
        record["seconds"],
        record["first_loss"],
        record["bad_looks"],
    )


def _changing(network: hp.AbstractEnergy, optimiser_state: PyTree[Any]) -> PyTree[Any]:
    """What training changes: all else comes from how network and optimiser are built."""
    return eqx.filter(network, eqx.is_inexact_array), eqx.filter(optimiser_state, eqx.is_array)
