"""Runs that survive: kills, signals, full disks, damaged files, and what is said of each."""

import contextlib
import errno
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import terminal
from terminal import FILES, call, files, parse, refuses, write_digits

import holoprop as hp
from holoprop.cli import _train as drawing
from holoprop.cli._signals import stoppable
from holoprop.runs import RunFolder, versions
from holoprop.runs._checkpoints import Checkpoints
from holoprop.runs._curves import draw_curves
from holoprop.runs._gradient_check import check_gradient

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "compiled_quickly")

# Twelve steps in three epochs, of a network that settles at once.
TINY = (
    *("--network.sizes", "784", "6", "10", "--estimator", "centred", "--estimator.nudge", "0.4"),
    *("--free", "sequential", "--free.steps", "5", "--nudged", "sequential", "--nudged.steps", "5"),
    *("--epochs", "3", "--batch-size", "30", "--validation", "0.25"),
    *("--optimiser.momentum", "0.9", "--optimiser.schedule", "cosine"),
)
BASELINE = (
    *("--method", "bp", "--network.sizes", "784", "6", "10", "--network.activation", "relu"),
    *("--epochs", "3", "--batch-size", "30", "--validation", "0.25", "--optimiser", "adam"),
    *("--inputs.flip", "--inputs.pad", "1"),
)
OFTEN = ("--checkpoints.steps", "1")
TIMES = ("seconds", "images_per_second")


