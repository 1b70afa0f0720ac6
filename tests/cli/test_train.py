"""`holoprop train` from the data to the run folder."""

import dataclasses
import hashlib
import os
import re
import subprocess
import sys
import typing
from pathlib import Path

import jax
import numpy as np
import pytest
import zoo
from PIL import Image
from terminal import SMALL, call, files, parse, write_digits

import holoprop as hp
from holoprop.cli._build import build_network
from holoprop.cli._config import EstimatorConfig, NetworkConfig
from holoprop.cli._presets import PRESETS
from holoprop.data import load_images
from holoprop.training import load_weights
from holoprop.training._run_folder import weights_sha256

FILES = {"config.json", "metrics.jsonl", "summary.json", "weights.npz", "curves.png"}
LINE = {
    *("epoch", "train_loss", "train_error", "validation_loss", "validation_error", "residuals"),
    *("steps", "images_per_second", "seconds"),
}
LAYERS = {
    *("couplings[0].weight", "couplings[0].bias", "couplings[1].weight", "couplings[1].bias"),
    *("readout.weight", "readout.bias"),
}


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module", autouse=True)
def compiled_quickly():
    """Most of a small run is compilation, and most of that is spent on speed."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def untested(tmp_path_factory):
    """Digits without a test split."""
    return write_digits(tmp_path_factory.mktemp("untested"), test=0)


def summary_of(run):
    return parse((Path(run) / "summary.json").read_text())


def metrics_of(run):
    return [parse(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]


def is_whole(number):
    return number == pytest.approx(round(number))


def train(*arguments):
    """A run that succeeds, in the folder `run`: its summary."""
    answer = call("train", *arguments, "--output", "run")
    assert answer.code == 0, answer.err
    assert answer.err == ""
    assert set(files(Path("run"))) == FILES
    return summary_of("run")


def installed(*arguments, seconds=None):
    """A run of the installed command, as it is without any test around it: what it printed."""
    command = [Path(sys.executable).with_name("holoprop"), "train", *arguments]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=seconds
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def run(digits, tmp_path_factory):
    """A run of two epochs, and what it printed."""
    folder = tmp_path_factory.mktemp("runs") / "deep" / "run"
    return folder, installed("--data", digits, *SMALL, "--epochs", 2, "--output", folder)


# The run folder


def test_run_leaves_its_files_and_no_others(run):
    folder, _ = run
    assert set(files(folder)) == FILES


def test_config_holds_everything_that_was_set(run, digits):
    folder, _ = run
    expected = dataclasses.asdict(PRESETS["mnist-subset"][1])
    expected |= {"data": str(digits), "output": str(folder), "epochs": 2, "validation": 0.25}
    expected["network"] |= {"sizes": [784, 12, 8, 10], "weight_std": 0.1}
    expected["free"] |= {"anderson": 0, "steps": 20}
    expected["nudged"] |= {"anderson": 0, "steps": 20}
    assert parse((folder / "config.json").read_text()) == expected


def test_metrics_have_a_line_for_each_epoch(run):
    folder, _ = run
    lines = metrics_of(folder)
    assert [line["epoch"] for line in lines] == [1, 2]
    for line in lines:
        assert set(line) >= LINE
        assert set(line["residuals"]) == {"free", "nudged"}
        assert line["steps"] == {"free": 20, "nudged": 20}
        assert line["images_per_second"] > 0
        assert line["seconds"] > 0
        # Errors are fractions of 120 training images, and of 40 held out.
        assert is_whole(120 * line["train_error"])
        assert is_whole(40 * line["validation_error"])
    assert lines[1]["train_loss"] < lines[0]["train_loss"]


def test_summary_holds_the_last_line(run):
    folder, _ = run
    summary, last = summary_of(folder), metrics_of(folder)[-1]
    assert {key: summary[key] for key in last} == last


def test_summary_says_what_ran_where(run):
    summary = summary_of(run[0])
    assert summary["preset"] == "mnist-subset"
    assert summary["versions"]["holoprop"] == hp.__version__
    assert summary["versions"]["jax"] == jax.__version__
    assert summary["versions"]["numpy"] == np.__version__
    assert summary["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert summary["machine"]["processors"] == os.cpu_count()
    assert summary["machine"]["device"] == jax.devices()[0].device_kind


def test_summary_compares_the_gradient_with_the_implicit_one(run):
    alignment = summary_of(run[0])["alignment"]
    assert set(alignment) == {"before", "after"}
    for check in alignment.values():
        assert set(check["layers"]) == LAYERS
        for pair in (check["whole"], *check["layers"].values()):
            # The weights are small, so that the preset's circle is exact to many digits.
            assert 0.99999 < pair["cosine"] <= 1
            assert 0 <= pair["relative_error"] < 1e-4
    assert alignment["before"] != alignment["after"]


def test_sha256_is_that_of_the_saved_weights(run):
    folder, _ = run
    digest = hashlib.sha256()
    with np.load(folder / "weights.npz") as stored:
        assert set(stored.files) == LAYERS
        assert {stored[name].dtype.name for name in stored.files} == {"float32"}
        for name in stored.files:
            array = stored[name]
            digest.update(f"{name} {array.dtype.name} {array.shape}\n".encode() + array.tobytes())
    assert summary_of(folder)["weights_sha256"] == digest.hexdigest()


def test_saved_weights_make_the_trained_network_again(run):
    folder, _ = run
    config = parse((folder / "config.json").read_text())
    settings = config["network"] | {"sizes": tuple(config["network"]["sizes"])}
    fresh = zoo.cast(build_network(NetworkConfig(**settings), seed=99), np.float32)
    assert weights_sha256(fresh) != summary_of(folder)["weights_sha256"]
    assert weights_sha256(load_weights(fresh, folder)) == summary_of(folder)["weights_sha256"]


def sigmoid(z):
    return 1 / (1 + np.exp(-4 * z + 2))


def numpy_test_numbers(folder, images, labels):
    """Loss and error by the fixed-point map written out in NumPy, from the saved arrays alone."""
    with np.load(folder / "weights.npz") as stored:
        w1, w2 = stored["couplings[0].weight"], stored["couplings[1].weight"]
        b1, b2 = stored["couplings[0].bias"], stored["couplings[1].bias"]
        w3, b3 = stored["readout.weight"], stored["readout.bias"]
    x = images.reshape(len(images), -1) / 255
    s1, s2 = np.zeros((len(x), len(b1))), np.zeros((len(x), len(b2)))
    for _ in range(500):
        s1 = sigmoid(x @ w1.T + b1 + s2 @ w2)
        s2 = sigmoid(s1 @ w2.T + b2)
    logits = s2 @ w3.T + b3
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(x)), labels]
    return losses.mean(), (logits.argmax(1) != labels).mean()


def test_saved_weights_predict_what_the_summary_says(run, digits):
    folder, _ = run
    test = load_images(digits, "test")
    loss, error = numpy_test_numbers(folder, test.images, test.labels)
    summary = summary_of(folder)
    assert summary["test_error"] == pytest.approx(error)
    assert summary["test_loss"] == pytest.approx(loss, rel=1e-5), "in single precision"


def test_curves_are_a_picture(run):
    with Image.open(run[0] / "curves.png") as picture:
        assert picture.format == "PNG"
        width, height = picture.size
        assert 600 <= width <= 3000
        assert 200 <= height <= 2000
        assert len(np.unique(np.asarray(picture.convert("L")))) > 10


def test_run_prints_its_numbers_and_ends_with_tables(run):
    folder, text = run
    summary = summary_of(folder)
    assert "epoch   1" in text
    assert f"{100 * summary['validation_error']:.2f} %" in text
    assert f"{100 * summary['test_error']:.2f} %" in text
    table = text[text.index("implicit gradient") :]
    for layer in LAYERS:
        assert layer in table
    for word in ("cosine", "relative error", "before", "after"):
        assert word in re.sub(r"\s+", " ", table)
    assert str(folder) in text.replace("\n", "")


# Repetition and replacement


def test_seed_decides_the_weights(digits, monkeypatch):
    centred = ("--data", digits, *SMALL, "--estimator.name", "centred")
    answer = call("train", *centred, "--seed", 1)
    assert answer.code == 0, answer.err
    (first,) = Path("runs").iterdir()
    assert re.match(r"\d{4}-\d{2}-\d{2}\b", first.name), "a dated folder"
    assert set(files(first)) == FILES

    # The same seed again, over an earlier run.
    old = Path("old")
    old.mkdir()
    for name in FILES:
        (old / name).write_text(f"an earlier run's {name}")
    (old / "notes.txt").write_text("mine")
    before = files(old)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    answer = call("train", "mnist-subset", *centred, "--seed", 1, "--output", old, "--overwrite")
    assert answer.code == 0, answer.err
    after = files(old)
    assert set(after) == FILES | {"notes.txt"}
    assert after["notes.txt"] == b"mine"
    assert not any(after[name] == before[name] for name in FILES)
    assert [line["epoch"] for line in metrics_of(old)] == [1]
    # On a terminal there is a progress bar with these numbers.
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", answer.out)
    assert re.search(r"6/6 .*loss \d\S*  error \S+ %  residual free .* images/s", shown)

    other = train(*centred, "--seed", 2)["weights_sha256"]
    assert summary_of(first)["weights_sha256"] == summary_of(old)["weights_sha256"] != other


# Data


def test_run_can_be_validated_on_the_test_split(digits):
    noise = ("--estimator.name", "centred", "--free.noise", 0.04, "--nudged.noise", 0.04)
    summary = train("--data", digits, *SMALL, *noise, "--validation", 0)
    assert summary["validation_error"] == summary["test_error"]
    assert summary["validation_loss"] == summary["test_loss"]
    assert is_whole(40 * summary["validation_error"])
    # Noise keeps every unit moving, and leaves nothing out.
    assert summary["residuals"]["free"] > 1e-3
    assert summary["steps"] == {"free": 20, "nudged": 20}
    assert summary["unsettled"] == 0


# Every estimator, each with some settings that are not the default

RUNS = {
    "holomorphic": ("--estimator.points", 2, "--network.activation", "clipped-relu"),
    "online": ("--estimator.steps-per-point", 10, "--estimator.periods", 1),
    "centred": ("--network.cost", "squared-error"),
    "one-sided": ("--optimiser.schedule", "cosine", "--optimiser.momentum", 0.9),
    "implicit": ("--free.order", "synchronous", "--optimiser.weight-decay", 1e-4),
    "unrolled": ("--estimator.unrolled-steps", 30),
}


@pytest.mark.parametrize("name", typing.get_args(typing.get_type_hints(EstimatorConfig)["name"]))
def test_run_with_each_estimator(untested, name):
    summary = train(
        *("--data", untested, *SMALL, "--estimator.name", name, "--estimator.radius", 0.01),
        *RUNS[name],
    )
    whole = summary["alignment"]["before"]["whole"]
    # At this radius the bias of the one-sided estimate, of first order, is the largest.
    assert whole["cosine"] > 0.999
    assert whole["relative_error"] < 0.05
    assert "test_error" not in summary, "there is no test split"
    layers = set(summary["alignment"]["after"]["layers"])
    if name == "centred":
        # Squared error has a nudged output layer in place of the readout.
        assert layers == {f"couplings[{i}].{part}" for i in range(3) for part in ("weight", "bias")}
    else:
        assert layers == LAYERS


def test_profile_is_written_when_asked_for(digits):
    asked = ("--data", digits, *SMALL, "--profile", "--output", "run")
    answer = call("train", *asked)
    assert answer.code == 0, answer.err
    traces = list(Path("run/profile").rglob("*.xplane.pb"))
    assert len(traces) == 1
    # A run in its place takes the old profile away.
    again = call("train", "--data", digits, *SMALL, "--overwrite", "--output", "run")
    assert again.code == 0, again.err
    assert not Path("run/profile").exists()


def test_auto_tolerance_and_low_precision(digits):
    # Those of the small run that fix the steps are left out.
    small = SMALL[:11]
    phases = ("--free.tolerance", "auto", "--nudged.tolerance", "auto")
    low = ("--nudged.precision", "bfloat16")
    summary = train("--data", digits, *small, *phases, *low)
    config = parse(Path("run/config.json").read_text())
    assert (config["free"]["tolerance"], config["nudged"]["precision"]) == ("auto", "bfloat16")
    assert summary["alignment"]["before"]["whole"]["cosine"] > 0.99


# What the presets promise


@pytest.mark.slow
def test_default_run_keeps_its_promise():
    installed("--output", "run", seconds=180)
    config = parse(Path("run/config.json").read_text())
    assert config["network"]["sizes"] == [784, 256, 256, 10]
    assert (config["estimator"]["name"], config["estimator"]["points"]) == ("holomorphic", 8)
    summary = summary_of("run")
    assert summary["validation_error"] <= 0.06
    for check in summary["alignment"].values():
        assert check["unsettled"] == 0
        for row in (check["whole"], *check["layers"].values()):
            assert row["relative_error"] <= 5e-3


@pytest.mark.slow
def test_full_mnist_reaches_its_accuracy():
    root = os.environ.get("HOLOPROP_DATA")
    if not root or not (Path(root) / "mnist").is_dir():
        pytest.skip("MNIST is not there: set HOLOPROP_DATA to the folder that holds mnist/")
    data = Path(root) / "mnist"
    installed("mnist-hep", "--data", data, "--epochs", 4, "--output", "run")
    lines = metrics_of("run")
    assert lines[1]["validation_error"] <= 0.05
    assert lines[3]["validation_error"] <= 0.04
    assert max(line["seconds"] for line in lines) <= 150
    assert summary_of("run")["test_error"] == lines[3]["validation_error"]
