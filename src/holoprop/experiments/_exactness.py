"""How exact a gradient is: its error against radius and N, what Eq. (9) predicts, what rounds."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import holoprop as hp
from holoprop.experiments._experiment import Experiment
from holoprop.experiments._parts import Numbers, Parts, stacked
from holoprop.experiments._record import Claim
from holoprop.experiments._style import BLACK, SERIES, letter, new_figure
from holoprop.experiments._toy import circle

_FORMS = {"plain": hp.StateForm.PLAIN, "deviation": hp.StateForm.DEVIATION}


@dataclasses.dataclass(frozen=True)
class Exactness:
    """Settings of the map of errors.

    Attributes:
        sizes: Of the MLP.
        batch: Examples, Gaussian.
        seed: Of weights and examples.
        steps: Synchronous steps, free and nudged.
        points: The N.
        radii: Of the circles.
        modes: Points of the circle that the Taylor coefficients are read from.
        mode_radius: Its radius; at least the largest of `radii`, and in the stable region.
        single_points: The N of the float32 panel, and of the noisy one.
        noise: Deviation of the noise on every step of the noisy estimates.
        asked: Relative error of an example's gradient that tuning is asked for.
    """

    sizes: tuple[int, ...] = (6, 4, 4, 4)
    batch: int = 4
    seed: int = 3
    steps: int = 200
    points: tuple[int, ...] = (2, 4, 8, 16, 32)
    radii: tuple[float, ...] = tuple(float(f"{r:.4g}") for r in np.geomspace(1e-5, 0.8, 24))
    modes: int = 128
    mode_radius: float = 0.8
    single_points: int = 8
    noise: float = 0.04
    asked: float = 1e-6


def example(config: Exactness, dtype: str) -> tuple[hp.LayeredNetwork, np.ndarray, np.ndarray]:
    """Network, inputs and labels; the same numbers in both precisions, but for rounding."""
    weights, inputs, classes = jax.random.split(jax.random.key(config.seed), 3)
    network = jax.tree.map(lambda w: w.astype(dtype), hp.mlp(config.sizes, key=weights))
    x = jax.random.normal(inputs, (config.batch, config.sizes[0]))
    labels = jax.random.randint(classes, (config.batch,), 0, config.sizes[-1])
    return network, np.asarray(x.astype(dtype)), np.asarray(labels)


def slopes(
    network: hp.LayeredNetwork, x: np.ndarray, labels: np.ndarray, nudges: np.ndarray, steps: int
) -> np.ndarray:
    """dF/dtheta at the equilibria of some nudges, complex [nudges, parameters], mean of the batch.

    By differentiating F itself, apart from the estimators.
    """
    schedule = hp.Synchronous(steps=steps)
    free = hp.relax(network, x, relaxation=schedule)
    nudged = hp.relax(
        network,
        x,
        nudge=jnp.asarray(nudges, complex),
        target=labels,
        init=free.state,
        relaxation=schedule,
        batching=hp.Lockstep(),
    )

    @eqx.filter_jit
    def slope(network: hp.LayeredNetwork, beta: jax.Array, state: tuple[jax.Array, ...]) -> tuple:
        def total(network: hp.LayeredNetwork) -> jax.Array:
            numerics = network.numerics()
            each = jax.vmap(lambda s, x, y: numerics.interaction(s, x) + beta * network.cost(s, y))(
                state, jnp.asarray(x), jnp.asarray(labels)
            )
            return jnp.mean(each)

        real = eqx.filter_grad(lambda n: jnp.real(total(n)))(network)
        imaginary = eqx.filter_grad(lambda n: jnp.imag(total(n)))(network)
        return flat(real), flat(imaginary)

    # Beyond the stable region the coefficients would be those of nothing.
    worst = float(jnp.max(jnp.nan_to_num(nudged.residual, nan=jnp.inf)))
    if worst > 1e-10:
        raise RuntimeError(
            f"the circle of radius {np.abs(nudges).max():g} leaves the stable region (residual "
            f"{worst:.1e}): choose a smaller mode_radius or another seed."
        )
    rows = []
    for index, beta in enumerate(nudges):
        state = tuple(layer[index] for layer in nudged.state)
        real, imaginary = slope(network, jnp.asarray(beta, complex), state)
        rows.append(np.asarray(real) + 1j * np.asarray(imaginary))
    return np.array(rows)


def flat(grads: hp.LayeredNetwork) -> jax.Array:
    """All arrays of a gradient in one vector."""
    return jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(grads)])


def taylor(values: np.ndarray, radius: float) -> np.ndarray:
    """Coefficients a_p of sum_p a_p beta^p from values on a circle, [modes / 2, ...].

    a_p radius^p is the p-th Fourier mode, with an alias from the order p + modes on.
    """
    modes = np.fft.fft(values, axis=0) / len(values)
    orders = np.arange(len(values) // 2)
    return modes[: len(orders)] / radius ** orders.reshape(-1, *[1] * (values.ndim - 1))


def predicted(coefficients: np.ndarray, radius: float, points: int) -> float:
    """Eq. (9): relative error from the coefficients of orders N + 1, 2 N + 1, ..."""
    orders = np.arange(points + 1, len(coefficients), points)
    powers = radius ** (orders - 1.0)
    bias = np.tensordot(powers, coefficients[orders], 1) if orders.size else np.full(1, np.nan)
    return float(np.linalg.norm(bias) / np.linalg.norm(coefficients[1]))


def _coefficients(config: Exactness) -> Numbers:
    """Norms and predictions; the coefficients themselves are many."""
    network, x, labels = example(config, "float64")
    nudges = config.mode_radius * circle(config.modes)
    a = taylor(slopes(network, x, labels, nudges, config.steps), config.mode_radius)
    bias = [[predicted(a, r, n) for r in config.radii] for n in config.points]
    return {
        "predicted": np.array(bias),
        "coefficient_norms": np.linalg.norm(a, axis=1),
        # To see that the first coefficient is the gradient.
        "first_coefficient": np.real(a[1]),
    }


def _errors(config: Exactness, dtype: str, form: str, points: int) -> Numbers:
    """Relative error against the float64 implicit gradient at each radius; NaN if unsettled."""
    network, x, labels = example(config, dtype)
    reference = flat(_reference(config))
    schedule = hp.Synchronous(steps=config.steps)
    found = []
    for radius in config.radii:
        size = jnp.asarray(radius, dtype)
        (_, aux), grads = hp.value_and_grad(
            network,
            x,
            labels,
            estimator=hp.Holomorphic(size, points, form=_FORMS[form]),
            free=schedule,
            nudged=schedule,
            throw=False,
        )
        error = jnp.linalg.norm(flat(grads).astype(float) - reference)
        usable = bool(jnp.all(aux.settled))
        found.append(float(error / jnp.linalg.norm(reference)) if usable else np.nan)
    return {"error": np.array(found)}


def _said(config: Exactness, points: int, noise: float) -> Numbers:
    """Every example's true and estimated error at each radius, [radii, batch]; NaN if unsettled."""
    network, x, labels = example(config, "float64")
    schedule = hp.Synchronous(steps=config.steps, noise=noise)

    def one(x: jax.Array, label: jax.Array, **options: Any) -> tuple[hp.Aux, jax.Array]:
        (_, aux), grads = hp.value_and_grad(network, x[None], label[None], throw=False, **options)
        return aux, flat(grads)

    @eqx.filter_jit
    def errors(radius: jax.Array) -> tuple[jax.Array, jax.Array]:
        estimator = hp.Holomorphic(radius, points)

        def both(row: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            x, label, key = row
            exact = one(x, label, estimator=hp.Implicit(), free=hp.Synchronous(steps=config.steps))
            aux, found = one(x, label, estimator=estimator, free=schedule, nudged=schedule, key=key)
            error = jnp.linalg.norm(found - exact[1]) / jnp.linalg.norm(exact[1])
            usable = aux.settled[0]
            return jnp.where(usable, error, jnp.nan), jnp.where(usable, aux.error[0], jnp.nan)

        keys = jax.random.split(jax.random.key(config.seed + 1), len(labels))
        return jax.lax.map(both, (jnp.asarray(x), jnp.asarray(labels), keys))

    true, said = zip(*(errors(jnp.asarray(radius)) for radius in config.radii), strict=True)
    return {"true": np.array(true), "said": np.array(said)}


def _proposed(config: Exactness) -> Numbers:
    """The circle that tuning proposes, and its gradient's error."""
    network, x, labels = example(config, "float64")
    schedule = hp.Synchronous(steps=config.steps)
    tuning = hp.tune(
        network,
        x,
        labels,
        error=config.asked,
        share=0.0,
        radii=config.radii,
        points=config.points,
        free=schedule,
        nudged=schedule,
    )
    _, grads = hp.value_and_grad(
        network, x, labels, estimator=tuning.estimator, free=schedule, nudged=schedule
    )
    reference = flat(_reference(config))
    error = jnp.linalg.norm(flat(grads) - reference) / jnp.linalg.norm(reference)
    return {
        "proposed_radius": np.asarray(tuning.best.radius),
        "proposed_points": np.asarray(tuning.best.points),
        "proposed_said": np.asarray(tuning.best.error),
        "proposed_error": np.asarray(error),
    }


def _reference(config: Exactness) -> hp.LayeredNetwork:
    network, x, labels = example(config, "float64")
    schedule = hp.Synchronous(steps=config.steps)
    return hp.value_and_grad(network, x, labels, estimator=hp.Implicit(), free=schedule)[1]


def compute(config: Exactness, parts: Parts) -> Numbers:
    """Coefficients, then errors by N in float64 and by form in float32."""
    found = parts.run("coefficients", lambda: _coefficients(config))
    double = parts.each(
        "float64", config.points, lambda n: _errors(config, "float64", "deviation", n)
    )
    single = parts.each(
        "float32", list(_FORMS), lambda f: _errors(config, "float32", f, config.single_points)
    )
    said = parts.each("said", config.points, lambda n: _said(config, n, 0.0))
    noisy = parts.run("said, noise", lambda: _said(config, config.single_points, config.noise))
    proposed = parts.run("proposed", lambda: _proposed(config))
    gradient = parts.run("gradient", lambda: {"gradient": np.asarray(flat(_reference(config)))})
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
        **{f"error_{name}": part["error"] for name, part in zip(_FORMS, single, strict=True)},
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
    for name, series in zip(_FORMS, SERIES, strict=False):
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
