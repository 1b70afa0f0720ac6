"""Training without phases: a nudge that never stops, and plasticity every so many periods."""

from typing import Any

import equinox as eqx
from jaxtyping import PRNGKeyArray, PyTree

import holoprop as hp
from holoprop._tree import as_arrays
from holoprop._types import State
from holoprop.training._step import Method, augment_key, reported, seen_of, updated


@eqx.filter_jit
def always_on_step(
    method: Method,
    network: hp.AbstractEnergy,
    optimiser_state: PyTree[Any],
    oscillation: State | None,
    inputs: PyTree[Any],
    labels: PyTree[Any],
    key: PRNGKeyArray,
) -> tuple[hp.AbstractEnergy, PyTree[Any], State, dict[str, Any]]:
    """One plastic change of a network whose states oscillate on and on (Section 4).

    The nudge goes round `estimator.periods` times, T_plas = periods T_osc, and then the weights
    change. The states are never reset, neither by that nor where other inputs follow: there is no
    free phase, and the next call goes on from where this one has ended.

    Arguments:
        method: Its estimator is `Online`; with `warmup_periods=0` every period is read, with more
            those after a change of inputs are waited for.
        network: As for `train_step`.
        optimiser_state: As for `train_step`.
        oscillation: [batch, ...]: where the states are, from the call before; None in the
            beginning, for the energy's own start.
        inputs: As for `train_step`.
        labels: As for `train_step`.
        key: As for `train_step`.

    Returns:
        The network and the optimiser's state after the change, the states, and what was seen, as
        `train_step` reports it.

    Raises:
        ValueError: If the estimator is another one.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> network = hp.mlp([4, 3, 2], key=jax.random.key(0))
        >>> online = hp.Online(0.2, 4, periods=1, warmup_periods=0)
        >>> method = Method(online, hp.Synchronous(), hp.Synchronous(), optax.sgd(0.1), jnp.array)
        >>> state = method.optimiser.init(eqx.filter(network, eqx.is_inexact_array))
        >>> states = None
        >>> for turn in range(3):
        ...     network, state, states, seen = always_on_step(
        ...         method, network, state, states, jnp.ones((3, 4)), jnp.array([0, 1, 0]),
        ...         jax.random.key(turn),
        ...     )
        >>> int(seen["unsettled"])
        0

    Reference: Laborieux and Zenke (2022), Section 4, Eq. (10).
    """
    if not isinstance(method.estimator, hp.Online):
        raise ValueError(
            f"the method's estimator is {type(method.estimator).__name__}, which has phases: give "
            "Online."
        )
    network = as_arrays(network)
    x = method.transform(inputs)
    if method.augment is not None:
        x = method.augment(x, augment_key(key))
    (loss, aux), grads = hp.value_and_grad(
        network,
        x,
        labels,
        estimator=method.estimator,
        free=method.free,
        nudged=method.nudged,
        init=oscillation,
        key=key,
        throw=False,
    )
    network, optimiser_state = updated(method, network, optimiser_state, grads)
    return network, optimiser_state, aux.state, reported(seen_of(loss, aux, labels))
