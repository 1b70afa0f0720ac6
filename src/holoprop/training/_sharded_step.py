"""One training step on several devices, compiled as one program."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

import holoprop as hp
from holoprop._tree import as_arrays
from holoprop.training._shards import Shards
from holoprop.training._step import AbstractMethod, augment_key, reported, seen_of, updated


@eqx.filter_jit
def sharded_train_step(
    shards: Shards,
    method: AbstractMethod,
    network: hp.AbstractEnergy,
    optimiser_state: PyTree[Any],
    inputs: PyTree[Any],
    labels: PyTree[Any],
    key: PRNGKeyArray,
) -> tuple[hp.AbstractEnergy, PyTree[Any], dict[str, Any]]:
    """`train_step` on several devices: each relaxes its share, and one sum crosses between them.

    A device's gradient has the weight of the examples that it is the mean of, so that those which
    did not settle bias nothing. What is reported is of the whole batch. Augmentation is that of one
    device; the noise of each device is its own.

    Arguments:
        shards: The devices.
        method: As for `train_step`, as are the others; inputs and labels as `shards.take` has them,
            network and optimiser's state as `shards.replicated` has them.
    """
    network = as_arrays(network)

    def on_own(
        network: hp.AbstractEnergy, key: PRNGKeyArray, inputs: PyTree[Any], labels: PyTree[Any]
    ) -> tuple[PyTree[Any], dict[str, Any]]:
        x = method.transform(inputs)
        if method.augment is not None:
            # What is drawn for an example depends on its place in the whole batch: it costs little
            # beside a relaxation to draw for all.
            whole = jax.tree.map(shards.placed, x)
            x = shards.own(method.augment(whole, augment_key(key)))
        own_key = jax.random.fold_in(key, shards.index())
        (loss, aux), grads = method.value_and_grad(network, x, labels, key=own_key)
        return _joined(shards, grads, aux.count, seen_of(loss, aux, labels))

    grads, seen = shards.on_each(on_own, shared=2)(network, key, inputs, labels)
    network, optimiser_state = updated(method, network, optimiser_state, grads)
    return network, optimiser_state, reported(seen)


def _joined(
    shards: Shards, grads: PyTree[Any], count: Array, seen: dict[str, Any]
) -> tuple[PyTree[Any], dict[str, Any]]:
    """The same of the whole batch, from those of all devices."""
    # A mean has the weight of its examples, and a value of each example or device its own place:
    # then all of it is one sum.
    weighted = jax.tree.map(lambda g: count * g.astype(jnp.result_type(g, jnp.float32)), grads)
    summed_up = seen | {
        "loss": seen["in_loss"] * seen["loss"],
        "error": None if seen["error"] is None else seen["error"] / shards.count,
        "gradient_error": jax.tree.map(shards.placed, seen["gradient_error"]),
        "residuals": {p: shards.placed(r, axis=-1) for p, r in seen["residuals"].items()},
        "steps": {p: shards.placed(s[None]) for p, s in seen["steps"].items()},
    }
    total, count, whole = shards.summed((weighted, count, summed_up))
    grads = jax.tree.map(lambda g, own: (g / jnp.maximum(count, 1)).astype(own.dtype), total, grads)
    whole["loss"] = whole["loss"] / jnp.maximum(whole["in_loss"], 1)
    # The slowest device's.
    whole["steps"] = jax.tree.map(jnp.max, whole["steps"])

    def as_seen(value: Array, own: Array) -> Array:
        return value.astype(own.dtype)

    return grads, jax.tree.map(as_seen, whole, seen)
