"""Settings come back from JSON exactly, or are refused by name."""

import inspect
import json

import pytest

import holoprop as hp
from holoprop import runs
from holoprop.runs import Custom, Mlp, TrainConfig, presets, read_config
from holoprop.runs._json import as_json

CONFIGS = {
    "default": TrainConfig(),
    **{name: preset.config for name, preset in presets().items()},
    "custom": TrainConfig(network=Custom("somewhere:circuit"), data="digits", epochs=3),
    "parts": TrainConfig(
        network=Mlp((4, 3, 2), activation=hp.Tanh(), cost=hp.SquaredError(), weight_std=0.1),
        estimator=hp.Online(0.2, 4, periods=2),
        free=hp.GradientFlow(0.2, steps=3),
        nudged=hp.Anderson(hp.Synchronous(tolerance="auto"), depth=3),
        checkpoints=runs.CheckpointConfig(minutes=1, steps=3),
        seed=2**32 - 1,
    ),
    "options": TrainConfig(
        estimator=hp.Holomorphic(
            0.2,
            4,
            rule=hp.GradientRule.FOURIER,
            part=hp.ComplexPart.REAL,
            form=hp.StateForm.DEVIATION,
        ),
        free=hp.Sequential(steps=3, noise=0.1),
    ),
}


def again(config):
    return read_config(json.loads(json.dumps(as_json(config))))


@pytest.mark.parametrize("name", CONFIGS)
def test_configuration_comes_back(name):
    config = CONFIGS[name]
    assert as_json(again(config)) == as_json(config)
    assert again(config) == config


ESTIMATORS = [
    hp.Holomorphic(0.2, 3, full_circle=True),
    hp.Online(0.2, 4, warmup_periods=2),
    hp.Centred(0.1),
    hp.OneSided(0.1),
    hp.Implicit(),
    hp.Unrolled(steps=7),
]


def test_every_estimator_is_looked_at():
    final = {
        thing
        for thing in vars(hp).values()
        if inspect.isclass(thing)
        and issubclass(thing, hp.AbstractEstimator)
        and not inspect.isabstract(thing)
    }
    assert {type(estimator) for estimator in ESTIMATORS} == final


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_every_estimator_comes_back(estimator):
    config = TrainConfig(estimator=estimator)
    assert again(config) == config
    assert again(config) != TrainConfig(estimator=hp.Centred(0.3))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("epoch",), 3, r"^epoch is no setting of TrainConfig; did you mean epochs\?$"),
        (("nothing",), 3, r"^nothing is no setting of TrainConfig\.$"),
        (("free", "inner", "stepz"), 3, r"^free\.inner\.stepz is no setting of Sequential"),
        (("epochs",), 2.5, r"^epochs is 2\.5, which it cannot be"),
        (("epochs",), True, r"^epochs is True, which it cannot be"),
        (("seed",), None, r"^seed is None, which it cannot be"),
        (("overwrite",), 1, r"^overwrite is 1, which it cannot be"),
        (("estimator", "rule"), "best", r"^estimator\.rule is 'best', which it cannot be"),
        (("estimator", "type"), "Sequential", r"^estimator is of type 'Sequential', and must"),
        (("optimiser",), [], r"^optimiser is \[\], and must be an object"),
        (("optimiser", "schedule"), "linear", r"^optimiser\.schedule is 'linear'"),
        (("network", "sizes"), 784, r"^network\.sizes is 784"),
        (("network", "sizes"), [784, "ten"], r"^network\.sizes is 'ten'"),
        (("optimiser", "momentum"), 2.0, r"^momentum must be from 0 to below 1"),
    ],
)
def test_edited_setting_is_refused_by_name(place, value, message):
    content = json.loads(json.dumps(as_json(presets()["mnist-subset"].config)))
    inner = content
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    with pytest.raises(ValueError, match=message):
        read_config(content)


def test_missing_settings_are_refused_by_name():
    content = json.loads(json.dumps(as_json(TrainConfig())))
    del content["optimiser"]["momentum"]
    with pytest.raises(ValueError, match=r"^optimiser\.momentum is missing"):
        read_config(content)
