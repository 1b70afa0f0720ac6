"""How exact a gradient is: its error against radius and N, what Eq. (9) predicts, what rounds."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from holoprop.experiments._exactness_numbers import (
    FORMS,
    Exactness,
    coefficients_of,
    errors_of,
    flat,
    proposed_of,
    reference_of,
    said_of,
)
from holoprop.experiments._experiment import Experiment
from holoprop.experiments._parts import Numbers, Parts, stacked
from holoprop.experiments._record import Claim
from holoprop.experiments._style import BLACK, SERIES, letter, new_figure


def compute(config: Exactness, parts: Parts) -> Numbers:
    """Coefficients, then errors by N in float64 and by form in float32."""
    found = parts.run("coefficients", lambda: coefficients_of(config))
    double = parts.each(
        "float64", config.points, lambda n: errors_of(config, "float64", "deviation", n)
    )
    single = parts.each(
        "float32", list(FORMS), lambda f: errors_of(config, "float32", f, config.single_points)
    )
    said = parts.each("said", config.points, lambda n: said_of(config, n, 0.0))
    noisy = parts.run("said, noise", lambda: said_of(config, config.single_points, config.noise))
    proposed = parts.run("proposed", lambda: proposed_of(config))
    gradient = parts.run("gradient", lambda: {"gradient": np.asarray(flat(reference_of(config)))})
    return {
        "radii": np.array(config.radii),
        "points": np.array(config.points),
        **found,
        **gradient,
        **proposed,
        # [N, radii, examples].
        **stacked(said),
        **{f"{name}_noisy": values for name, values in noisy.items()},
        "error": stacked(double)["error"],
        **{f"error_{name}": part["error"] for name, part in zip(FORMS, single, strict=True)},
    }


def rounding_floor(numbers: Numbers) -> np.ndarray:
    """Error of a plain state's rounding: half an ulp of dF/dtheta over the radius."""
    sizes = numbers["coefficient_norms"]
    return np.finfo(np.float32).eps / 2 * sizes[0] / sizes[1] / numbers["radii"]


def draw(config: Exactness, numbers: Numbers) -> Figure:
    """Against radius in float64, against N, against radius in float32; said against true."""
    figure = new_figure(9.6, 7.0)
    panels = figure.subplots(2, 2).ravel()
    radii, points = numbers["radii"], numbers["points"]
    for row, series, bias, n in zip(
        numbers["error"], SERIES, numbers["predicted"], points, strict=False
    ):
        panels[0].plot(radii, bias, color="0.6", lw=3, zorder=1)
        panels[0].plot(radii, np.maximum(row, 1e-17), label=f"N = {n}", **series)
    panels[0].plot([], [], color="0.6", lw=3, label="Eq. (9)")
    panels[0].plot(
        numbers["proposed_radius"],
        np.maximum(numbers["proposed_error"], 1e-17),
        color=BLACK,
        marker="*",
        markersize=11,
        linestyle="none",
        label=f"tuned for {config.asked:.0e}",
    )
    panels[0].set(xlabel="radius", xscale="log")
    letter(panels[0], "a", "float64")
    chosen = np.unique(np.linspace(len(radii) // 2, len(radii) - 1, 4).astype(int))
    for index, series in zip(chosen, SERIES, strict=False):
        panels[1].plot(points, numbers["predicted"][:, index], color="0.6", lw=3, zorder=1)
        panels[1].plot(
            points,
            np.maximum(numbers["error"][:, index], 1e-17),
            label=f"{radii[index]:.2g}",
            **series,
        )
    panels[1].set(xlabel="points N", xscale="log", xticks=points, xticklabels=points)
    panels[1].minorticks_off()
    letter(panels[1], "b", "float64, by radius")
    for name, series in zip(FORMS, SERIES, strict=False):
        panels[2].plot(radii, numbers[f"error_{name}"], label=f"{name} form", **series)
    panels[2].plot(
        radii, rounding_floor(numbers), color=BLACK, linestyle=":", label="rounding, plain"
    )
    index = list(config.points).index(config.single_points)
    panels[2].plot(radii, numbers["predicted"][index], color="0.6", lw=3, zorder=1, label="Eq. (9)")
    panels[2].set(xlabel="radius", xscale="log")
    letter(panels[2], "c", f"float32, N = {config.single_points}")
    _draw_said(config, numbers, panels[3])
    for panel, title in zip(panels[:3], (None, "radius", None), strict=True):
        panel.set(yscale="log", ylim=(1e-17, 10), ylabel="relative error")
        panel.legend(
            title=title,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.2),
            ncols=4 if title else 3 if panel is panels[0] else 2,
            columnspacing=1,
        )
    return figure


def _draw_said(config: Exactness, numbers: Numbers, panel: Axes) -> None:
    """What every example's estimate says of its error, against the true one."""
    ends = np.array([1e-17, 10.0])
    panel.fill_between(ends, ends / 10, ends * 10, color="0.9", lw=0, label="within ten times")
    panel.plot(ends, ends, color="0.6", lw=1)
    for kind, title, series in (("", "without noise", SERIES[0]), ("_noisy", "", SERIES[1])):
        true, said = (np.maximum(numbers[name + kind].ravel(), 1e-17) for name in ("true", "said"))
        panel.plot(
            true,
            said,
            **series | {"linestyle": "none", "markersize": 2.2},
            label=title or f"noise {config.noise:g}, N = {config.single_points}",
        )
    panel.set(
        xlabel="true relative error of an example",
        ylabel="estimated",
        xscale="log",
        yscale="log",
        xlim=(1e-17, 10),
        ylim=(1e-17, 10),
    )
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, columnspacing=1)
    letter(panel, "d", "float64, said of itself")


