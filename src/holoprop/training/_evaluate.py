"""Evaluation: a network's loss and error over a set of examples."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

import holoprop as hp
from holoprop._tree import as_parameters
from holoprop.training._checks import check_classes, check_seed
from holoprop.training._examples import Examples
from holoprop.training._metrics import Evaluation
from holoprop.training._predictions import is_not_among, is_wrong
from holoprop.training._shards import Shards
from holoprop.training._step import AbstractMethod

_BATCH = 250
_BEST = 5


def evaluate(
    method: AbstractMethod,
    network: hp.AbstractEnergy,
    examples: Examples,
    *,
    seed: int = 0,
    devices: Sequence[jax.Device] = (),
) -> Evaluation:
    """Loss and error over a set, by the free phase alone, or one feed-forward pass.

    Arguments:
        method: How states settle, and `transform`.
        network: With a cost, and logits if there are classes.
        examples: One or more.
        seed: Of the noise, if the relaxation has any; from 0 to 2^32 - 1.
        devices: As for `fit`.

    Raises:
        ValueError: If there is no example, or a label or the seed is out of range.

    Example:
        >>> import holoprop as hp, optax
        >>> from holoprop.training import Method
        >>> network = hp.mlp([4, 3, 2], key=jax.random.key(0))
        >>> method = Method(
        ...     hp.Holomorphic(0.2, 4), hp.Sequential(), hp.Sequential(), optax.sgd(0.1), jnp.array
        ... )
        >>> examples = Examples(np.ones((6, 4)), np.array([0, 1, 0, 1, 0, 1]))
        >>> evaluate(method, network, examples).error
        0.5
    """
    if len(examples) == 0:
        raise ValueError("examples is empty: give one example or more.")
    check_seed(seed)
    check_classes(method, network, examples)
    shards = Shards(devices) if len(devices) > 1 else None
    count = 1 if shards is None else shards.count
    # Of each device so many, or fewer where there are not enough.
    batch = min(-(-len(examples) // count), _BATCH) * count
    whole = network if shards is None else shards.replicated(network)
    sums: list[Any] = []
    for start in range(0, len(examples), batch):
        rows = np.arange(start, start + batch)
        # The last batch is filled up with the last example, at no weight: one shape, one program.
        weight = jnp.asarray(rows < len(examples), float)
        rows = np.minimum(rows, len(examples) - 1)
        key = jax.random.fold_in(jax.random.key(seed), start)
        part = examples.take(rows) if shards is None else shards.take(examples, rows)
        sums.append(_evaluate_batch(shards, method, whole, weight, key, part.inputs, part.labels))
    totals = jax.tree.map(lambda *leaves: sum(map(float, leaves)), *sums)
    loss, wrong, far, unsettled = totals
    number = len(examples)
    return Evaluation(
        loss=loss / number,
        error=None if wrong is None else wrong / number,
        top5_error=None if far is None else far / number,
        unsettled=round(unsettled),
    )


_Sums = tuple[Array, Array | None, Array | None, Array]


@eqx.filter_jit
def _evaluate_batch(
    shards: Shards | None,
    method: AbstractMethod,
    network: hp.AbstractEnergy,
    weight: Array,
    key: PRNGKeyArray,
    inputs: PyTree[Any],
    labels: PyTree[Any],
) -> _Sums:
    """Sums over a batch, each example with its weight: loss, wrong predictions, unsettled ones.

    And between the last two those whose class is not among the five best.

    Every example counts, settled or not: its prediction is that of the state it has reached.
    """
    network = as_parameters(network)
    if shards is None:
        return _sums(method, network, weight, key, inputs, labels)

    def on_own(network: Any, weight: Any, key: Any, inputs: Any, labels: Any) -> _Sums:
        own_key = jax.random.fold_in(key, shards.index())
        own = _sums(method, network, shards.own(weight), own_key, inputs, labels)
        return shards.summed(own)

    return shards.on_each(on_own, shared=2)(network, weight, key, inputs, labels)


def _sums(
    method: AbstractMethod,
    network: hp.AbstractEnergy,
    weight: Array,
    key: PRNGKeyArray,
    inputs: PyTree[Any],
    labels: PyTree[Any],
) -> _Sums:
    state, settled = method.settle(network, method.transform(inputs), key=key)
    losses = jax.vmap(network.cost)(state, labels)
    logits = jax.vmap(network.logits)(state)
    wrong = far = None
    if logits is not None:
        wrong = jnp.sum(weight * is_wrong(logits, labels))
        if logits.shape[-1] > _BEST:
            far = jnp.sum(weight * is_not_among(logits, labels, _BEST))
    return jnp.sum(weight * losses), wrong, far, jnp.sum(weight * ~settled)