@pytest.fixture(scope="module", autouse=True)
def gradients_checked_once():
    """The longest part of a small run, and the same in all of them."""
    found = []

    def check(*arguments, **options):
        if not found:
            found.append(check_gradient(*arguments, **options))
        return found[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("holoprop.runs._train.check_gradient", check)
        yield


@pytest.fixture(scope="module")
def whole(digits, tmp_path_factory):
    """What a run comes to that nothing has interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    answer = call("train", "--data", digits, *TINY, "--output", folder)
    assert answer.code == 0, answer.err
    return outcome(folder)


def outcome(folder):
    """The sha256 of a run's weights, and its metrics without times."""
    folder = Path(folder)
    lines = [parse(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    summary = parse((folder / "summary.json").read_text())
    assert [line["epoch"] for line in lines] == list(range(1, len(lines) + 1)), "each epoch once"
    assert set(FILES) <= set(files(folder))
    assert not [name for name in files(folder) if name.split("/")[0] in ("checkpoints", ".lock")]
    for line in lines:
        for name in TIMES:
            assert line.pop(name) > 0
    numbers = ("test_loss", "test_error", "alignment", "preset")
    return summary["weights_sha256"], lines, {name: summary[name] for name in numbers}


def shown_at(monkeypatch, count, act):
    """Do something at the `count`-th report of progress."""
    calls, describe = 0, drawing._describe

    def described(seen):
        nonlocal calls
        calls += 1
        if calls == count:
            act()
        return describe(seen)

    monkeypatch.setattr(drawing, "_describe", described)


def stop(number=signal.SIGTERM):
    """A signal from outside."""
    signal.raise_signal(number)


def interrupted(digits, monkeypatch, *arguments, report=3, folder="run"):
    """The folder of a run that SIGTERM has stopped in its second epoch."""
    with monkeypatch.context() as patch:
        shown_at(patch, report, stop)
        answer = call("train", "--data", digits, *TINY, *arguments, "--output", folder)
    assert answer.code == 143, answer.err
    return Path(folder)


# Signals


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
@pytest.mark.quick("15-143")
def test_signal_leaves_a_run_that_goes_on(digits, whole, monkeypatch, number, code):
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    with monkeypatch.context() as patch:
        # The first report of the second epoch.
        shown_at(patch, 3, lambda: stop(number))
        answer = call("train", "--data", digits, *TINY, "--output", "a run")
    assert answer.code == code
    assert {s: signal.getsignal(s) for s in before} == before
    said = answer.err.splitlines()
    assert said == [
        "holoprop: stopping after this step; the next signal stops at once.",
        "holoprop train: interrupted in epoch 2, after batch 1 of 4; go on from step 5 with: "
        "holoprop resume 'a run'",
    ]
    assert not Path("a run/.lock").exists()
    assert not Path("a run/summary.json").exists()
    answer = call("resume", "a run")
    assert answer.code == 0, answer.err
    assert answer.err == ""
    assert "going on in epoch 2, after batch 1 of 4" in answer.out
    assert "epoch   1" not in answer.out
    assert "epoch   3" in answer.out
    assert outcome("a run") == whole


@pytest.mark.slow
def test_backpropagation_goes_on_too(digits, monkeypatch):
    command = ("train", "--data", digits, *BASELINE, "--output")
    assert call(*command, "whole").code == 0
    with monkeypatch.context() as patch:
        shown_at(patch, 3, stop)
        assert call(*command, "run", *OFTEN).code == 143
    answer = call("resume", "run")
    assert (answer.code, answer.err) == (0, "")
    assert "going on in epoch 2, after batch 1 of 4" in answer.out
    assert outcome("run") == outcome("whole")


@pytest.mark.slow
@pytest.mark.parametrize("report", [2, 6])
def test_signal_at_either_end_of_an_epoch(digits, whole, monkeypatch, report):
    folder = interrupted(digits, monkeypatch, report=report)
    assert call("resume", folder).code == 0
    assert outcome(folder) == whole


@pytest.mark.slow
def test_signal_after_training_leaves_a_run_that_goes_on(digits, whole, monkeypatch):
    with monkeypatch.context() as patch:
        draw = draw_curves
        patch.setattr("holoprop.runs._train.draw_curves", lambda *a: (draw(*a), stop()))
        answer = call("train", "--data", digits, *TINY, "--output", "run")
    assert answer.code == 143
    assert "interrupted after the last epoch; go on from step 12 with" in answer.err
    assert call("resume", "run").code == 0
    assert outcome("run") == whole


@pytest.mark.slow
def test_run_is_interrupted_again_and_again(digits, whole, monkeypatch):
    folder = interrupted(digits, monkeypatch, report=1)
    for report in (1, 2):
        with monkeypatch.context() as patch:
            shown_at(patch, report, stop)
            assert call("resume", folder).code == 143
    assert call("resume", folder).code == 0
    assert outcome(folder) == whole


@pytest.mark.slow
def test_signals_that_are_ignored_stay_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable() as asked:
            stop(signal.SIGHUP)
            assert not asked.is_asked()
    finally:
        signal.signal(signal.SIGHUP, before)


def started(*arguments, **environment):
    """The installed command in a process of its own, in the background."""
    command = [sys.executable, "-m", "holoprop", *map(str, arguments)]
    quickly = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | quickly | environment,
    )


def ended(process, seconds=120):
    """What a process printed, and its exit status."""
    out, _ = process.communicate(timeout=seconds)
    return process.returncode, out


@pytest.mark.slow
def test_second_signal_stops_at_once(digits):
    process = started("train", "--data", digits, *TINY, "--output", "run")
    for line in process.stdout:
        if line.startswith("compiling"):
            break
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline().startswith("holoprop: stopping after this step")
    process.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    code, _ = ended(process)
    assert code == 143
    assert time.monotonic() - begun < 2
    # The lock of a process that had no time to let go of it is no obstacle.
    assert Path("run").exists() == Path("run/.lock").exists()


# Kills


def whole_process(digits, *arguments):
    """What a run comes to that nothing has interrupted, by the installed command."""
    code, out = ended(started("train", "--data", digits, *TINY, *arguments, "--output", "whole"))
    assert code == 0, out
    return outcome("whole")


def test_killed_run_ends_as_if_it_never_had_been(digits, whole):
    """Killed as a process of its own, and resumed in this one."""
    command = ("train", "--data", digits, *TINY, *OFTEN, "--output", "run")
    process = started(*command, JAX_ENABLE_X64="1")
    while process.poll() is None and len(list(Path("run").glob("checkpoints/*"))) < 2:
        time.sleep(0.005)
    process.kill()
    code, out = ended(process)
    assert code == -signal.SIGKILL, out
    answer = call("resume", "run")
    assert answer.code == 0, answer.err
    assert "going on in epoch" in answer.out
    assert outcome("run") == whole


def killed_and_resumed(digits, kills, seed, *arguments):
    """Kill a run at random moments, and resume it each time; how many hit a checkpoint."""
    rng, folder, hits = random.Random(seed), Path("run"), 0
    command = ("train", "--data", digits, *TINY, *OFTEN, *arguments, "--output", folder)
    for count in range(kills):
        process = started(*command)
        seen = set(folder.glob("checkpoints/*"))
        if count % 4 == 3:
            # At any moment, most of them before training goes on.
            time.sleep(rng.uniform(0, 8))
        else:
            # While it trains and saves, which takes it turns about.
            while process.poll() is None and set(folder.glob("checkpoints/*")) == seen:
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 0.3))
        process.kill()
        code, out = ended(process)
        assert code == -signal.SIGKILL, out
        hits += (folder / "checkpoints/part").exists()
        # Killed before there was a run, it begins once more.
        if (folder / "config.json").exists():
            command = ("resume", folder)
    code, out = ended(started(*command))
    assert code == 0, out
    return hits


