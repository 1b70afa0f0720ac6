"""The presets."""

import json

import pytest

import holoprop as hp
from holoprop.runs import Mlp, OptimiserConfig, presets
from holoprop.runs._json import as_json


def test_default_preset_is_the_packaged_subset():
    name, preset = next(iter(presets().items()))
    config = preset.config
    assert name == "mnist-subset"
    assert config.data is None
    assert config.network.sizes == (784, 256, 256, 10)
    assert isinstance(config.estimator, hp.Holomorphic)
    assert (config.estimator.radius, config.estimator.points) == (0.05, 8)


def test_mnist_hep_is_the_setting_of_table_1():
    config = presets()["mnist-hep"].config
    assert config.data == "ylecun/mnist"
    assert config.validation == 0
    assert (config.epochs, config.batch_size) == (50, 20)
    assert config.optimiser == OptimiserConfig(learning_rate=0.05)
    assert config.network == Mlp(sizes=(784, 256, 256, 10), activation=hp.ShiftedSigmoid())
    assert isinstance(config.estimator, hp.Holomorphic)
    assert (config.estimator.radius, config.estimator.points) == (0.4, 10)
    assert config.free.noise == config.nudged.noise == 0


@pytest.mark.parametrize("name", presets())
def test_preset_has_a_line_of_help_and_is_json(name):
    preset = presets()[name]
    assert preset.summary.endswith(".")
    assert json.loads(json.dumps(as_json(preset.config)))["epochs"] == preset.config.epochs
