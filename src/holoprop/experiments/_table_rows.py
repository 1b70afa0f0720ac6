"""Rows of tables: what several seeds came to, beside the paper's numbers."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from holoprop.experiments._record import Claim
from holoprop.experiments._style import BLUE, VERMILION

# A mean and one standard deviation, in percent.
Stated = tuple[float, float]


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
    """A cell of a table.

    Attributes:
        label: What stands before it.
        values: Percent [seeds, epochs]; NaN where a run diverged.
        paper: What the paper's table states, which is the best epoch; None where it states none.
        paper_last: The last epoch, where it is known from the authors' logs.
        gains: Whether larger is better, as for accuracies.
    """

    label: str
    values: np.ndarray
    paper: Stated | None = None
    paper_last: Stated | None = None
    gains: bool = False

    @property
    def last(self) -> Stated:
        """Mean and deviation over the seeds at the last epoch; NaN where one diverged."""
        return _stated(self.values[:, -1])

    @property
    def best(self) -> Stated:
        """The same of each seed's best epoch."""
        return _stated((np.fmax if self.gains else np.fmin).reduce(self.values, axis=1))

    @property
    def diverged(self) -> int:
        """How many seeds did not come to the last epoch."""
        return int(np.sum(np.isnan(self.values[:, -1])))


def _stated(values: np.ndarray) -> Stated:
    return float(np.mean(values)), float(np.std(values))


def written(stated: Stated | None) -> str:
    """As tables have it."""
    if stated is None:
        return ""
    mean, deviation = stated
    digits = 1 if mean >= 10 else 2
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def draw_rows(panel: Axes, words: Axes, rows: Sequence[Row], *, log: bool = False) -> None:
    """A line of dots for each row, and its numbers.

    Arguments:
        panel: Where dots and labels go.
        words: Where numbers go, of the same height.
        rows: From the top.
        log: Whether the axis of percents is logarithmic.
    """
    heights = np.arange(len(rows))[::-1]
    for height, row in zip(heights, rows, strict=True):
        for stated, style, rise in (
            (row.paper_last, _PAPER_LAST, -0.16),
            (row.paper, _PAPER, -0.16),
            (row.best, _BEST, 0.16),
            (row.last, _LAST, 0.16),
        ):
            if stated is not None:
                panel.errorbar(stated[0], height + rise, xerr=stated[1], capsize=2, **style)
        last = (
            f"{row.diverged} of {len(row.values)} diverged" if row.diverged else written(row.last)
        )
        for place, text in enumerate((last, written(row.best), written(row.paper))):
            _word(words, place, height, text)
    for place, text in enumerate(("ours, last", "ours, best", "paper's table")):
        _word(words, place, len(rows) - 0.25, text)
    for axes in (panel, words):
        axes.set_ylim(-0.6, len(rows) + 0.1)
    words.set_xlim(-0.5, 2.5)
    words.set_axis_off()
    panel.set_yticks(heights, [row.label for row in rows])
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="y", color="0.9", lw=0.8)
    panel.set_axisbelow(True)
    if log:
        panel.set_xscale("log", nonpositive="clip")
        lowest, highest = panel.get_xlim()
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 3) if highest < 300 * lowest else (1,)))
        panel.xaxis.set_major_formatter(lambda value, place: f"{value:g}")


_LAST: dict[str, Any] = {"color": BLUE, "marker": "o", "markersize": 5, "linestyle": ""}
_BEST = _LAST | {"markerfacecolor": "white"}
_PAPER_LAST = _LAST | {"color": VERMILION, "marker": "D", "markersize": 4.5}
_PAPER = _PAPER_LAST | {"markerfacecolor": "white"}


def _word(words: Axes, place: float, height: float, text: str) -> None:
    words.text(place, height, text, ha="center", va="center", fontsize=7.5)


def legend_entries(*, paper_last: bool) -> list[Line2D]:
    """What the dots mean."""
    entries = [
        Line2D([], [], label="ours, last epoch", **_LAST),
        Line2D([], [], label="ours, best epoch", **_BEST),
    ]
    if paper_last:
        entries.append(Line2D([], [], label="paper, last epoch", **_PAPER_LAST))
    return [*entries, Line2D([], [], label="paper's table (best epoch)", **_PAPER)]


def beside(rows: Sequence[Row], what: str) -> list[Claim]:
    """Each row's numbers beside the paper's: the last epoch first, then the best."""
    found = []
    for row in rows:
        for name, ours, paper in (
            ("last", row.last, row.paper_last),
            ("best", row.best, row.paper),
        ):
            found.append(
                Claim(
                    f"{row.label}: {what} in %, {name} epoch (deviation {ours[1]:.2g}"
                    + (f", the paper's {paper[1]:g})" if paper else ")"),
                    ours[0],
                    None,
                    paper[0] if paper else None,
                )
            )
    return found