@pytest.mark.slow
def test_run_that_is_killed_twenty_times_ends_as_if_it_never_had_been(digits):
    longer = ("--epochs", 20)
    assert killed_and_resumed(digits, 20, 1, *longer) >= 3, "some while a checkpoint was written"
    assert outcome("run") == whole_process(digits, *longer)


# What resume refuses, and what it does without


def test_run_that_has_ended_is_left_alone(digits):
    assert call("train", "--data", digits, *TINY, "--output", "run").code == 0
    before = files(Path("run"))
    answer = call("resume", "run")
    assert (answer.code, answer.err) == (0, "")
    assert "has ended already" in answer.out
    assert files(Path("run")) == before


@pytest.mark.parametrize("name", ["nowhere", "digits", "."])
def test_folder_without_a_run_is_refused(digits, name):
    shutil.copytree(digits, "digits")
    refuses("resume", name, words=("no run at", name, "folder"))


@pytest.mark.parametrize("arguments", [(), ("run", "other"), ("run", "--fast")])
def test_arguments_of_resume_are_looked_at(arguments):
    refuses("resume", *arguments, words=("resume", "--help"))


def test_changed_configuration_is_refused(digits, monkeypatch):
    folder = interrupted(digits, monkeypatch)
    content = parse((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | {"epochs": 5}))
    refuses("resume", folder, words=("config.json", "changed", "put back"))


def test_unknown_setting_is_refused_by_name(digits, monkeypatch):
    folder = interrupted(digits, monkeypatch)
    shutil.rmtree(folder / "checkpoints")
    content = parse((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | {"epoch": 5}))
    refuses("resume", folder, words=("epoch is no setting", "epochs"))


@pytest.mark.slow
def test_other_data_are_refused(digits, monkeypatch):
    data = Path(shutil.copytree(digits, "data"))
    folder = interrupted("./data", monkeypatch)
    shutil.rmtree(data)
    refuses("resume", folder, words=("data", "does not exist"))
    write_digits(data, train=120)
    refuses("resume", folder, words=("has 3 batches, and had 4", "as they were"))


@pytest.mark.slow
def test_other_precision_is_refused(digits, monkeypatch):
    folder = interrupted(digits, monkeypatch)
    with jax.enable_x64(False):
        refuses("resume", folder, words=("JAX-ENABLE-X64=1", "again"))


@pytest.mark.slow
def test_other_versions_are_said(digits, whole, monkeypatch):
    folder = interrupted(digits, monkeypatch)
    found = versions()
    monkeypatch.setattr("holoprop.runs._saver.versions", lambda: found | {"jax": "9.9.9"})
    answer = call("resume", folder)
    assert answer.code == 0
    assert answer.err.startswith(f"holoprop resume: the run began with jax {found['jax']}: ")
    assert outcome(folder) == whole


