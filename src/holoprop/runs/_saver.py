"""When a run is saved, and how it goes on from what was saved."""

import dataclasses
import shlex
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np

from holoprop.runs._checkpoints import Checkpoints, Saved
from holoprop.runs._config import TrainConfig
from holoprop.runs._files import reason
from holoprop.runs._json import as_json
from holoprop.runs._processes import is_first, is_stopped
from holoprop.runs._provenance import versions
from holoprop.runs._run_folder import RunFolder
from holoprop.training import EpochMetrics, TrainState


class InterruptedRunError(Exception):
    """A run was asked to stop, and did; the message says how it goes on."""


class Saver:
    """Saves a run every so often, and when it is asked to stop.

    Arguments:
        run: Its folder.
        preset: What its configuration is called.
        config: Of the run.
        batches: In an epoch.
        history: The metrics of the epochs that are done; the run adds to them.
        start: Where the run begins or goes on.
        should_stop: Whether the run has been asked to stop.
        on_warning: Told where a checkpoint cannot be written.
    """

    def __init__(
        self,
        run: RunFolder,
        preset: str,
        config: TrainConfig,
        *,
        batches: int,
        history: list[EpochMetrics],
        start: TrainState,
        should_stop: Callable[[], bool],
        on_warning: Callable[[str], None],
    ) -> None:
        self.run, self.preset, self.config, self.batches = run, preset, config, batches
        self.history, self.should_stop, self.on_warning = history, should_stop, on_warning
        self.checkpoints = Checkpoints(run.checkpoints, keep=config.checkpoints.keep)
        # Of the last one that was written, and of the last one that was due.
        self.saved_step = self.due_step = self._step(start)
        self.due_at, self.is_failing = time.monotonic(), False

    def on_state(self, state: TrainState) -> None:
        """Save the run if it is time to.

        Raises:
            InterruptedRunError: If it has been asked to stop.
        """
        settings, step = self.config.checkpoints, self._step(state)
        if is_stopped(self.should_stop, batch=state.batch):
            self._save(state)
            where = (
                f"in epoch {state.epoch}, after batch {state.batch} of {self.batches}"
                if state.epoch <= self.config.epochs
                else "after the last epoch"
            )
            raise InterruptedRunError(f"interrupted {where}; {self.how_to_go_on()}")
        minutes = (time.monotonic() - self.due_at) / 60
        due = settings.steps is not None and step - self.due_step >= settings.steps
        if due or minutes >= settings.minutes:
            self._save(state)

    def how_to_go_on(self) -> str:
        """How a run that has stopped can be continued."""
        since = f"step {self.saved_step}" if self.saved_step else "its beginning"
        return f"go on from {since} with: holoprop resume {shlex.quote(str(self.run.path))}"

    def last_good(self) -> str:
        """Where the last checkpoint is that was written while all was well."""
        if not self.saved_step:
            return "There is no checkpoint yet."
        return f"The last good checkpoint is {self.run.checkpoints / str(self.saved_step)}."

    def _step(self, state: TrainState) -> int:
        return (state.epoch - 1) * self.batches + state.batch

    def _save(self, state: TrainState) -> None:
        step = self._step(state)
        self.due_at, self.due_step = time.monotonic(), step
        # Of several processes the first one has the run's folder.
        if not is_first():
            return
        # What has gone astray would push out what is good.
        if step == self.saved_step or state.bad_looks or not _is_finite(state.network):
            return
        arrays, record = state.saved()
        record |= {
            "preset": self.preset,
            "config": as_json(self.config),
            "batches": self.batches,
            "versions": versions(),
            "double": jax.config.read("jax_enable_x64"),
            "history": [dataclasses.asdict(metrics) for metrics in self.history],
        }
        try:
            self.checkpoints.save(Saved(step, arrays, record))
        except OSError as error:
            # Once is enough, until it works again.
            if not self.is_failing:
                self.on_warning(
                    f"the checkpoint of step {step} cannot be written to "
                    f"{self.run.checkpoints} ({reason(error)}): training goes on without it."
                )
            self.is_failing = True
        else:
            self.saved_step, self.is_failing = step, False


def resumed_history(
    record: dict[str, Any], *, batches: int, on_warning: Callable[[str], None]
) -> list[EpochMetrics]:
    """The metrics in a checkpoint's record, where the run can go on from it as it was.

    Arguments:
        record: Of the checkpoint.
        batches: In an epoch, now.
        on_warning: Told where the run goes on with other versions than it began with.

    Raises:
        ValueError: If the data have another size, or JAX computes in another precision.
    """
    if record["batches"] != batches:
        raise ValueError(
            f"an epoch has {batches} batches, and had {record['batches']} when the run began: give "
            "the data as they were."
        )
    if record["double"] != jax.config.read("jax_enable_x64"):
        raise ValueError(
            f"the run began with JAX_ENABLE_X64={int(record['double'])}: set it so again."
        )
    others = [
        f"{name} {record['versions'].get(name)}"
        for name, version in versions().items()
        if record["versions"].get(name) != version
    ]
    if others:
        on_warning(
            f"the run began with {', '.join(others)}: what it comes to may differ in the last "
            "digits."
        )
    return [EpochMetrics(**metrics) for metrics in record["history"]]


def _is_finite(network: Any) -> bool:
    leaves = jax.tree.leaves(eqx.filter(network, eqx.is_inexact_array))
    return all(bool(np.all(np.isfinite(np.asarray(leaf)))) for leaf in leaves)
