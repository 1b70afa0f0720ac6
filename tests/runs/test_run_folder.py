"""The run folder: what is written, and what is never overwritten."""

import contextlib
import dataclasses
import datetime
import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

import holoprop as hp
from holoprop.runs import RunFolder
from holoprop.runs._run_folder import CARD_MARK
from holoprop.training import EpochMetrics


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float = 0.05


@dataclasses.dataclass(frozen=True)
class Config:
    name: str = "tiny"
    sizes: tuple[int, ...] = (6, 5, 3)
    output: str | None = None
    inner: Inner = dataclasses.field(default_factory=Inner)


LINE = EpochMetrics(
    epoch=1,
    train_loss=2.0,
    train_error=0.5,
    validation_loss=2.5,
    validation_error=None,
    validation_top5_error=None,
    residuals={"free": 1e-3, "nudged": 1e-4},
    steps={"free": 7.0, "nudged": 4.0},
    residual_quartiles={"free": [1e-3] * 5, "nudged": [1e-4] * 5},
    step_quartiles={"free": [7.0] * 5, "nudged": [4.0] * 5},
    unsettled=2,
    validation_unsettled=1,
    untrusted=0,
    gradient_error={"mean": 2e-3, "median": 1e-3, "largest": 0.1},
    images_per_second=100.0,
    seconds=3.0,
)


SETTINGS = {name: {} for name in ("network", "estimator", "free", "nudged", "optimiser", "epochs")}


@contextlib.contextmanager
def started(path, config=None, **options):
    folder = RunFolder(path)
    with folder.begun(**options):
        folder.start(Config() if config is None else config)
        yield folder


def finished(path, name="old"):
    """The folder of a run that has ended."""
    with started(path, SETTINGS | {"name": name}) as folder:
        folder.write_metrics([LINE])
        folder.save_weights(hp.mlp([6, 5, 3], key=jax.random.key(0)))
        folder.draw(lambda part: part.write_bytes(b"a picture"))
        folder.write_card(f"{CARD_MARK}")
        folder.finish({"name": name})
    return path


def contents(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def strict(text):
    """JSON as the standard has it, without NaN and Infinity."""

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_folder_is_made_with_its_parents_and_taken_away_if_nothing_comes_of_it(tmp_path):
    folder = RunFolder(tmp_path / "runs" / "first")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError), folder.begun():
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with folder.begun():
        folder.start(Config())
    assert [file.name for file in folder.path.iterdir()] == ["config.json"]


def test_config_is_written_as_it_is(tmp_path):
    with started(tmp_path / "run") as folder:
        pass
    assert strict((folder.path / "config.json").read_text()) == {
        "name": "tiny",
        "sizes": [6, 5, 3],
        "output": None,
        "inner": {"rate": 0.05},
    }


def test_metrics_are_written_line_by_line(tmp_path):
    second = dataclasses.replace(LINE, epoch=2)
    with started(tmp_path / "run") as folder:
        for lines in ([LINE], [LINE, second], [LINE]):
            folder.write_metrics(lines)
            text = (folder.path / "metrics.jsonl").read_text()
            assert [strict(line) for line in text.splitlines()] == list(
                map(dataclasses.asdict, lines)
            )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_leave_valid_json(tmp_path, value):
    residuals = {"free": value, "nudged": 1e-4}
    with started(tmp_path / "run") as folder:
        folder.write_metrics([dataclasses.replace(LINE, train_loss=value, residuals=residuals)])
        folder.finish({"train_loss": value})
    assert strict((folder.path / "metrics.jsonl").read_text())["epoch"] == 1
    assert "train_loss" in strict((folder.path / "summary.json").read_text())


def test_summary_is_written_as_it_is(tmp_path):
    with started(tmp_path / "run") as folder:
        folder.finish({"test_error": 0.05, "machine": {"system": "é"}})
    summary = strict((folder.path / "summary.json").read_text(encoding="utf-8"))
    assert summary == {"test_error": 0.05, "machine": {"system": "é"}}
    assert {file.name for file in folder.path.iterdir()} == {"config.json", "summary.json"}


