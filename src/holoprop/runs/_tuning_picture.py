"""The picture of a tuning: estimated error against radius, and what it is made of."""

import math
import os
from pathlib import Path

from holoprop.diagnostics import Trial, Tuning

# Told apart without colour too.
_MARKERS = "osD^vP*X<>"


def draw_tuning(tuning: Tuning, path: str | os.PathLike[str]) -> None:
    """Write a PNG with two panels: the whole error, and its bias with the floors under it.

    Arguments:
        tuning: What was tried.
        path: Of the file.
    """
    # Imported here, at the end of a run, because it takes half a second.
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    whole, parts = figure.subplots(1, 2)
    counts = sorted({trial.points for trial in tuning.trials})
    colours = colormaps["viridis"]
    for place, n in enumerate(counts):
        trials = [trial for trial in tuning.trials if trial.points == n]
        style = {
            "color": colours(0.9 * place / max(1, len(counts) - 1)),
            "marker": _MARKERS[place % len(_MARKERS)],
            "markersize": 5,
        }
        whole.plot(*_curve(trials, None), label=f"N = {n}", **style)
        parts.plot(*_curve(trials, "bias"), label=f"bias, N = {n}", **style)
    fewest = [trial for trial in tuning.trials if trial.points == counts[0]]
    for name, dashes in (("settling", "--"), ("noise", "-."), ("rounding", ":")):
        radii, values = _curve(fewest, name)
        if radii:
            parts.plot(radii, values, dashes, color="0.35", label=f"{name}, N = {counts[0]}")
    whole.axhline(tuning.error, color="0.6", linewidth=1)
    best = tuning.best
    if math.isfinite(best.error):
        whole.plot(
            [best.radius],
            [best.error],
            "o",
            markersize=14,
            markerfacecolor="none",
            markeredgecolor="black",
            label="proposed" if tuning.reached else "smallest error",
        )
    whole.set(ylabel=f"estimated error, all but {100 * tuning.share:g} % of the examples")
    parts.set(ylabel="parts of the error, median")
    for panel in (whole, parts):
        panel.set(xlabel="radius", xscale="log", yscale="log")
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(Path(path), dpi=110, format="png")


def _curve(trials: list[Trial], part: str | None) -> tuple[list[float], list[float]]:
    """Radii and errors, or a part of them, of those trials that a logarithmic axis can show."""
    values = [t.error if part is None else t.parts[part] for t in trials]
    pairs = [(t.radius, v) for t, v in zip(trials, values, strict=True) if 0 < v < math.inf]
    return [r for r, _ in pairs], [v for _, v in pairs]
