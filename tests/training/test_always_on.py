"""Training without phases."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import holoprop as hp
from holoprop.training import Method, always_on_step

X = jax.random.normal(jax.random.key(1), (6, 5))
LABELS = jnp.array([0, 1, 2, 0, 1, 2])


def method(estimator, rate=0.2):
    step = hp.Synchronous(steps=1)
    return Method(estimator, step, step, optax.sgd(rate), jnp.asarray)


def begin(method):
    network = hp.mlp([5, 6, 4, 3], weight_std=0.4, key=jax.random.key(0))
    return network, method.optimiser.init(eqx.filter(network, eqx.is_inexact_array)), None


def test_it_follows_the_gradient_without_a_reset():
    # Many steps a point: the oscillation lags so little that its estimate is the gradient.
    own = method(hp.Online(0.2, 8, steps_per_point=60, periods=1, warmup_periods=0))
    network, state, states = begin(own)
    losses = []
    for turn in range(12):
        before = network
        network, state, states, seen = always_on_step(
            own, network, state, states, X, LABELS, jax.random.key(turn)
        )
        losses.append(float(seen["loss"]))
        if turn == 11:
            _, exact = hp.value_and_grad(
                before, X, LABELS, estimator=hp.Implicit(), free=hp.Sequential()
            )
            moved = jax.tree.map(
                lambda a, b: (a - b) / 0.2,
                *(eqx.filter(n, eqx.is_inexact_array) for n in (before, network)),
            )
            found = hp.gradient_alignment(moved, exact)
            assert float(found.relative_error) < 2e-3
    assert losses == sorted(losses, reverse=True)


def test_states_are_carried_into_other_inputs():
    # At no learning rate, a call for other inputs begins where the last one ended.
    own = method(hp.Online(0.2, 4, steps_per_point=3, periods=1, warmup_periods=0), rate=0.0)
    network, state, states = begin(own)
    *_, states, _ = always_on_step(own, network, state, None, X, LABELS, jax.random.key(0))
    *_, carried, _ = always_on_step(own, network, state, states, -X, LABELS, jax.random.key(1))
    (_, aux), _ = hp.value_and_grad(
        network,
        -X,
        LABELS,
        estimator=own.estimator,
        nudged=own.nudged,
        init=states,
        throw=False,
    )
    for found, expected in zip(jax.tree.leaves(carried), jax.tree.leaves(aux.state), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-13)
    *_, anew, _ = always_on_step(own, network, state, None, -X, LABELS, jax.random.key(1))
    assert not np.allclose(jax.tree.leaves(anew)[0], jax.tree.leaves(carried)[0], atol=1e-6)


def test_an_estimator_with_phases_is_refused():
    own = method(hp.Holomorphic(0.2, 4))
    network, state, states = begin(own)
    with pytest.raises(ValueError, match="estimator is Holomorphic, which has phases: give Online"):
        always_on_step(own, network, state, states, X, LABELS, jax.random.key(0))
