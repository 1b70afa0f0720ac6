"""Settings: their ranges, the presets, and the objects they stand for."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from terminal import SMALL, refuses, write_digits

import holoprop as hp
from holoprop.cli._build import (
    build_estimator,
    build_method,
    build_network,
    build_optimiser,
    build_relaxation,
    scale_images,
)
from holoprop.cli._config import (
    EstimatorConfig,
    NetworkConfig,
    OptimiserConfig,
    RelaxationConfig,
    TrainConfig,
)
from holoprop.cli._presets import DEFAULT, PRESETS


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("digits"))


# Ranges

OUT_OF_RANGE = [
    ("--epochs", "0"),
    ("--epochs", "-1"),
    ("--batch-size", "0"),
    ("--batch-size", "121"),
    ("--seed", "-1"),
    ("--validation", "-0.1"),
    ("--validation", "1.0"),
    ("--validation", "nan"),
    ("--optimiser.learning-rate", "0.0"),
    ("--optimiser.learning-rate", "-0.5"),
    ("--optimiser.learning-rate", "inf"),
    ("--optimiser.learning-rate", "nan"),
    ("--optimiser.momentum", "1.0"),
    ("--optimiser.momentum", "-0.1"),
    ("--optimiser.weight-decay", "-0.1"),
    ("--optimiser.weight-decay", "inf"),
    ("--network.weight-std", "-1.0"),
    ("--network.weight-std", "nan"),
    ("--estimator.points", "1"),
    ("--estimator.radius", "0.0"),
    ("--estimator.radius", "-0.4"),
    ("--estimator.radius", "inf"),
    ("--free.tolerance", "0.0"),
    ("--free.tolerance", "nan"),
    ("--nudged.tolerance", "-0.1"),
    ("--free.max-steps", "0"),
    ("--free.steps", "0"),
    ("--nudged.steps", "-3"),
    ("--free.noise", "-0.1"),
    ("--free.anderson", "1"),
    ("--nudged.anderson", "-1"),
]


@pytest.mark.parametrize(("option", "value"), OUT_OF_RANGE)
def test_number_out_of_range_is_refused(tmp_path, monkeypatch, digits, option, value):
    monkeypatch.chdir(tmp_path)
    # Where a tolerance counts, there is no fixed number of steps.
    fixed = () if option.endswith(".steps") else ("--free.steps=None", "--nudged.steps=None")
    words = (option.split(".")[-1].lstrip("-"), value)
    refuses("train", "--data", digits, *SMALL, *fixed, f"{option}={value}", words=words)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("online", "--estimator.points=1"),
        ("online", "--estimator.radius=0.0"),
        ("online", "--estimator.steps-per-point=0"),
        ("online", "--estimator.periods=0"),
        ("online", "--estimator.warmup-periods=-1"),
        ("unrolled", "--estimator.unrolled-steps=0"),
        ("centred", "--estimator.radius=0.0"),
        ("one-sided", "--estimator.radius=nan"),
    ],
)
def test_number_out_of_an_estimators_range_is_refused(tmp_path, monkeypatch, digits, name, option):
    monkeypatch.chdir(tmp_path)
    arguments = ("--data", digits, *SMALL, "--estimator.name", name, option)
    words = tuple(option.removeprefix("--estimator.").split("="))
    refuses("train", *arguments, words=words)


@pytest.mark.parametrize(
    "sizes", [("784",), ("784", "10"), ("784", "0", "10"), ("784", "-3", "10")]
)
def test_sizes_of_no_network_are_refused(tmp_path, monkeypatch, digits, sizes):
    monkeypatch.chdir(tmp_path)
    words = ("sizes", ", ".join(sizes))
    refuses("train", "--data", digits, *SMALL, "--network.sizes", *sizes, words=words)


@pytest.mark.parametrize("phase", ["free", "nudged"])
def test_noise_without_fixed_steps_is_refused(tmp_path, monkeypatch, digits, phase):
    monkeypatch.chdir(tmp_path)
    words = ("noise", "0.04", "steps")
    refuses("train", "--data", digits, f"--{phase}.noise", "0.04", words=words)


@pytest.mark.parametrize("name", ["relu", "clipped-relu"])
@pytest.mark.parametrize("estimator", [("holomorphic", "--estimator.points=10"), ("online",)])
def test_non_holomorphic_activation_is_refused(tmp_path, monkeypatch, digits, name, estimator):
    monkeypatch.chdir(tmp_path)
    part = {"relu": "ReLU", "clipped-relu": "ClippedReLU"}[name]
    words = ("holomorphic", part, "points=2", "DSiLU")
    refuses(
        *("train", "--data", digits, *SMALL, "--network.activation", name),
        *("--estimator.name", *estimator),
        words=words,
    )


def test_settings_out_of_range_are_refused_in_python_too():
    with pytest.raises(ValueError, match=r"--epochs must be 1 or more; got 0\."):
        TrainConfig(epochs=0)


# Presets


def test_default_preset_is_the_packaged_subset():
    config = PRESETS[DEFAULT][1]
    assert DEFAULT == "mnist-subset"
    assert config.data is None
    assert config.network.sizes == (784, 256, 256, 10)
    assert (config.estimator.name, config.estimator.points) == ("holomorphic", 8)
    assert config.estimator.radius == 0.05


def test_mnist_hep_is_the_setting_of_table_1():
    config = PRESETS["mnist-hep"][1]
    assert config.data == "ylecun/mnist"
    assert config.validation == 0
    assert (config.epochs, config.batch_size) == (50, 20)
    assert config.optimiser == OptimiserConfig(learning_rate=0.05)
    assert config.network == NetworkConfig(sizes=(784, 256, 256, 10), activation="shifted-sigmoid")
    assert (config.estimator.name, config.estimator.points) == ("holomorphic", 10)
    assert config.estimator.radius == 0.4
    assert config.free.noise == config.nudged.noise == 0


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_has_a_line_of_help_and_is_json(preset):
    line, config = PRESETS[preset]
    assert line.endswith(".")
    assert json.loads(json.dumps(dataclasses.asdict(config)))["epochs"] == config.epochs


def test_settings_cannot_be_changed_once_made():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().epochs = 3


# From settings to objects


def test_network_has_the_sizes_and_the_seed():
    config = NetworkConfig(sizes=(6, 5, 4, 3), activation="tanh")
    network, again = (build_network(config, seed=1) for _ in range(2))
    other = build_network(config, seed=2)
    assert (network.input_shape, network.classes) == ((6,), 3)
    assert [layer.shape for layer in network.init_state(jnp.zeros(6))] == [(5,), (4,)]
    assert isinstance(network.activation, hp.Tanh)
    weights = [n.couplings[0].weight for n in (network, again, other)]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_network_with_squared_error_nudges_its_output():
    network = build_network(NetworkConfig(sizes=(6, 5, 3), cost="squared-error"), seed=0)
    assert [layer.shape for layer in network.init_state(jnp.zeros(6))] == [(5,), (3,)]


def test_weights_have_the_deviation_that_was_set():
    # A normal truncated at two deviations has 0.8796 of the deviation it was drawn with.
    network = build_network(NetworkConfig(sizes=(200, 100, 3), weight_std=0.05), seed=0)
    assert np.std(network.couplings[0].weight) / 0.05 == pytest.approx(0.8796, rel=0.02)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("holomorphic", hp.Holomorphic(0.3, 6)),
        ("online", hp.Online(0.3, 6, steps_per_point=7, periods=2, warmup_periods=4)),
        ("centred", hp.Centred(0.3)),
        ("one-sided", hp.OneSided(0.3)),
        ("implicit", hp.Implicit()),
        ("unrolled", hp.Unrolled(9)),
    ],
)
def test_estimator_has_the_settings_of_its_name(name, expected):
    config = EstimatorConfig(
        name=name, radius=0.3, points=6, steps_per_point=7, periods=2, warmup_periods=4,
        unrolled_steps=9,
    )  # fmt: skip
    assert build_estimator(config) == expected
    if name in ("holomorphic", "centred", "one-sided"):
        by_coefficient = dataclasses.replace(config, rule="fourier")
        assert build_estimator(by_coefficient).rule is hp.Rule.FOURIER


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            RelaxationConfig(tolerance=1e-3, max_steps=50),
            hp.Sequential(tolerance=1e-3, max_steps=50),
        ),
        (RelaxationConfig(order="synchronous", steps=7), hp.Synchronous(steps=7)),
        (RelaxationConfig(steps=7, noise=0.1), hp.Sequential(steps=7, noise=0.1)),
        (RelaxationConfig(steps=7, anderson=3), hp.Anderson(hp.Sequential(steps=7), depth=3)),
        (
            RelaxationConfig(tolerance="auto", precision="bfloat16"),
            hp.Sequential(tolerance="auto", max_steps=100, precision="bfloat16"),
        ),
    ],
)
def test_relaxation_stops_as_it_was_told(config, expected):
    # Fixed steps replace the tolerance, so max_steps does not count with them.
    assert build_relaxation(config, phase="free") == expected


def updates(config, gradients, *, weights, steps=10):
    """Weights after each of some gradients."""
    optimiser = build_optimiser(config, steps=steps)
    state, seen = optimiser.init(weights), []
    for gradient in gradients:
        change, state = optimiser.update(gradient, state, weights)
        weights = optax.apply_updates(weights, change)
        seen.append(float(weights))
    return seen


def test_optimiser_is_plain_descent_by_default():
    gradients = [jnp.asarray(2.0), jnp.asarray(-1.0)]
    found = updates(OptimiserConfig(learning_rate=0.1), gradients, weights=jnp.asarray(1.0))
    np.testing.assert_allclose(found, [0.8, 0.9])


def test_weight_decay_joins_the_gradient_before_momentum():
    config = OptimiserConfig(learning_rate=0.1, momentum=0.9, weight_decay=0.5)
    gradients = [jnp.asarray(2.0), jnp.asarray(-1.0)]
    first = 2.0 + 0.5 * 1.0
    w1 = 1.0 - 0.1 * first
    second = 0.9 * first + (-1.0 + 0.5 * w1)
    found = updates(config, gradients, weights=jnp.asarray(1.0))
    np.testing.assert_allclose(found, [w1, w1 - 0.1 * second])


def test_cosine_schedule_goes_down_to_zero_over_the_run():
    config = OptimiserConfig(learning_rate=0.1, schedule="cosine")
    found = updates(config, [jnp.asarray(1.0)] * 5, weights=jnp.asarray(0.0), steps=4)
    rates = 0.1 * (1 + np.cos(np.pi * np.arange(5) / 4)) / 2
    np.testing.assert_allclose(found, -np.cumsum(rates), atol=1e-15)
    assert rates[-1] == 0


def test_images_are_scaled_to_one():
    scaled = scale_images(jnp.array([[0, 51, 255]], jnp.uint8))
    np.testing.assert_allclose(scaled, [[0, 0.2, 1]], rtol=1e-6)
    assert jnp.issubdtype(scaled.dtype, jnp.floating)


def test_method_is_made_of_the_parts():
    config = TrainConfig(free=RelaxationConfig(steps=3), nudged=RelaxationConfig(steps=4))
    method = build_method(config, steps=10)
    assert method.estimator == hp.Holomorphic(0.4, 10)
    assert (method.free, method.nudged) == (hp.Sequential(steps=3), hp.Sequential(steps=4))
    assert jax.tree.leaves(method.transform(jnp.full((1, 2), 255, jnp.uint8)))[0].max() == 1
