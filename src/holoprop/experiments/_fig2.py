"""Figure 2: hEP on a toy network, from orbits of its units to the cosine of its gradient."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from holoprop.experiments._experiment import Experiment
from holoprop.experiments._fig2_numbers import Fig2, compute
from holoprop.experiments._fig2_page import page
from holoprop.experiments._maps import is_settled
from holoprop.experiments._parts import Numbers
from holoprop.experiments._record import Claim
from holoprop.experiments._style import (
    BLACK,
    BLUE,
    MAP,
    SERIES,
    SKY,
    VERMILION,
    letter,
    new_figure,
)
from holoprop.experiments._toy import circle


def draw(config: Fig2, numbers: Numbers) -> Figure:
    """Panels a to d."""
    figure = new_figure(9.6, 7.4)
    rows: Any = figure.subfigures(2, 1, height_ratios=(1.0, 0.95))
    orbits, plane = rows[0].subfigures(1, 2, width_ratios=(1.45, 1.0))
    _draw_orbits(config, numbers, orbits.subplots(2, 2, width_ratios=(1, 1.5)))
    _draw_map(config, numbers, plane.subplots())
    products, cosine = rows[1].subfigures(1, 2, width_ratios=(1.45, 1.0))
    _draw_products(config, numbers, products.subplots(2, 2).reshape(-1))
    _draw_cosines(config, numbers, cosine.subplots())
    return figure


def _draw_orbits(config: Fig2, numbers: Numbers, panels: np.ndarray) -> None:
    sizes = np.linspace(3, 22, config.orbit_points)
    times = np.arange(2 * config.orbit_points) / config.orbit_points
    for row in range(2):
        moved = numbers[f"orbit_{row + 1}"] - numbers[f"free_{row + 1}"]
        for unit, series in enumerate(SERIES[: moved.shape[1]]):
            z = moved[:, unit]
            panels[row, 0].scatter(
                z.real, z.imag, s=sizes, color=series["color"], marker=series["marker"], lw=0
            )
            panels[row, 1].plot(
                times,
                np.tile(z.real, 2),
                color=series["color"],
                linestyle=series["linestyle"],
                label=f"unit {unit + 1}",
            )
        panels[row, 0].plot(0, 0, "+", color=BLACK)
        panels[row, 0].set(xlabel="Re (s - s0)", ylabel=f"layer {row + 1}:  Im (s - s0)")
        panels[row, 1].set(xlabel="time (periods)", ylabel="Re (s - s0)")
        panels[row, 0].axis("equal")
    panels[0, 1].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, columnspacing=1)
    letter(panels[0, 0], "a")


def _draw_map(config: Fig2, numbers: Numbers, panel: Axes) -> None:
    half = config.width / 2
    residual = np.log10(np.clip(np.nan_to_num(numbers["map"], nan=1.0), 1e-16, 1.0))
    image = panel.imshow(
        residual, origin="lower", extent=(-half, half, -half, half), cmap=MAP, vmin=-16, vmax=0
    )
    round_ = config.star * circle(200)
    panel.plot(round_.real, round_.imag, color=VERMILION, linestyle="--")
    panel.plot(config.star, 0, "*", color=VERMILION, markersize=10, markeredgecolor="white")
    panel.set(xlabel="Re nudge", ylabel="Im nudge")
    panel.figure.colorbar(image, ax=panel, shrink=0.8, label="log10 residual")
    letter(panel, "b")


def _draw_products(config: Fig2, numbers: Numbers, panels: np.ndarray) -> None:
    truth = float(numbers["minus_gradient"])
    turn = circle(config.product_points)
    for radius, product, panel in zip(
        config.product_radii, numbers["products"], panels, strict=True
    ):
        scaled = product / radius
        filtered = scaled / turn
        panel.plot(scaled.real, scaled.imag, "o", color=BLUE, label="product / radius")
        panel.plot(filtered.real, filtered.imag, "s", color=SKY, label="filtered", markersize=3)
        mean = filtered.mean()
        panel.plot(mean.real, mean.imag, "x", color=VERMILION, markersize=9, label="mean, filtered")
        panel.plot(truth, 0, "+", color="0.25", markersize=13, label="true gradient", zorder=1)
        panel.axis("equal")
        panel.set_title(f"radius {radius:g}")
        panel.set(xlabel="Re", ylabel="Im")
    panels[0].set_title("c", loc="left", fontweight="bold", fontsize=11)
    handles, labels = panels[0].get_legend_handles_labels()
    panels[0].figure.legend(handles, labels, loc="outside lower center", ncols=4)


def _draw_cosines(config: Fig2, numbers: Numbers, panel: Axes) -> None:
    radii, edge = numbers["radii"], float(numbers["frontier"])
    panel.axvspan(edge, radii.max(), color="0.9", lw=0, label="circle leaves stable region")
    for name, label, series in (
        ("hep", f"hEP, N = {config.points}", SERIES[1]),
        ("classic", "classic EP", SERIES[0]),
    ):
        panel.plot(radii, numbers[f"cosine_{name}"], label=label, **series)
    refused = np.isnan(numbers["cosine_hep"])
    bottom = np.nanmin(np.concatenate([numbers["cosine_hep"], numbers["cosine_classic"]]))
    if refused.any():
        panel.plot(
            radii[refused],
            np.full(refused.sum(), bottom),
            "x",
            color=VERMILION,
            label="hEP does not settle",
        )
    star = np.interp(config.star, radii[~refused], numbers["cosine_hep"][~refused])
    panel.plot(config.star, star, "*", color=BLACK, markersize=11, label="radius of the path in b")
    panel.set(xscale="log", xlabel="radius", ylabel="cosine with the true gradient")
    letter(panel, "d")
    panel.figure.legend(loc="outside lower center", ncols=2)


def claims(config: Fig2, numbers: Numbers) -> list[Claim]:
    """What the paper says of each panel."""
    radii, hep, classic = (numbers[k] for k in ("radii", "cosine_hep", "cosine_classic"))
    edge = float(numbers["frontier"])
    turn, truth = circle(config.product_points), float(numbers["minus_gradient"])
    sizes = np.array(config.product_radii)
    means = np.mean(numbers["products"] / turn, axis=1) / sizes
    error = float(np.max(np.abs(means - truth)) / abs(truth))
    moved = numbers["orbit_2"] - numbers["free_2"]
    modes = np.abs(np.fft.fft(moved, axis=0))
    overtones = float(np.max(modes[2:-1].max(axis=0) / modes[1]))
    inside, above = radii < 0.9 * edge, radii > 0.1
    both = inside & above
    worst = float(np.min(hep[inside]))
    margin = float(np.min(hep[both] - classic[both]))
    out = np.nan_to_num(hep[radii >= edge], nan=0.0)
    half = config.width / 2
    axis = np.linspace(-half, half, config.map_points)
    disc = np.abs(axis + 1j * axis[:, None]) < config.star
    stable = float(np.mean(is_settled(numbers["map"])[disc]))
    return [
        Claim(
            "a: the oscillations are not purely sinusoidal (largest overtone relative to the first "
            "mode, over units)",
            overtones,
            overtones > 1e-4,
        ),
        Claim(
            f"b: a stable region surrounds zero (settled share of the disc of radius "
            f"{config.star:g})",
            stable,
            stable == 1.0,
            1.0,
        ),
        Claim(
            "c: the mean of the filtered product is the gradient at every radius (largest relative "
            "error)",
            error,
            error < 1e-3,
            0.0,
        ),
        Claim(
            "d: hEP is exact at every radius whose circle is in the stable region (worst cosine)",
            worst,
            worst > 0.999,
            1.0,
        ),
        Claim(
            "d: hEP beats classic EP at every radius above 0.1 inside the stable region (smallest "
            "difference of the cosines)",
            margin,
            margin > 0,
        ),
        Claim(
            "d: hEP breaks down where the circle leaves the stable region (lowest cosine there; 0 "
            "where no estimate is given)",
            float(out.min(initial=1.0)),
            bool(out.min(initial=1.0) < 0.9),
        ),
    ]


def caption(config: Fig2, numbers: Numbers) -> str:
    """What was run."""
    lower, upper = numbers["units"] + 1
    return (
        f"MLP 6-4-4-4, float64, weights of deviation {config.weight_std:g}, seed "
        f"{int(numbers['seed'])}: the first of seeds 0, 1, ... whose smallest circle with an "
        f"unsettled point (of {config.search_points} on its upper half) has a radius from "
        f"{config.between[0]:g} to {config.between[1]:g} (here "
        f"{float(numbers['frontier']):.3g}). Synchronous steps: {config.steps} free, "
        f"{config.steps} nudged. a) Both hidden layers round the free equilibrium s0 (plus sign), "
        f"N = {config.orbit_points}, radius {config.orbit_radius:g}; points grow with time. b) "
        f"Residual after {config.map_steps} steps (relative size of one more step, where the paper "
        f"has the step's norm), {config.map_points} x {config.map_points} nudges; circle of radius "
        f"{config.star:g}. c) Product of unit {lower} of layer 1 and unit {upper} of layer 2, "
        f"those whose weight has the largest gradient, less the free product and over the radius, "
        f"{config.product_points} points after {config.map_steps} steps. d) hEP with N = "
        f"{config.points} and classic EP against the implicit gradient; where an example does not "
        f"settle the library gives no gradient, which crosses mark."
    )


FIG2 = Experiment(
    name="fig2",
    title="Figure 2: hEP on a toy network",
    configs={
        "smoke": lambda: Fig2(
            map_points=24, lanes=300, points=6, search_points=61, radii=(0.01, 0.2, 0.4, 1.5)
        ),
        "quick": Fig2,
        "paper": lambda: Fig2(map_points=1000),
    },
    compute=compute,
    draw=draw,
    claims=claims,
    caption=caption,
    page=page,
)
