"""Figure 3: the online estimate, and noise, on real digits."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import holoprop as hp
from holoprop.experiments._data import digits
from holoprop.experiments._experiment import Experiment
from holoprop.experiments._parts import Numbers, Parts, stacked
from holoprop.experiments._record import Claim
from holoprop.experiments._style import BLUE, SERIES, letter, new_figure


@dataclasses.dataclass(frozen=True)
class Fig3:
    """Settings of Figure 3.

    Attributes:
        hidden: Units of both hidden layers.
        weight_std: Of the weights.
        seed: Of weights and noise.
        batch: Digits.
        free_steps: Free phase of panels a and b.
        radius: Of panels a and b.
        points: N of panels a and b.
        steps_per_point: A curve of panel a each.
        periods: Of panel a.
        noise: Standard deviation in panel c.
        noisy_free: Free steps of panel c.
        noisy_nudged: Nudged steps of panel c.
        noisy_points: N of hEP in panel c; classic EP averages half as many of each phase.
        radii: Of panel c.
        batches: Different batches of digits in panel c.
        draws: Noise draws for each batch.
    """

    hidden: int = 256
    weight_std: float = 0.05
    seed: int = 0
    batch: int = 10
    free_steps: int = 400
    radius: float = 0.5
    points: int = 10
    steps_per_point: tuple[int, ...] = (5, 10, 20, 30, 40)
    periods: int = 20
    noise: float = 0.01
    noisy_free: int = 100
    noisy_nudged: int = 60
    noisy_points: int = 15
    radii: tuple[float, ...] = tuple(float(f"{r:.3g}") for r in np.geomspace(0.005, 2.0, 12))
    batches: int = 3
    draws: int = 3


def _network(config: Fig3) -> hp.LayeredNetwork:
    sizes = (784, config.hidden, config.hidden, 10)
    return hp.mlp(sizes, weight_std=config.weight_std, key=jax.random.key(config.seed))


def _implicit(
    network: hp.LayeredNetwork, x: np.ndarray, labels: np.ndarray, steps: int
) -> hp.LayeredNetwork:
    """The exact gradient, without noise."""
    schedule = hp.Synchronous(steps=steps)
    return hp.value_and_grad(network, x, labels, estimator=hp.Implicit(), free=schedule)[1]


def _online(config: Fig3, steps_per_point: int) -> Numbers:
    """After each period: cosine of the mean over all periods so far, and the period's residual."""
    network, (x, labels) = _network(config), digits(config.batch)
    reference = _implicit(network, x, labels, config.free_steps)
    state = hp.relax(network, x, relaxation=hp.Synchronous(steps=config.free_steps)).state
    estimator = hp.Online(
        config.radius, config.points, steps_per_point=steps_per_point, periods=1, warmup_periods=0
    )
    total, cosines, residuals = None, [], []
    for _ in range(config.periods):
        (_, aux), grads = hp.value_and_grad(
            network,
            x,
            labels,
            estimator=estimator,
            nudged=hp.Synchronous(steps=steps_per_point),
            init=state,
            throw=False,
        )
        state = aux.state
        # The mean over periods is the estimate over all of them.
        total = grads if total is None else jax.tree.map(jnp.add, total, grads)
        cosines.append(float(hp.gradient_alignment(total, reference).cosine))
        residuals.append(float(np.mean(aux.residuals["online"])))
    return {"cosine": np.array(cosines), "residual": np.array(residuals)}


