"""A configuration comes back from its file as it was, or not at all."""

import dataclasses
import inspect
import json

import pytest

import holoprop as hp
from holoprop.runs import (
    CheckpointConfig,
    Custom,
    InputConfig,
    Mlp,
    OptimiserConfig,
    TrainConfig,
    Vgg,
    presets,
    read_config,
    read_config_file,
)
from holoprop.runs._json import as_json

OTHERS = {
    "centred": TrainConfig(estimator=hp.Centred(0.1), nudged=hp.GradientFlow(0.2, steps=3)),
    "rule": TrainConfig(
        estimator=hp.Holomorphic(0.1, 4, rule=hp.GradientRule.FOURIER, form=hp.StateForm.PLAIN)
    ),
    "default": TrainConfig(),
    "custom": TrainConfig(network=Custom("somewhere:circuit"), output="here", overwrite=True),
    "checkpoints": TrainConfig(checkpoints=CheckpointConfig(minutes=1, steps=3), seed=2**32 - 1),
    "options": TrainConfig(
        estimator=hp.Holomorphic(0.2, 4, part=hp.ComplexPart.REAL, form=hp.StateForm.DEVIATION),
        free=hp.GradientFlow(0.2, steps=3),
        nudged=hp.Anderson(hp.Synchronous(tolerance="auto"), depth=3),
    ),
    "vgg": TrainConfig(
        network=Vgg(
            channels=(4,),
            pool=(True,),
            padding=(0,),
            pooling=hp.SoftmaxPool(2, 3.0),
            weight_std=0.1,
        ),
        inputs=InputConfig(mean=(0.1, 1 / 3, 0.3), pad=3),
        images=7,
    ),
    "wrapped": TrainConfig(
        free=hp.Anderson(hp.Synchronous(steps=3, precision="bfloat16"), depth=4)
    ),
    "adam": TrainConfig(
        optimiser=OptimiserConfig(name="adam", learning_rates=(0.1, 1e-17, 0.3)),
        network=Mlp(cost=hp.SquaredError(), activation=hp.Tanh()),
    ),
}
CONFIGS = {
    **{name: preset.config for name, preset in presets().items()},
    **{f"{name}-small": preset.small for name, preset in presets().items()},
    **OTHERS,
}


def written(tmp_path, content):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(content))
    return file


@pytest.mark.parametrize("name", CONFIGS)
def test_configuration_comes_back_exactly(tmp_path, name):
    config = CONFIGS[name]
    file = written(tmp_path, as_json(config))
    assert read_config_file(file) == config
    assert read_config_file(tmp_path) == config
    assert as_json(read_config_file(file)) == as_json(config)
    # As a run writes it.
    file = written(tmp_path, {"preset": name} | as_json(config))
    assert read_config_file(file) == config


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
    content = json.loads(json.dumps(as_json(config)))
    assert read_config(content) == config
    assert read_config(content) != TrainConfig(estimator=hp.Centred(0.3))


def places(content, path=()):
    """The way to every setting."""
    for name, value in content.items():
        if name != "type":
            yield (*path, name)
        if isinstance(value, dict):
            yield from places(value, (*path, name))


def inside(content, path):
    for name in path:
        content = content[name]
    return content


ALL = {"bp": "cifar10-bp", "noise": "mnist-online-noise", "deep": "cifar10-deep-clipped"}
EDITED = (*ALL.values(), *OTHERS)


def edits(name):
    """The way to every setting of a configuration, its last step, and contents to be spoilt."""
    text = json.dumps(as_json(CONFIGS[name]))
    for *way, last in places(json.loads(text)):
        yield way, last, r"\.".join((*way, last)), json.loads(text)


