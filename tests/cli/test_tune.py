"""`holoprop tune`: the table, the files, and what is refused."""

import json
import math
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from terminal import call, parse, refuses

import holoprop as hp
from holoprop import runs
from holoprop.cli import _tune
from holoprop.data import hold_out, load_images
from holoprop.diagnostics import Trial, Tuning

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "compiled_quickly")

SMALL = (
    *("--network.sizes", "784", "6", "5", "10", "--network.weight-std", "0.1", "--images", "8"),
    *("--radii", "0.1", "0.4", "--points", "2", "4"),
)
COLUMNS = [
    *("N", "radius", "error", "bias", "settling", "noise", "rounding"),
    *("untrusted", "unsettled", "cost"),
]


@pytest.fixture(scope="module")
def tuned(digits, tmp_path_factory):
    """The folder of a search, and what it printed."""
    folder = tmp_path_factory.mktemp("runs") / "tune"
    inputs = ("--inputs.mean", "0.1", "--inputs.std", "0.5")
    answer = call("tune", "--data", digits, *SMALL, *inputs, "--output", folder)
    assert (answer.code, answer.err) == (0, "")
    return folder, answer.out


def rows(out):
    """The cells of the table's rows, without the mark."""
    lines = out.splitlines()
    head = next(i for i, line in enumerate(lines) if line.split() == COLUMNS)
    body = lines[head + 1 :]
    cells = [line.replace("*", " ").split() for line in body]
    return [row for row in cells if len(row) == len(COLUMNS) and row[0].isdigit()]


def test_table_has_a_row_for_each_pair_and_fits_a_screen(tuned):
    folder, out = tuned
    content = parse((folder / "tuning.json").read_text())
    trials = content["tuning"]["trials"]
    assert [(t["points"], t["radius"]) for t in trials] == [
        *((2, 0.1), (2, 0.4), (4, 0.1), (4, 0.4))
    ]
    for row, trial in zip(rows(out), trials, strict=True):
        parts = [trial["parts"][name] for name in COLUMNS[3:7]]
        assert row[:2] == [str(trial["points"]), str(trial["radius"])]
        assert row[2:7] == [f"{value:.0e}" for value in (trial["error"], *parts)]
        assert row[7:] == [str(trial["untrusted"]), str(trial["unsettled"]), f"{trial['cost']:.0f}"]
    table = out[out.index("Estimated error") : out.index("Folder")].splitlines()
    assert max(len(line) for line in table if line.lstrip("* ")[:1].isdigit()) <= 80


def test_proposal_is_marked_and_said(tuned):
    folder, out = tuned
    found = parse((folder / "tuning.json").read_text())["tuning"]
    best = found["best"]
    (marked,) = (line for line in out.splitlines() if line.startswith("* "))
    assert marked.split()[1:3] == [str(best["points"]), str(best["radius"])]
    options = f"--estimator.radius {best['radius']} --estimator.points {best['points']}"
    assert options in out
    assert ("Proposed (*)" if found["reached"] else "No pair reaches") in out
    assert f"Folder: {folder}" in out
    assert "trying 4 pairs of radius and number of points on 8 images" in out


@pytest.mark.slow
def test_search_is_the_librarys_on_images_as_the_run_has_them(tuned, digits):
    folder, _ = tuned
    record = parse((folder / "tuning.json").read_text())
    assert record["config"]["inputs"]["mean"] == [0.1]
    _, images = hold_out(load_images(digits, "train"), count=8, seed=0)
    network = runs.Mlp((784, 6, 5, 10), weight_std=0.1).build(seed=0)
    # The relaxations of the preset that is the default.
    config = runs.presets()["mnist-subset"].config
    found = hp.tune(
        network,
        ((images.images.astype(np.float32) / 255 - 0.1) / 0.5).astype(np.float32),
        images.labels,
        radii=(0.1, 0.4),
        points=(2, 4),
        free=config.free,
        nudged=config.nudged,
        key=jax.random.key(0),
    )
    kept = record["tuning"]["trials"]
    np.testing.assert_allclose(
        [t["error"] for t in kept], [t.error for t in found.trials], rtol=1e-3
    )
    assert [t["cost"] for t in kept] == [t.cost for t in found.trials]


