"""The same run with several seeds: a run folder for each, in one folder, with a summary of all."""

import contextlib
import dataclasses
import functools
import json
import os
import statistics
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from holoprop.runs import _lock
from holoprop.runs._compilation_cache import compilation_cache
from holoprop.runs._config import TrainConfig
from holoprop.runs._files import make_folders, write_whole
from holoprop.runs._json import as_json
from holoprop.runs._listener import Listener
from holoprop.runs._memory import available, memory_needed
from holoprop.runs._processes import devices_for
from holoprop.runs._read_config import read_config
from holoprop.runs._run_folder import SUMMARY, RunFolder
from holoprop.runs._saver import InterruptedRunError
from holoprop.runs._setup import build_method
from holoprop.runs._train import resume, train
from holoprop.training import JointStep

_SEEDS = "seeds.json"
# Of a run's summary, what is summed up over seeds.
_NUMBERS = (
    "train_loss",
    "train_error",
    "validation_loss",
    "validation_error",
    "validation_top5_error",
    "test_loss",
    "test_error",
    "test_top5_error",
)


@dataclasses.dataclass(frozen=True)
class SeedsOutcome:
    """What a run with several seeds came to.

    Attributes:
        folder: Where the runs' folders are.
        summaries: By seed: what `summary.json` of its run holds.
        faults: By seed: why its run failed.
        summary: What `summary.json` above them holds: "mean", "deviation" (of the sample, not its
            mean) and "values" of the last epoch's numbers, and of the best one's.
    """

    folder: Path
    summaries: dict[int, dict[str, Any]]
    faults: dict[int, Exception]
    summary: dict[str, Any]


def train_seeds(
    config: TrainConfig,
    *,
    seeds: int,
    preset: str = "custom",
    listener: Callable[[int], Listener] = lambda seed: Listener(),
    should_stop: Callable[[], bool] = lambda: False,
) -> SeedsOutcome:
    """Train with several seeds, `config.seed` and those that follow it.

    Each is a run of its own in a folder `seed-0`, `seed-1`, ... of the run folder, with the
    outcome that it has alone up to rounding. Where all phases have a fixed number of steps, and on
    an accelerator, they are trained as one batch of networks by one program; else, and where memory
    does not allow it, one after another.

    Arguments:
        config: Of the run.
        seeds: How many, 1 or more.
        preset: What the configuration is called.
        listener: From a seed to who is told how its run goes.
        should_stop: Asked after each step whether to save the runs and stop.

    Raises:
        FileExistsError: If the run folder is taken.
        ValueError: As for `train`; for `seeds` out of range.
        InterruptedRunError: If the runs were asked to stop.
        Exception: What the first run failed by, if all have.

    Example:
        >>> train_seeds(TrainConfig(output="nowhere"), seeds=0)
        Traceback (most recent call last):
        ...
        ValueError: seeds must be 1 or more; got 0.
    """
    if seeds < 1:
        raise ValueError(f"seeds must be 1 or more; got {seeds}.")
    if config.output == "":
        raise ValueError("--output is empty: name a folder, or leave it out for a dated one.")
    if config.seed + seeds > 2**32:
        raise ValueError(f"--seed {config.seed} leaves no room for {seeds} seeds: lower it.")
    dated = RunFolder.dated(preset) if config.output is None else RunFolder(config.output)
    folder = dated.path
    made = make_folders(folder)
    try:
        with _lock.locked(folder, listener(config.seed).on_warning):
            _check(folder, overwrite=config.overwrite)
            record = {"preset": preset, "seeds": seeds, "config": as_json(config)}
            _write_json(folder / _SEEDS, record)
            try:
                return _train(folder, config, seeds, preset, listener, should_stop, anew=True)
            except BaseException:
                if not any(RunFolder(path).holds_run for path in folder.glob("seed-*")):
                    (folder / _SEEDS).unlink(missing_ok=True)
                raise
    finally:
        for path in made:
            # One that is not empty stays, with those above it.
            with contextlib.suppress(OSError):
                path.rmdir()


def resume_seeds(
    path: str | os.PathLike[str],
    *,
    listener: Callable[[int], Listener] = lambda seed: Listener(),
    should_stop: Callable[[], bool] = lambda: False,
) -> SeedsOutcome:
    """Go on with the runs of several seeds that were interrupted, as if they never had been.

    Arguments:
        path: The folder of their folders.
        listener: As for `train_seeds`, as is `should_stop`.

    Raises:
        FileNotFoundError: If there are no such runs.
        Exception: As `resume`, and as `train_seeds`.

    Example:
        >>> resume_seeds("nowhere")
        Traceback (most recent call last):
        ...
        FileNotFoundError: there are no runs of several seeds at nowhere.
    """
    folder = RunFolder(path).path
    if not holds_seeds(folder):
        raise FileNotFoundError(f"there are no runs of several seeds at {path}.")
    record = json.loads((folder / _SEEDS).read_text(encoding="utf-8"))
    config = read_config(record["config"])
    with _lock.locked(folder, listener(config.seed).on_warning):
        return _train(
            folder, config, record["seeds"], record["preset"], listener, should_stop, anew=False
        )


