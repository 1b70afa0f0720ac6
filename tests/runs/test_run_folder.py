"""The run folder: what is written, and what is never overwritten."""

import dataclasses
import json

import jax
import pytest

import holoprop as hp
from holoprop.runs import RunFolder
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
    residuals={"free": 1e-3, "nudged": 1e-4},
    steps={"free": 7.0, "nudged": 4.0},
    unsettled=2,
    validation_unsettled=1,
    untrusted=0,
    gradient_error={"mean": 2e-3, "median": 1e-3, "largest": 0.1},
    images_per_second=100.0,
    seconds=3.0,
)


def started(path, **options):
    folder = RunFolder(path, **options)
    folder.start(Config())
    return folder


def strict(text):
    """JSON as the standard has it, without NaN and Infinity."""

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_folder_is_made_with_its_parents_only_when_the_run_starts(tmp_path):
    folder = RunFolder(tmp_path / "runs" / "first")
    assert list(tmp_path.iterdir()) == []
    folder.start(Config())
    assert [file.name for file in folder.path.iterdir()] == ["config.json"]


def test_config_is_written_as_it_is(tmp_path):
    folder = started(tmp_path / "run")
    assert strict((folder.path / "config.json").read_text()) == {
        "name": "tiny",
        "sizes": [6, 5, 3],
        "output": None,
        "inner": {"rate": 0.05},
    }


def test_metrics_are_appended_line_by_line(tmp_path):
    folder = started(tmp_path / "run")
    folder.add_metrics(LINE)
    folder.add_metrics(dataclasses.replace(LINE, epoch=2))
    lines = (folder.path / "metrics.jsonl").read_text().splitlines()
    assert strict(lines[0]) == dataclasses.asdict(LINE)
    assert [strict(line)["epoch"] for line in lines] == [1, 2]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_leave_valid_json(tmp_path, value):
    folder = started(tmp_path / "run")
    residuals = {"free": value, "nudged": 1e-4}
    folder.add_metrics(dataclasses.replace(LINE, train_loss=value, residuals=residuals))
    folder.write_summary({"train_loss": value})
    assert strict((folder.path / "metrics.jsonl").read_text())["epoch"] == 1
    assert "train_loss" in strict((folder.path / "summary.json").read_text())


def test_summary_is_written_as_it_is(tmp_path):
    folder = started(tmp_path / "run")
    folder.write_summary({"test_error": 0.05, "machine": {"system": "é"}})
    summary = strict((folder.path / "summary.json").read_text(encoding="utf-8"))
    assert summary == {"test_error": 0.05, "machine": {"system": "é"}}
    assert {file.name for file in folder.path.iterdir()} == {"config.json", "summary.json"}


# Never overwritten without being told to


def test_folder_with_a_file_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"exists already.*--output.*--overwrite"):
        RunFolder(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_empty_folder_is_taken(tmp_path):
    started(tmp_path)
    assert (tmp_path / "config.json").is_file()


@pytest.mark.parametrize("overwrite", [False, True])
def test_file_in_place_of_the_folder_is_refused(tmp_path, overwrite):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(FileExistsError, match=r"run is a file.*--output"):
        RunFolder(tmp_path / "run", overwrite=overwrite)
    assert (tmp_path / "run").read_text() == "mine"


def test_overwriting_drops_the_old_run_and_keeps_other_files(tmp_path):
    folder = started(tmp_path / "run")
    folder.add_metrics(LINE)
    folder.write_summary({})
    folder.save_weights(hp.mlp([6, 5, 3], key=jax.random.key(0)))
    (folder.path / "curves.png").write_bytes(b"old")
    (folder.path / "notes.txt").write_text("mine")
    old = {file.name: file.read_bytes() for file in folder.path.iterdir()}
    again = RunFolder(folder.path, overwrite=True)
    assert {file.name: file.read_bytes() for file in folder.path.iterdir()} == old
    again.start(Config(name="other"))
    assert {file.name for file in folder.path.iterdir()} == {"config.json", "notes.txt"}
    assert strict((folder.path / "config.json").read_text())["name"] == "other"


def test_second_run_that_begins_meanwhile_is_refused(tmp_path):
    first, second = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run")
    first.start(Config(name="first"))
    with pytest.raises(FileExistsError):
        second.start(Config(name="second"))
    assert strict((tmp_path / "run" / "config.json").read_text())["name"] == "first"
