"""Figure 4: gradients of a deep network against radius and N, and what they train."""

import contextlib
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import holoprop as hp
from holoprop import training
from holoprop.experiments._data import DIGITS, available_pictures, pictures
from holoprop.experiments._experiment import Experiment
from holoprop.experiments._parts import Numbers, Parts
from holoprop.experiments._record import Claim
from holoprop.experiments._style import SERIES, letter, new_figure
from holoprop.experiments._vgg import (
    CLIPPED,
    HOLOMORPHIC,
    SMOKE,
    VggGradients,
    gradient_cosines,
    setting,
)
from holoprop.experiments._vgg_curves import draw_curves

# Of panel c: kind of network and N.
_TRAINED = ((HOLOMORPHIC, 2), (HOLOMORPHIC, 4), (CLIPPED, 2))
# A training error in percent that is no accident of ten classes.
_LEARNED = 80.0


@dataclasses.dataclass(frozen=True)
class VggTraining:
    """Training from the same weights with gradients of different quality.

    Attributes:
        channels: Of the convolutions.
        side: Of the images.
        temperature: Of the softmax pooling.
        images: Of the training split.
        epochs: Passes over them.
        batch: Images in a step.
        rate: Learning rate, constant.
        momentum: Of the descent.
        radius: Of the circle.
        seeds: How many.
        free_steps: Sequential sweeps of the free phase.
        nudged_steps: The same of the nudged phases.
        data: The set of images.
    """

    channels: tuple[int, ...] = (8, 8, 16, 16, 32, 32)
    side: int = 32
    temperature: float = 10.0
    images: int = 1000
    epochs: int = 6
    batch: int = 25
    rate: float = 0.05
    momentum: float = 0.9
    radius: float = 1.0
    seeds: int = 3
    free_steps: int = 12
    nudged_steps: int = 8
    data: str = dataclasses.field(default_factory=lambda: available_pictures("cifar10"))


@dataclasses.dataclass(frozen=True)
class Fig4:
    """Settings of Figure 4.

    Attributes:
        gradients: Panel a.
        by_points: Panel b.
        training: Panel c.
    """

    gradients: VggGradients = dataclasses.field(default_factory=VggGradients)
    by_points: VggGradients = dataclasses.field(
        default_factory=lambda: VggGradients(
            free_steps=50,
            nudged_steps=20,
            points=(2, 3, 4, 6, 10, 20),
            radii=(0.1, 0.5, 1.5),
            clipped_points=(),
        )
    )
    training: VggTraining = dataclasses.field(default_factory=VggTraining)


def _train(config: VggTraining, kind: str, points: int, seed: int) -> Numbers:
    """Training error in percent after each epoch; NaN from the one on in which it diverges."""
    x, labels = pictures(config.data, config.images, side=config.side, split="train")
    examples = training.Examples(x.astype("float32"), labels)
    holomorphic = kind == HOLOMORPHIC
    network = hp.vgg(
        config.channels,
        input_shape=(config.side, config.side, 3),
        activation=hp.DSiLU() if holomorphic else hp.ClippedReLU(),
        pooling=hp.SoftmaxPool(2, config.temperature) if holomorphic else hp.MaxPool(2),
        key=jax.random.key(seed),
    )
    network = jax.tree.map(lambda w: w.astype("float32"), network)
    method = training.Method(
        estimator=hp.Holomorphic(config.radius, points),
        free=hp.Sequential(steps=config.free_steps),
        nudged=hp.Sequential(steps=config.nudged_steps),
        optimiser=optax.sgd(config.rate, momentum=config.momentum),
        transform=jnp.asarray,
    )
    errors: list[float] = []
    with contextlib.suppress(training.DivergedError):
        training.fit(
            network,
            examples,
            examples.take(slice(0, 1)),
            method=method,
            epochs=config.epochs,
            batch_size=config.batch,
            seed=seed,
            on_epoch=lambda metrics: errors.append(100 * float(metrics.train_error or 0.0)),
        )
    missing = config.epochs - len(errors)
    return {"error": np.array([*errors, *[np.nan] * missing])}


