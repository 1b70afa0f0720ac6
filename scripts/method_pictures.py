"""The pictures of docs/method.md, and the numbers that it gives.

    python scripts/method_pictures.py docs/method

computes them with the network of that page in a minute or two on two cores, and prints the relative
error of its gradient by estimator and radius.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import holoprop as hp

jax.config.update("jax_enable_x64", True)

STEPS = 14
NUDGE = 0.8
RADII = np.geomspace(0.01, 1.6, 12)
POINTS = (2, 4, 8, 16)
SMALL_RADII = np.geomspace(1e-5, 1.6, 12)
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#000000")
_MARKERS = ("s", "o", "^", "D", "v")


def problem() -> tuple[hp.LayeredNetwork, jax.Array, jax.Array]:
    """The network of the page, and its two examples with their labels."""
    network = hp.mlp([8, 12, 12, 4], key=jax.random.key(0))
    return network, jax.random.uniform(jax.random.key(1), (2, 8)), jnp.array([0, 1])


def trajectory() -> tuple[np.ndarray, np.ndarray]:
    """The last layer of one example: settling freely, then under a nudge; [steps, units] each."""
    network, x, labels = problem()
    free = hp.relax(network, x, throw=True).state

    def step(state: object, nudge: float) -> object:
        once = hp.Synchronous(steps=1)
        return hp.relax(network, x, nudge=nudge, target=labels, init=state, relaxation=once).state

    def follow(state: object, nudge: float) -> np.ndarray:
        states = [state]
        for _ in range(STEPS):
            states.append(step(states[-1], nudge))
        return np.stack([np.asarray(state[-1][0]) for state in states])

    zeros = jax.tree.map(jnp.zeros_like, free)
    return follow(zeros, 0.0), follow(free, NUDGE)


def stability() -> hp.diagnostics.StabilityMap:
    """Where both examples settle."""
    network, x, labels = problem()
    return hp.stability_map(network, x, labels, width=6.0, points=121)


def gradient(estimator: hp.AbstractEstimator, dtype: type = np.float64) -> hp.LayeredNetwork:
    """The batch's gradient by an estimator, in a precision."""
    network, x, labels = problem()
    network, x = jax.tree.map(
        lambda a: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, (network, x)
    )
    relaxation = hp.Sequential()
    _, grads = hp.value_and_grad(
        network, x, labels, estimator=estimator, free=relaxation, nudged=relaxation
    )
    return grads


def errors() -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Relative errors by radius: in float64 by estimator, in float32 by form."""
    exact = gradient(hp.Implicit())

    def error(estimator: hp.AbstractEstimator, dtype: type = np.float64) -> float:
        found = jax.tree.map(lambda a: a.astype(np.float64), gradient(estimator, dtype))
        return float(hp.gradient_alignment(found, exact).relative_error)

    # A radius that is an array does not make another program of each.
    double = {"one-sided": [error(hp.OneSided(jnp.asarray(r))) for r in RADII]}
    for points in POINTS:
        double[f"N = {points}"] = [error(hp.Holomorphic(jnp.asarray(r), points)) for r in RADII]
    single = {
        name: [error(hp.Holomorphic(jnp.asarray(r), 4, form=form), np.float32) for r in SMALL_RADII]
        for name, form in (
            ("states", hp.StateForm.PLAIN),
            ("deviations", hp.StateForm.DEVIATION),
        )
    }
    return double, single


def draw_settling(free: np.ndarray, nudged: np.ndarray) -> Figure:
    """Activity by step: free from zero, then nudged from the free equilibrium."""
    figure, (panel,) = _figure(6.4, 2.9, 1)
    time = np.arange(STEPS + 1)
    for unit, (one, other) in enumerate(zip(free.T, nudged.T, strict=True)):
        shade = mpl.colormaps["viridis"](0.9 * unit / free.shape[1])
        panel.plot(np.append(time, time + STEPS), np.append(one, other), color=shade)
    panel.axvline(STEPS, color="#666666", lw=0.8, ls="--")
    top = max(free.max(), nudged.max())
    for place, words in ((0.5, "free: beta = 0"), (1.5, f"nudged: beta = {NUDGE}")):
        panel.text(place * STEPS, 1.06 * top, words, ha="center")
    panel.set_ylim(top=1.15 * top)
    panel.set_xlabel("synchronous steps")
    panel.set_ylabel("activity, last hidden layer")
    return figure


def draw_stability(found: hp.diagnostics.StabilityMap) -> Figure:
    """The residual over the plane of nudges, with circles of radius 0.8 and 2.4."""
    figure, (panel,) = _figure(5.0, 3.9, 1)
    side = float(jnp.real(found.nudges[0, -1]))
    size = np.log10(np.clip(np.nan_to_num(np.asarray(found.residual), nan=1), 1e-12, 1))
    image = panel.imshow(
        size, origin="lower", extent=(-side, side, -side, side), cmap="Blues_r", vmin=-12, vmax=0
    )
    figure.colorbar(image, label="log10 of the residual after 200 steps")
    turn = np.exp(2j * np.pi * np.linspace(0, 1, 200))
    for radius, line in ((0.8, "-"), (2.4, "--")):
        circle = radius * turn
        panel.plot(circle.real, circle.imag, line, color=_COLOURS[0], label=f"radius {radius}")
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, 1.1), ncols=2, frameon=False)
    panel.set_xlabel("Re beta")
    panel.set_ylabel("Im beta")
    return figure


def draw_errors(double: dict[str, list[float]], single: dict[str, list[float]]) -> Figure:
    """Errors against the radius."""
    figure, (left, right) = _figure(9.0, 3.4, 2)
    _curves(left, RADII, double)
    left.set_title("float64, by number of nudges")
    _curves(right, SMALL_RADII, single)
    right.set_title("float32, N = 4, by what is relaxed")
    left.set_ylabel("relative error of the gradient")
    return figure


def _curves(panel: Axes, radii: np.ndarray, errors: dict[str, list[float]]) -> None:
    for (name, values), colour, marker in zip(errors.items(), _COLOURS, _MARKERS, strict=False):
        panel.loglog(radii, values, marker=marker, ms=3.6, lw=1.4, color=colour, label=name)
    panel.set_xlabel("radius")
    panel.grid(alpha=0.3)
    panel.legend(loc="lower right", fontsize=7.5)


def _figure(width: float, height: float, panels: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = list(np.atleast_1d(figure.subplots(1, panels)))
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
    return figure, axes


def main(folder: Path) -> None:
    """Compute, print and draw."""
    folder.mkdir(parents=True, exist_ok=True)
    double, single = errors()
    for kind, radii, table in (("float64", RADII, double), ("float32", SMALL_RADII, single)):
        for name, values in table.items():
            for radius, value in zip(radii, values, strict=True):
                print(f"{kind}\t{name}\t{radius:.3g}\t{value:.1e}")
    with mpl.rc_context({"font.size": 8.5, "axes.titlesize": 8.5}):
        draw_errors(double, single).savefig(folder / "error.png")
        draw_settling(*trajectory()).savefig(folder / "settling.png")
        draw_stability(stability()).savefig(folder / "stability.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if sys.argv[1:] else "."))