@pytest.mark.slow
def test_network_of_the_last_checkpoint_can_be_loaded(digits, monkeypatch):
    folder = interrupted(digits, monkeypatch, *OFTEN)
    saved = Checkpoints(folder / "checkpoints", keep=3).newest(pytest.fail)
    leaves = jax.tree.leaves(hp.load(folder))
    for index, leaf in enumerate(leaves):
        np.testing.assert_array_equal(leaf, saved.arrays["leaves"][str(index)])
    assert len(leaves) == 4


def test_damaged_checkpoint_is_said_and_the_one_before_is_used(digits, whole, monkeypatch):
    folder = interrupted(digits, monkeypatch, *OFTEN, report=4)
    assert Checkpoints(folder / "checkpoints", keep=3).steps == [8, 7, 6]
    arrays = sorted((folder / "checkpoints/8").rglob("*"), key=lambda p: p.stat().st_size)
    file = [path for path in arrays if path.is_file()][-1]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    answer = call("resume", folder)
    assert answer.code == 0
    assert re.fullmatch(
        r"holoprop resume: the checkpoint run/checkpoints/8 is damaged \(.* is not what was "
        r"written\): step 7 is next\.\n",
        answer.err,
    )
    assert "going on in epoch 2, after batch 3 of 4" in answer.out
    assert outcome(folder) == whole


@pytest.mark.slow
def test_without_any_checkpoint_the_run_begins_anew(digits, whole, monkeypatch):
    folder = interrupted(digits, monkeypatch)
    (folder / "checkpoints/5/record.json").unlink()
    answer = call("resume", folder)
    assert answer.code == 0
    assert "checkpoints/5 is damaged" in answer.err
    assert "no older one is there" in answer.err
    assert outcome(folder) == whole


@pytest.mark.slow
def test_two_processes_in_one_run_folder(digits, monkeypatch):
    answers = []

    def second():
        for arguments in (
            ("resume", "run"),
            ("train", "--data", digits, *TINY, "--output", "run", "--overwrite"),
        ):
            answers.append(call(*arguments))

    shown_at(monkeypatch, 2, second)
    assert call("train", "--data", digits, *TINY, "--output", "run").code == 0
    assert [answer.code for answer in answers] == [1, 1]
    for answer in answers:
        assert re.fullmatch(
            rf"holoprop \w+: process {os.getpid()} on \S+ is at work in the run folder run: .*\n",
            answer.err,
        )


# Disks


@contextlib.contextmanager
def small_disk(size):
    """A file system of so many bytes, or a skip where none can be made."""
    Path("disk").mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", "disk"]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield Path("disk")
    finally:
        subprocess.run(["umount", "disk"], check=True)


@pytest.mark.slow
def test_full_disk_costs_what_it_must_and_is_said(digits, whole):
    with small_disk("32k") as disk:
        answer = call("train", "--data", digits, *TINY, *OFTEN, "--output", disk / "run")
        assert answer.code == 1
        first, *_, last = answer.err.splitlines()
        assert re.search(
            r"checkpoint of step 1 cannot be written to .* space left .*goes on", first
        )
        assert re.search(r"weights cannot be written to .*No space left.*make room", last)
        assert last.endswith("go on from its beginning with: holoprop resume disk/run")
        assert "epoch   3" in answer.out
        # Nothing is there by half.
        assert not list(disk.rglob("*.part"))
        assert not list(disk.rglob("weights*"))
        assert parse((disk / "run/config.json").read_text())
        for line in (disk / "run/metrics.jsonl").read_text().splitlines():
            parse(line)
        subprocess.run(["mount", "-o", "remount,size=16m", "disk"], check=True)
        answer = call("resume", disk / "run")
        assert (answer.code, answer.err) == (0, "")
        assert outcome(disk / "run") == whole


