"""Trackers: programs that draw a run elsewhere are told its settings and every epoch's numbers."""

import contextlib
import dataclasses
import importlib
import importlib.util
import json
import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from holoprop.runs._files import reason, remove, write_whole
from holoprop.runs._json import as_json
from holoprop.runs._listener import Listener
from holoprop.runs._processes import is_first
from holoprop.runs._run_folder import METRICS, TENSORBOARD, TRACKED, RunFolder
from holoprop.training import EpochMetrics, Progress

# What each is imported as, and what installs it.
_PACKAGES = {
    "tensorboard": ("tensorboardX", "'holoprop[tensorboard]'"),
    "wandb": ("wandb", "wandb"),
    "trackio": ("trackio", "trackio"),
}
_PROJECT = "holoprop"


def check_trackers(names: Sequence[str]) -> None:
    """Raise `ValueError` where a tracker is not installed.

    Example:
        >>> check_trackers([])
    """
    for name in names:
        module, package = _PACKAGES[name]
        if importlib.util.find_spec(module) is None:
            raise ValueError(
                f"--track {name} needs the package {module}, which is not installed: "
                f"pip install {package}"
            )


@contextlib.contextmanager
def tracked(told: Listener, run: RunFolder, names: Sequence[str]) -> Iterator[Listener]:
    """A listener that tells trackers, too.

    They are begun with the run's first step: before it nothing is known to fit. A tracker that
    fails is told nothing more, and the run goes on.

    Arguments:
        told: Who is told besides.
        run: Its settings and the epochs that are done are read from its folder.
        names: Of the trackers.
    """
    if not names or not is_first():
        yield told
        return
    trackers = _Trackers(told, run, names)

    def on_progress(progress: Progress) -> None:
        trackers.begin()
        told.on_progress(progress)

    def on_epoch(metrics: EpochMetrics) -> None:
        trackers.log(as_json(metrics))
        told.on_epoch(metrics)

    try:
        yield dataclasses.replace(told, on_progress=on_progress, on_epoch=on_epoch)
    finally:
        trackers.close()


class _Tracker(Protocol):
    def log(self, metrics: dict[str, Any]) -> None:
        """Take a line of `metrics.jsonl`, unless it was taken before."""

    def close(self) -> None:
        """Write or send what is left."""


class _Trackers:
    """Those that have not failed."""

    def __init__(self, told: Listener, run: RunFolder, names: Sequence[str]) -> None:
        self.told, self.run, self.names = told, run, tuple(dict.fromkeys(names))
        self.begun: dict[str, _Tracker] | None = None

    def begin(self) -> None:
        if self.begun is not None:
            return
        self.begun = {}
        for name in self.names:
            with self._surviving(name):
                history = _history(self.run)
                # Told first: a program may take its time, or ask for a password.
                self.told.on_stage(f"beginning {name}")
                self.begun[name] = (
                    _TensorBoard(self.run, history)
                    if name == "tensorboard"
                    else _Online(name, self.run, history)
                )

    def log(self, metrics: dict[str, Any]) -> None:
        for name, tracker in list((self.begun or {}).items()):
            with self._surviving(name):
                tracker.log(metrics)

    def close(self) -> None:
        for name, tracker in list((self.begun or {}).items()):
            with self._surviving(name):
                tracker.close()

    @contextlib.contextmanager
    def _surviving(self, name: str) -> Iterator[None]:
        try:
            yield
        # They send data over networks, in ways of their own.
        except Exception as error:
            if self.begun is not None:
                self.begun.pop(name, None)
            self.told.on_warning(
                f"{name} has failed ({reason(error)}) and is told nothing more; the run goes on, "
                f"and {self.run.path / METRICS} has every epoch."
            )


class _TensorBoard:
    """Events in the run's folder; written anew when the run goes on, as its metrics are."""

    def __init__(self, run: RunFolder, history: Sequence[dict[str, Any]]) -> None:
        from tensorboardX import SummaryWriter

        folder = run.path / TENSORBOARD
        is_new = not folder.exists()
        remove(folder)
        # A program that shows the events already is told to forget them.
        self.writer = SummaryWriter(str(folder), purge_step=None if is_new else 0)
        settings = json.dumps(run.read_config(), indent=2)
        self.writer.add_text("config", f"```json\n{settings}\n```", 0)
        since = time.time() - sum(metrics["seconds"] for metrics in history)
        for metrics in history:
            since += metrics["seconds"]
            self._add(metrics, since)

    def log(self, metrics: dict[str, Any]) -> None:
        self._add(metrics, time.time())

    def _add(self, metrics: dict[str, Any], when: float) -> None:
        for tag, value in _scalars(metrics).items():
            self.writer.add_scalar(tag, value, metrics["epoch"], walltime=when)
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class _Online:
    """A run of wandb, or of trackio, which has the same calls; it is kept what each was told."""

    def __init__(self, name: str, run: RunFolder, history: Sequence[dict[str, Any]]) -> None:
        self.name, self.run = name, run
        self.record: dict[str, Any] = {}
        if (run.path / TRACKED).exists():
            self.record = json.loads((run.path / TRACKED).read_text(encoding="utf-8"))
        known = name in self.record
        if "id" not in self.record:
            self.record["id"] = secrets.token_hex(4)
        mark = self.record["id"]
        arguments: dict[str, Any] = {
            "project": _PROJECT,
            "name": f"{run.path.name}-{mark}",
            "config": run.read_config(),
            "resume": "allow" if known else "never",
        }
        if name == "wandb":
            arguments["id"] = mark
        self.remote = importlib.import_module(name).init(**arguments)
        if not known:
            self._keep(0)
        for metrics in history:
            self.log(metrics)

    def log(self, metrics: dict[str, Any]) -> None:
        # The same comes again where a run goes on from before the end of an epoch.
        if metrics["epoch"] > self.record[self.name]:
            self.remote.log(_scalars(metrics), step=metrics["epoch"])
            self._keep(metrics["epoch"])

    def _keep(self, epoch: int) -> None:
        path = self.run.path / TRACKED
        # Of what the other has kept nothing is lost.
        if path.exists():
            self.record = json.loads(path.read_text(encoding="utf-8")) | {"id": self.record["id"]}
        self.record[self.name] = epoch
        text = json.dumps(self.record) + "\n"
        write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))

    def close(self) -> None:
        self.remote.finish()


def _history(run: RunFolder) -> list[dict[str, Any]]:
    """Every epoch that is done."""
    path = run.path / METRICS
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _scalars(metrics: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """What can be drawn over the epochs, by name.

    Example:
        >>> _scalars({"epoch": 1, "train_loss": 2.5, "test_error": None, "steps": {"free": 20.0}})
        {'train_loss': 2.5, 'steps/free': 20.0}
    """
    found: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, dict):
            found |= _scalars(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and name != "epoch":
            found[prefix + name] = value
    return found
