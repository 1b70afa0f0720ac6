"""Cells of tables: a training run from several seeds, by epochs.

A cell's run folders lie beside its part: one that was interrupted goes on from its last checkpoint,
and tables that have a cell in common train it once.
"""

import dataclasses
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from holoprop import runs
from holoprop.experiments._data import training_source
from holoprop.experiments._parts import Numbers, Parts
from holoprop.experiments._settings import jax_settings
from holoprop.training import DivergedError, EpochMetrics

# What is kept of each epoch, by its name among a run's metrics: shares of 1, as percent.
_ERRORS = {
    "train": "train_error",
    "validation": "validation_error",
    "top5": "validation_top5_error",
}
# What an interruption costs at most.
_MINUTES = 1.0


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        name: What people call it.
        settings: Of its runs, as a run's `config.json` has them; their source of images is a set as
            `training_source` takes it, so that they say nothing of the machine.
        seeds: How many runs, of the seeds from 0.
    """

    name: str
    settings: str
    seeds: int


def cell_of(name: str, config: runs.TrainConfig, *, seeds: int) -> Cell:
    """The cell of a run's configuration, whose source of images is a set."""
    return Cell(name, json.dumps(runs.as_json(config)), seeds)


def trained(cell: Cell, parts: Parts) -> Numbers:
    """What the cell's runs came to, [seeds, epochs] each.

    "train", "validation" and "top5" are errors in percent; the last two of the validation images,
    the first of the training images as they were met. "unsettled" counts the training images that
    were left out. All are NaN from the epoch on in which a run diverged.
    """
    own = parts.under(cell)
    return own.run(cell.name, lambda: _train(cell, own))


def _train(cell: Cell, parts: Parts) -> Numbers:
    config = runs.read_config(json.loads(cell.settings))
    source = training_source(str(config.data.source))
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, source=source),
        output=str(parts.folder / "runs"),
        # Tables look at errors alone.
        checked_images=0,
        checkpoints=runs.CheckpointConfig(minutes=_MINUTES, keep=1),
    )
    _run(config, cell.seeds, lambda done: parts.tell(f"{cell.name}, epochs", *done))
    histories = [_history(Path(str(config.output)) / f"seed-{seed}") for seed in range(cell.seeds)]
    kept = {"unsettled": (1.0, "unsettled")} | {n: (100.0, key) for n, key in _ERRORS.items()}
    return {
        name: np.array([_padded(h, key, scale, config.epochs) for h in histories])
        for name, (scale, key) in kept.items()
    }


def _run(config: runs.TrainConfig, seeds: int, tell: Callable[[tuple[int, int]], None]) -> None:
    """Begin the runs, or go on with them, to their end.

    Arguments:
        config: Of the runs.
        seeds: How many.
        tell: Told how many epochs are done of how many.
    """
    stopping = threading.Event()
    done = dict.fromkeys(range(seeds), 0)

    def listener(seed: int) -> runs.Listener:
        def on_epoch(metrics: EpochMetrics) -> None:
            done[seed] = metrics.epoch
            tell((sum(done.values()), seeds * config.epochs))

        return runs.Listener(on_epoch=on_epoch)

    def train() -> dict[int, Exception]:
        place = str(config.output)
        told: Any = {"listener": listener, "should_stop": stopping.is_set}
        if runs.holds_seeds(place):
            return runs.resume_seeds(place, **told).faults
        return runs.train_seeds(config, seeds=seeds, **told).faults

    # In float32, as the presets are run by themselves, whatever references need. In a thread of its
    # own: what interrupts this one lets the runs save where they are.
    with jax_settings(jax_enable_x64=False), ThreadPoolExecutor(1) as pool:
        running = pool.submit(train)
        try:
            faults = running.result()
        except DivergedError:
            # All of them did, which is an outcome, too.
            return
        finally:
            stopping.set()
    for fault in faults.values():
        if not isinstance(fault, DivergedError):
            raise fault


def _history(folder: Path) -> list[dict[str, Any]]:
    """The metrics of a run's epochs, fewer than there should be where it diverged."""
    metrics = folder / "metrics.jsonl"
    return (
        [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []
    )


def _padded(history: list[dict[str, Any]], key: str, scale: float, epochs: int) -> list[float]:
    """A run's numbers by epoch; NaN where there are none."""
    found = [metrics[key] for metrics in history]
    return [np.nan if v is None else scale * v for v in found] + [np.nan] * (epochs - len(found))
