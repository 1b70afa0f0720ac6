"""Radius and number of points for a run, by the error budget of some of its images."""

import dataclasses
import datetime
import json
from pathlib import Path

import jax

import holoprop as hp
from holoprop.data import hold_out, load_images
from holoprop.diagnostics import Tuning
from holoprop.runs._config import TrainConfig
from holoprop.runs._images import as_examples, scale_images
from holoprop.runs._json import as_json
from holoprop.runs._networks import AbstractNetwork
from holoprop.runs._tuning_picture import draw_tuning
from holoprop.runs._weights import load_weights


@dataclasses.dataclass(frozen=True)
class TuneConfig:
    """A search for radius and number of points.

    Attributes:
        data: Folder with train and test parquet files, or a hub name; default the MNIST subset that
            comes with holoprop.
        images: Training images that are looked at.
        error: Relative error of an example's gradient that is asked for, above 0 and below 1.
        share: Of the images, so many may lie above it, from 0 to below 1.
        radii: To try, in increasing order or not.
        points: Numbers of points to try; each is compiled once.
        weights: Run folder or file of trained weights; default the network's initial ones.
        seed: Of the initial weights, the choice of images and the noise.
        output: Folder for the table and the picture; default a new dated one under runs/.
        network: What is to be trained.
        free: How the free phase settles.
        nudged: How the nudged phases settle.
    """

    data: str | None = None
    images: int = 100
    error: float = 1e-3
    share: float = 0.05
    radii: tuple[float, ...] = (0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.4, 0.6, 1.0, 1.5, 2.0)
    points: tuple[int, ...] = (2, 4, 6, 10)
    weights: str | None = None
    seed: int = 0
    output: str | None = None
    network: AbstractNetwork = dataclasses.field(default_factory=lambda: TrainConfig().network)
    free: hp.AbstractRelaxation = dataclasses.field(default_factory=lambda: TrainConfig().free)
    nudged: hp.AbstractRelaxation = dataclasses.field(default_factory=lambda: TrainConfig().nudged)

    def __post_init__(self) -> None:
        for name, least in (("images", 1), ("seed", 0)):
            value = getattr(self, name)
            if value < least:
                raise ValueError(f"{name} must be {least} or more; got {value}.")

    @staticmethod
    def of(config: TrainConfig) -> "TuneConfig":
        """For a training run: its data, network and relaxations."""
        shared = ("data", "seed", "network", "free", "nudged")
        return TuneConfig(**{name: getattr(config, name) for name in shared})


def tune(config: TuneConfig) -> tuple[Tuning, Path]:
    """Try circles on some training images, and leave `tuning.json` and `tuning.png` in a folder.

    Raises:
        FileExistsError: If the folder is there already.
        ValueError: If data, network and settings do not fit each other.
        RuntimeError: If nothing settles at the smallest radius.
    """
    now = datetime.datetime.now()
    folder = Path(config.output or f"runs/{now:%Y-%m-%d-%H-%M-%S}-tune").expanduser()
    if folder.exists():
        raise FileExistsError(f"{folder} exists already: choose another with --output.")
    images = load_images(config.data, "train")
    config.network.check(images.name, images.images.shape[1:], len(images.class_names))
    if config.images < len(images):
        _, images = hold_out(images, count=config.images, seed=config.seed)
    network = config.network.build(seed=config.seed)
    if config.weights is not None:
        network = load_weights(network, config.weights)
    examples = as_examples(images)
    tuning = hp.tune(
        network,
        scale_images(jax.numpy.asarray(examples.inputs)),
        examples.labels,
        error=config.error,
        share=config.share,
        radii=config.radii,
        points=config.points,
        free=config.free,
        nudged=config.nudged,
        key=jax.random.key(config.seed),
    )
    folder.mkdir(parents=True)
    record = {"config": as_json(config), "tuning": as_json(tuning)}
    (folder / "tuning.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    draw_tuning(tuning, folder / "tuning.png")
    return tuning, folder
