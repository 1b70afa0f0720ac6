"""The training loop, against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from toy import arrays, circuit_examples, examples, mean_error, mean_loss, method

import holoprop as hp
from holoprop.training import Examples, fit

ONE_EPOCH = {"epochs": 1, "batch_size": 4, "seed": 0}


def train(network, train_set, validation, **changes):
    """`fit` with a record of what it reported."""
    progress, metrics = [], []
    settings = {"method": method()} | ONE_EPOCH | changes
    trained = fit(
        network,
        train_set,
        validation,
        on_progress=progress.append,
        on_epoch=metrics.append,
        **settings,
    )
    return trained, progress, metrics


def test_one_step_follows_the_gradient_of_the_feed_forward_pass(network):
    data = examples(8)
    gradient = jax.grad(mean_loss)(arrays(network), data.inputs, data.labels)
    exact = method(estimator=hp.Holomorphic(0.4, 32), rate=0.3)
    trained, _, _ = train(network, data, data, method=exact, batch_size=8)
    for new, old, slope in zip(arrays(trained), arrays(network), gradient, strict=True):
        np.testing.assert_allclose(new, old - 0.3 * slope, atol=1e-12)


def test_metrics_are_recomputed(network):
    # One batch an epoch: what training reports is the loss at the weights before its step.
    data, held_out = examples(8), examples(5, seed=1)
    trained, _, (line,) = train(network, data, held_out, batch_size=8)
    before, after = arrays(network), arrays(trained)
    assert line.train_loss == pytest.approx(float(mean_loss(before, data.inputs, data.labels)))
    assert line.train_error == pytest.approx(mean_error(before, data.inputs, data.labels))
    validation = held_out.inputs, held_out.labels
    assert line.validation_loss == pytest.approx(float(mean_loss(after, *validation)))
    assert line.validation_error == pytest.approx(mean_error(after, *validation))
    assert line.steps == {"free": 5, "nudged": 5}
    assert (line.unsettled, line.validation_unsettled) == (0, 0)
    assert line.images_per_second == pytest.approx(8 / line.seconds)


def test_metrics_are_means_over_the_batches(network):
    # Without a step the loss of an epoch is that of all examples, in whatever order they come.
    data = examples(40)
    _, _, (line,) = train(network, data, data, method=method(rate=0.0), batch_size=4)
    expected = float(mean_loss(arrays(network), data.inputs, data.labels))
    assert line.train_loss == pytest.approx(expected)
    assert line.validation_loss == pytest.approx(expected)
    assert line.train_error == pytest.approx(mean_error(arrays(network), data.inputs, data.labels))


def test_incomplete_batch_is_not_seen(network):
    data = examples(7)
    _, progress, _ = train(network, data, data, batch_size=4)
    assert progress[-1].batches == 1


def test_epochs_differ_in_their_order(network):
    # Three of four examples are seen in each epoch: over ten epochs not always the same three.
    data = examples(4)
    _, _, metrics = train(network, data, data, method=method(rate=0.0), batch_size=3, epochs=10)
    assert [line.epoch for line in metrics] == list(range(1, 11))
    assert len({round(line.train_loss, 12) for line in metrics}) > 1


def test_progress_ends_every_epoch_complete(network):
    data = examples(90)
    _, progress, metrics = train(network, data, data, batch_size=2, epochs=2)
    for epoch in (1, 2):
        seen = [p for p in progress if p.epoch == epoch]
        batches = [p.batch for p in seen]
        assert batches == sorted(set(batches))
        assert batches[0] == 1, "the first batch took what there was to compile"
        assert len(batches) > 2, "45 batches are shown before the last"
        assert batches[-1] == seen[-1].batches == 45
        line = metrics[epoch - 1]
        assert (seen[-1].loss, seen[-1].error) == (line.train_loss, line.train_error)
        assert seen[-1].residuals == line.residuals
        assert seen[-1].images_per_second > 0


def test_same_seed_trains_the_same_network(network):
    data = examples(16)
    noisy = method(relaxation=hp.Sequential(steps=5, noise=0.1))
    first, again, other = (
        arrays(train(network, data, data, method=noisy, seed=seed)[0]) for seed in (1, 1, 2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_network_that_is_trained_stays_as_it_was(network):
    before = [np.array(a) for a in arrays(network)]
    train(network, examples(8), examples(4))
    for old, new in zip(before, arrays(network), strict=True):
        np.testing.assert_array_equal(old, new)


def test_unsettled_examples_are_counted():
    network, data = hp.mlp([6, 5, 4, 3], key=jax.random.key(0)), examples(8)
    two = hp.Sequential(tolerance=1e-30, max_steps=2)
    residual = hp.relax(network, data.inputs, relaxation=two).residual
    # The median residual as the tolerance: half of the examples miss it.
    half = hp.Sequential(tolerance=float(jnp.median(residual)), max_steps=2)
    still = method(relaxation=half, estimator=hp.Implicit(), rate=0.0)
    _, _, (line,) = train(network, data, data, method=still, batch_size=8)
    assert (line.unsettled, line.validation_unsettled) == (4, 4)


def test_loss_is_the_mean_over_all_that_settled():
    # However they are spread over the batches: at a rate of zero the network stays the same.
    network, data = hp.mlp([6, 5, 4, 3], key=jax.random.key(0)), examples(8)
    two = hp.Sequential(tolerance=1e-30, max_steps=2)
    residual = np.asarray(hp.relax(network, data.inputs, relaxation=two).residual)
    most = hp.Sequential(tolerance=float(np.mean(np.sort(residual)[5:7])), max_steps=2)
    still = method(relaxation=most, estimator=hp.Implicit(), rate=0.0)
    lines = [train(network, data, data, method=still, batch_size=size)[2][0] for size in (4, 8)]
    assert [line.unsettled for line in lines] == [2, 2]
    assert lines[0].train_loss == pytest.approx(lines[1].train_loss, rel=1e-6)


@pytest.mark.parametrize("size", [4, 8])
@pytest.mark.quick("8")
def test_profile_leaves_out_the_step_that_compiles(network, tmp_path, size):
    # With one batch of eight the second epoch's is the first that does not compile.
    data = examples(8)
    train(network, data, data, batch_size=size, epochs=1 if size == 4 else 2, profile=tmp_path)
    assert len(list(tmp_path.rglob("*.xplane.pb"))) == 1


# Energies of every kind


def test_own_energy_with_a_nested_state_is_trained():
    data = circuit_examples(8)
    relaxation = hp.GradientFlow(0.3, steps=60)
    _, progress, metrics = train(
        zoo.Circuit.init(jax.random.key(0)),
        data,
        data,
        method=method(relaxation=relaxation, rate=0.3),
        epochs=6,
    )
    losses = [line.validation_loss for line in metrics]
    assert losses[-1] < 0.9 * losses[0]
    assert {line.train_error for line in metrics} == {None}
    assert {line.validation_error for line in metrics} == {None}
    assert progress[-1].error is None


@pytest.mark.slow
def test_hopfield_network_is_trained():
    # In every suite by `tests/test_annotations.py`.
    network = hp.HopfieldNetwork(14, clamped=range(6), outputs=[11, 12, 13], key=jax.random.key(0))
    data = examples(8)
    trained, _, metrics = train(
        network,
        data,
        data,
        method=method(relaxation=hp.GradientFlow(0.3, steps=60), rate=0.2),
        epochs=8,
    )
    losses = [line.validation_loss for line in metrics]
    assert losses[-1] < 0.9 * losses[0]
    weight = np.asarray(trained.weight)
    assert not np.array_equal(weight, network.weight)
    np.testing.assert_allclose(weight, weight.T, atol=1e-12)
    np.testing.assert_array_equal(np.diag(weight), 0)


# What cannot be trained


def test_batch_larger_than_the_set_is_refused(network):
    with pytest.raises(ValueError, match=r"batch_size=9 is larger than the 8 examples"):
        train(network, examples(8), examples(4), batch_size=9)


@pytest.mark.parametrize(
    ("name", "value"), [("epochs", 0), ("epochs", -1), ("batch_size", 0), ("seed", -1)]
)
def test_number_out_of_range_is_refused(network, name, value):
    with pytest.raises(ValueError, match=rf"{name}.*{value}"):
        train(network, examples(8), examples(4), **{name: value})


def test_empty_training_set_is_refused(network):
    with pytest.raises(ValueError, match=r"at least 1 example|empty"):
        train(network, examples(0), examples(4))


def test_empty_validation_set_is_refused_before_training(network):
    seen = []
    with pytest.raises(ValueError, match=r"empty|no examples|one example"):
        fit(
            network,
            examples(8),
            examples(0),
            method=method(),
            epochs=1,
            batch_size=4,
            seed=0,
            on_progress=seen.append,
        )
    assert seen == []


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_out_of_range_are_refused(network, label):
    data = Examples(examples(4).inputs, np.array([0, 1, 2, label], np.int32))
    with pytest.raises((ValueError, RuntimeError), match="labels"):
        train(network, data, examples(4))


def test_inputs_of_another_shape_are_refused(network):
    data = Examples(np.zeros((4, 7)), np.zeros(4, np.int32))
    with pytest.raises(ValueError, match=r"images have shape \(4, 7\)"):
        train(network, data, examples(4))


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_of_the_validation_set_are_looked_at_before_training(network, label):
    data = Examples(examples(4).inputs, np.array([0, 1, 2, label], np.int32))
    with pytest.raises(ValueError, match="labels"):
        fit(network, examples(4), data, method=method(), **ONE_EPOCH)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_inputs_that_are_not_finite_are_refused_before_training(network, value):
    data = examples(8)
    data.inputs[7, 0] = value
    seen = []
    with pytest.raises(ValueError, match="inputs has 1 values that are not finite"):
        fit(network, data, examples(4), method=method(), on_progress=seen.append, **ONE_EPOCH)
    assert seen == []


def test_batch_in_which_nothing_settles_ends_training():
    network, data = hp.mlp([6, 5, 4, 3], key=jax.random.key(0)), examples(8)
    hasty = hp.Sequential(tolerance=1e-30, max_steps=1)
    seen = []
    with pytest.raises(RuntimeError, match=r"no example settled.*epoch 1.*looser tolerance"):
        fit(
            network,
            data,
            data,
            method=method(relaxation=hasty),
            on_progress=seen.append,
            **ONE_EPOCH,
        )
    assert seen == []


def test_non_holomorphic_network_is_refused():
    network = hp.mlp([6, 5, 3], activation=hp.ReLU(), key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"ReLU is not.*points=2"):
        train(network, examples(8), examples(4), method=method(estimator=hp.Holomorphic(0.4, 10)))


def test_examples_are_taken_by_rows():
    data = Examples({"drive": np.arange(6).reshape(3, 2)}, np.array([5, 6, 7]))
    part = data.take(np.array([2, 0]))
    assert len(data) == 3
    assert len(part) == 2
    np.testing.assert_array_equal(part.inputs["drive"], [[4, 5], [0, 1]])
    np.testing.assert_array_equal(part.labels, [7, 5])
