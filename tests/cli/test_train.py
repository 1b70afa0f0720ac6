"""`holoprop train` from the data to the run folder."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import zoo
from PIL import Image
from safetensors.numpy import load_file
from terminal import (
    CENTRED,
    FILES,
    SMALL,
    TWO_LAYERS,
    call,
    files,
    old_run,
    parse,
    refuses,
    write_digits,
)

import holoprop as hp
from holoprop.cli._drafts import choices
from holoprop.data import load_images
from holoprop.runs import Mlp, TrainConfig, load_weights, presets
from holoprop.runs._json import as_json
from holoprop.runs._weights import weights_sha256

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "compiled_quickly")

LINE = {
    *("epoch", "train_loss", "train_error", "validation_loss", "validation_error", "residuals"),
    *("steps", "images_per_second", "seconds"),
}
LAYERS = {
    *("couplings[0].weight", "couplings[0].bias", "couplings[1].weight", "couplings[1].bias"),
    *("readout.weight", "readout.bias"),
}


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


def installed(*arguments, seconds=None, **environment):
    """A run of the installed command, as it is without any test around it: what it printed."""
    command = [Path(sys.executable).with_name("holoprop"), "train", *arguments]
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def run(digits, tmp_path_factory):
    """A run of two epochs, and what it printed."""
    folder = tmp_path_factory.mktemp("runs") / "deep" / "run"
    arguments = ("--data", digits, *SMALL, *TWO_LAYERS, "--epochs", 2, "--output", folder)
    with jax.enable_x64(False):
        answer = call("train", *arguments)
    assert (answer.code, answer.err) == (0, "")
    return folder, answer.out


# The run folder


def test_run_leaves_its_files_and_no_others(run):
    folder, _ = run
    assert set(files(folder)) == FILES


def test_config_holds_everything_that_was_set(run, digits):
    folder, _ = run
    expected = {"preset": "mnist-subset"} | as_json(presets()["mnist-subset"].config)
    expected["data"] |= {"source": str(digits)}
    expected |= {"output": str(folder), "epochs": 2, "validation": 0.25}
    expected["network"] |= {"sizes": [784, 12, 8, 10], "weight_std": 0.1}
    for phase, max_steps in (("free", 200), ("nudged", 60)):
        fixed = {"type": "Sequential", "steps": 20, "tolerance": None, "max_steps": max_steps}
        expected[phase] = expected[phase]["inner"] | fixed
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
    stored = load_file(folder / "weights.safetensors")
    assert set(stored) == LAYERS
    assert {array.dtype.name for array in stored.values()} == {"float32"}
    # In the network's own order.
    for layer in ("couplings[0]", "couplings[1]", "readout"):
        for name in (f"{layer}.weight", f"{layer}.bias"):
            array = stored[name]
            digest.update(f"{name} {array.dtype.name} {array.shape}\n".encode() + array.tobytes())
    assert summary_of(folder)["weights_sha256"] == digest.hexdigest()


def test_saved_weights_make_the_trained_network_again(run):
    folder, _ = run
    config = parse((folder / "config.json").read_text())
    network = config["network"]
    settings = Mlp(sizes=tuple(network["sizes"]), weight_std=network["weight_std"])
    fresh = zoo.cast(settings.build(seed=99), np.float32)
    assert weights_sha256(fresh) != summary_of(folder)["weights_sha256"]
    assert weights_sha256(load_weights(fresh, folder)) == summary_of(folder)["weights_sha256"]


def sigmoid(z):
    return 1 / (1 + np.exp(-4 * z + 2))


def numpy_test_numbers(folder, images, labels):
    """Loss and error by the fixed-point map written out in NumPy, from the saved arrays alone."""
    stored = load_file(folder / "weights.safetensors")
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


@pytest.mark.slow
def test_seed_decides_the_weights(digits, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    arguments = ("--data", digits, *CENTRED)
    jax.clear_caches()
    answer = call("train", *arguments, "--seed", 1)
    assert answer.code == 0, answer.err
    assert "After 1 epoch \n" in re.sub(" +", " ", answer.out)
    (first,) = Path("runs").iterdir()
    assert re.match(r"\d{4}-\d{2}-\d{2}\b", first.name), "a dated folder"
    assert set(files(first)) == FILES

    # The same seed again, over an earlier run, with the programs that this one has left on disk.
    jax.clear_caches()
    programs = files(tmp_path / "cache")
    assert len(programs) > 1
    old = old_run(Path("old"))
    before = files(old)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    answer = call("train", "mnist-subset", *arguments, "--seed", 1, "--output", old, "--overwrite")
    assert answer.code == 0, answer.err
    assert files(tmp_path / "cache") == programs, "nothing was compiled"
    after = files(old)
    assert set(after) == FILES | {"notes.txt"}
    assert after["notes.txt"] == b"mine"
    assert not any(after[name] == before[name] for name in FILES)
    assert [line["epoch"] for line in metrics_of(old)] == [1]
    # On a terminal there is a progress bar, which says from the beginning what is being done.
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", answer.out)
    stages = ("reading images", "compiling the training step", "comparing gradients")
    assert sorted(stages, key=shown.index) == list(stages)
    assert re.search(r"6/6 .*loss \d\S*  error \S+ %  residual free .* images/s", shown)

    # Where programs cannot be kept, the run goes on all the same.
    monkeypatch.delenv("FORCE_COLOR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(digits / "train.parquet"))
    answer = call("train", *arguments, "--seed", 2, "--output", "other")
    assert answer.code == 0
    assert answer.err.startswith("holoprop train: compiled programs cannot be kept in ")
    assert answer.err.count("\n") == 1

    sha256 = [summary_of(run)["weights_sha256"] for run in (first, old, "other")]
    assert sha256[0] == sha256[1] != sha256[2]


OWN = """
import holoprop as hp, jax, jax.numpy as jnp


