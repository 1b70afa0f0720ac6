"""One style for all pictures: colours, lines, markers, panel letters, files."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# The palette of Okabe and Ito without yellow, from dark to light and back, so that neighbours
# differ in grey print, too; each series has a line and a marker of its own besides.
BLUE, ORANGE, GREEN, PURPLE, SKY, BLACK = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#000000",
)
VERMILION = "#D55E00"
SERIES: tuple[dict[str, Any], ...] = tuple(
    {"color": color, "linestyle": line, "marker": marker}
    for color, line, marker in (
        (BLUE, "-", "o"),
        (VERMILION, "--", "s"),
        (GREEN, "-.", "^"),
        (PURPLE, ":", "D"),
        (BLACK, (0, (5, 1)), "v"),
        (SKY, (0, (3, 1, 1, 1)), "P"),
        (ORANGE, (0, (1, 1)), "X"),
    )
)
# Of maps: dark where it settles, as in the paper; its lightness falls steadily.
MAP = "Blues_r"
_SETTINGS: Any = {
    "font.size": 8.5,
    "axes.titlesize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.6,
    "svg.hashsalt": "holoprop",
    "svg.fonttype": "path",
}
_LARGEST = 300_000


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw in the house's style."""
    with mpl.rc_context(_SETTINGS):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, without a display."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def letter(panel: Axes, name: str, title: str = "") -> None:
    """The paper's letter at a panel's upper left, with a title."""
    panel.set_title(title, loc="center")
    panel.set_title(name, loc="left", fontweight="bold", fontsize=11)


def below(panel: Axes, columns: int = 2, **options: Any) -> None:
    """A legend under a panel, where it covers nothing."""
    panel.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=columns, borderaxespad=0, **options
    )


def save(figure: Figure, stem: Path) -> None:
    """PNG of at most 300 kB and SVG."""
    for dpi in (160, 130, 100, 80, 60):
        figure.savefig(stem.with_suffix(".png"), dpi=dpi)
        if stem.with_suffix(".png").stat().st_size < _LARGEST:
            break
    figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None})
