"""`holoprop presets`, and what options are put on: presets, their small forms, files."""

import dataclasses
import json
from pathlib import Path

import pytest
from terminal import SMALL, call, parse, refuses

from holoprop import runs
from holoprop.runs import presets

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "compiled_quickly")


def succeeds(*arguments):
    answer = call(*arguments)
    assert answer.code == 0, answer.err
    assert answer.err == ""
    return answer.out


# The list


def test_every_preset_has_its_line_in_eighty_columns():
    lines = succeeds("presets").splitlines()
    assert max(map(len, lines)) <= 80
    for name, preset in presets().items():
        (line,) = (line for line in lines if line.split()[:1] == [name])
        assert preset.paper in line
        assert preset.reached in line
    assert not any("…" in line for line in lines)
    header = ["preset", "data", "network", "gradient", "paper", "holoprop"]
    assert lines[0].split() == header


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mnist-hep-noise", "mnist MLP 256-256 hEP N=10 noise 97.8"),
        ("mnist-ep-0.1", "mnist MLP 256-256 EP 0.1 98.0"),
        ("cifar10-deep-n4", "cifar10 CNN-7 hEP N=4 85.6"),
        ("imagenet32-bp", "imagenet32 CNN-5 BP 37.2*"),
    ],
)
def test_line_of_a_preset_says_what_it_is(name, words):
    (line,) = (x for x in succeeds("presets").splitlines() if x.split()[:1] == [name])
    assert " ".join(line.split()).startswith(f"{name} {words}")


def test_list_of_presets_takes_no_arguments():
    assert "usage: holoprop presets" in succeeds("presets", "--help")
    refuses("presets", "mnist", words=("'mnist' is one argument too many",))


# Presets by name


@pytest.mark.parametrize(
    ("given", "near"),
    [("cifar10-hpe", "cifar10-hep"), ("mnist-online-noisy", "mnist-online-noise")],
)
def test_unknown_preset_is_refused_with_the_nearest(given, near):
    refuses("train", given, words=(given, f"did you mean {near};"))


# Small scale


def record(monkeypatch):
    """What would be trained, instead of training it."""
    seen = {}

    def train(config, *, preset, listener, should_stop):
        seen.update(config=config, preset=preset)

    def follow(work, **options):
        work(None)
        return seen

    monkeypatch.setattr(runs, "train", train)
    monkeypatch.setattr("holoprop.cli._command.follow", follow)
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("name", presets())
def test_small_scale_is_the_presets_own_and_says_what_it_changed(name, monkeypatch):
    seen = record(monkeypatch)
    out = succeeds("train", name, "--scale", "small")
    preset = presets()[name]
    assert seen == {"config": preset.small, "preset": f"{name}-small"}
    if preset.small == preset.config:
        assert out == f"{name} is small as it is.\n"
    else:
        epochs = f"epochs {preset.small.epochs} instead of {preset.config.epochs}"
        assert out.startswith("Small scale: images")
        assert epochs in out


def test_options_are_put_on_the_small_form(monkeypatch):
    seen = record(monkeypatch)
    out = succeeds("train", "cifar10-hep", "--epochs", "2", "--scale=small", "--seed", "7")
    assert "epochs 2 instead of 90, batch_size 32 instead of 128" in out
    assert "seed" not in out
    small = presets()["cifar10-hep"].small
    assert seen["config"] == dataclasses.replace(small, epochs=2, seed=7)


def test_full_scale_is_the_preset(monkeypatch):
    seen = record(monkeypatch)
    assert succeeds("train", "cifar10-hep", "--scale", "full") == ""
    assert seen == {"config": presets()["cifar10-hep"].config, "preset": "cifar10-hep"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--scale", "tiny"), ("--scale is 'tiny'", "full, small")),
        (("--scale",), ("--scale needs a value",)),
        (("--config",), ("--config needs a value",)),
        (("--config", "nowhere"), ("no configuration at nowhere",)),
        (("mnist-hep", "--config", "x"), ("--config", "'mnist-hep'")),
        (("--scale", "small", "--config", "x"), ("--config", "--scale")),
    ],
)
def test_what_cannot_be_started_from_is_refused(arguments, words):
    refuses("train", *arguments, words=words)


# Files