class Linear(hp.AbstractEnergy):
    weight: jax.Array

    def energy(self, state, x):
        return jnp.sum(state**2) / 2 - jnp.sum(state * (self.weight @ x.reshape(-1)))

    def init_state(self, x):
        return jnp.zeros(10, self.weight.dtype)

    def cost(self, state, y):
        return hp.CrossEntropy()(state, y)

    def logits(self, state):
        return state


def network(*, key):
    return Linear(jax.random.normal(key, (10, 784)) / 28)
"""


def test_energy_of_ones_own_is_trained(digits):
    Path("own.py").write_text(OWN)
    own = ("--network", "custom", "--network.factory", "own:network", "--estimator.points", 2)
    fixed = ("--free", "sequential", "--free.steps", 20, "--nudged", "sequential")
    summary = train(
        *("--data", digits, "--validation", 0.25, "--epochs", 2),
        *own,
        *(*fixed, "--nudged.steps", 20, "--estimator.radius", 0.01),
    )
    assert parse(Path("run/config.json").read_text())["network"]["type"] == "Custom"
    first, last = metrics_of("run")
    assert last["train_loss"] < first["train_loss"]
    assert summary["alignment"]["before"]["whole"]["relative_error"] < 1e-3
    assert set(load_file("run/weights.safetensors")) == {"weight"}


# Data


def test_run_can_be_validated_on_the_test_split(digits):
    noise = ("--free.noise", 0.04, "--nudged.noise", 0.04)
    summary = train("--data", digits, *CENTRED, *noise, "--validation", 0)
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
    "implicit": ("--free", "synchronous", "--optimiser.weight-decay", 1e-4),
    "unrolled": ("--estimator.steps", 30),
}


@pytest.mark.parametrize("name", choices(TrainConfig, hp.AbstractEstimator))
@pytest.mark.quick("online", "implicit")
def test_run_with_each_estimator(untested, name):
    size = {
        "holomorphic": ("--estimator.radius", 0.01),
        "online": ("--estimator.radius", 0.01),
        "centred": ("--estimator.nudge", 0.01),
        "one-sided": ("--estimator.nudge", 0.01),
    }.get(name, ())
    summary = train("--data", untested, *SMALL, "--estimator", name, *size, *RUNS[name])
    whole = summary["alignment"]["before"]["whole"]
    # At this radius the bias of the one-sided estimate, of first order, is the largest.
    assert whole["cosine"] > 0.999
    assert whole["relative_error"] < 0.05
    assert "test_error" not in summary, "there is no test split"
    # Squared error has a nudged output layer in place of the readout.
    top = "couplings[1]" if name == "centred" else "readout"
    layers = {f"{layer}.{part}" for layer in ("couplings[0]", top) for part in ("weight", "bias")}
    assert set(summary["alignment"]["after"]["layers"]) == layers


def test_profile_is_written_when_asked_for(digits):
    asked = ("--data", digits, *CENTRED, "--profile", "--output", "run")
    answer = call("train", *asked)
    assert answer.code == 0, answer.err
    traces = list(Path("run/profile").rglob("*.xplane.pb"))
    assert len(traces) == 1
    # A run in its place takes the old profile away.
    again = call("train", "--data", digits, *CENTRED, "--overwrite", "--output", "run")
    assert again.code == 0, again.err
    assert not Path("run/profile").exists()


@pytest.mark.slow
def test_auto_tolerance_and_low_precision(digits):
    # Those of the small run that fix the steps are left out.
    small = tuple(a for a in SMALL if a not in ("--free.steps", "--nudged.steps", "20"))
    phases = ("--free.tolerance", "auto", "--nudged.tolerance", "auto")
    low = ("--nudged.precision", "bfloat16", "--estimator.points", 2)
    summary = train("--data", digits, *small, *TWO_LAYERS, *phases, *low)
    config = parse(Path("run/config.json").read_text())
    assert (config["free"]["tolerance"], config["nudged"]["precision"]) == ("auto", "bfloat16")
    assert summary["alignment"]["before"]["whole"]["cosine"] > 0.99


# What the presets promise


@pytest.mark.slow
def test_default_run_keeps_its_promise():
    installed("--output", "run", seconds=180)
    config = parse(Path("run/config.json").read_text())
    assert config["network"]["sizes"] == [784, 256, 256, 10]
    assert (config["estimator"]["type"], config["estimator"]["points"]) == ("Holomorphic", 8)
    assert config["estimator"]["radius"] == 0.05
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


@pytest.mark.parametrize(
    ("network", "billions"),
    [
        (("--network.sizes", 784, 10_000_000, 10), " 8e+09 parameters"),
        (("--network", "vgg", "--network.channels", 9_000_000, 4), "5.8e+08 parameters"),
    ],
)
def test_network_that_is_too_large_for_the_memory_is_refused(network, billions, monkeypatch):
    monkeypatch.setattr("holoprop.runs._memory.available", lambda: 10**9)
    refuses("train", *network, words=(billions, "and there are 1 GB", "smaller network"))


# The best epoch


def test_best_epoch_is_kept_and_tested(digits):
    """At a rate of nothing every epoch is as good, and the first is the best."""
    rate = ("--optimiser.learning-rate", "1e-9")
    answer = call("train", "--data", digits, *CENTRED, *rate, "--epochs", 3, "--output", "run")
    assert (answer.code, answer.err) == (0, "")
    summary, lines = summary_of("run"), metrics_of("run")
    best = summary["best"]
    assert best["epoch"] == 1
    for name in ("validation_error", "validation_loss", "validation_top5_error"):
        assert best[name] == lines[0][name]
    assert best["test_error"] == summary["test_error"]
    assert "Best by validation: epoch 1, validation error" in answer.out
    network = hp.load("run")
    kept = load_weights(network, "run/best.safetensors")
    moved = jax.tree.map(lambda a, b: float(np.max(np.abs(a - b))), network, kept)
    assert 0 < max(jax.tree.leaves(moved)) < 1e-6


def test_patience_ends_a_run(digits):
    rate = ("--optimiser.learning-rate", "1e-9")
    summary = train("--data", digits, *CENTRED, *rate, "--epochs", 9, "--patience", 2)
    assert [line["epoch"] for line in metrics_of("run")] == [1, 2, 3]
    assert (summary["epoch"], summary["best"]["epoch"]) == (3, 1)
    assert call("resume", "run").out == "This run has ended already: nothing is left to do.\n"


def test_patience_is_checked(digits):
    refuses("train", "--data", digits, "--patience", 0, words=("--patience must be 1 or more",))