def test_tilde_is_the_users_own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with started("~/zz") as folder:
        assert folder.path == tmp_path / "zz"
    with pytest.raises(ValueError, match="~nobody-of-this-name/zz names a user"):
        RunFolder("~nobody-of-this-name/zz")


def test_dated_folders_of_one_second_are_distinct(tmp_path, monkeypatch):
    class Stopped(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2022, 10, 4, 12, 30, 5)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datetime, "datetime", Stopped)
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            folder = RunFolder.dated("digits")
            stack.enter_context(folder.begun())
            folder.start(Config())
    names = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert names == [f"2022-10-04-12-30-05-digits{end}" for end in ("", "-2", "-3")]


# Whole or not there


def full(*arguments, **options):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_file_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch, broken):
    with started(tmp_path / "run") as folder:
        folder.write_metrics([LINE])
        before = contents(folder.path)
        monkeypatch.setattr(*((os, "fsync") if broken == "fsync" else (Path, "replace")), full)
        for write in (
            lambda: folder.write_metrics([LINE, LINE]),
            lambda: folder.save_weights(hp.mlp([6, 5, 3], key=jax.random.key(0))),
            lambda: folder.draw(lambda part: part.write_bytes(b"half a picture")),
            lambda: folder.write_card("a card"),
            lambda: folder.finish({}),
        ):
            with pytest.raises(OSError, match="No space left"):
                write()
            assert contents(folder.path) == before


def test_interrupted_write_leaves_the_one_before(tmp_path):
    def half(part):
        part.write_bytes(b"half a picture")
        raise KeyboardInterrupt

    with started(tmp_path / "run") as folder:
        folder.draw(lambda part: part.write_bytes(b"a picture"))
        before = contents(folder.path)
        with pytest.raises(KeyboardInterrupt):
            folder.draw(half)
        assert contents(folder.path) == before


# Never overwritten without being told to


def begin(path, **options):
    with RunFolder(path).begun(**options):
        pass


