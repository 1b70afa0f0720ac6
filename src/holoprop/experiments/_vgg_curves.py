"""Cosine against radius, as Figures 4a and 6 draw it."""

from matplotlib.axes import Axes

from holoprop.experiments._parts import Numbers
from holoprop.experiments._style import SERIES


def draw_curves(panel: Axes, numbers: Numbers, index: int) -> None:
    """A curve for each N: of one layer, of the readout (index -2), or of all weights (-1)."""
    for kind, points in (("holomorphic", "points"), ("non_holomorphic", "clipped_points")):
        for row, n, series in zip(numbers[kind], numbers[points], SERIES, strict=False):
            dashed = kind != "holomorphic"
            style = series | {"linestyle": "--" if dashed else "-"}
            if dashed:
                style["markerfacecolor"] = "white"
            label = f"N = {n}" + (", non-holomorphic" if dashed else "")
            panel.plot(numbers["radii"], row[:, index], label=label, **style)
    panel.set(xscale="log", xlabel="radius")