def _noisy(config: Fig3, noise: float, radius: float) -> Numbers:
    """Cosines [batches * draws] of hEP and of classic EP with as many samples."""
    network, size = _network(config), jnp.asarray(radius)
    free = hp.Synchronous(steps=config.noisy_free, noise=noise)
    nudged = hp.Synchronous(steps=config.noisy_nudged, noise=noise)
    samples = -(-config.noisy_points // 2) if noise else 1
    found: dict[str, list[float]] = {"hep": [], "classic": []}
    for batch in range(config.batches):
        x, labels = digits(config.batch, skip=batch * config.batch)
        reference = _implicit(network, x, labels, 2 * config.noisy_free)
        for draw_ in range(config.draws if noise else 1):
            key = jax.random.fold_in(jax.random.key(config.seed + 1), draw_)
            for name, estimator, count in (
                ("hep", hp.Holomorphic(size, config.noisy_points, form=hp.StateForm.PLAIN), 1),
                ("classic", hp.OneSided(size, form=hp.StateForm.PLAIN), samples),
            ):
                total, usable = None, True
                for k in jax.random.split(key, count):
                    (_, aux), grads = hp.value_and_grad(
                        network,
                        x,
                        labels,
                        estimator=estimator,
                        free=free,
                        nudged=nudged,
                        key=k,
                        throw=False,
                    )
                    usable = usable and bool(aux.count > 0)
                    total = grads if total is None else jax.tree.map(jnp.add, total, grads)
                cosine = float(hp.gradient_alignment(total, reference).cosine)
                found[name].append(cosine if usable else np.nan)
    return {name: np.array(values) for name, values in found.items()}


def compute(config: Fig3, parts: Parts) -> Numbers:
    """Online curves, then cosines with and without noise at each radius."""
    online = stacked(
        parts.each("online", config.steps_per_point, lambda steps: _online(config, steps))
    )
    numbers = {
        "steps_per_point": np.array(config.steps_per_point),
        "online_cosine": online["cosine"],
        "online_residual": online["residual"],
        "radii": np.array(config.radii),
    }
    for kind, noise in (("quiet", 0.0), ("noisy", config.noise)):
        rows = stacked(parts.each(kind, config.radii, functools.partial(_noisy, config, noise)))
        numbers |= {f"{kind}_{name}": values for name, values in rows.items()}
    return numbers


def draw(config: Fig3, numbers: Numbers) -> Figure:
    """Panels a to c."""
    figure = new_figure(9.6, 3.6)
    a, b, c = figure.subplots(1, 3)
    periods = np.arange(1, numbers["online_cosine"].shape[1] + 1)
    for steps, row, series in zip(
        numbers["steps_per_point"], numbers["online_cosine"], SERIES, strict=False
    ):
        a.plot(periods, row, label=f"{steps}", **series)
    a.set(xlabel="oscillation periods", ylabel="cosine with the true gradient")
    a.xaxis.get_major_locator().set_params(integer=True)
    letter(a, "a", "online estimate")
    _legend(a, "steps a point", 3)
    lengths = config.points * numbers["steps_per_point"]
    b.plot(lengths, numbers["online_residual"][:, -1], "o-", color=BLUE)
    b.set(xlabel="period (steps)", ylabel="residual", yscale="log")
    letter(b, "b", "residual convergence")
    for (kind, name), series in zip(_CURVES, SERIES, strict=False):
        values = numbers[f"{kind}_{name}"]
        mean, spread = np.nanmean(values, axis=1), np.nanstd(values, axis=1)
        label = f"{_NAMES[name]}, {'noise' if kind == 'noisy' else 'no noise'}"
        c.plot(numbers["radii"], mean, label=label, **series)
        c.fill_between(
            numbers["radii"], mean - spread, mean + spread, color=series["color"], alpha=0.2, lw=0
        )
    c.set(xscale="log", xlabel="radius", ylabel="cosine with the true gradient")
    letter(c, "c", f"noise {config.noise:g}")
    _legend(c, None, 2)
    return figure


_NAMES = {"hep": "hEP", "classic": "classic"}
_CURVES = (("noisy", "hep"), ("noisy", "classic"), ("quiet", "hep"), ("quiet", "classic"))


def _legend(panel: Axes, title: str | None, columns: int) -> None:
    panel.legend(
        title=title, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=columns, columnspacing=1
    )


def claims(config: Fig3, numbers: Numbers) -> list[Claim]:
    """What the paper says of each panel."""
    online, residual = numbers["online_cosine"], numbers["online_residual"][:, -1]
    tenth = min(10, online.shape[1]) - 1
    mean = {
        f"{kind}_{name}": np.nanmean(numbers[f"{kind}_{name}"], axis=1) for kind, name in _CURVES
    }
    radii = numbers["radii"]
    best = int(np.nanargmax(mean["noisy_hep"]))
    above = radii > 0.1
    margin = float(np.nanmin(mean["quiet_hep"][above] - mean["quiet_classic"][above]))
    gain = float(np.nanmax(mean["noisy_hep"]) - np.nanmax(mean["noisy_classic"]))
    return [
        Claim(
            "a: about ten periods are enough with the slowest oscillation (cosine after ten)",
            float(online[-1, tenth]),
            bool(online[-1, tenth] > 0.99),
            1.0,
        ),
        Claim(
            "a: too fast an oscillation leaves a bias (last cosine, fastest less slowest)",
            float(online[0, -1] - online[-1, -1]),
            bool(online[0, -1] < online[-1, -1]),
        ),
        Claim(
            "b: the residual falls with the period (longest over shortest)",
            float(residual[-1] / residual[0]),
            bool(np.all(np.diff(residual) < 0)),
        ),
        Claim(
            "c: without noise hEP beats classic EP at every radius above 0.1 (smallest difference)",
            margin,
            margin > 0,
        ),
        Claim(
            "c: with noise a finite radius serves hEP best, not the smallest (best of those tried)",
            float(radii[best]),
            best > 0,
        ),
        Claim(
            "c: with noise hEP at its best radius beats classic EP at its best (difference)",
            gain,
            gain > 0,
        ),
        Claim(
            "c: with noise hEP is still accurate at its best radius (cosine)",
            float(mean["noisy_hep"][best]),
            bool(mean["noisy_hep"][best] > 0.95),
            1.0,
        ),
    ]


def caption(config: Fig3, numbers: Numbers) -> str:
    """What was run."""
    samples = -(-config.noisy_points // 2)
    return (
        f"MLP 784-{config.hidden}-{config.hidden}-10, float64, weights of deviation "
        f"{config.weight_std:g}, seed {config.seed}, {config.batch} digits of the packaged MNIST "
        f"subset, against the implicit gradient. a) Online, N = {config.points}, radius "
        f"{config.radius:g}, from the free equilibrium ({config.free_steps} steps), no warm-up: "
        f"cosine of the mean over all periods so far. b) Mean residual of the points of the last "
        f"period (relative size of one more step). c) {config.noisy_free} free and "
        f"{config.noisy_nudged} nudged steps, Gaussian noise of deviation {config.noise:g} on each "
        f"unit at each step; hEP with N = {config.noisy_points}, classic EP averaged over "
        f"{samples} estimates with noise of their own; mean and one standard deviation over "
        f"{config.batches} batches and, with noise, {config.draws} draws each."
    )


FIG3 = Experiment(
    name="fig3",
    title="Figure 3: online estimate and noise",
    configs={
        "smoke": lambda: Fig3(
            hidden=8,
            weight_std=0.1,
            batch=3,
            free_steps=100,
            steps_per_point=(2, 20),
            periods=2,
            points=4,
            noisy_free=40,
            noisy_nudged=20,
            noisy_points=4,
            radii=(0.02, 0.5),
            batches=1,
            draws=2,
        ),
        "quick": Fig3,
        "paper": lambda: Fig3(
            radii=tuple(float(f"{r:.3g}") for r in np.geomspace(0.005, 2.0, 20)), batches=5, draws=5
        ),
    },
    compute=compute,
    draw=draw,
    claims=claims,
    caption=caption,
)