def test_settings_are_read_from_a_file_and_single_ones_changed(monkeypatch, tmp_path):
    seen = record(monkeypatch)
    Path("run").mkdir()
    runs.RunFolder("run").start(presets()["cifar10-bp"].config)
    for path in ("run", "run/config.json", tmp_path / "run"):
        succeeds("train", "--config", path)
        assert seen == {"config": presets()["cifar10-bp"].config, "preset": "custom"}
    succeeds("train", "--config=run", "--seed", 3, "--optimiser.learning-rate", 0.1)
    assert (seen["config"].seed, seen["config"].optimiser.learning_rates) == (3, None)


def test_edited_file_is_refused_by_the_settings_name():
    Path("run").mkdir()
    runs.RunFolder("run").start(presets()["cifar10-hep"].config)
    file = Path("run/config.json")
    content = json.loads(file.read_text())
    content["optimiser"]["momentun"] = content["optimiser"].pop("momentum")
    file.write_text(json.dumps(content))
    refuses("train", "--config", "run", words=("momentun is no setting", "did you mean momentum"))


# Runs


@pytest.mark.slow
def test_backpropagation_trains_and_its_run_is_repeated_from_its_file(digits):
    network = ("--network.sizes", "784", "8", "10", "--network.activation", "relu")
    out = succeeds(
        *("train", "--method", "bp", "--data", digits, "--output", "run", "--epochs", "2"),
        *("--validation", "0.25", "--images", "100", *network),
    )
    assert "Gradient against the implicit" not in out
    assert "residual" not in out
    assert "estimated error" not in out
    summary = parse(Path("run/summary.json").read_text())
    assert (summary["alignment"], summary["residuals"], summary["steps"]) == (None, {}, {})
    assert (summary["gradient_error"], summary["untrusted"]) == (None, 0)
    assert parse(Path("run/config.json").read_text())["free"] is None
    assert (
        "by backpropagation, as a feed-forward network, for 2" in Path("run/README.md").read_text()
    )
    succeeds("train", "--config", "run", "--output", "again")
    again = parse(Path("again/summary.json").read_text())
    assert again["weights_sha256"] == summary["weights_sha256"]
    for name in ("train_loss", "validation_error", "test_error"):
        assert again[name] == summary[name]


@pytest.mark.slow
def test_convolutions_train_on_grey_digits_with_augmentation(digits):
    phases = ("--free", "sequential", "--free.steps", "3", "--nudged", "sequential")
    succeeds(
        *("train", "--data", digits, "--output", "run", "--epochs", "1", "--validation", "0.25"),
        *("--network", "vgg", "--network.channels", "2", "2", "--network.input-shape"),
        *("28", "28", "1", "--inputs.flip", "--inputs.pad", "2", "--inputs.mean", "0.1"),
        *("--optimiser.learning-rates", "0.1", "0.1", "0.05", "--estimator.points", "2"),
        *(*phases, "--nudged.steps", "3", "--images", "40"),
    )
    assert parse(Path("run/summary.json").read_text())["unsettled"] == 0


@pytest.mark.slow
def test_network_of_ones_own_is_named_in_short(digits, monkeypatch):
    seen = record(monkeypatch)
    succeeds("train", "--network", "somewhere:circuit")
    assert seen["config"].network == runs.Custom("somewhere:circuit")
    monkeypatch.undo()
    words = ("somewhere:circuit", "is not found")
    refuses("train", "--network=somewhere:circuit", "--data", digits, words=words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("--network", "vgg", "--network.channels", "2"),
            ("(28, 28, 1)", "--network.input-shape 28 28 1"),
        ),
        (
            *(("--network", "vgg", "--network.channels", "2", "--network.input-shape", "28"),),
            ("input-shape must be",),
        ),
        (("--inputs.mean", "0.1", "0.2"), ("--inputs.mean has 2 numbers", "1 channel")),
        (
            ("--optimiser.learning-rates", "0.1", "0.2"),
            ("--optimiser.learning-rates has 2 numbers", "3 layers"),
        ),
        (("--images", "10"), ("--batch-size 20", "at most 10")),
    ],
)
def test_settings_that_do_not_fit_the_data_are_refused(digits, arguments, words):
    small = () if "vgg" in arguments or "0.2" in arguments else SMALL
    refuses("train", "--data", digits, *small, *arguments, words=words)