@pytest.mark.slow
def test_folder_that_becomes_read_only_stops_no_training(digits, whole, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        # All that is written is sent to the disk before it counts.
        shown_at(patch, 3, lambda: patch.setattr(os, "fsync", refuse))
        answer = call("train", "--data", digits, *TINY, *OFTEN, "--output", "run")
    assert answer.code == 1
    assert answer.err.count("checkpoint of step 5 cannot be written to run/checkpoints") == 1
    assert answer.err.count("checkpoint of step") == 1, "it is said once"
    assert "weights cannot be written to run (Read-only file system): make room" in answer.err
    assert answer.err.endswith("go on from step 4 with: holoprop resume run\n")
    assert call("resume", "run").code == 0
    assert outcome("run") == whole


@pytest.mark.slow
def test_summary_that_cannot_be_written_leaves_a_run_that_goes_on(digits, whole, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "finish", refuse)
        answer = call("train", "--data", digits, *TINY, *OFTEN, "--output", "run")
    assert answer.code == 1
    assert answer.err == (
        "holoprop train: the summary cannot be written to run (No space left on device): make "
        "room, then go on from step 12 with: holoprop resume run\n"
    )
    assert call("resume", "run").code == 0
    assert outcome("run") == whole


@pytest.mark.slow
def test_picture_that_fails_costs_the_picture(digits, whole, monkeypatch):
    def fail(*arguments):
        raise ValueError("no fonts")

    monkeypatch.setattr("holoprop.runs._train.draw_curves", fail)
    answer = call("train", "--data", digits, *TINY, "--output", "run")
    assert answer.code == 0
    assert answer.err == (
        "holoprop train: run/curves.png cannot be written (no fonts): the run goes on without it.\n"
    )
    assert parse(Path("run/summary.json").read_text())["weights_sha256"] == whole[0]


# Output that is lost


def into(stream, *arguments):
    """Run a command with an output of its own: its exit status, and what it said of it."""
    from holoprop.cli import main

    errors = io.StringIO()
    with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(errors):
        code = main(list(map(str, arguments)))
    return code, errors.getvalue()


@pytest.fixture
def closed_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        yield stream


@pytest.fixture
def full_device():
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    with open("/dev/full", "w") as stream:
        yield stream


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("closed_pipe", ""),
        ("full_device", "holoprop: the output is lost from here on (No space left on device).\n"),
    ],
)
def test_training_goes_on_without_its_output(digits, whole, request, name, said):
    stream = request.getfixturevalue(name)
    arguments = ("train", "--data", digits, *TINY, "--output", "run")
    assert into(stream, *arguments) == (0, said)
    assert outcome("run") == whole


@pytest.mark.parametrize("arguments", ["--help", "train --help", "train mnist-subset --help"])
@pytest.mark.parametrize("name", ["closed_pipe", "full_device"])
def test_help_ends_quietly(request, name, arguments):
    code, said = into(request.getfixturevalue(name), *arguments.split())
    assert code == 0
    assert said.count("\n") == (name == "full_device")


@pytest.mark.slow
def test_process_whose_reader_goes_ends_quietly():
    command = f"{sys.executable} -m holoprop --help | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# Divergence


@pytest.mark.slow
@pytest.mark.parametrize("rate", ["1e9", "1e30"])
def test_divergence_stops_a_run_and_keeps_what_was_good(digits, rate):
    answer = call(
        *("train", "--data", digits, *TINY, "--epochs", 40, "--output", "run"),
        *("--optimiser.learning-rate", rate, *OFTEN),
    )
    assert answer.code == 1
    assert answer.err.count("\n") == 1
    for word in ("loss", "learning rate", "radius", "smaller weights", "temperature"):
        assert word in answer.err
    assert re.search(r"last good checkpoint is run/checkpoints/\d+\.|no checkpoint yet", answer.err)
    assert not Path("run/weights.safetensors").exists()


@pytest.mark.slow
def test_radius_that_is_far_too_large_is_stopped_or_said(digits):
    tiny = [a for a in TINY if a not in ("--estimator.nudge", "0.4", "centred", "--estimator")]
    answer = call(
        *("train", "--data", digits, *tiny, "--network.sizes", 784, 8, 6, 10, "--output", "run"),
        *("--estimator", "holomorphic", "--estimator.radius", 1e30, "--estimator.points", 4),
    )
    assert "radius" in answer.err
    assert answer.code == 1 or "did not settle" in answer.err