def compute(config: Fig4, parts: Parts) -> Numbers:
    """Panels a, b, then c."""
    by_radius = gradient_cosines(config.gradients, parts)
    by_points = gradient_cosines(config.by_points, parts)
    kept = parts.under(config.training)
    errors = [
        [
            part["error"]
            for part in kept.each(
                f"train {kind} N={points}",
                range(config.training.seeds),
                functools.partial(_train, config.training, kind, points),
            )
        ]
        for kind, points in _TRAINED
    ]
    return {
        "radii": np.array(config.gradients.radii),
        "points": np.array(config.gradients.points),
        "clipped_points": np.array(config.gradients.clipped_points),
        **by_radius,
        "by_points_radii": np.array(config.by_points.radii),
        "by_points_points": np.array(config.by_points.points),
        "by_points": by_points["holomorphic"],
        "training_error": np.array(errors),
    }


def draw(config: Fig4, numbers: Numbers) -> Figure:
    """Panels a (readout, all), b and c."""
    figure = new_figure(11.0, 3.5)
    readout, whole, b, c = figure.subplots(1, 4)
    draw_curves(readout, numbers, -2)
    readout.set_ylabel("cosine with the true gradient")
    letter(readout, "a", "readout layer")
    draw_curves(whole, numbers, -1)
    letter(whole, "", "all weights")
    for index, (radius, series) in enumerate(zip(numbers["by_points_radii"], SERIES, strict=False)):
        row = numbers["by_points"][:, index, -1]
        b.plot(numbers["by_points_points"], row, label=f"radius {radius:g}", **series)
    b.set(xlabel="points N", ylabel="cosine with the true gradient")
    letter(b, "b", "all weights")
    epochs = np.arange(1, numbers["training_error"].shape[2] + 1)
    for (kind, points), rows, series in zip(
        _TRAINED, numbers["training_error"], SERIES, strict=False
    ):
        mean, spread = rows.mean(axis=0), 2 * rows.std(axis=0)
        c.plot(epochs, mean, label=f"{kind}, N = {points}", **series)
        c.fill_between(epochs, mean - spread, mean + spread, color=series["color"], alpha=0.2, lw=0)
    c.set(xlabel="epoch", ylabel="training error (%)")
    letter(c, "c", f"{config.training.seeds} seeds, two deviations")
    for panel in (readout, b, c):
        anchor = (1.05, -0.22) if panel is readout else (0.5, -0.22)
        columns = 3 if panel is readout else 1
        legend = panel.legend(
            loc="upper center", bbox_to_anchor=anchor, ncols=columns, columnspacing=1
        )
        # That of both panels of a is wider than one, and would push them apart.
        legend.set_in_layout(panel is not readout)
    return figure