@pytest.mark.parametrize("name", EDITED)
def test_renamed_setting_is_refused_with_the_nearest_and_a_missing_one_by_name(tmp_path, name):
    for way, last, dotted, content in edits(name):
        value = inside(content, way).pop(last)
        with pytest.raises(ValueError, match=rf"{dotted} is missing"):
            read_config_file(written(tmp_path, content))
        inside(content, way)[f"{last}x"] = value
        words = rf"{dotted}x is no setting of \w+; did you mean {last}\?"
        with pytest.raises(ValueError, match=words):
            read_config_file(written(tmp_path, content))


@pytest.mark.parametrize("name", EDITED)
def test_value_of_another_kind_is_refused_by_name(tmp_path, name):
    for way, last, dotted, content in edits(name):
        inside(content, way)[last] = {"no": ["such", "thing"]}
        with pytest.raises(ValueError, match=dotted):
            read_config_file(written(tmp_path, content))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("nothing",), 3, r"nothing is no setting of TrainConfig\."),
        (("seed",), None, r"seed is None, .* must be a whole number"),
        (("checkpoints", "keep"), 0, r"checkpoints\.keep must be 1 or more; got 0"),
        (("epochs",), 2.5, r"epochs is 2\.5, which it cannot be: it must be a whole number\."),
        (("epochs",), True, "epochs is True, which it cannot be: it must be a whole number"),
        (("epochs",), 0, "epochs must be 1 or more; got 0"),
        (("overwrite",), 1, "overwrite is 1, .* must be true or false"),
        (("method",), "bpp", r'method is .bpp., .* must be "ep" or "bp"; did you mean bp\?'),
        (("estimator", "rule"), "fourrier", r"rule is .fourrier., .*; did you mean fourier\?"),
        (("estimator", "type"), "Holomorph", r"estimator is of type .*; did you mean Holomorphic"),
        (("estimator", "type"), "ShiftedSigmoid", r"estimator is of type .* must be one of"),
        (("network", "sizes"), [784, "8", 10], r"network\.sizes is .8., .* a whole number"),
        (("network", "activation"), None, r"network\.activation is None, .* an object"),
        (("free", "tolerance"), "auot", r'free\.tolerance is .*"auto".*; did you mean auto'),
        (("free", "tolerance"), -1.0, r"free\.tolerance must be positive; got -1\.0"),
        (("optimiser", "momentum"), 2, r"optimiser\.momentum must be from 0"),
        (("free",), "sequential", "free is 'sequential', and must be an object"),
        ((), [1], "the configuration is .1., and must be an object"),
    ],
)
def test_what_a_setting_cannot_be_is_said(tmp_path, path, value, words):
    content = json.loads(json.dumps(as_json(TrainConfig())))
    if path:
        inside(content, path[:-1])[path[-1]] = value
    else:
        content = value
    with pytest.raises(ValueError, match=words):
        read_config_file(written(tmp_path, content))


def test_whole_number_may_stand_for_a_real_one(tmp_path):
    content = as_json(TrainConfig(optimiser=OptimiserConfig(learning_rate=2.0)))
    content["optimiser"]["learning_rate"] = 2
    found = read_config_file(written(tmp_path, content)).optimiser.learning_rate
    assert (found, type(found)) == (2.0, float)


def test_equilibrium_settings_do_not_go_with_backpropagation(tmp_path):
    content = as_json(CONFIGS["cifar10-bp"]) | {"free": as_json(TrainConfig())["free"]}
    with pytest.raises(ValueError, match="free does not apply to method bp: leave it out"):
        read_config_file(written(tmp_path, content))


def test_no_file_and_no_json_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere: give a run's config\.json"):
        read_config_file(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text('{"epochs": ')
    with pytest.raises(ValueError, match=r"config\.json is no JSON"):
        read_config_file(tmp_path)


def test_settings_are_compared_field_by_field():
    """What the round trip rests on: equal configurations have equal fields."""
    config = CONFIGS["cifar10-hep"]
    assert dataclasses.replace(config, seed=1) != config
    changed = dataclasses.replace(config, free=hp.Sequential())
    assert changed != config
