"""`holoprop reproduce`: its arguments, its faults, what is drawn on the terminal."""

import argparse
import sys
from pathlib import Path
from typing import NoReturn

import equinox as eqx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from holoprop import experiments

_EVERY = "all"


class _Parser(argparse.ArgumentParser):
    """Faults as exceptions."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of leaving the process."""
        raise ValueError(message)


def run_reproduce(arguments: list[str]) -> int:
    """Run `holoprop reproduce ARGUMENTS`; returns the exit status."""
    table = experiments.experiments()
    parser = _parser(table)
    if arguments in ([], ["-h"], ["--help"]):
        parser.print_help()
        return 0
    try:
        asked = parser.parse_args(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    except ValueError as error:
        return _refused(f"{str(error).rstrip('.')}. holoprop reproduce --help lists them.", code=2)
    if asked.name != _EVERY and asked.name not in table:
        names = ", ".join((*table, _EVERY))
        return _refused(f"unknown experiment {asked.name!r}; the experiments are: {names}.", code=2)
    output = Path(asked.output or Path("runs") / f"reproduce-{asked.scale}")
    chosen = list(table.values()) if asked.name == _EVERY else [table[asked.name]]
    console = Console(highlight=False)
    try:
        for experiment in chosen:
            _reproduce(experiment, scale=asked.scale, output=output, console=console)
    except eqx.EquinoxRuntimeError as error:
        return _refused(str(error).partition("\n\n---")[0].splitlines()[-1], code=1)
    except (ValueError, OSError, RuntimeError) as error:
        return _refused(str(error).strip().partition("\n\n")[0], code=1)
    except KeyboardInterrupt:
        return _refused("interrupted; the same command goes on where it stopped.", code=130)
    return 0


def _parser(table: dict[str, experiments.Experiment]) -> argparse.ArgumentParser:
    width = max(map(len, table))
    lines = (f"  {name:{width}}  {experiment.title}" for name, experiment in table.items())
    parser = _Parser(
        prog="holoprop reproduce",
        description="Compute a figure or a table, draw it, and compare it with the paper's claims.",
        epilog="\n".join(("experiments:", *lines, f"  {_EVERY:{width}}  all of them")),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("name", metavar="NAME", help="an experiment, or all")
    parser.add_argument(
        "--scale",
        choices=experiments.SCALES,
        default="quick",
        help="smoke: seconds; quick: minutes on two cores (default); paper: the paper's setting",
    )
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        help="where each leaves a folder of its name; default runs/reproduce-SCALE. A run that was "
        "interrupted goes on where it stopped",
    )
    return parser


def _reproduce(
    experiment: experiments.Experiment, *, scale: str, output: Path, console: Console
) -> None:
    with _progress_bar(console) as bar:
        task = bar.add_task(experiment.name, total=None, seen="")

        def on_part(seen: experiments.PartSeen) -> None:
            words = f"{seen.label}{' (kept)' if seen.kept else ''}"
            bar.update(task, completed=seen.done, total=seen.total, seen=words)

        done = experiments.reproduce(experiment, scale=scale, output=output, on_part=on_part)
    console.print(_claims_table(experiment.title, done.claims))
    console.print(f"Folder: {done.folder}", soft_wrap=True)


def _progress_bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[seen]}"),
        console=console,
        transient=True,
        # Elsewhere than on a terminal even an empty bar leaves a line.
        disable=not console.is_terminal,
    )


def _claims_table(title: str, claims: list[experiments.Claim]) -> Table:
    table = Table(title=title)
    table.add_column("claim")
    for name in ("paper", "ours", "holds"):
        table.add_column(name, justify="right")
    for claim in claims:
        paper = "" if claim.paper is None else f"{claim.paper:.4g}"
        table.add_row(claim.statement, paper, f"{claim.ours:.4g}", claim.verdict(no="NO"))
    return table


def _refused(sentence: str, *, code: int) -> int:
    print(f"holoprop reproduce: {sentence}", file=sys.stderr)
    return code
