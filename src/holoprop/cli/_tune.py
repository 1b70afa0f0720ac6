"""`holoprop tune`: its arguments, and what is drawn on the terminal."""

import math

from rich.console import Console
from rich.table import Table

from holoprop import runs
from holoprop.cli._configured import Start, carry_out
from holoprop.diagnostics import Trial, Tuning

_WIDTH = 80
_MARK = "*"
# Of the error, in the order of `Aux.error_parts`.
_PARTS = ("bias", "settling", "noise", "rounding")


def run_tune(arguments: list[str]) -> int:
    """Run `holoprop tune ARGUMENTS`; returns the exit status."""
    return carry_out(
        "tune",
        arguments,
        settings=runs.TuneConfig.of,
        description=lambda start: (
            f"Propose radius and number of points for a run: {start.summary} holoprop presets "
            "lists the others; --scale small and --config FILE are as for train."
        ),
        work=_tune,
    )


def _tune(start: Start, config: runs.TuneConfig) -> int:
    console = Console(highlight=False)
    pairs = len(set(config.radii)) * len(set(config.points))
    words = f"trying {pairs} pairs of radius and number of points on {config.images} images"
    # Elsewhere than on a terminal a status is not seen, and a compiler may take a minute.
    if not console.is_terminal:
        console.print(words, soft_wrap=True)
    with console.status(words):
        tuning, folder = runs.tune(config)
    # A width of its own: a log has no other, and each line is to be found whole in it.
    Console(highlight=False, width=_WIDTH).print(_table(tuning))
    for sentence in _sentences(tuning):
        console.print(sentence, soft_wrap=True)
    console.print(f"Folder: {folder}", soft_wrap=True)
    return 0


def _table(tuning: Tuning) -> Table:
    share = f"{100 * tuning.share:g} %"
    table = Table(
        box=None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        title=f"Estimated error of the gradient of all but {share} of {tuning.examples} images",
        caption=(
            "parts: medians over the images; cost: applications of every linear map to one image"
        ),
    )
    table.add_column("", no_wrap=True)
    for name in ("N", "radius", "error", *_PARTS, "untrusted", "unsettled", "cost"):
        table.add_column(name, justify="right", no_wrap=True)
    for trial in tuning.trials:
        table.add_row(
            _MARK if _is_shown(tuning) and trial == tuning.best else "",
            str(trial.points),
            f"{trial.radius:.3g}",
            f"{trial.error:.0e}",
            *(f"{trial.parts[name]:.0e}" for name in _PARTS),
            str(trial.untrusted),
            str(trial.unsettled),
            f"{trial.cost:.0f}",
        )
    return table


def _is_shown(tuning: Tuning) -> bool:
    """Whether there is a pair to point at."""
    return math.isfinite(tuning.best.error)


def _sentences(tuning: Tuning) -> list[str]:
    """What comes of it, in words."""
    asked = (
        f"an error of {tuning.error:g} or less for all but {100 * tuning.share:g} % of the images"
    )
    if tuning.reached:
        first = f"Proposed ({_MARK}): {_options(tuning.best)}, the cheapest pair with {asked}."
    elif _is_shown(tuning):
        first = (
            f"No pair reaches {asked}; the smallest ({_MARK}) is {tuning.best.error:.0e}, with "
            f"{_options(tuning.best)}."
        )
    else:
        first = f"No pair reaches {asked}, or any that can be told: try smaller --radii."
    if not tuning.unstable:
        return [first]
    return [
        first,
        f"Not found to be stable: the free equilibrium of {tuning.unstable} of {tuning.examples} "
        "images; no radius makes their gradient that of the physical system.",
    ]


def _options(trial: Trial) -> str:
    return f"--estimator.radius {trial.radius:g} --estimator.points {trial.points}"
