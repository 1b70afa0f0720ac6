"""The idea in one picture: nudges round a circle, one unit's answer, the gradient read from it.

    python examples/oscillation.py docs/oscillation.png

takes half a minute on two cores, writes the picture of the README, and prints the relative error
of the gradient by number of nudges. Left: the nudges beta. Middle: the equilibrium s*(beta) of one
unit of a small network; the dashed circle is the first Fourier coefficient alone, and what the
orbit has beside it are the higher orders that spoil a gradient from one or two nudges. Right: the
whole gradient (Eq. 8) against implicit differentiation; all nudges have the same size.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import holoprop as hp

matplotlib.use("Agg")
jax.config.update("jax_enable_x64", True)

RADIUS = 0.8
POINTS = 10
ORBIT = 120
COUNTS = (2, 4, 6, 8, 10, 12, 16)
_BLUE, _RED, _GREY = "#1f5fa8", "#c0392b", "#666666"


def problem() -> tuple[hp.LayeredNetwork, jax.Array, jax.Array]:
    """A small network, and two examples with their labels."""
    network = hp.mlp([8, 12, 12, 4], key=jax.random.key(0))
    return network, jax.random.uniform(jax.random.key(1), (2, 8)), jnp.array([0, 1])


def orbit() -> tuple[np.ndarray, np.ndarray]:
    """Nudges round the circle, and how far they move the unit of the last layer that moves most."""
    network, x, labels = problem()
    nudges = RADIUS * np.exp(2j * np.pi * np.arange(ORBIT) / ORBIT)
    free = hp.relax(network, x, throw=True)
    nudged = hp.relax(network, x, nudge=nudges, target=labels, throw=True)
    moved = np.asarray(nudged.state[-1] - free.state[-1])[:, 0]
    return nudges, moved[:, np.argmax(np.abs(moved).max(axis=0))]


def errors() -> dict[int, float]:
    """Relative error of the gradient by number of nudges; 1 is the classic, one-sided estimate."""
    network, x, labels = problem()
    relaxation = hp.Sequential()

    def gradient(estimator: hp.AbstractEstimator) -> hp.LayeredNetwork:
        _, grads = hp.value_and_grad(
            network, x, labels, estimator=estimator, free=relaxation, nudged=relaxation
        )
        return grads

    exact = gradient(hp.Implicit())
    estimators: dict[int, hp.AbstractEstimator] = {1: hp.OneSided(RADIUS)}
    estimators |= {points: hp.Holomorphic(RADIUS, points) for points in COUNTS}
    return {
        points: float(hp.gradient_alignment(gradient(estimator), exact).relative_error)
        for points, estimator in estimators.items()
    }


def _plane(axes: Axes, name: str) -> None:
    axes.axhline(0, color=_GREY, lw=0.6, zorder=1)
    axes.axvline(0, color=_GREY, lw=0.6, zorder=1)
    axes.plot(0, 0, "o", color="black", ms=4, zorder=3)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel(f"Re {name}")
    axes.set_ylabel(f"Im {name}")


def _loop(axes: Axes, values: np.ndarray, colour: str, style: str = "-") -> None:
    """A closed line through values round the circle."""
    closed = np.append(values, values[0])
    axes.plot(closed.real, closed.imag, style, color=colour, lw=1.6, zorder=2)


def _points(axes: Axes, values: np.ndarray) -> None:
    """The values at the nudges of the gradient, in the colours of their phase."""
    chosen = values[:: ORBIT // POINTS]
    colours = matplotlib.colormaps["hsv"](np.arange(POINTS) / POINTS)
    axes.scatter(chosen.real, chosen.imag, c=colours, s=46, edgecolors="black", lw=0.7, zorder=4)


def draw(nudges: np.ndarray, moved: np.ndarray, error: dict[int, float]) -> Figure:
    """The three panels."""
    figure = Figure(figsize=(10.5, 3.7), dpi=160, layout="constrained", facecolor="white")
    left, middle, right = figure.subplots(1, 3)
    figure.get_layout_engine().set(wspace=0.06)

    left.set_title(r"(a) nudges $\beta$ round a circle")
    _plane(left, r"$\beta$")
    _loop(left, nudges, _GREY)
    _points(left, nudges)
    left.annotate("free phase", (0, 0), (-6, 6), textcoords="offset points", ha="right")

    middle.set_title(r"(b) a unit's equilibrium $s^*(\beta)$")
    _plane(middle, r"$[s^*(\beta) - s^*(0)]$")
    first = np.mean(moved / nudges) * nudges
    _loop(middle, first, _RED, "--")
    _loop(middle, moved, _BLUE)
    _points(middle, moved)
    middle.text(
        0,
        -0.35 * abs(first[0]),
        "first Fourier\ncoefficient",
        color=_RED,
        ha="center",
        va="center",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )

    right.set_title("(c) error of the gradient")
    classic, *circles = error
    right.semilogy(circles, [error[n] for n in circles], "o-", color=_BLUE, lw=1.6)
    right.semilogy(classic, error[classic], "s", color=_RED)
    right.annotate(
        "classic", (classic, error[classic]), (9, -4), textcoords="offset points", color=_RED
    )
    right.set_xticks(list(error))
    right.set_xlabel(rf"number of nudges $N$, each $|\beta| = {RADIUS}$")
    right.set_ylabel("relative error")
    right.grid(alpha=0.3)
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def main(path: Path) -> dict[int, float]:
    """Draw the picture; returns the gradient's errors."""
    error = errors()
    draw(*orbit(), error).savefig(path)
    return error


if __name__ == "__main__":
    for points, value in main(Path(sys.argv[1] if sys.argv[1:] else "oscillation.png")).items():
        print(f"{points:3d} nudges: relative error {value:.1e}")