# Before anything is trained


@pytest.mark.slow
def test_what_is_done_is_said_before_it_is_done(digits):
    process = started("train", "--data", digits, *TINY, "--output", "run")
    lines = [next(process.stdout).strip() for _ in range(3)]
    process.kill()
    ended(process)
    assert lines[0] == "reading images"
    assert "120 training and 40 validation images; run folder run" in lines[1]
    assert lines[2] == "compiling the training step"


@pytest.mark.slow
def test_signal_before_the_first_step_leaves_nothing(digits, monkeypatch):
    from holoprop.runs import _setup as training

    load = training.load_splits
    monkeypatch.setattr(training, "load_splits", lambda *a: (stop(), load(*a))[1])
    answer = call("train", "--data", digits, *TINY, "--output", "run")
    assert answer.code == 143
    assert answer.err.endswith("interrupted before the first step: nothing was written.\n")
    assert not Path("run").exists()


@pytest.mark.slow
def test_signal_before_the_first_step_leaves_a_resumed_run_as_it_was(digits, whole, monkeypatch):
    from holoprop.runs import _setup as training

    folder = interrupted(digits, monkeypatch)
    before, load = files(folder / "checkpoints"), training.load_splits
    with monkeypatch.context() as patch:
        patch.setattr(training, "load_splits", lambda *a: (stop(), load(*a))[1])
        answer = call("resume", folder)
    assert answer.code == 143
    assert answer.err.endswith("interrupted; go on from step 5 with: holoprop resume run\n")
    assert files(folder / "checkpoints") == before
    assert call("resume", folder).code == 0
    assert outcome(folder) == whole


@pytest.mark.parametrize("seed", [2**32, 99999999999999999999])
def test_seed_that_is_too_large_is_refused(digits, seed):
    refuses(
        "train", "--data", digits, *TINY, "--seed", seed, words=("--seed", str(seed), "4294967295")
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--checkpoints.minutes", "0"),
        ("--checkpoints.minutes", "nan"),
        ("--checkpoints.steps", "0"),
        ("--checkpoints.keep", "0"),
        ("--max-unsettled", "1.5"),
        ("--max-unsettled", "-0.1"),
    ],
)
def test_setting_out_of_range_is_refused(digits, option, value):
    words = (option.removeprefix("--"), value)
    refuses("train", "--data", digits, *TINY, f"{option}={value}", words=words)


@pytest.mark.slow
def test_tilde_is_the_users_own_folder(digits, monkeypatch, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    assert call("train", "--data", digits, *TINY, "--output", "~/zz").code == 0
    assert set(files(home / "zz")) == FILES
    assert not Path("~").exists()
    assert "has ended already" in call("resume", "~/zz").out


@pytest.mark.slow
@pytest.mark.parametrize("output", [".", "digits"])
def test_folder_of_the_users_own_is_never_overwritten(digits, output):
    shutil.copytree(digits, "digits")
    Path("curves.png").write_text("mine")
    Path("profile/plugins").mkdir(parents=True)
    words = ("not empty and holds no run", "--overwrite", "--output")
    refuses("train", "--data", "digits", *TINY, "--output", output, "--overwrite", words=words)


@pytest.mark.slow
def test_old_run_outlives_a_new_one_that_fails(digits):
    old = terminal.old_run(Path("old"))
    before = files(old)
    answer = call(
        *("train", "--data", digits, *TINY, "--output", old, "--overwrite", "--epochs", 40),
        *("--optimiser.learning-rate", "1e9"),
    )
    assert answer.code == 1
    assert files(old) == before


@pytest.mark.slow
def test_old_run_outlives_a_new_one_that_is_interrupted(digits, whole, monkeypatch):
    old = terminal.old_run(Path("old"))
    before = files(old)
    interrupted(digits, monkeypatch, "--overwrite", folder=old)
    now = files(old)
    assert all(content in now.values() for content in before.values())
    assert call("resume", old).code == 0
    assert set(files(old)) == FILES | {"notes.txt"}
    assert outcome(old) == whole
