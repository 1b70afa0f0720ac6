"""A sweep: runs with each of several settings, beside each other in one folder and in one table."""

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from holoprop.runs import _lock
from holoprop.runs._config import TrainConfig
from holoprop.runs._files import make_folders, reason, write_whole
from holoprop.runs._jobs import Ending, Job, Start, Work
from holoprop.runs._presets import describe_changes
from holoprop.runs._read_config import read_config
from holoprop.runs._run_folder import SUMMARY, RunFolder

TABLE, MARKDOWN = "sweep.json", "sweep.md"
# Seconds between two looks at what runs.
_LOOK_EVERY = 0.1
# Exit statuses of a run that was asked to stop are this and the signal's number.
_SIGNALLED = 128
# Of a finished run's summary.
_RESULTS = (
    *("epoch", "train_loss", "train_error", "validation_loss", "validation_error", "test_loss"),
    *("test_error", "total_seconds", "best", "weights_sha256"),
)


@dataclasses.dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    Attributes:
        name: Of its folder.
        settings: What it has of its own, by option.
        arguments: Of `holoprop train`, without its folder.
        config: What these come to.
    """

    name: str
    settings: dict[str, str]
    arguments: tuple[str, ...]
    config: TrainConfig


@dataclasses.dataclass(frozen=True)
class Row:
    """What a sweep's table says of a run.

    Attributes:
        name: Of its folder in the sweep's.
        settings: As `Trial.settings`.
        status: "waiting", "running", "finished", "interrupted" or "failed".
        reason: Why it did not finish, else empty.
        results: Of a run that has finished, some of its summary.
    """

    name: str
    settings: dict[str, str]
    status: str
    reason: str = ""
    results: dict[str, Any] = dataclasses.field(default_factory=dict)


def sweep(
    trials: Sequence[Trial],
    folder: str | os.PathLike[str],
    *,
    start: Start,
    processes: int,
    on_row: Callable[[Row], None] = lambda row: None,
    on_warning: Callable[[str], None] = lambda sentence: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Row]:
    """Run what is not finished, and gather all of it in `sweep.json` and `sweep.md`.

    A run that fails does not stop the others. Called again it goes on with those that did not
    finish.

    Arguments:
        trials: Of different names and settings.
        folder: Of the sweep; each run has its own in it.
        start: Begins a run; `local_jobs` or `slurm_jobs`.
        processes: Runs at once, 1 or more.
        on_row: Told when a run begins and when it ends.
        on_warning: Told where the folder cannot be locked.
        should_stop: Asked whether to stop: runs are told to write a checkpoint and end.

    Returns:
        The table's rows, in the order of `trials`.

    Raises:
        FileExistsError: If the folder holds something else, or a run of other settings, or another
            process is at work there.
        OSError: If the folder cannot be written to.
    """
    place = Path(folder)
    with _own_folder(place, on_warning):
        for trial in trials:
            _check_same(trial, RunFolder(place / trial.name))
        table = _Table(place, trials, on_row)
        _run(table, start=start, processes=processes, should_stop=should_stop)
        return list(table.rows.values())


def _run(table: "_Table", *, start: Start, processes: int, should_stop: Callable[[], bool]) -> None:
    waiting = [row.name for row in table.rows.values() if row.status != "finished"]
    running: dict[int, tuple[str, Job]] = {}
    stopping = False
    try:
        while running or (waiting and not stopping):
            if should_stop() and not stopping:
                stopping = True
                for _, job in running.values():
                    job.stop()
            for slot in range(processes):
                if slot not in running and waiting and not stopping:
                    name = waiting.pop(0)
                    try:
                        running[slot] = name, start(table.work(name), slot)
                    # A full process table, or a cluster that takes no more jobs.
                    except Exception as error:
                        table.ended(name, Ending(1, f"could not be started: {reason(error)}"))
                    else:
                        table.began(name)
            for slot, (name, job) in list(running.items()):
                ending = job.poll()
                if ending is not None:
                    del running[slot]
                    table.ended(name, ending, is_stopped=stopping)
            if running:
                time.sleep(_LOOK_EVERY)
    finally:
        # Only after a fault or a second interruption something runs still.
        for _, job in running.values():
            job.stop()


class _Table:
    """A row for each run, kept on disk as they come."""

    def __init__(
        self, folder: Path, trials: Sequence[Trial], on_row: Callable[[Row], None]
    ) -> None:
        self.folder, self.on_row = folder, on_row
        self.trials = {trial.name: trial for trial in trials}
        self.rows = {trial.name: Row(trial.name, trial.settings, "waiting") for trial in trials}
        for name in self.trials:
            if RunFolder(folder / name).is_finished:
                self.rows[name] = self._row(name, "finished")
        self._write()

    def work(self, name: str) -> Work:
        return Work(self.folder / name, self.trials[name].arguments)

    def began(self, name: str) -> None:
        self._set(self._row(name, "running"))

    def ended(self, name: str, ending: Ending, *, is_stopped: bool = False) -> None:
        status = "failed"
        if ending.status == 0:
            status = "finished"
        elif is_stopped or ending.status > _SIGNALLED:
            status = "interrupted"
        self._set(self._row(name, status, ending.reason))

    def _row(self, name: str, status: str, why: str = "") -> Row:
        results: dict[str, Any] = {}
        if status == "finished":
            try:
                summary = json.loads((self.folder / name / SUMMARY).read_text(encoding="utf-8"))
                results = {key: summary[key] for key in _RESULTS if key in summary}
            except (OSError, ValueError) as error:
                why = f"its {SUMMARY} cannot be read ({reason(error)})"
        return Row(name, self.trials[name].settings, status, why, results)

    def _set(self, row: Row) -> None:
        self.rows[row.name] = row
        self._write()
        self.on_row(row)

    def _write(self) -> None:
        content = {"runs": [dataclasses.asdict(row) for row in self.rows.values()]}
        _write(self.folder / TABLE, json.dumps(content, indent=2) + "\n")
        _write(self.folder / MARKDOWN, _markdown(list(self.rows.values())))


def _write(path: Path, text: str) -> None:
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


def cells(row: Row) -> dict[str, str]:
    """A row's cells by the titles of their columns, as people read them.

    Example:
        >>> cells(Row("seed=0", {"seed": "0"}, "finished", results={"test_error": 0.031}))["test"]
        '3.10 %'
    """
    found = row.results
    errors = {
        title: "" if found.get(key) is None else f"{100 * found[key]:.2f} %"
        for title, key in (
            ("training", "train_error"),
            ("validation", "validation_error"),
            ("test", "test_error"),
        )
    }
    seconds = found.get("total_seconds")
    return {
        **row.settings,
        "status": row.status,
        "epochs": str(found.get("epoch", "")),
        **errors,
        "seconds": "" if seconds is None else f"{seconds:.1f}",
        "reason": row.reason,
    }


def _markdown(rows: Sequence[Row]) -> str:
    shown = [cells(row) for row in rows]
    titles = list(shown[0])
    lines = [titles, ["---"] * len(titles)]
    lines += [[cell[title].replace("|", "\\|") for title in titles] for cell in shown]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table}\n\nErrors are those of the last epoch.\n"


@contextlib.contextmanager
def _own_folder(folder: Path, on_warning: Callable[[str], None]) -> Iterator[None]:
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise FileExistsError(f"{place} is a file: choose a folder with --output.")
    try:
        make_folders(folder)
    except OSError as error:
        raise OSError(
            f"the folder {folder} cannot be made ({reason(error)}): choose another with --output."
        ) from error
    with _lock.locked(folder, on_warning):
        if not _is_sweep(folder):
            raise FileExistsError(
                f"the folder {folder} is not empty and holds no sweep: choose another with "
                "--output."
            )
        yield


def _is_sweep(folder: Path) -> bool:
    """Whether a sweep has begun or can begin there."""
    if not [path for path in folder.iterdir() if path.name != _lock.NAME]:
        return True
    try:
        content = json.loads((folder / TABLE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, Mapping) and "runs" in content


def _check_same(trial: Trial, run: RunFolder) -> None:
    """Raise where a run of other settings is in a trial's place."""
    if not run.holds_run:
        return
    content = run.read_config()
    content.pop("preset", None)
    try:
        there = read_config(content)
    except ValueError as error:
        raise FileExistsError(
            f"{run.path} holds a run that cannot go on ({error}): choose another --output."
        ) from error
    there = dataclasses.replace(there, output=trial.config.output)
    changes = describe_changes(there, trial.config)
    if changes:
        raise FileExistsError(
            f"{run.path} holds a run of other settings, and would have {', '.join(changes)}: "
            "choose another --output."
        )
