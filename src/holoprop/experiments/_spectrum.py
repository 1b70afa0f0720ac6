"""The harmonics of a unit's response, and how large the teaching signal is in each layer."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import holoprop as hp
from holoprop.experiments._experiment import Experiment
from holoprop.experiments._parts import Numbers, Parts
from holoprop.experiments._record import Claim
from holoprop.experiments._style import BLACK, SERIES, letter, new_figure
from holoprop.experiments._toy import circle, toy
from holoprop.experiments._vgg import HOLOMORPHIC, SMOKE, VggGradients, images, network, setting

# Largest residual of a circle whose modes are drawn.
_SETTLED = 1e-10


@dataclasses.dataclass(frozen=True)
class Spectrum:
    """Settings of the spectrum.

    Attributes:
        seed: Of the toy network of Fig. 2.
        steps: Synchronous steps, free and nudged.
        points: N, at which modes are read.
        radii: Of panel a.
        harmonics: Orders 1 to this.
        deep: The deep network of panel b; its radii are those of panel b, its points are not used.
    """

    seed: int = 0
    steps: int = 200
    points: int = 64
    radii: tuple[float, ...] = tuple(float(f"{r:.4g}") for r in np.geomspace(0.01, 0.6, 16))
    harmonics: int = 5
    deep: VggGradients = dataclasses.field(
        default_factory=lambda: VggGradients(radii=(0.001, 0.01, 0.1, 1.0), points=())
    )


def _harmonics(config: Spectrum) -> Numbers:
    """Modes of the unit of the top layer that moves most, [radii, harmonics]."""
    example = toy(config.seed)
    rows = []
    for radius in config.radii:
        nudges = radius * circle(config.points)
        _, nudged = example.relax(nudges, free_steps=config.steps, steps=config.steps)
        modes = np.abs(np.fft.fft(np.asarray(nudged.state[-1][:, 0]), axis=0)) / config.points
        # Beyond the stable region a circle has no harmonics.
        worst = np.nan_to_num(np.asarray(nudged.residual), nan=np.inf).max()
        rows.append(modes if worst < _SETTLED else np.full_like(modes, np.nan))
    modes = np.array(rows)
    unit = int(np.argmax(modes[0, 1]))
    return {"modes": modes[:, 1 : config.harmonics + 1, unit], "unit": np.array(unit)}


def _signal(config: Spectrum) -> Numbers:
    """First mode from two real nudges over the state, [radii, layers], by root mean squares."""
    deep = config.deep
    net = network(deep, HOLOMORPHIC, "float64")
    x, labels = images(deep, "float64")
    free = hp.relax(net, x, relaxation=hp.Synchronous(steps=deep.free_steps))
    radii = np.array(deep.radii)
    nudged = hp.relax(
        net,
        x,
        nudge=jnp.asarray(np.concatenate([radii, -radii])),
        target=labels,
        init=free.state,
        relaxation=hp.Synchronous(steps=deep.nudged_steps),
    )

    def size(values: np.ndarray, start: int) -> np.ndarray:
        return np.asarray(np.sqrt(np.mean(values**2, axis=tuple(range(start, values.ndim)))))

    columns = []
    for at_rest, moved in zip(free.state, nudged.state, strict=True):
        ahead, behind = np.split(np.asarray(moved), 2)
        columns.append(size((ahead - behind) / 2, 1) / size(np.asarray(at_rest), 0))
    return {"signal": np.array(columns).T}


def compute(config: Spectrum, parts: Parts) -> Numbers:
    """Harmonics of the toy network, then the signal in the deep one."""
    return {
        "radii": np.array(config.radii),
        **parts.run("harmonics", lambda: _harmonics(config)),
        "deep_radii": np.array(config.deep.radii),
        **parts.run("signal", lambda: _signal(config)),
    }


def draw(config: Spectrum, numbers: Numbers) -> Figure:
    """Panels a and b."""
    figure = new_figure(7.6, 3.5)
    a, b = figure.subplots(1, 2)
    for order, series in zip(range(config.harmonics), SERIES, strict=False):
        a.plot(numbers["radii"], numbers["modes"][:, order], label=f"{order + 1}", **series)
    a.set(xscale="log", yscale="log", xlabel="radius", ylabel="size of the mode")
    letter(a, "a", "harmonics of a unit")
    layers = np.arange(1, numbers["signal"].shape[1] + 1)
    for radius, row, series in zip(numbers["deep_radii"], numbers["signal"], SERIES, strict=False):
        b.plot(layers, row, label=f"radius {radius:g}", **series)
    b.axhline(np.finfo(np.float32).eps, color=BLACK, linestyle=":", label="float32's rounding")
    b.set(yscale="log", xlabel="layer, from the input upwards", ylabel="signal / state")
    b.xaxis.get_major_locator().set_params(integer=True)
    letter(b, "b", "teaching signal by layer")
    for panel, title in ((a, "harmonic"), (b, None)):
        panel.legend(
            title=title,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.2),
            ncols=3,
            columnspacing=1,
        )
    return figure


def claims(config: Spectrum, numbers: Numbers) -> list[Claim]:
    """What the theory says."""
    radii, modes, signal = numbers["radii"], numbers["modes"], numbers["signal"]
    orders = np.arange(1, modes.shape[1] + 1)
    # Where a mode stands clear of rounding and is still the leading power.
    slopes = []
    for order in orders:
        clear = (modes[:, order - 1] > 1e-12) & (radii < 0.3)
        if clear.sum() >= 2:
            fit = np.polyfit(np.log(radii[clear]), np.log(modes[clear, order - 1]), 1)[0]
            slopes.append(abs(fit - order) / order)
    linear = signal / np.array(config.deep.radii)[:, None]
    return [
        Claim(
            "a: the p-th harmonic grows as radius^p (largest relative deviation of the exponent)",
            float(max(slopes, default=np.nan)),
            max(slopes, default=1.0) < 0.02,
            0.0,
        ),
        Claim(
            "b: the teaching signal shrinks towards the input (first layer over last, smallest "
            "radius)",
            float(signal[0, 0] / signal[0, -1]),
            bool(signal[0, 0] < signal[0, -1]),
        ),
        Claim(
            "b: the signal is proportional to the nudge at small radii (relative change from the "
            "smallest radius to the next)",
            float(np.max(np.abs(linear[1] / linear[0] - 1))),
            bool(np.max(np.abs(linear[1] / linear[0] - 1)) < 0.05),
            0.0,
        ),
    ]


def caption(config: Spectrum, numbers: Numbers) -> str:
    """What was run."""
    return (
        f"a) The toy network of Fig. 2 with seed {config.seed}, float64, {config.steps} "
        f"synchronous steps free and nudged: Fourier modes 1 to {config.harmonics} of unit "
        f"{int(numbers['unit']) + 1} of the top layer over a circle of {config.points} points, "
        f"where all of them settle. b) "
        f"{setting(config.deep)}; float64, {config.deep.free_steps} free and "
        f"{config.deep.nudged_steps} nudged synchronous steps: half the difference of the states "
        f"under two opposite real nudges over the free state, root mean squares of a layer. Below "
        f"the dotted line a float32 state cannot hold the signal of a typical unit."
    )


SPECTRUM = Experiment(
    name="spectrum",
    title="Spectrum: harmonics, and the teaching signal by layer",
    configs={
        "smoke": lambda: Spectrum(
            points=16,
            radii=(0.05, 0.1, 0.2),
            harmonics=3,
            deep=dataclasses.replace(SMOKE, radii=(0.01, 0.1), points=()),
        ),
        "quick": Spectrum,
        "paper": lambda: Spectrum(
            deep=VggGradients(
                channels=(128, 128, 256, 256, 512, 512), radii=(0.001, 0.01, 0.1, 1.0), points=()
            )
        ),
    },
    compute=compute,
    draw=draw,
    claims=claims,
    caption=caption,
)
