"""The presets."""

import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import holoprop as hp
from holoprop.runs import Mlp, OptimiserConfig, Vgg, build_method, describe_changes, presets
from holoprop.runs._json import as_json
from holoprop.training import train_step

PRESETS = presets()


def test_default_preset_is_the_packaged_subset():
    name, preset = next(iter(presets().items()))
    config = preset.config
    assert name == "mnist-subset"
    assert config.data.source is None
    assert config.network.sizes == (784, 256, 256, 10)
    assert isinstance(config.estimator, hp.Holomorphic)
    assert (config.estimator.radius, config.estimator.points) == (0.05, 8)


@pytest.mark.parametrize("name", PRESETS)
def test_preset_has_a_line_of_help_and_is_json(name):
    preset = PRESETS[name]
    assert preset.summary.endswith(".")
    assert json.loads(json.dumps(as_json(preset.config)))["epochs"] == preset.config.epochs


# The settings of the paper's tables

TABLE_1 = {
    "mnist-ep-0.1": (hp.OneSided(0.1), None, None, 0),
    "mnist-ep-0.4": (hp.OneSided(0.4), None, None, 0),
    "mnist-ep-0.1-noise": (hp.OneSided(0.1), 350, 350, 4e-2),
    "mnist-ep-0.4-noise": (hp.OneSided(0.4), 350, 350, 4e-2),
    "mnist-hep": (hp.Holomorphic(0.4, 10), None, None, 0),
    "mnist-hep-noise": (hp.Holomorphic(0.4, 10), 200, 50, 4e-2),
    "mnist-online": (hp.Online(0.4, 10, steps_per_point=30, periods=3), None, 30, 0),
    "mnist-online-noise": (hp.Online(0.4, 10, steps_per_point=30, periods=3), 200, 30, 4e-2),
}


@pytest.mark.parametrize("name", TABLE_1)
def test_settings_of_table_3(name):
    config = PRESETS[name].config
    estimator, free, nudged, noise = TABLE_1[name]
    assert config.estimator == estimator
    assert (config.free.steps, config.nudged.steps) == (free, nudged)
    assert config.free.noise == config.nudged.noise == noise
    assert (config.data.source, config.validation) == ("ylecun/mnist", 0)
    assert (config.epochs, config.batch_size) == (50, 20)
    assert config.optimiser == OptimiserConfig(learning_rate=0.05)
    assert config.network == Mlp(sizes=(784, 256, 256, 10), activation=hp.ShiftedSigmoid())


FIVE = ((0.25, 0.15, 0.10, 0.08, 0.05), (128, 256, 512, 512))
CIFAR = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize("method", ["hep", "bp"])
@pytest.mark.parametrize(
    ("data", "batch", "decay", "classes", "normal"),
    [
        ("cifar10", 128, 2e-3, 10, CIFAR),
        ("cifar100", 128, 1e-2, 100, CIFAR),
        ("imagenet32", 256, 5e-4, 1000, IMAGENET),
    ],
)
def test_settings_of_table_5(data, batch, decay, classes, normal, method):
    config = PRESETS[f"{data}-{method}"].config
    rates, channels = FIVE
    assert config.optimiser == OptimiserConfig(
        learning_rates=rates, schedule="cosine-by-epoch", momentum=0.9, weight_decay=decay
    )
    assert (config.epochs, config.batch_size, config.validation) == (90, batch, 0)
    assert config.data.source.endswith(data)
    mean, std = normal
    assert config.inputs.mean == mean
    np.testing.assert_allclose(config.inputs.std, 1.5 * np.array(std), rtol=1e-12)
    assert (config.inputs.flip, config.inputs.pad) == (True, 2)
    if method == "hep":
        assert config.network == Vgg(channels, classes=classes, activation=hp.DSiLU())
        assert config.estimator == hp.Holomorphic(1.0, 2)
        assert (config.free.max_steps, config.nudged.max_steps) == (250, 60)
    else:
        assert config.network == Vgg(channels, classes=classes, activation=hp.ReLU())
        assert config.method == "bp"
        assert (config.estimator, config.free, config.nudged) == (None, None, None)


