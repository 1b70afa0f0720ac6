"""`holoprop` itself: help, version, and one sentence for whatever cannot be run."""

import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import datasets.config
import numpy as np
import pytest
import terminal
from rich.console import Console
from terminal import SMALL, TWO_LAYERS, call, parse, refuses, write_split

import holoprop
from holoprop.cli._drafts import Draft
from holoprop.runs import presets

pytestmark = pytest.mark.usefixtures("compiled_quickly")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Every test runs in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def old_run(folder):
    """A run folder with files that look finished, and one of the user's own."""
    return terminal.old_run(folder / "old")


def installed(*arguments):
    """The installed command in a process of its own."""
    command = [str(Path(sys.executable).with_name("holoprop")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


# Help


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_names_the_command(arguments):
    answer = call(*arguments)
    assert answer.code == 0
    assert "usage: holoprop" in answer.out
    assert "train" in answer.out
    assert answer.err == ""


def test_help_fits_a_screen_and_says_what_to_try_first():
    lines = call("--help").out.splitlines()
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
    assert "Try first:" in lines


def test_help_of_train_names_the_presets():
    answer = call("train", "--help")
    assert answer.code == 0
    assert "usage: holoprop train" in answer.out
    assert "mnist-subset" in answer.out
    assert "mnist-hep" in answer.out
    assert answer.err == ""


@pytest.mark.parametrize("preset", ["mnist-subset", "mnist-hep"])
def test_help_of_a_preset_names_every_option(preset):
    answer = call("train", preset, "--help")
    assert answer.code == 0
    assert f"usage: holoprop train {preset}" in answer.out
    names = [name for name, _, _ in Draft.of(presets()[preset].config).options()]
    assert {"--epochs", "--estimator", "--estimator.points", "--free.tolerance"} <= set(names)
    assert [name for name in names if not re.search(rf"{name}[ ,]", answer.out)] == []
    assert answer.err == ""


def test_help_says_what_the_preset_sets():
    assert "(default: ylecun/mnist)" in call("train", "mnist-hep", "--help").out


def test_version():
    answer = call("--version")
    assert (answer.code, answer.out, answer.err) == (0, f"holoprop {holoprop.__version__}\n", "")


def test_module_is_the_command_too():
    command = [sys.executable, "-m", "holoprop", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"holoprop {holoprop.__version__}\n"


def test_installed_command_reports_an_error_by_its_exit_status():
    done = installed("train", "--data", "nowhere/at/all")
    assert done.returncode != 0
    assert "epoch" not in done.stdout
    assert done.stderr.startswith("holoprop train: data folder 'nowhere/at/all' does not exist")
    assert done.stderr.count("\n") == 1


def test_two_commands_can_be_run_after_one_another():
    for _ in range(2):
        answer = call("train", "--data", "./nowhere")
        assert answer.code != 0
        assert "./nowhere" in answer.err or "'nowhere'" in answer.err


# Words that are not known


def test_unknown_command_is_refused():
    refuses("tarin", words=("tarin", "train"))


def test_unknown_preset_is_refused():
    refuses("train", "mnist-pe", words=("mnist-pe", "mnist-subset", "mnist-hep"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("--leaning-rate", "0.1"),
        ("mnist-subset", "--leaning-rate", "0.1"),
        ("mnist-subset", "--optimiser.leaning-rate=0.1"),
    ],
)
def test_unknown_option_is_refused(arguments):
    refuses("train", *arguments, words=("leaning-rate", "--help"))


def test_second_preset_is_refused():
    refuses("train", "mnist-subset", "mnist-hep", words=("mnist-hep", "--help"))


def test_option_without_its_value_is_refused():
    refuses("train", "--epochs", words=("--epochs",))


@pytest.mark.parametrize(
    ("option", "value", "choices"),
    [
        ("--estimator", "magic", ("holomorphic", "online", "centred", "one-sided")),
        ("--network.activation", "sigmoid", ("shifted-sigmoid", "dsilu", "tanh")),
        ("--network.cost", "hinge", ("cross-entropy", "squared-error")),
        ("--free", "random", ("sequential", "synchronous")),
        ("--optimiser.schedule", "linear", ("constant", "cosine")),
    ],
)
def test_unknown_name_is_refused_with_the_choices(option, value, choices):
    refuses("train", option, value, words=(option, value, *choices))


@pytest.mark.parametrize(
    ("option", "value"), [("--epochs", "two"), ("--epochs", "1.5"), ("--estimator.radius", "big")]
)
def test_value_that_is_no_number_is_refused(option, value):
    refuses("train", option, value, words=(option, value))


# Data that cannot be used. Each leaves no new run folder, and an old one as it was.


def spoilt(digits, name, **splits):
    """A copy of the digits with some splits replaced: (images, labels), or None to drop one."""
    copy = Path(shutil.copytree(digits, name))
    for split, examples in splits.items():
        (copy / f"{split}.parquet").unlink()
        if examples is not None:
            write_split(copy / f"{split}.parquet", *examples)
    return copy


def refuses_data(old_run, *arguments, words):
    """Refused, whether with a new run folder or over an old one."""
    refuses("train", *arguments, *SMALL, "--output", "new", words=words)
    refuses("train", *arguments, *SMALL, "--output", old_run, "--overwrite", words=words)


def blank(count, shape, classes):
    """Grey images without content, and labels in turn."""
    return np.zeros((count, *shape), np.uint8), np.arange(count) % classes


def test_missing_data_folder_is_refused(old_run):
    refuses_data(old_run, "--data", "./digits", words=("digits", "does not exist", "path"))


def test_empty_data_folder_is_refused(old_run, folder):
    (folder / "digits").mkdir()
    refuses_data(old_run, "--data", "digits", words=("digits", "train.parquet"))


def test_data_folder_without_a_training_split_is_refused(old_run, digits):
    data = spoilt(digits, "digits", train=None)
    refuses_data(old_run, "--data", data, words=("digits", "train", "test"))


def test_split_without_images_is_refused(old_run, digits):
    data = spoilt(digits, "digits", train=blank(0, (28, 28), 10))
    refuses_data(old_run, "--data", data, words=("digits", "train", "no rows"))


@pytest.mark.parametrize("split", ["train", "test"])
def test_truncated_file_is_refused(old_run, digits, split):
    file = spoilt(digits, "digits") / f"{split}.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    words = (f"{split}.parquet", "truncated", "again")
    refuses_data(old_run, "--data", file.parent, words=words)


def test_images_that_do_not_fit_the_network_are_refused(old_run, digits):
    data = spoilt(digits, "digits", train=blank(40, (8, 8), 10), test=blank(10, (8, 8), 10))
    words = ("(8, 8)", "784", "--network.sizes", "64")
    refuses_data(old_run, "--data", data, words=words)


def test_colour_images_that_do_not_fit_the_network_are_refused(old_run, digits):
    data = spoilt(digits, "digits", train=blank(40, (20, 20, 3), 10))
    refuses_data(old_run, "--data", data, words=("(20, 20, 3)", "784", "--network.sizes", "1200"))


def test_test_images_that_do_not_fit_the_network_are_refused(old_run, digits):
    data = spoilt(digits, "digits", test=blank(10, (8, 8), 10))
    refuses_data(old_run, "--data", data, words=("(8, 8)", "784"))


def test_more_classes_than_the_network_predicts_are_refused(old_run, digits):
    data = spoilt(digits, "digits", train=blank(48, (28, 28), 12), test=blank(12, (28, 28), 12))
    refuses_data(old_run, "--data", data, words=("12", "10", "--network.sizes"))


def test_test_labels_that_training_never_sees_are_refused(old_run, digits):
    data = spoilt(digits, "digits", train=blank(40, (28, 28), 10), test=blank(24, (28, 28), 12))
    refuses_data(old_run, "--data", data, words=("test", "class '10'", "train does not have"))


def test_nothing_to_validate_on_is_refused(old_run, digits):
    data = spoilt(digits, "digits", test=None)
    words = ("digits", "no test split", "--validation 0.1")
    arguments = ("--data", data, *SMALL, "--validation", 0)
    refuses("train", *arguments, "--output", "new", words=words)
    refuses("train", *arguments, "--output", old_run, "--overwrite", words=words)


@pytest.mark.parametrize("share", ["0.001", "0.999"])
def test_validation_share_that_leaves_one_part_empty_is_refused(digits, share):
    words = ("validation", "160")
    refuses("train", "--data", digits, *SMALL, "--validation", share, words=words)


@pytest.fixture
def no_network(monkeypatch, tmp_path_factory):
    def refuse(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    cache = str(tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)


@pytest.mark.usefixtures("no_network")
def test_hub_name_without_network_is_refused(old_run):
    words = ("someone/digits", "cannot be reached", "--data")
    refuses_data(old_run, "--data", "someone/digits", words=words)


@pytest.mark.usefixtures("no_network")
def test_full_mnist_without_network_says_how_to_give_a_folder():
    refuses("train", "mnist-hep", words=("ylecun/mnist", "cannot be reached", "--data"))


# Run folders


def test_existing_run_folder_is_refused(old_run, digits):
    words = ("old", "--output", "--overwrite")
    refuses("train", "--data", digits, *SMALL, "--output", "old", words=words)


def test_run_folder_with_any_file_is_refused(folder, digits):
    (folder / "notes").mkdir()
    (folder / "notes" / "mine.txt").write_text("mine")
    words = ("notes", "--output", "--overwrite")
    refuses("train", "--data", digits, *SMALL, "--output", "notes", words=words)


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
@pytest.mark.parametrize("output", ["mine.txt", "mine.txt/run"])
def test_run_folder_on_a_file_is_refused(folder, digits, output, overwrite):
    (folder / "mine.txt").write_text("mine")
    words = ("mine.txt", "--output")
    refuses("train", "--data", digits, *SMALL, "--output", output, *overwrite, words=words)


def test_run_folder_without_a_name_is_refused(digits):
    refuses("train", "--data", digits, *SMALL, "--output", "", words=("--output",))


# Interruption


def test_interrupted_run_says_so(digits, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(Console, "print", interrupt)
    centred = ("--estimator", "centred", "--estimator.nudge", "0.4")
    answer = call("train", "--data", digits, *SMALL, *centred, "--output", "run")
    assert answer.code == 130
    assert answer.err == "holoprop train: interrupted.\n"


def test_run_in_which_nothing_settles_says_so(digits):
    refuses(
        *("train", "--data", digits, *SMALL, *TWO_LAYERS),
        *("--estimator", "centred", "--estimator.nudge", "0.4"),
        *("--free.steps=None", "--free.tolerance=1e-12", "--free.max-steps=1"),
        words=("no example settled", "more steps", "tolerance"),
    )


def test_exploding_run_says_so(folder, digits):
    answer = call(
        *("train", "--data", digits, *SMALL, "--output", "run"),
        *(
            "--estimator",
            "centred",
            "--estimator.nudge",
            "0.4",
            "--optimiser.learning-rate",
            "1e308",
        ),
    )
    assert answer.code != 0
    assert answer.err.startswith("holoprop train: ")
    assert answer.err.count("\n") == 1
    assert "smaller" in answer.err
    metrics = folder / "run" / "metrics.jsonl"
    for line in metrics.read_text().splitlines() if metrics.exists() else ():
        assert parse(line)["epoch"] >= 1
