"""One training step and one evaluation, compiled."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from holoprop._types import Array, Key, PyTree
from holoprop._value_and_grad import value_and_grad
from holoprop.energies import AbstractEnergy
from holoprop.estimators import AbstractEstimator
from holoprop.relaxation import AbstractRelaxation, RelaxationResult, relax


class Method(eqx.Module):
    """How a network is trained: what belongs together in every step.

    Attributes:
        estimator: Of the gradient.
        free: Relaxation of the free phase, in training and evaluation.
        nudged: Relaxation of the nudged phases.
        optimiser: An optax optimiser.
        transform: From stored inputs to what the energy takes, for a batch; runs on the device.
    """

    estimator: AbstractEstimator
    free: AbstractRelaxation
    nudged: AbstractRelaxation
    optimiser: optax.GradientTransformation = eqx.field(static=True)
    transform: Callable[[PyTree[Any]], PyTree[Any]] = eqx.field(static=True)


@eqx.filter_jit
def train_step(
    method: Method,
    network: AbstractEnergy,
    optimiser_state: PyTree[Any],
    inputs: PyTree[Any],
    labels: PyTree[Any],
    key: Key,
) -> tuple[AbstractEnergy, PyTree[Any], dict[str, Any]]:
    """Gradient and update on one batch; also what was seen of it, as device scalars."""
    (loss, aux), grads = value_and_grad(
        network,
        method.transform(inputs),
        labels,
        estimator=method.estimator,
        free=method.free,
        nudged=method.nudged,
        key=key,
    )
    updates, optimiser_state = method.optimiser.update(
        grads, optimiser_state, eqx.filter(network, eqx.is_inexact_array)
    )
    seen = {
        "loss": loss,
        "error": _error(aux.logits, labels),
        "unsettled": aux.unsettled,
        # Of the typical example: one that oscillates would hide all others behind its residual.
        "residuals": {phase: jnp.median(r) for phase, r in aux.residuals.items()},
        "steps": aux.steps,
    }
    return eqx.apply_updates(network, updates), optimiser_state, seen


@eqx.filter_jit
def evaluate_batch(
    method: Method,
    network: AbstractEnergy,
    inputs: PyTree[Any],
    labels: PyTree[Any],
    weight: Array,
    key: Key,
) -> tuple[Array, Array | None, Array]:
    """Sums over a batch, each example with its weight: loss, wrong predictions, unsettled ones.

    Every example counts, settled or not: its prediction is that of the state it has reached.
    """
    free = relax(network, method.transform(inputs), relaxation=method.free, key=key)
    losses = jax.vmap(network.cost)(free.state, labels)
    logits = jax.vmap(network.logits)(free.state)
    wrong = None if logits is None else jnp.sum(weight * _is_wrong(logits, labels))
    unsettled = free.result != RelaxationResult.SETTLED
    return jnp.sum(weight * losses), wrong, jnp.sum(weight * unsettled)


def _is_wrong(logits: Array, labels: Array) -> Array:
    """Whether each prediction misses its class; a prediction that is not finite does."""
    truth = labels if labels.ndim == 1 else jnp.argmax(labels, axis=-1)
    finite = jnp.all(jnp.isfinite(logits), axis=-1)
    return ~finite | (jnp.argmax(jnp.real(logits), axis=-1) != truth)


def _error(logits: Array | None, labels: PyTree[Any]) -> Array | None:
    return None if logits is None else jnp.mean(_is_wrong(logits, labels))
