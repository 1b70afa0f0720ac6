"""`holoprop sweep`: the grid, what is refused, and sweeps of small runs."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from terminal import CENTRED, SMALL, call, parse, refuses

from holoprop import runs
from holoprop.cli._grid import combinations

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def grid(*arguments):
    return [(" ".join(c.arguments), c.settings) for c in combinations(arguments)]


# The grid


def test_without_a_comma_there_is_one():
    words = ["mnist-hep", "--seed", "3", "--inputs.flip", "--network.sizes", "784", "10"]
    assert grid(*words) == [(" ".join(words), {})]


def test_the_last_option_varies_fastest():
    assert grid("--a", "1,2", "--b=-3,x") == [
        ("--a 1 --b -3", {"a": "1", "b": "-3"}),
        ("--a 1 --b x", {"a": "1", "b": "x"}),
        ("--a 2 --b -3", {"a": "2", "b": "-3"}),
        ("--a 2 --b x", {"a": "2", "b": "x"}),
    ]


def test_presets_and_options_without_a_value():
    assert grid("p,q", "--in.flip,--in.no-flip") == [
        ("p --in.flip", {"preset": "p", "in.flip": "in.flip"}),
        ("p --in.no-flip", {"preset": "p", "in.flip": "in.no-flip"}),
        ("q --in.flip", {"preset": "q", "in.flip": "in.flip"}),
        ("q --in.no-flip", {"preset": "q", "in.flip": "in.no-flip"}),
    ]


def test_lists():
    assert grid("--sizes", "784", "8,9", "10", "--epochs", "2") == [
        ("--sizes 784 8 10 --epochs 2", {"sizes": "784 8 10"}),
        ("--sizes 784 9 10 --epochs 2", {"sizes": "784 9 10"}),
    ]
    assert grid("--sizes=[784,10],[784,8,10]") == [
        ("--sizes 784 10", {"sizes": "784 10"}),
        ("--sizes 784 8 10", {"sizes": "784 8 10"}),
    ]


@pytest.mark.parametrize("value", ["1,", ",1", "1,,2", ",", "[1,,2],[3]"])
def test_nothing_beside_a_comma(value):
    with pytest.raises(ValueError, match="has nothing on one side of a comma"):
        combinations(["--a", value])


# What is refused, before anything begins


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--seed", "0,1"), ("--output must be given",)),
        (("--seed", "0,", "--output", "s"), ("'0,' has nothing",)),
        (("--seed", "0,00", "--output", "s"), ("seed=0 and seed=00", "leave one out")),
        (("--seed", "0,1", "--overwrite", "--output", "s"), ("--overwrite does not apply",)),
        (("--output", "s", "--processes", "0"), ("--processes must be 1 or more; got 0",)),
        (("--output", "s", "--processes", "x"), ("--processes", "'x'")),
        (("--output", "s", "--slurm", "gpu"), ("--slurm takes KEY=VALUE", "'gpu'")),
    ],
)
def test_its_own_options_are_refused(arguments, words):
    refuses("sweep", *arguments, words=words)


@pytest.mark.parametrize(
    "wrong",
    [
        ("--estimator.radius", "-1.0"),
        ("--seeed", "1"),
        ("--estimator", "centred", "--estimator.points", "4"),
        ("--scale", "tiny"),
    ],
)
def test_settings_are_refused_as_by_train(wrong):
    single = call("train", "mnist-subset", *wrong).err
    option, *rest = wrong
    many = (option, f"{rest[0]},1", *rest[1:])
    swept = call("sweep", "mnist-subset", *many, "--output", "s").err
    assert swept == single.replace("holoprop train: ", "holoprop sweep: ")
    assert not list(Path.cwd().iterdir())


def test_trackers_that_are_not_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    refuses("sweep", "--track", "wandb", "--output", "s", words=("pip install wandb",))


def test_help_says_how():
    answer = call("sweep", "--help")
    assert answer.code == 0
    for words in ("--estimator.radius 0.1,0.4", "--processes", "--slurm", "--output"):
        assert words in answer.out
    assert "sweep [PRESET]" in call("--help").out


# Names of runs


def test_a_name_is_what_a_run_has_of_its_own(monkeypatch):
    names = []

    def gather(trials, folder, **_):
        names.extend(trial.name for trial in trials)
        return [runs.Row(trial.name, trial.settings, "finished") for trial in trials]

    monkeypatch.setattr(runs, "sweep", gather)
    assert call("sweep", "--seed", "0,1", "--estimator.radius", "0.1", "--output", "s").code == 0
    assert call("sweep", "--output", "s").code == 0
    assert call("sweep", "--data", "a/b,a:b", "--seed", "0", "--output", "s").code == 0
    assert names[:3] == ["seed=0", "seed=1", "run"]
    # What no folder can be called becomes a dash, and the two stay apart.
    assert [name[:9] for name in names[3:]] == ["data=a-b-", "data=a-b-"]
    assert len(set(names)) == 5


# Runs


@pytest.fixture(scope="module")
def swept(digits, tmp_path_factory):
    """A sweep of two runs, one of which cannot begin, and what it printed."""
    folder = tmp_path_factory.mktemp("sweeps") / "sweep"
    arguments = ("--data", digits, *CENTRED, "--batch-size", "20,9999", "--output", folder)
    arguments = (*arguments, "--track", "tensorboard")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        return folder, arguments, call("sweep", *arguments, "--processes", "2")


def test_a_sweep_leaves_run_folders_logs_and_a_table(swept):
    folder, _, answer = swept
    assert answer.code == 1
    assert answer.err == ("holoprop sweep: 1 of 2 runs did not finish; the same command goes on.\n")
    assert {path.name for path in folder.iterdir()} == {
        *("batch-size=20", "batch-size=20.log", "batch-size=9999.log"),
        *("sweep.json", "sweep.md"),
    }
    good, bad = parse((folder / "sweep.json").read_text())["runs"]
    summary = parse((folder / "batch-size=20" / "summary.json").read_text())
    assert good["status"] == "finished"
    assert good["settings"] == {"batch-size": "20"}
    assert good["results"]["test_error"] == summary["test_error"]
    assert good["results"]["weights_sha256"] == summary["weights_sha256"]
    assert bad["status"] == "failed"
    assert bad["reason"] == (
        "--batch-size 9999 is larger than the training set: choose at most 120."
    )
    assert f"failed       batch-size=9999: {bad['reason']}" in answer.out
    assert f"{100 * summary['test_error']:.2f} %" in answer.out


def test_runs_of_a_sweep_are_tracked(swept):
    (events,) = (swept[0] / "batch-size=20" / "tensorboard").iterdir()
    assert b"validation_error" in events.read_bytes()


def test_the_same_command_again_goes_on(swept):
    folder, arguments, _ = swept
    before = (folder / "batch-size=20" / "summary.json").stat().st_mtime_ns
    answer = call("sweep", *arguments)
    assert answer.code == 1
    assert "running      batch-size=20\n" not in answer.out
    assert (folder / "batch-size=20" / "summary.json").stat().st_mtime_ns == before
    log = (folder / "batch-size=9999.log").read_text()
    assert log.count("holoprop train: --batch-size 9999") == 2


def test_other_settings_in_the_same_folder_are_refused(swept):
    _, arguments, _ = swept
    answer = call("sweep", *arguments, "--epochs", "7")
    assert answer.code == 1
    assert "would have epochs 7 instead of 1: choose another --output." in answer.err


@pytest.mark.slow
def test_an_interrupted_sweep_ends_as_one_that_was_not(digits):
    options = ("--data", digits, *SMALL, "--epochs", "60", "--seed", "0,1,2", "--processes", "2")
    arguments = [*map(str, options), "--track", "tensorboard", "--output"]
    command = [sys.executable, "-m", "holoprop", "sweep", *arguments]
    subprocess.run([*command, "whole"], check=True)
    process = subprocess.Popen([*command, "parts"])
    while not Path("parts/seed=1/metrics.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    rows = parse(Path("parts/sweep.json").read_text())["runs"]
    assert [row["status"] for row in rows] == ["interrupted", "interrupted", "waiting"]
    subprocess.run([*command, "parts"], check=True)
    assert "going on in epoch" in Path("parts/seed=0.log").read_text()
    sums = [
        [row["results"]["weights_sha256"] for row in parse(file.read_text())["runs"]]
        for file in (Path("whole/sweep.json"), Path("parts/sweep.json"))
    ]
    assert sums[0] == sums[1]
    assert len(set(sums[0])) == 3
    # Events of 60 epochs and the settings, each once.
    for run in ("whole/seed=0", "parts/seed=0"):
        (events,) = Path(run, "tensorboard").iterdir()
        assert events.read_bytes().count(b"validation_error") == 60


# Slurm


def test_without_submitit_the_extra_is_named(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "submitit" else found(name)
    )
    refuses(
        *("sweep", "--seed", "0,1", "--output", "s", "--slurm", "partition=gpu"),
        words=("submitit", "pip install 'holoprop[slurm]'"),
    )