def holds_seeds(path: str | os.PathLike[str]) -> bool:
    """Whether a folder holds runs of several seeds.

    Example:
        >>> holds_seeds("nowhere")
        False
    """
    return (RunFolder(path).path / _SEEDS).exists()


def _check(folder: Path, *, overwrite: bool) -> None:
    others = {path.name for path in folder.iterdir()} - {_lock.NAME}
    if others and not overwrite:
        raise FileExistsError(
            f"the run folder {folder} exists already and is not empty: choose another with "
            "--output, or replace its runs with --overwrite."
        )
    if others and not holds_seeds(folder):
        raise FileExistsError(
            f"the folder {folder} is not empty and holds no runs of several seeds, and --overwrite "
            "replaces such runs alone: choose another with --output."
        )


def _train(
    folder: Path,
    config: TrainConfig,
    seeds: int,
    preset: str,
    listener: Callable[[int], Listener],
    should_stop: Callable[[], bool],
    *,
    anew: bool,
) -> SeedsOutcome:
    """All runs, or what is left of them where they are not begun anew."""
    numbers = range(config.seed, config.seed + seeds)
    places = {seed: folder / f"seed-{seed}" for seed in numbers}
    faults: dict[int, Exception] = {}

    def one(seed: int, **step: Any) -> None:
        told, place = listener(seed), RunFolder(places[seed])
        try:
            if place.holds_run and not anew:
                resume(place.path, listener=told, should_stop=should_stop, **step)
            else:
                own = dataclasses.replace(config, seed=seed, output=str(place.path))
                train(own, preset=preset, listener=told, should_stop=should_stop, **step)
        except Exception as error:
            faults[seed] = error

    with _compiling(config, listener(config.seed)):
        if seeds > 1 and _fits_one_program(config, seeds, listener(config.seed)):
            _jointly(one, numbers)
        else:
            for seed in numbers:
                one(seed)
                if isinstance(faults.get(seed), InterruptedRunError):
                    break
    if any(isinstance(fault, InterruptedRunError) for fault in faults.values()):
        raise InterruptedRunError(f"interrupted; go on with: holoprop resume {folder}")
    if len(faults) == seeds:
        raise faults[config.seed]
    summaries = {
        seed: json.loads((place / SUMMARY).read_text(encoding="utf-8"))
        for seed, place in places.items()
        if seed not in faults
    }
    summary = {
        "preset": preset,
        "seeds": list(summaries),
        "failed": {seed: str(fault) for seed, fault in faults.items()},
        "last": _over_seeds(list(summaries.values())),
        "best": _over_seeds([summary["best"] for summary in summaries.values()]),
    }
    _write_json(folder / SUMMARY, summary)
    return SeedsOutcome(folder, summaries, faults, summary)


def _fits_one_program(config: TrainConfig, seeds: int, told: Listener) -> bool:
    """Whether the runs are trained together; if they might have been, and are not, why."""
    alike = build_method(config, steps=1).has_fixed_steps
    if not (alike or jax.default_backend() != "cpu"):
        return False
    if devices_for(config.batch_size)[0]:
        told.on_warning(
            "several devices share each batch: the seeds are trained one after another."
        )
        return False
    needed = seeds * memory_needed(config)
    if needed > available():
        told.on_warning(
            f"{seeds} seeds at once need {needed / 1e9:.0f} GB at least, and there are "
            f"{available() / 1e9:.0f} GB: they go one after another."
        )
        return False
    return True


def _jointly(one: Callable[..., None], seeds: range) -> None:
    joint = JointStep(len(seeds))

    def in_thread(place: int, seed: int) -> None:
        try:
            one(seed, step=joint.of(place))
        finally:
            joint.leave(place)

    threads = [
        threading.Thread(target=functools.partial(in_thread, place, seed))
        for place, seed in enumerate(seeds)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextlib.contextmanager
def _compiling(config: TrainConfig, told: Listener) -> Iterator[None]:
    """The runs' cache of compiled programs, whose settings are the process's, not a thread's."""
    if not config.compilation_cache:
        yield
        return
    with compilation_cache(told.on_warning):
        yield


def _over_seeds(summaries: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found = {}
    for name in _NUMBERS:
        values = [s[name] for s in summaries if s.get(name) is not None]
        if len(values) == len(summaries):
            found[name] = {
                "mean": statistics.fmean(values),
                "deviation": statistics.stdev(values) if len(values) > 1 else None,
                "values": values,
            }
    return found


def _write_json(path: Path, content: Any) -> None:
    text = json.dumps(as_json(content), indent=2) + "\n"
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))