def claims(config: Fig4, numbers: Numbers) -> list[Claim]:
    """What the paper says of each panel."""
    cosines, clipped = numbers["holomorphic"], numbers["non_holomorphic"]
    points = list(config.gradients.points)
    both = points.index(2), list(config.gradients.clipped_points).index(2)
    best = float(np.nanmax(cosines[both[0], :, -1])), float(np.nanmax(clipped[both[1], :, -1]))
    largest = int(np.argmax(points))
    whole = cosines[largest, :, -1]
    at = int(np.nanargmax(whole))
    far = numbers["by_points"][:, -1, -1]
    near = numbers["by_points"][:, 0, -1]
    last = numbers["training_error"][:, :, -1].mean(axis=1)
    # Differences of what has not learned are noise.
    learned = bool(np.max(last[:2]) < _LEARNED)
    return [
        Claim(
            "a: holomorphic dynamics improve the gradient (best cosine, N = 2, holomorphic less "
            "non-holomorphic)",
            best[0] - best[1],
            best[0] > best[1],
        ),
        Claim(
            "a: the readout's gradient is exact with the largest N (best cosine)",
            float(np.nanmax(cosines[largest, :, -2])),
            bool(np.nanmax(cosines[largest, :, -2]) > 0.999),
            1.0,
        ),
        Claim(
            "a: all weights want a finite radius (best radius with the largest N)",
            float(config.gradients.radii[at]),
            at > 0,
        ),
        Claim(
            "b: larger N helps more at the largest radius than at the smallest (gain of largest "
            "over the smallest N, difference)",
            float((far[-1] - far[0]) - (near[-1] - near[0])),
            bool(far[-1] - far[0] > near[-1] - near[0]),
        ),
        Claim(
            "c: the holomorphic networks learn, without which the others on c fail, too (larger of "
            f"the last training errors in %, below {_LEARNED:g}; chance is 90)",
            float(np.max(last[:2])),
            learned,
        ),
        Claim(
            "c: the non-holomorphic network trains worse (last training error in %, less that of "
            "the holomorphic with N = 2; not a number where its states come to rest no more)",
            float(last[2] - last[0]),
            learned and bool(last[2] > last[0] or np.isnan(last[2])),
        ),
        Claim(
            "c: N = 4 trains better than N = 2 (last training error in %, N = 4 less N = 2)",
            float(last[1] - last[0]),
            learned and bool(last[1] < last[0]),
        ),
    ]


def caption(config: Fig4, numbers: Numbers) -> str:
    """What was run."""
    g, b, t = config.gradients, config.by_points, config.training
    data = {"cifar10": "CIFAR-10 images", DIGITS: "packaged digits in a frame"}[t.data]
    return (
        f"{setting(g)}. a) Cosine with the implicit gradient in float64; estimates in float32 with "
        f"plain states, {g.free_steps} free, {g.nudged_steps} nudged synchronous steps. N = 1 is "
        f"classic EP. Dashed: maximum pooling and clipped ReLU, real nudges only (N = 1, 2), since "
        f"it has no complex derivative. b) The same, {b.free_steps} and {b.nudged_steps} steps. "
        f"c) Channels {', '.join(map(str, t.channels))}, the first {t.images} {data} of the "
        f"training split, {t.epochs} epochs in batches of {t.batch}, no augmentation, learning "
        f"rate {t.rate:g} in all layers, momentum {t.momentum:g}, no decay, radius {t.radius:g}, "
        f"pooling temperature {t.temperature:g}, {t.free_steps} and {t.nudged_steps} sequential "
        f"sweeps, deviation form; training error of each epoch as it trains, mean and two standard "
        f"deviations of {t.seeds} seeds. A curve ends where in some seed all images of a batch "
        "still move by a tenth after these sweeps: then the library gives no gradient, where the "
        "paper goes on."
    )


FIG4 = Experiment(
    name="fig4",
    title="Figure 4: gradients of a deep network, and training",
    configs={
        "smoke": lambda: Fig4(
            SMOKE,
            dataclasses.replace(SMOKE, clipped_points=()),
            VggTraining(
                channels=(2,),
                side=8,
                images=8,
                epochs=1,
                batch=4,
                seeds=1,
                free_steps=5,
                nudged_steps=5,
                data=DIGITS,
            ),
        ),
        "quick": Fig4,
        "paper": lambda: Fig4(
            VggGradients(
                channels=(128, 128, 256, 256, 512, 512),
                radii=(0.01, 0.03, 0.1, 0.3, 0.6, 1.0, 1.5, 2.0, 3.0),
            ),
            VggGradients(
                channels=(128, 128, 256, 256, 512, 512),
                batch=16,
                free_steps=50,
                nudged_steps=20,
                points=(2, 3, 4, 6, 8, 12, 16, 20),
                radii=(0.1, 0.5, 1.5),
                clipped_points=(),
            ),
            VggTraining(
                channels=(128, 128, 256, 256, 512, 512),
                images=50000,
                epochs=90,
                batch=128,
                rate=0.03,
                free_steps=260,
                nudged_steps=60,
            ),
        ),
    },
    compute=compute,
    draw=draw,
    claims=claims,
    caption=caption,
)
