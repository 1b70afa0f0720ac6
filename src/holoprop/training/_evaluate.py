"""Evaluation: a network's loss and error over a set of examples."""

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
from holoprop.training._step import AbstractMethod

_BATCH = 250
_BEST = 5


def evaluate(
    method: AbstractMethod, network: hp.AbstractEnergy, examples: Examples, *, seed: int = 0
) -> Evaluation:
    """Loss and error over a set, by the free phase alone, or one feed-forward pass.

    Arguments:
        method: How states settle, and `transform`.
        network: With a cost, and logits if there are classes.
        examples: One or more.
        seed: Of the noise, if the relaxation has any; from 0 to 2^32 - 1.

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
    batch = min(len(examples), _BATCH)
    sums: list[Any] = []
    for start in range(0, len(examples), batch):
        rows = np.arange(start, start + batch)
        # The last batch is filled up with the last example, at no weight: one shape, one program.
        weight = jnp.asarray(rows < len(examples), float)
        part = examples.take(np.minimum(rows, len(examples) - 1))
        key = jax.random.fold_in(jax.random.key(seed), start)
        sums.append(_evaluate_batch(method, network, part.inputs, part.labels, weight, key))
    totals = jax.tree.map(lambda *leaves: sum(map(float, leaves)), *sums)
    loss, wrong, far, unsettled = totals
    count = len(examples)
    return Evaluation(
        loss=loss / count,
        error=None if wrong is None else wrong / count,
        top5_error=None if far is None else far / count,
        unsettled=round(unsettled),
    )


@eqx.filter_jit
def _evaluate_batch(
    method: AbstractMethod,
    network: hp.AbstractEnergy,
    inputs: PyTree[Any],
    labels: PyTree[Any],
    weight: Array,
    key: PRNGKeyArray,
) -> tuple[Array, Array | None, Array | None, Array]:
    """Sums over a batch, each example with its weight: loss, wrong predictions, unsettled ones.

    And between the last two those whose class is not among the five best.

    Every example counts, settled or not: its prediction is that of the state it has reached.
    """
    network = as_parameters(network)
    state, settled = method.settle(network, method.transform(inputs), key=key)
    losses = jax.vmap(network.cost)(state, labels)
    logits = jax.vmap(network.logits)(state)
    wrong = far = None
    if logits is not None:
        wrong = jnp.sum(weight * is_wrong(logits, labels))
        if logits.shape[-1] > _BEST:
            far = jnp.sum(weight * is_not_among(logits, labels, _BEST))
    return jnp.sum(weight * losses), wrong, far, jnp.sum(weight * ~settled)
