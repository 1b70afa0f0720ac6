"""The baseline: a feed-forward network trained by backpropagation."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree

import holoprop as hp
from holoprop._tree import as_parameters
from holoprop._types import State
from holoprop.training._step import AbstractMethod


class Backpropagation(AbstractMethod):
    """Training of the feed-forward network with a layered network's couplings, by `jax.grad`.

    Its layers are s_l = activation(P_l(W_l s_{l-1}) + b_l), those of a `LayeredNetwork` without the
    feedback from above, and its cost is the network's. It is what Table 2 compares with, with
    `ReLU()` as the activation, and no estimator of an equilibrium's gradient.

    Attributes:
        optimiser: An optax optimiser.
        transform: From stored inputs to what the network takes, for a batch; runs on the device.
        augment: What is made of transformed inputs in training alone, drawn from a key, for a
            batch; runs on the device. Default nothing.

    Example:
        >>> network = hp.mlp([4, 3, 2], activation=hp.ReLU(), key=jax.random.key(0))
        >>> method = Backpropagation(optax.sgd(0.1), jnp.array)
        >>> x, labels = jnp.ones((3, 4)), jnp.array([0, 1, 0])
        >>> (loss, aux), grads = method.value_and_grad(network, x, labels, key=jax.random.key(1))
        >>> grads.couplings[0].weight.shape, aux.steps, int(aux.unsettled)
        ((3, 4), {}, 0)

    Reference: Laborieux and Zenke (2022), Table 2.
    """

    optimiser: optax.GradientTransformation = eqx.field(static=True)
    transform: Callable[[PyTree[Any]], PyTree[Any]] = eqx.field(static=True)
    augment: Callable[[PyTree[Any], PRNGKeyArray], PyTree[Any]] | None = eqx.field(
        default=None, kw_only=True, static=True
    )

    @property
    def has_fixed_steps(self) -> bool:
        """Nothing settles."""
        return True

    def value_and_grad(
        self,
        network: hp.AbstractEnergy,
        x: PyTree[Any],
        labels: PyTree[Any],
        *,
        key: PRNGKeyArray,
    ) -> tuple[tuple[Array, hp.Aux], PyTree[Any]]:
        """The mean loss and its derivative; every example counts as settled, in no phase.

        Nothing is estimated: the error is zero and has no parts.

        Raises:
            ValueError: If the network is none of layers, or a batch's shapes do not fit it.
        """
        layered = _as_layered(network)
        layered.check(x, labels)

        @eqx.filter_value_and_grad(has_aux=True)
        def mean_loss(network: hp.LayeredNetwork) -> tuple[Array, tuple[State, Array]]:
            network = as_parameters(network)
            state = _feed_forward(network, x)
            losses = jax.vmap(network.cost)(state, labels)
            return jnp.mean(losses), (state, jax.vmap(network.logits)(state))

        (loss, (state, logits)), grads = mean_loss(layered)
        settled, exact = jnp.ones(len(logits), bool), jnp.zeros(len(logits), loss.dtype)
        aux = hp.Aux(
            logits=logits,
            steps={},
            residuals={},
            settled=settled,
            unsettled=jnp.sum(~settled),
            count=jnp.sum(settled),
            free_settled=settled,
            state=state,
            imaginary=jnp.zeros((), logits.dtype),
            error=exact,
            error_parts={},
            trusted=settled,
            untrusted=jnp.sum(~settled),
            radius=exact,
        )
        return (loss, aux), grads

    def settle(
        self, network: hp.AbstractEnergy, x: PyTree[Any], *, key: PRNGKeyArray
    ) -> tuple[State, Bool[Array, " batch"]]:
        """The layers of one pass; nothing is left to settle."""
        state = _feed_forward(_as_layered(network), x)
        return state, jnp.ones(len(state[0]), bool)


def _as_layered(network: hp.AbstractEnergy) -> hp.LayeredNetwork:
    if not isinstance(network, hp.LayeredNetwork):
        raise ValueError(
            f"network is a {type(network).__name__}, but backpropagation trains the feed-forward "
            "network of a layered one's couplings: give an mlp or a vgg."
        )
    return network


def _feed_forward(network: hp.LayeredNetwork, x: Array) -> State:
    """All layers from the input upwards, [batch, ...]."""

    def one(below: Array) -> State:
        layers = []
        for coupling in network.couplings:
            below = network.activation(coupling.drive(coupling.linear(below)))
            layers.append(below)
        return tuple(layers)

    return jax.vmap(one)(x)
