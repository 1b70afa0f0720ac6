"""`holoprop sweep`: its arguments, and what is drawn on the terminal."""

import argparse
import dataclasses
import hashlib
import re
import sys
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.table import Table
from rich.text import Text

from holoprop import runs
from holoprop.cli._configured import configured
from holoprop.cli._faults import guarded, refused
from holoprop.cli._grid import Combination, combinations
from holoprop.cli._signals import stoppable
from holoprop.runs import Row, Trial

_USAGE = """usage: holoprop sweep [PRESET] [OPTIONS] --output SWEEP [--processes N]
                      [--slurm [KEY=VALUE ...]]

Train with each combination of several settings, each a run folder in SWEEP, and
gather what they come to in SWEEP/sweep.json and SWEEP/sweep.md. Options are those
of holoprop train; what stands between commas is tried one by one:
  holoprop sweep mnist-subset --estimator.radius 0.1,0.4 --seed 0,1,2 --output SWEEP
  holoprop sweep mnist-subset,mnist-hep --scale small --output SWEEP
Each value of a list may have commas, and a list in brackets is one of several:
  --network.sizes 784 128,256 10
  --network.sizes [784,256,10],[784,128,128,10]
Options without a value are tried as they are:
  --inputs.flip,--inputs.no-flip

The same command again goes on: runs that have finished stay, others go on from
their last checkpoint or begin. What a run prints is in SWEEP/RUN.log.

options:
  -h, --help            show this help message and exit
  --output SWEEP        the folder; must be given
  --processes N         runs at once; default 1, with --slurm all. They share the
                        devices that CUDA_VISIBLE_DEVICES names, where it is set
  --slurm [KEY=VALUE ...]
                        each run is a job of a Slurm cluster, with such settings of
                        Submitit: partition=gpu timeout_min=240 gpus_per_node=1
"""
# Of a folder's name.
_LONGEST = 120


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def run_sweep(arguments: list[str]) -> int:
    """Run `holoprop sweep ARGUMENTS`; returns the exit status."""
    if arguments[:1] in ([], ["-h"], ["--help"]):
        print(_USAGE, end="")
        return 0
    try:
        own, rest = _own_options(arguments)
        trials = _trials(combinations(rest), own.output)
    except SystemExit as stop:
        return int(stop.code or 0)
    except ValueError as error:
        return refused("sweep", str(error), code=2)
    return guarded("sweep", lambda: _sweep(trials, own))


def _own_options(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """What is the sweep's own, and the arguments of its runs."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--processes", type=int)
    parser.add_argument("--slurm", nargs="*")
    own, rest = parser.parse_known_args(arguments)
    if own.output is None:
        raise ValueError("--output must be given: the sweep's folder, in which it can go on.")
    if own.processes is not None and own.processes < 1:
        raise ValueError(f"--processes must be 1 or more; got {own.processes}.")
    own.output = runs.RunFolder(own.output).path
    for setting in own.slurm or []:
        if not re.match(r"\w+=.", setting):
            raise ValueError(f"--slurm takes KEY=VALUE; got {setting!r}.")
    return own, rest


def _trials(grid: list[Combination], folder: Path) -> list[Trial]:
    """The runs of a grid, each understood as `holoprop train` does.

    Raises:
        ValueError: If one of them is refused, or two have the same settings.
    """
    trials: dict[str, Trial] = {}
    for point in grid:
        name = _name(point.settings)
        _, config = configured(
            "train",
            [*point.arguments, "--output", str(folder / name)],
            settings=lambda config: config,
            description=lambda start: f"{start.summary} holoprop sweep --help has the sweep's own.",
        )
        if config.overwrite:
            raise ValueError(
                "--overwrite does not apply to a sweep: choose another --output, or remove the "
                "runs that are to be trained anew."
            )
        runs.check_trackers(config.track)
        # Two ways to write a number make two names.
        whole = repr(dataclasses.replace(config, output=None))
        if whole in trials:
            raise ValueError(
                f"{trials[whole].name} and {name} have the same settings: leave one out."
            )
        trials[whole] = Trial(name, point.settings, point.arguments, config)
    return list(trials.values())


def _name(settings: dict[str, str]) -> str:
    """Of a run's folder: what it has of its own."""
    full = "_".join(f"{option}={value}" for option, value in settings.items()) or "run"
    name = re.sub(r"[^\w.=+-]+", "-", full, flags=re.ASCII)[:_LONGEST]
    return name if name == full else f"{name}-{hashlib.sha256(full.encode()).hexdigest()[:8]}"


def _sweep(trials: list[Trial], own: argparse.Namespace) -> int:
    console = Console(highlight=False)
    processes = own.processes or (1 if own.slurm is None else len(trials))
    if own.slurm is None:
        start = runs.local_jobs(processes)
    else:
        options = dict(setting.split("=", 1) for setting in own.slurm)
        start = runs.slurm_jobs(own.output / "slurm", options)
    console.print(
        f"{len(trials)} run{'s' if len(trials) > 1 else ''}, {processes} at once; folder "
        f"{own.output}",
        soft_wrap=True,
    )

    def on_row(row: Row) -> None:
        why = f": {row.reason}" if row.reason else ""
        console.print(f"{row.status:11}  {row.name}{why}", soft_wrap=True, markup=False)

    with stoppable() as stop:
        rows = runs.sweep(
            trials,
            own.output,
            start=start,
            processes=processes,
            on_row=on_row,
            on_warning=lambda sentence: print(f"holoprop sweep: {sentence}", file=sys.stderr),
            should_stop=stop.is_asked,
        )
    console.print(_table(rows))
    console.print(f"Table: {own.output / runs.TABLE}", soft_wrap=True)
    unfinished = sum(row.status != "finished" for row in rows)
    if not unfinished:
        return 0
    sentence = f"{unfinished} of {len(rows)} runs did not finish; the same command goes on."
    return refused("sweep", sentence, code=stop.status if stop.is_asked() else 1)


def _table(rows: list[Row]) -> Table:
    shown = [runs.cells(row) for row in rows]
    # Reasons were said when they came, and would break the table on a narrow terminal.
    titles = [title for title in shown[0] if title != "reason"]
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for title in titles:
        number = title in ("epochs", "training", "validation", "test", "seconds")
        table.add_column(Text(title), justify="right" if number else "left")
    for row in shown:
        table.add_row(*(Text(row[title]) for title in titles))
    return table