def test_files_are_there_and_no_others(tuned):
    folder, _ = tuned
    assert {path.name for path in folder.iterdir()} == {"tuning.json", "tuning.png"}
    with Image.open(folder / "tuning.png") as picture:
        assert picture.format == "PNG"
        assert len(np.unique(np.asarray(picture.convert("L")))) > 10


@pytest.mark.slow
def test_error_out_of_reach_is_said(digits):
    radius = ("--radii", "0.4", "--points", "2", "--error", "1e-12", "--output", "~/tune")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(Path.cwd()))
        answer = call("tune", "--data", digits, *SMALL, *radius)
    assert answer.code == 0, answer.err
    assert "No pair reaches an error of 1e-12 or less for all but 5 % of the images" in answer.out
    assert "the smallest (*)" in answer.out
    assert parse(Path("tune/tuning.json").read_text())["tuning"]["reached"] is False


@pytest.mark.slow
def test_unstable_equilibria_and_nothing_to_propose_are_said():
    trial = Trial(0.4, 2, math.inf, {"bias": math.inf}, 3, 1, 12.0)
    nothing = Tuning(trial, False, 1e-3, 0.05, 4, 2, (trial,), None)
    first, second = _tune._sentences(nothing)
    assert first.startswith("No pair reaches an error of 0.001 or less")
    assert "*" not in first
    assert "smaller --radii" in first
    assert "2 of 4 images" in second


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--radius", "0.4"), ("unknown option --radius", "--radii", "--help")),
        (("--epochs", "3"), ("unknown option --epochs", "--help")),
        (("--estimator.points", "4"), ("unknown option --estimator.points", "--points")),
        (("--radii", "0.1", "-0.4"), ("--radii must be one or more, all positive",)),
        (("--points", "1"), ("--points must be one or more, each 2 or more",)),
        (("--error", "1"), ("--error must be above 0 and below 1",)),
        (("--share", "1"), ("--share must be from 0 to below 1",)),
        (("--images", "0"), ("--images must be 1 or more",)),
        (("--seed", "4294967296"), ("--seed must be from 0 to 4294967295",)),
        (("mnist-pe",), ("unknown preset 'mnist-pe'", "did you mean mnist-hep")),
        (("cifar10-bp",), ("bp", "has no radius")),
        (("--free", "random"), ("--free is 'random'", "sequential")),
        (("--data", "./nowhere"), ("nowhere", "does not exist")),
    ],
)
def test_what_cannot_be_tuned_is_refused(arguments, words):
    refuses("tune", *arguments, words=words)


def test_existing_folder_is_refused(digits):
    Path("mine").mkdir()
    words = ("mine exists already", "--output")
    refuses("tune", "--data", digits, *SMALL, "--output", "mine", words=words)


def test_images_that_do_not_fit_are_refused(digits):
    refuses(
        "tune", "--data", digits, "--network.sizes", "64", "10", words=("784", "--network.sizes")
    )


@pytest.mark.slow
def test_presets_their_small_forms_and_files_can_be_tuned(monkeypatch):
    seen = []

    def tune(config):
        seen.append(config)
        raise ValueError("stop.")

    monkeypatch.setattr(runs, "tune", tune)
    Path("run").mkdir()
    runs.RunFolder("run").start(runs.presets()["cifar10-hep"].config)
    for arguments in (("cifar10-hep",), ("cifar10-hep", "--scale", "small"), ("--config", "run")):
        assert call("tune", *arguments, "--images", "3").code == 1
    preset = runs.presets()["cifar10-hep"]
    full, small, file = seen
    assert (full.network, full.free, full.nudged, full.inputs, full.data, full.images) == (
        *(preset.config.network, preset.config.free, preset.config.nudged),
        *(preset.config.inputs, preset.config.data, 3),
    )
    assert small.network == preset.small.network
    assert file == full


def test_help_names_every_option():
    answer = call("tune", "--help")
    assert answer.code == 0
    assert "usage: holoprop tune" in answer.out
    for name in ("radii", "points", "error", "share", "images", "weights", "inputs.mean", "free"):
        assert f"--{name}" in answer.out
    assert "--inputs.flip" in json.dumps(answer.out)
