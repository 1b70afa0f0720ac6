"""Gradients of VGG-like networks on real images: what Figures 4 and 6 and the spectrum share."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

import holoprop as hp
from holoprop.experiments._data import DIGITS, available_pictures, described, pictures
from holoprop.experiments._parts import Numbers, Parts

HOLOMORPHIC, CLIPPED = "holomorphic", "non-holomorphic"


def _imagenet() -> str:
    return available_pictures("imagenet32_sample", "cifar10")


@dataclasses.dataclass(frozen=True)
class VggGradients:
    """Gradients at initial weights against the implicit ones.

    Attributes:
        channels: Of the convolutions; six for the paper's seven layers.
        side: Of the images.
        temperature: Of the softmax pooling.
        batch: Images.
        seed: Of the weights.
        free_steps: Synchronous steps of the free phase.
        nudged_steps: The same of the nudged phases.
        points: N; 1 is classic EP.
        radii: Of the circles.
        clipped_points: N of the non-holomorphic network, real nudges only.
        data: The set of images.
    """

    channels: tuple[int, ...] = (16, 16, 32, 32, 64, 64)
    side: int = 32
    temperature: float = 1.0
    batch: int = 10
    seed: int = 0
    free_steps: int = 100
    nudged_steps: int = 50
    points: tuple[int, ...] = (1, 2, 4, 20)
    radii: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 2.0)
    clipped_points: tuple[int, ...] = (1, 2)
    data: str = dataclasses.field(default_factory=_imagenet)


def network(config: VggGradients, kind: str, dtype: str) -> hp.LayeredNetwork:
    """At its initial weights; both kinds have the same, in both precisions."""
    holomorphic = kind == HOLOMORPHIC
    made = hp.vgg(
        config.channels,
        input_shape=(config.side, config.side, 3),
        # Labels of sets with more classes are taken modulo ten.
        classes=10,
        activation=hp.DSiLU() if holomorphic else hp.ClippedReLU(),
        pooling=hp.SoftmaxPool(2, config.temperature) if holomorphic else hp.MaxPool(2),
        key=jax.random.key(config.seed),
    )
    # By way of float32, whatever the precision, so that both are the same network.
    return jax.tree.map(lambda w: w.astype("float32").astype(dtype), made)


def images(config: VggGradients, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """The batch."""
    x, labels = pictures(config.data, config.batch, side=config.side)
    return x.astype("float32").astype(dtype), labels % 10


def layers(grads: hp.LayeredNetwork) -> list[np.ndarray]:
    """Gradients of the weights from the first convolution to the readout, in float64."""
    assert grads.readout is not None
    weights = [*(coupling.weight for coupling in grads.couplings), grads.readout.weight]
    return [np.asarray(weight, float).reshape(-1) for weight in weights]


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Of two vectors; NaN where one is zero."""
    size = np.linalg.norm(one) * np.linalg.norm(other)
    return float(one @ other / size) if size else float("nan")


def _reference(config: VggGradients, kind: str) -> Numbers:
    x, labels = images(config, "float64")
    _, grads = hp.value_and_grad(
        network(config, kind, "float64"),
        x,
        labels,
        estimator=hp.Implicit(),
        free=hp.Synchronous(steps=2 * config.free_steps),
    )
    return {f"layer_{index}": layer for index, layer in enumerate(layers(grads))}


def _estimate(
    config: VggGradients, kind: str, points: int, reference: list[np.ndarray], radius: float
) -> Numbers:
    """Cosines by layer and of all weights; NaN where not every image settles."""
    x, labels = images(config, "float32")
    size = jnp.asarray(radius, "float32")
    form = hp.StateForm.PLAIN
    (_, aux), grads = hp.value_and_grad(
        network(config, kind, "float32"),
        x,
        labels,
        estimator=(
            hp.OneSided(size, form=form) if points == 1 else hp.Holomorphic(size, points, form=form)
        ),
        free=hp.Synchronous(steps=config.free_steps),
        nudged=hp.Synchronous(steps=config.nudged_steps),
        throw=False,
    )
    found = layers(grads)
    whole = cosine(np.concatenate(found), np.concatenate(reference))
    values = np.array([*(cosine(a, b) for a, b in zip(found, reference, strict=True)), whole])
    return {"cosine": values if bool(np.all(aux.settled)) else np.full_like(values, np.nan)}


def gradient_cosines(config: VggGradients, parts: Parts) -> Numbers:
    """By kind: [N, radii, layers + 1], the last of all weights together."""
    parts = parts.under(config)
    found: Numbers = {}
    for kind, each_points in ((HOLOMORPHIC, config.points), (CLIPPED, config.clipped_points)):
        if not each_points:
            continue
        reference = parts.run(f"reference {kind}", functools.partial(_reference, config, kind))
        exact = [reference[f"layer_{index}"] for index in range(len(reference))]
        rows = []
        for points in each_points:
            row = parts.each(
                f"{kind} N={points}",
                config.radii,
                functools.partial(_estimate, config, kind, points, exact),
            )
            rows.append([part["cosine"] for part in row])
        found[kind.replace("-", "_")] = np.array(rows)
    return found


def setting(config: VggGradients) -> str:
    """The network and the images in words."""
    paper = (128, 128, 256, 256, 512, 512)
    narrower = "" if config.channels == paper else ", narrower than the paper's 128 to 512"
    return (
        f"VGG with {len(config.channels)} convolutions of "
        f"{', '.join(map(str, config.channels))} channels{narrower}, softmax pooling at "
        f"temperature {config.temperature:g}, initial weights, seed {config.seed}; "
        f"{config.batch} {described(config.data)}, labels modulo 10"
    )


SMOKE = VggGradients(
    channels=(2, 3),
    side=8,
    batch=2,
    free_steps=20,
    nudged_steps=15,
    points=(2,),
    radii=(0.05, 0.5),
    clipped_points=(2,),
    data=DIGITS,
)
