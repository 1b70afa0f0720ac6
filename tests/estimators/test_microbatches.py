"""A large batch, a few of its examples at a time: the same estimate."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zoo import error

import holoprop as hp
from holoprop.estimators import Estimate, Phases, in_microbatches
from holoprop.relaxation import Problem

KEY = jax.random.key(0)


def case(batch: int) -> tuple[Any, Any, Any]:
    network = hp.mlp([6, 4, 4, 4], weight_std=0.3, key=KEY)
    x = jax.random.uniform(jax.random.key(1), (batch, 6))
    return network, x, jnp.arange(batch) % 4


@pytest.mark.parametrize(
    "estimator", [hp.Holomorphic(0.3, 4), hp.Implicit()], ids=["hep", "implicit"]
)
@pytest.mark.quick("implicit")
def test_microbatches_make_the_whole(estimator: Any) -> None:
    exact = {"estimator": estimator, "free": hp.Sequential(), "nudged": hp.Sequential()}
    (loss, aux), grads = hp.value_and_grad(*case(12), **exact)
    (loss_2, aux_2), grads_2 = hp.value_and_grad(*case(12), **exact, batching=hp.Slots(2))
    assert float(loss_2) == pytest.approx(float(loss), rel=1e-12)
    assert error(grads_2, grads) <= 1e-11
    assert jax.tree.map(jnp.shape, aux_2) == jax.tree.map(jnp.shape, aux)
    np.testing.assert_allclose(aux_2.logits, aux.logits, rtol=1e-10)
    assert error(aux_2.state, aux.state) <= 1e-11


def test_microbatches_weigh_as_many_examples_as_have_settled() -> None:
    network, x, y = case(8)
    # A saturated input does not settle in a few steps; its microbatch has three examples left.
    x = x.at[1].mul(40.0)
    few = hp.Sequential(tolerance=1e-9, max_steps=12)
    options: dict[str, Any] = {"estimator": hp.Centred(0.1), "free": few, "nudged": few}
    (loss, aux), grads = hp.value_and_grad(network, x, y, **options)
    (loss_2, aux_2), grads_2 = hp.value_and_grad(network, x, y, **options, batching=hp.Slots(2))
    assert 0 < int(aux.unsettled) < 8
    np.testing.assert_array_equal(aux_2.settled, aux.settled)
    assert float(loss_2) == pytest.approx(float(loss), rel=1e-10)
    assert error(grads_2, grads) <= 1e-9


def test_microbatches_whose_examples_fail_under_a_nudge() -> None:
    # A target of a thousand times the weight: its example has a loss, and no gradient.
    network, x, labels = case(8)
    y = np.eye(4)[np.asarray(labels)]
    y[[1, 2, 6]] *= 1000
    options: dict[str, Any] = {"free": hp.Sequential(), "nudged": hp.Sequential()}
    options["estimator"] = hp.Holomorphic(0.3, 4)
    (loss, aux), grads = hp.value_and_grad(network, x, y, **options)
    (loss_2, aux_2), grads_2 = hp.value_and_grad(network, x, y, **options, batching=hp.Slots(2))
    for one in (aux, aux_2):
        assert bool(jnp.all(one.free_settled))
        assert one.settled.tolist() == [i not in (1, 2, 6) for i in range(8)]
        assert (int(one.count), int(one.unsettled)) == (5, 3)
    assert float(loss_2) == pytest.approx(float(loss), rel=1e-8)
    assert error(grads_2, grads) <= 1e-7
    losses = jax.vmap(network.cost)(aux.state, y)
    assert float(loss) == pytest.approx(float(jnp.mean(losses)), rel=1e-8)


class _SeenError(Exception):
    """How many examples were to be estimated together."""


@pytest.mark.parametrize(
    ("batch", "size"), [(128, 16), (48, 16), (20, 10), (16, 16), (7, 7), (127, 127), (22, 11)]
)
def test_size_of_microbatches(batch: int, size: int) -> None:
    def estimate(problem: Problem, phases: Phases) -> Estimate:
        raise _SeenError(problem.batch)

    network, x, _ = case(batch)
    for batching, wanted in ((hp.Slots(8), size), (hp.Lockstep(), batch)):
        phases = Phases(hp.Sequential(), hp.Sequential(), batching)
        with pytest.raises(_SeenError) as seen:
            in_microbatches(estimate, Problem(network, x), phases)
        assert seen.value.args == (wanted,)
