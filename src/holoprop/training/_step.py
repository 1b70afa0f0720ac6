"""One training step, compiled."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree

import holoprop as hp
from holoprop._tree import as_arrays
from holoprop._types import State
from holoprop.relaxation import is_usable
from holoprop.training._predictions import is_wrong

# What a step's key is folded with for the augmentation, which noise is independent of.
_AUGMENT = 1


class AbstractMethod(eqx.Module):
    """How a network is trained: what belongs together in every step.

    Attributes:
        optimiser: An optax optimiser.
        transform: From stored inputs to what the energy takes, for a batch; runs on the device.
        augment: What is made of transformed inputs in training alone, drawn from a key, for a
            batch; runs on the device. None for nothing.
    """

    optimiser: eqx.AbstractVar[optax.GradientTransformation]
    transform: eqx.AbstractVar[Callable[[PyTree[Any]], PyTree[Any]]]
    augment: eqx.AbstractVar[Callable[[PyTree[Any], PRNGKeyArray], PyTree[Any]] | None]

    @abc.abstractmethod
    def value_and_grad(
        self,
        network: hp.AbstractEnergy,
        x: PyTree[Any],
        labels: PyTree[Any],
        *,
        key: PRNGKeyArray,
    ) -> tuple[tuple[Array, hp.Aux], PyTree[Any]]:
        """`(loss, aux), grads` of a batch, as `holoprop.value_and_grad` has them; no value raises.

        Arguments:
            network: Whose floating-point arrays and numbers are differentiated by.
            x: [batch, ...] on every leaf, transformed.
            labels: [batch] class indices, or [batch, ...] targets.
            key: For noise, if there is any.
        """

    @property
    def has_fixed_steps(self) -> bool:
        """Whether a gradient takes the same operations for all networks and batches."""
        return False

    @abc.abstractmethod
    def settle(
        self, network: hp.AbstractEnergy, x: PyTree[Any], *, key: PRNGKeyArray
    ) -> tuple[State, Bool[Array, " batch"]]:
        """The states from which a batch is predicted, [batch, ...], and whether each settled.

        As in training: after a fixed number of steps, or with noise, what may be learned from.
        """


class Method(AbstractMethod):
    """Training by an estimator of the gradient at the network's equilibria.

    Attributes:
        estimator: Of the gradient.
        free: Relaxation of the free phase, in training and evaluation.
        nudged: Relaxation of the nudged phases.
        optimiser: An optax optimiser.
        transform: From stored inputs to what the energy takes, for a batch; runs on the device.
        augment: What is made of transformed inputs in training alone, drawn from a key, for a
            batch; runs on the device. Default nothing.
    """

    estimator: hp.AbstractEstimator
    free: hp.AbstractRelaxation
    nudged: hp.AbstractRelaxation
    optimiser: optax.GradientTransformation = eqx.field(static=True)
    transform: Callable[[PyTree[Any]], PyTree[Any]] = eqx.field(static=True)
    augment: Callable[[PyTree[Any], PRNGKeyArray], PyTree[Any]] | None = eqx.field(
        default=None, kw_only=True, static=True
    )

    def value_and_grad(
        self,
        network: hp.AbstractEnergy,
        x: PyTree[Any],
        labels: PyTree[Any],
        *,
        key: PRNGKeyArray,
    ) -> tuple[tuple[Array, hp.Aux], PyTree[Any]]:
        """By the estimator."""
        return hp.value_and_grad(
            network,
            x,
            labels,
            estimator=self.estimator,
            free=self.free,
            nudged=self.nudged,
            key=key,
            throw=False,
        )

    @property
    def has_fixed_steps(self) -> bool:
        """If phases have, and nothing is repeated; an online oscillation always has."""
        fixed = self.free.steps is not None and self.nudged.steps is not None
        several = isinstance(self.estimator, hp.OneSided | hp.Centred | hp.Holomorphic)
        repeats = getattr(self.estimator, "max_error", None) is not None
        return isinstance(self.estimator, hp.Online) or (fixed and several and not repeats)

    def settle(
        self, network: hp.AbstractEnergy, x: PyTree[Any], *, key: PRNGKeyArray
    ) -> tuple[State, Bool[Array, " batch"]]:
        """By the free phase alone."""
        free = hp.relax(network, x, relaxation=self.free, key=key)
        return free.state, is_usable(free, self.free)


@eqx.filter_jit
def train_step(
    method: AbstractMethod,
    network: hp.AbstractEnergy,
    optimiser_state: PyTree[Any],
    inputs: PyTree[Any],
    labels: PyTree[Any],
    key: PRNGKeyArray,
) -> tuple[hp.AbstractEnergy, PyTree[Any], dict[str, Any]]:
    """Gradient and update on one batch.

    Arguments:
        method: How the gradient is had, optimiser, transform.
        network: With a cost, and logits if there are classes.
        optimiser_state: From `method.optimiser.init` of the network's floating-point arrays and
            numbers, or from the step before.
        inputs: [batch, ...] on every leaf, as they are stored.
        labels: [batch] class indices, or [batch, ...] targets as the network's cost takes them.
        key: For the noise and the augmentation, if there are any.

    Returns:
        The network and the optimiser's state after the step, and what was seen of the batch at the
        network before it, on the device: scalars `loss` and `in_loss`, the number of examples that
        it is the mean of, `error` (None without classes), `unsettled`, `untrusted`, and by phase
        `residuals` and `steps`; and for each example `gradient_error`, the estimated relative error
        of its gradient, not a number where it was left out (None for a method that estimates no
        error). Values are not checked: where no example settles, the gradient is zero and
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
    x = method.transform(inputs)
    if method.augment is not None:
        x = method.augment(x, augment_key(key))
    (loss, aux), grads = method.value_and_grad(network, x, labels, key=key)
    network, optimiser_state = updated(method, network, optimiser_state, grads)
    return network, optimiser_state, reported(seen_of(loss, aux, labels))


def augment_key(key: PRNGKeyArray) -> PRNGKeyArray:
    """The key of a step's augmentation, of which the noise is independent."""
    return jax.random.fold_in(key, _AUGMENT)


def seen_of(loss: Array, aux: hp.Aux, labels: PyTree[Any]) -> dict[str, Any]:
    """What was seen of a batch, and of each of its examples."""
    return {
        "loss": loss,
        "in_loss": jnp.sum(aux.free_settled),
        "error": _error(aux.logits, labels),
        "unsettled": aux.unsettled,
        "untrusted": aux.untrusted,
        "gradient_error": jnp.where(aux.settled, aux.error, jnp.nan) if aux.error_parts else None,
        "residuals": aux.residuals,
        "steps": aux.steps,
    }


def updated(
    method: AbstractMethod,
    network: hp.AbstractEnergy,
    optimiser_state: PyTree[Any],
    grads: PyTree[Any],
) -> tuple[hp.AbstractEnergy, PyTree[Any]]:
    """Network and optimiser's state after a step along a gradient."""
    updates, optimiser_state = method.optimiser.update(
        grads, optimiser_state, eqx.filter(network, eqx.is_inexact_array)
    )
    return eqx.apply_updates(network, updates), optimiser_state


def reported(seen: dict[str, Any]) -> dict[str, Any]:
    """What a step reports, from what was seen of each example."""
    # Of the typical example: one that oscillates would hide all others behind its residual.
    return seen | {"residuals": {phase: jnp.median(r) for phase, r in seen["residuals"].items()}}


def _error(logits: Array | None, labels: PyTree[Any]) -> Array | None:
    return None if logits is None else jnp.mean(is_wrong(logits, labels))
