"""Evaluation, against closed forms."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from toy import (
    arrays,
    circuit_examples,
    examples,
    feed_forward,
    mean_error,
    mean_loss,
    method,
)

import holoprop as hp
from holoprop.training import Examples, evaluate


@pytest.mark.parametrize("count", [7, 261])
def test_evaluation_is_the_mean_over_all_examples(network, count):
    data = examples(count)
    found = evaluate(method(), network, data)
    assert found.loss == pytest.approx(float(mean_loss(arrays(network), data.inputs, data.labels)))
    assert found.error == pytest.approx(mean_error(arrays(network), data.inputs, data.labels))
    assert found.unsettled == 0


@pytest.mark.parametrize("as_vectors", [False, True])
def test_top_5_error_is_of_the_five_best(as_vectors):
    network = hp.mlp([6, 9, 8], key=jax.random.key(0))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 6)), rng.integers(0, 8, 50).astype(np.int32)
    found = evaluate(method(), network, Examples(x, np.eye(8)[y] if as_vectors else y))
    logits = np.asarray(feed_forward(arrays(network), x))
    best = np.argsort(-logits, axis=1)[:, :5]
    expected = np.mean([label not in row for label, row in zip(y, best, strict=True)])
    assert 0 < expected < found.error
    assert found.top5_error == pytest.approx(expected)


def test_of_five_classes_the_five_best_are_all(network):
    assert evaluate(method(), network, examples(7)).top5_error is None


def test_top_5_error_of_a_prediction_that_is_not_finite():
    network = hp.mlp([6, 9, 8], key=jax.random.key(0))
    network = eqx.tree_at(lambda n: n.readout.bias, network, jnp.full(8, jnp.nan))
    found = evaluate(method(), network, Examples(np.ones((3, 6)), np.zeros(3, np.int32)))
    assert (found.error, found.top5_error) == (1, 1)


def test_evaluation_counts_what_did_not_settle():
    network = hp.mlp([6, 5, 4, 3], key=jax.random.key(0))
    hasty = method(relaxation=hp.Sequential(tolerance=1e-12, max_steps=1))
    assert evaluate(hasty, network, examples(7)).unsettled == 7


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_evaluation_counts_as_training_does(noise):
    """After steps of a fixed number, or with noise, no tolerance is asked for."""
    network = hp.mlp([6, 5, 4, 3], key=jax.random.key(0))
    fixed = method(relaxation=hp.Sequential(steps=6, noise=noise))
    assert evaluate(fixed, network, examples(7)).unsettled == 0


def test_evaluation_transforms_the_inputs(network):
    stored = Examples(np.full((5, 6), 51, np.uint8), np.zeros(5, np.int32))
    scaled = Examples(np.full((5, 6), 0.2), np.zeros(5, np.int32))
    found = evaluate(method(transform=lambda inputs: inputs / 255), network, stored)
    assert found.loss == pytest.approx(evaluate(method(), network, scaled).loss)


def test_evaluation_takes_target_vectors(network):
    data = examples(7)
    targets = Examples(data.inputs, np.eye(3)[data.labels])
    found, expected = (evaluate(method(), network, e) for e in (targets, data))
    assert (found.loss, found.error) == pytest.approx((expected.loss, expected.error))


def test_evaluation_of_an_energy_without_classes_has_no_error():
    circuit = zoo.Circuit.init(jax.random.key(0))
    x, y = circuit_examples(3).inputs, np.zeros((3, 2, 2))
    relaxation = hp.GradientFlow(0.3, steps=100)
    found = evaluate(method(relaxation=relaxation), circuit, Examples(x, y))
    rest = hp.relax(circuit, x, relaxation=relaxation)
    assert found.error is None
    # Half the squared distance of the upper leaf from zero.
    assert found.loss == pytest.approx(float(jnp.sum(rest.state["high"][0] ** 2)) / 6)


def test_noise_of_an_evaluation_comes_from_its_seed(network):
    noisy = method(relaxation=hp.Sequential(steps=5, noise=0.1))
    losses = [evaluate(noisy, network, examples(7), seed=seed).loss for seed in (1, 1, 2)]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_diverged_example_counts_as_wrong():
    # The couplings feed a linear network back on itself until it overflows.
    network = hp.mlp(
        [6, 5, 4, 3], activation=hp.Identity(), weight_std=100.0, key=jax.random.key(0)
    )
    found = evaluate(method(relaxation=hp.Sequential(steps=500)), network, examples(7))
    assert (found.error, found.unsettled) == (1.0, 7)


def test_nothing_to_evaluate_is_refused(network):
    with pytest.raises(ValueError, match=r"empty|no examples|one example"):
        evaluate(method(), network, examples(0))


def test_labels_out_of_range_are_refused_by_evaluation(network):
    data = Examples(examples(4).inputs, np.array([0, 1, 2, 3], np.int32))
    with pytest.raises((ValueError, RuntimeError), match="labels"):
        evaluate(method(), network, data)


def test_inputs_of_another_shape_are_refused_by_evaluation(network):
    data = Examples(np.zeros((4, 7)), np.zeros(4, np.int32))
    with pytest.raises(ValueError, match=r"images have shape \(4, 7\)"):
        evaluate(method(), network, data)
