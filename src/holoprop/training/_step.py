"""One training step, compiled."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import optax
from jaxtyping import Array, PRNGKeyArray, PyTree

import holoprop as hp
from holoprop._tree import as_arrays
from holoprop.training._predictions import is_wrong


class Method(eqx.Module):
    """How a network is trained: what belongs together in every step.

    Attributes:
        estimator: Of the gradient.
        free: Relaxation of the free phase, in training and evaluation.
        nudged: Relaxation of the nudged phases.
        optimiser: An optax optimiser.
        transform: From stored inputs to what the energy takes, for a batch; runs on the device.
    """

    estimator: hp.AbstractEstimator
    free: hp.AbstractRelaxation
    nudged: hp.AbstractRelaxation
    optimiser: optax.GradientTransformation = eqx.field(static=True)
    transform: Callable[[PyTree[Any]], PyTree[Any]] = eqx.field(static=True)


@eqx.filter_jit
def train_step(
    method: Method,
    network: hp.AbstractEnergy,
    optimiser_state: PyTree[Any],
    inputs: PyTree[Any],
    labels: PyTree[Any],
    key: PRNGKeyArray,
) -> tuple[hp.AbstractEnergy, PyTree[Any], dict[str, Any]]:
    """Gradient and update on one batch.

    Arguments:
        method: Estimator, relaxations, optimiser, transform.
        network: With a cost, and logits if there are classes.
        optimiser_state: From `method.optimiser.init` of the network's floating-point arrays and
            numbers, or from the step before.
        inputs: [batch, ...] on every leaf, as they are stored.
        labels: [batch] class indices, or [batch, ...] targets as the network's cost takes them.
        key: For the noise, if the relaxations have any.

    Returns:
        The network and the optimiser's state after the step, and what was seen of the batch at the
        network before it, on the device: scalars `loss` and `in_loss`, the number of examples that
        it is the mean of, `error` (None without classes), `unsettled`, `untrusted`, and by phase
        `residuals` and `steps`; and for each example `gradient_error`, the estimated relative error
        of its gradient, not a number where it was left out. Values are not checked: where no
        example settles, the gradient is zero and
        `unsettled` is the batch's size.

    Example:
        >>> import jax
        >>> network = hp.mlp([4, 3, 2], key=jax.random.key(0))
        >>> method = Method(
        ...     hp.Holomorphic(0.2, 4), hp.Sequential(), hp.Sequential(), optax.sgd(0.1), jnp.array
        ... )
        >>> state = method.optimiser.init(eqx.filter(network, eqx.is_inexact_array))
        >>> network, state, seen = train_step(
        ...     method, network, state, jnp.ones((3, 4)), jnp.array([0, 1, 0]), jax.random.key(1)
        ... )
        >>> int(seen["unsettled"])
        0
    """
    network = as_arrays(network)
    (loss, aux), grads = hp.value_and_grad(
        network,
        method.transform(inputs),
        labels,
        estimator=method.estimator,
        free=method.free,
        nudged=method.nudged,
        key=key,
        throw=False,
    )
    updates, optimiser_state = method.optimiser.update(
        grads, optimiser_state, eqx.filter(network, eqx.is_inexact_array)
    )
    seen = {
        "loss": loss,
        "in_loss": jnp.sum(aux.free_settled),
        "error": _error(aux.logits, labels),
        "unsettled": aux.unsettled,
        "untrusted": aux.untrusted,
        "gradient_error": jnp.where(aux.settled, aux.error, jnp.nan),
        # Of the typical example: one that oscillates would hide all others behind its residual.
        "residuals": {phase: jnp.median(r) for phase, r in aux.residuals.items()},
        "steps": aux.steps,
    }
    return eqx.apply_updates(network, updates), optimiser_state, seen


def _error(logits: Array | None, labels: PyTree[Any]) -> Array | None:
    return None if logits is None else jnp.mean(is_wrong(logits, labels))