def test_folder_with_a_file_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"exists already.*--output.*--overwrite"):
        begin(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_empty_folder_is_taken(tmp_path):
    with started(tmp_path):
        pass
    assert (tmp_path / "config.json").is_file()


@pytest.mark.parametrize("overwrite", [False, True])
def test_file_in_place_of_the_folder_is_refused(tmp_path, overwrite):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(FileExistsError, match=r"run is a file.*--output"):
        begin(tmp_path / "run", overwrite=overwrite)
    assert (tmp_path / "run").read_text() == "mine"


FOREIGN = {
    "data": {"train.parquet": "digits", "test.parquet": "digits"},
    "notes": {"notes.txt": "mine"},
    "model of others": {"config.json": '{"model_type": "bert"}', "README.md": "mine"},
    "settings that are no object": {"config.json": "[1, 2]", "weights.safetensors": "mine"},
    "names of a run": {"summary.json": "{}", "curves.png": "mine", "profile/plugins/a": "mine"},
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_folder_that_holds_no_run_is_never_overwritten(tmp_path, kind):
    for name, text in FOREIGN[kind].items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match=r"holds no run.*--output"):
        begin(tmp_path, overwrite=True)
    assert contents(tmp_path) == before


def test_old_run_goes_when_the_new_one_has_ended(tmp_path):
    path = finished(tmp_path / "run")
    (path / "profile" / "plugins").mkdir(parents=True)
    (path / "checkpoints" / "7").mkdir(parents=True)
    own = {"notes.txt": "mine", "profile-of-mine/plugins/a": "mine", "data/curves.png": "mine"}
    for name, text in own.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    before = contents(path)
    with started(path, {"name": "new"}, overwrite=True) as folder:
        now = contents(path)
        assert now.pop(".lock")
        assert len(now) == len(before) + 1, "nothing is lost while the new one goes on"
        assert set(before.values()) <= set(now.values())
        assert not (path / "summary.json").exists()
        folder.finish({"name": "new"})
    assert set(contents(path)) == {"config.json", "summary.json", *own}
    assert sorted(p.name for p in path.iterdir() if p.is_dir()) == ["data", "profile-of-mine"]
    assert strict((path / "summary.json").read_text())["name"] == "new"


def test_old_run_is_put_back_if_nothing_comes_of_the_new_one(tmp_path):
    path = finished(tmp_path / "run")
    before = contents(path)
    with contextlib.suppress(KeyError), started(path, SETTINGS, overwrite=True) as folder:
        folder.write_metrics([LINE])
        raise KeyError
    assert contents(path) == before
    assert sorted(p.name for p in path.iterdir()) == sorted(before)


def test_old_run_is_kept_beside_a_new_one_that_can_go_on(tmp_path):
    path = finished(tmp_path / "run")
    before = contents(path)
    with contextlib.suppress(KeyError), started(path, SETTINGS, overwrite=True) as folder:
        (folder.checkpoints / "1").mkdir(parents=True)
        raise KeyError
    (aside,) = path.glob("replaced-*")
    assert contents(aside) == before
    # It goes with the end of whatever run comes next there.
    with RunFolder(path).reopened():
        folder.finish({"name": "new"})
    assert set(contents(path)) == {"config.json", "summary.json"}
    assert not aside.exists()


def test_card_of_the_users_own_stays(tmp_path):
    path = finished(tmp_path / "run")
    (path / "README.md").write_text("mine")
    with started(path, SETTINGS, overwrite=True) as folder:
        folder.write_card(f"{CARD_MARK}: new")
        folder.finish({})
    assert (path / "README.md").read_text() == "mine"


# One process at a time


def test_second_run_in_a_folder_is_refused(tmp_path):
    with started(tmp_path / "run", SETTINGS):
        for options in ({}, {"overwrite": True}):
            with pytest.raises(FileExistsError, match=rf"process {os.getpid()} on .* is at work"):
                begin(tmp_path / "run", **options)
        with (
            pytest.raises(FileExistsError, match="at work in the run folder"),
            RunFolder(tmp_path / "run").reopened(),
        ):
            pass
        assert (tmp_path / "run" / ".lock").exists()
    assert {file.name for file in (tmp_path / "run").iterdir()} == {"config.json"}


HOLD = """
import sys, time
from holoprop.runs import RunFolder
from holoprop.runs._run_folder import CARD_MARK
with RunFolder(sys.argv[1]).reopened():
    print("held", flush=True)
    time.sleep(600)
"""


def test_lock_of_a_dead_process_is_no_obstacle(tmp_path):
    path = finished(tmp_path / "run")
    holder = subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(FileExistsError, match=f"process {holder.pid} on"):
        begin(path, overwrite=True)
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert (path / ".lock").exists(), "it had no time to clean up"
    with RunFolder(path).reopened():
        pass
    assert not (path / ".lock").exists()
    # Nor does it make an empty folder one that is taken.
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / ".lock").write_text("process 1 on this machine")
    begin(tmp_path / "new")


def test_file_system_without_locks_costs_a_warning(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    told = []
    with started(tmp_path / "run", on_warning=told.append):
        pass
    (sentence,) = told
    assert "cannot be locked (Function not implemented)" in sentence


def test_folder_that_cannot_be_made_is_refused(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OSError, match=r"run cannot be made \(Permission denied\).*--output"):
        begin(tmp_path / "run")


def test_folder_that_cannot_be_written_to_is_refused(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    (tmp_path / "run").mkdir()
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match=r"run cannot be written to \(Read-only file system\)"):
        begin(tmp_path / "run")


@pytest.mark.parametrize("name", ["nowhere", "empty", "foreign"])
def test_folder_without_a_run_cannot_be_gone_on_with(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "config.json").write_text('{"model_type": "bert"}')
    with (
        pytest.raises(FileNotFoundError, match=f"there is no run at .*{name}: name a run's folder"),
        RunFolder(tmp_path / name).reopened(),
    ):
        pass