@pytest.mark.parametrize(
    ("name", "points"),
    [("cifar10-deep-n2", 2), ("cifar10-deep-n4", 4), ("cifar10-deep-clipped", 2)],
)
def test_settings_of_figure_4c(name, points):
    config = PRESETS[name].config
    network = eqx.filter_eval_shape(config.network.build, seed=0)
    layers = [c.weight.shape[-1] for c in network.couplings]
    assert layers == [128, 128, 256, 256, 512, 512]
    assert [c.padding for c in network.couplings] == [1, 1, 1, 0, 1, 0]
    pooled = [c.pooling for c in network.couplings]
    assert [p is not None for p in pooled] == [True, False] * 3
    twin = name.endswith("clipped")
    assert pooled[0] == (hp.MaxPool(2) if twin else hp.SoftmaxPool(2, 10.0))
    assert network.activation == (hp.ClippedReLU() if twin else hp.DSiLU())
    assert config.estimator == hp.Holomorphic(1.0, points)
    assert config.optimiser == OptimiserConfig(
        learning_rates=(0.05, 0.04, 0.04, 0.03, 0.03, 0.02, 0.02),
        schedule="cosine-by-epoch",
        momentum=0.9,
        weight_decays=(5e-4, 5e-4, 5e-4, 5e-4, 5e-4, 5e-4, 1e-3),
    )
    assert (config.epochs, config.batch_size) == (90, 128)


def test_fashion_mnist_is_trained_as_the_digits():
    hep, bp, digits = (
        PRESETS[n].config for n in ("fashion-mnist-hep", "fashion-mnist-bp", "mnist-hep")
    )
    assert dataclasses.replace(hep, data=digits.data) == digits
    assert bp.method == "bp"
    assert bp.network == dataclasses.replace(hep.network, activation=hp.ReLU())
    assert bp.optimiser == hep.optimiser


# At small scale


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "mnist-subset"])
def test_small_scale_has_fewer_channels_images_and_epochs_alone(name):
    full, small = PRESETS[name].config, PRESETS[name].small
    assert small.images < 10_000
    assert small.epochs < full.epochs
    widths = "sizes" if isinstance(full.network, Mlp) else "channels"
    assert sum(getattr(small.network, widths)) < sum(getattr(full.network, widths))
    assert len(getattr(small.network, widths)) == len(getattr(full.network, widths))
    said = [line.split()[0] for line in describe_changes(full, small)]
    # Batches are smaller where few images would make too few steps.
    batch = ["batch_size"] if widths == "channels" else []
    assert said == ["images", "epochs", *batch, f"network.{widths}"]


def step(config):
    """A training step on two images, as a function of the network."""
    method = build_method(config, steps=config.epochs)
    shape = (28, 28) if isinstance(config.network, Mlp) else (32, 32, 3)
    images, labels = np.zeros((2, *shape), np.uint8), np.array([0, 1], np.int32)
    images[1] = 200

    def run(seed):
        network = config.network.build(seed=seed)
        state = method.optimiser.init(eqx.filter(network, eqx.is_inexact_array))
        key = jax.random.key(0)
        network, _, seen = train_step(method, network, state, images, labels, key)
        return network, seen

    return run


def slow_but(*quick):
    """The presets, the convolutional ones by equilibria as slow but for some."""
    for name, preset in PRESETS.items():
        network, method = preset.config.network, preset.config.method
        is_slow = not isinstance(network, Mlp) and method == "ep" and name not in quick
        yield pytest.param(name, marks=pytest.mark.slow) if is_slow else name


@pytest.mark.slow
@pytest.mark.parametrize("name", list(slow_but("cifar10-hep")))
def test_preset_builds_and_its_training_step_can_be_traced(name):
    config = PRESETS[name].config
    network, seen = eqx.filter_eval_shape(step(config), 0)
    shapes = [c.weight.shape for c in network.couplings]
    widths = (
        config.network.sizes[1:-1] if isinstance(config.network, Mlp) else (config.network.channels)
    )
    assert [s[0 if len(s) == 2 else -1] for s in shapes] == list(widths)
    assert seen["loss"].shape == ()
    assert set(seen["steps"]) <= {"free", "nudged", "online"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "cifar10-bp",
        pytest.param("cifar10-hep", marks=pytest.mark.slow),
        pytest.param("cifar10-deep-clipped", marks=pytest.mark.slow),
        "mnist-online-noise",
    ],
)
def test_training_step_compiles_and_moves_every_layer(name):
    """Four that have all kinds of settings between them, with a unit or two in each layer."""
    config = PRESETS[name].small
    if isinstance(config.network, Mlp):
        network = dataclasses.replace(config.network, sizes=(784, 3, 3, 10))
    else:
        narrow = (2,) * len(config.network.channels)
        network = dataclasses.replace(config.network, channels=narrow)
    config = dataclasses.replace(config, network=network)
    trained, seen = step(config)(0)
    assert np.isfinite(float(seen["loss"]))
    assert int(seen["unsettled"]) == 0
    moved = jax.tree.map(
        lambda new, old: bool(jnp.any(new != old)),
        eqx.filter(trained, eqx.is_inexact_array),
        eqx.filter(network.build(seed=0), eqx.is_inexact_array),
    )
    assert [c.weight for c in moved.couplings] == [True] * len(moved.couplings)
    assert moved.readout.weight