def judged(numbers: Numbers) -> float:
    """Share of the estimates within a factor of ten, where 100 roundings < said < 0.1."""
    true, said = numbers["true"], numbers["said"]
    seen = (said > 100 * np.finfo(float).eps) & (said < 0.1) & np.isfinite(true)
    ratio = said[seen] / true[seen]
    return float(np.mean((ratio >= 0.1) & (ratio <= 10))) if ratio.size else np.nan


def claims(config: Exactness, numbers: Numbers) -> list[Claim]:
    """What the theory says."""
    error, bias = numbers["error"], numbers["predicted"]
    gradient = numbers["gradient"]
    first = np.linalg.norm(numbers["first_coefficient"] - gradient) / np.linalg.norm(gradient)
    # Where the bias stands clear of rounding, and of the reference's own.
    clear = np.isfinite(bias) & (bias > 1e-11) & np.isfinite(error)
    ratio = error[clear] / bias[clear]
    ratio_off = float(np.max(np.abs(ratio - 1), initial=0.0))
    exponents = []
    for row, seen, n in zip(error, clear, config.points, strict=True):
        small = seen & (numbers["radii"] < 0.2)
        if small.sum() >= 2:
            fit = np.polyfit(np.log(numbers["radii"][small]), np.log(row[small]), 1)[0]
            exponents.append(abs(fit - n) / n)
    best = float(np.nanmin(error))
    plain, deviation = numbers["error_plain"], numbers["error_deviation"]
    share, asked = judged(numbers), float(numbers["proposed_error"])
    true, said = (numbers[name] for name in ("true", "said"))
    missed = int(np.sum((true > 0.1) & (said < 0.02)))
    return [
        Claim(
            "the first Taylor coefficient of dF/dtheta is the implicit gradient (relative error)",
            float(first),
            bool(first < 1e-10),
            0.0,
        ),
        Claim(
            "Eq. (9) predicts the error from the higher modes (largest relative deviation where "
            "the bias is above 1e-11)",
            ratio_off,
            ratio_off < 0.01,
            0.0,
        ),
        Claim(
            "the error falls as radius^N (largest relative deviation of the fitted exponent below "
            "radius 0.2)",
            float(max(exponents, default=np.nan)),
            max(exponents, default=1.0) < 0.05,
            0.0,
        ),
        Claim("float64 reaches its rounding (smallest error)", best, best < 1e-13),
        Claim(
            "float32, plain: the error at the smallest radius is that of rounding (error over the "
            "floor drawn)",
            float(plain[0] / rounding_floor(numbers)[0]),
            bool(0.01 < plain[0] / rounding_floor(numbers)[0] < 10),
        ),
        Claim(
            "float32, deviation form: no digits are lost at the smallest radius (error)",
            float(deviation[0]),
            bool(deviation[0] < 1e-5),
        ),
        Claim(
            "every example's estimate of its own error is within ten times of the true one (share "
            "of those between 100 roundings and 0.1)",
            share,
            share >= 0.95,
        ),
        Claim("no error above 0.1 is said to be below 0.02 (how many are)", missed, missed == 0),
        Claim(
            f"the circle that tuning proposes has the error asked for, {config.asked:.0e} (error)",
            asked,
            asked <= 2 * config.asked,
        ),
    ]


def caption(config: Exactness, numbers: Numbers) -> str:
    """What was run."""
    return (
        f"MLP {'-'.join(map(str, config.sizes))}, default weights, seed "
        f"{config.seed} (of seeds 0 to 5 the one whose circles settle up to radius 1), mean "
        f"gradient of {config.batch} Gaussian inputs against the implicit gradient in float64; "
        f"{config.steps} synchronous steps, free and nudged. Grey: Eq. (9), with Taylor "
        f"coefficients from {config.modes} points of a circle of radius {config.mode_radius:g}, "
        f"at which dF/dtheta is differentiated directly. a, b) float64; a point is missing where "
        f"an example does not settle. c) float32 with plain states and with deviations; dotted: "
        f"half an ulp of dF/dtheta over the radius. Star: what tuning proposes for an error of "
        f"{config.asked:.0e}, N = {int(numbers['proposed_points'])}. d) `aux.error` of every "
        f"example, at every radius and N of a; and with noise of deviation {config.noise:g} on "
        f"every step, N = {config.single_points}."
    )


EXACTNESS = Experiment(
    name="exactness",
    title="Exactness: error against radius and N",
    configs={
        "smoke": lambda: Exactness(
            batch=2,
            points=(2, 4),
            radii=(1e-4, 0.05, 0.1, 0.2),
            modes=32,
            mode_radius=0.3,
            single_points=4,
            steps=60,
        ),
        "quick": Exactness,
        "paper": lambda: Exactness(
            batch=16, radii=tuple(float(f"{r:.4g}") for r in np.geomspace(1e-6, 0.8, 60))
        ),
    },
    compute=compute,
    draw=draw,
    claims=claims,
    caption=caption,
)
