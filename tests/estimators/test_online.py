"""The online estimator: what it sums over its periods, and what it keeps in memory."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import holoprop as hp

_STEP = hp.Synchronous(steps=1)


@pytest.fixture
def case() -> Any:
    network = hp.mlp([6, 5, 4, 3], weight_std=0.4, key=jax.random.key(0))
    return network, jax.random.normal(jax.random.key(1), (3, 6)), jnp.array([0, 2, 1])


def online(case: Any, estimator: hp.Online, **settings: Any) -> Any:
    (loss, aux), grads = hp.value_and_grad(
        *case, estimator=estimator, nudged=_STEP, throw=False, **settings
    )
    return loss, aux, grads


def test_periods_are_those_of_an_oscillation_that_is_carried_over(case: Any) -> None:
    loss, aux, grads = online(case, hp.Online(0.4, 4, steps_per_point=6, periods=3))
    init, singles = None, []
    for warmup in (1, 0, 0):
        one = hp.Online(0.4, 4, steps_per_point=6, periods=1, warmup_periods=warmup)
        singles.append(online(case, one, init=init))
        init = singles[-1][1].state
    assert aux.settled.all()
    mean = jax.tree.map(lambda *leaves: sum(leaves) / 3, *(s[2] for s in singles))
    for found, expected in zip(jax.tree.leaves(grads), jax.tree.leaves(mean), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(loss, np.mean([s[0] for s in singles]), rtol=1e-12)
    np.testing.assert_allclose(
        aux.logits, np.mean([s[1].logits for s in singles], axis=0), rtol=1e-12
    )
    residuals = np.concatenate([s[1].residuals["online"] for s in singles])
    np.testing.assert_allclose(aux.residuals["online"], residuals, rtol=1e-9)
    for found, expected in zip(
        jax.tree.leaves(aux.state), jax.tree.leaves(singles[-1][1].state), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_memory_does_not_grow_with_the_periods(case: Any) -> None:
    def temporary(periods: int) -> int:
        estimator = hp.Online(0.4, 16, steps_per_point=2, periods=periods)
        step = jax.jit(lambda case: online(case, estimator)[::2])
        network, x, y = case
        # A batch whose states weigh more than all else.
        many = network, jnp.tile(x, (100, 1)), jnp.tile(y, 100)
        return step.lower(many).compile().memory_analysis().temp_size_in_bytes

    states = 16 * 300 * (5 + 4) * 16
    assert temporary(9) - temporary(2) < states


def test_an_example_that_fails_leaves_no_trace_in_the_others(case: Any) -> None:
    _, x, y = case
    network = hp.mlp([6, 5, 4, 3], weight_std=0.4, activation=hp.Identity(), key=jax.random.key(0))
    # States of this size count as diverged.
    x = x.at[2].mul(1e18)
    estimator = hp.Online(0.4, 4, steps_per_point=6, periods=2)
    loss, aux, grads = online((network, x, y), estimator)
    expected_loss, _, expected = online((network, x[:2], y[:2]), estimator)
    assert aux.settled.tolist() == [True, True, False]
    assert int(aux.count) == 2
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-12)
    for found, wanted in zip(jax.tree.leaves(grads), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-14)


def test_examples_that_lag_behind_the_nudge_stay_in_the_mean(case: Any) -> None:
    estimator = hp.Online(0.4, 4, steps_per_point=1, periods=2)
    _, aux, grads = online(case, estimator)
    assert np.all(np.max(aux.residuals["online"], axis=0) > 0.1)
    assert aux.settled.all()
    assert np.all(aux.error > 0.1)
    # The same trajectory, of which nothing is asked because it is noisy.
    noisy = hp.Synchronous(steps=1, noise=1e-300)
    _, wanted = hp.value_and_grad(
        *case, estimator=estimator, nudged=noisy, key=jax.random.key(0), throw=False
    )
    for found, expected in zip(jax.tree.leaves(grads), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_array_equal(found, expected)
