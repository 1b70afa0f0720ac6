"""Radius and number of points for a run, by the error budget of some of its images."""

import dataclasses
import datetime
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

import holoprop as hp
from holoprop.data import hold_out
from holoprop.diagnostics import Tuning
from holoprop.runs._config import DataConfig, InputConfig, TrainConfig
from holoprop.runs._files import write_whole
from holoprop.runs._images import PrepareImages, as_examples, load_split
from holoprop.runs._json import as_json
from holoprop.runs._networks import AbstractNetwork
from holoprop.runs._tuning_picture import draw_tuning
from holoprop.runs._weights import load_weights


@dataclasses.dataclass(frozen=True)
class TuneConfig:
    """A search for radius and number of points.

    Attributes:
        data: Where images come from, and how they are read.
        images: Training images that are looked at.
        error: Relative error of an example's gradient that is asked for, above 0 and below 1.
        share: Of the images, so many may lie above it, from 0 to below 1.
        radii: To try, in increasing order or not.
        points: Numbers of points to try; each is compiled once.
        weights: Run folder or file of trained weights; default the network's initial ones.
        seed: Of the initial weights, the choice of images and the noise.
        output: Folder for the table and the picture; default a new dated one under runs/.
        inputs: How images enter the network; here they are neither flipped nor padded.
        network: What is to be trained.
        free: How the free phase settles.
        nudged: How the nudged phases settle.
    """

    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    images: int = 100
    error: float = 1e-3
    share: float = 0.05
    radii: tuple[float, ...] = (0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.4, 0.6, 1.0, 1.5, 2.0)
    points: tuple[int, ...] = (2, 4, 6, 10)
    weights: str | None = None
    seed: int = 0
    output: str | None = None
    inputs: InputConfig = dataclasses.field(default_factory=InputConfig)
    network: AbstractNetwork = dataclasses.field(default_factory=lambda: TrainConfig().network)
    free: hp.AbstractRelaxation = dataclasses.field(default_factory=lambda: _default("free"))
    nudged: hp.AbstractRelaxation = dataclasses.field(default_factory=lambda: _default("nudged"))

    def __post_init__(self) -> None:
        for name, fits, range_ in (
            ("images", self.images >= 1, "1 or more"),
            ("error", 0 < self.error < 1, "above 0 and below 1"),
            ("share", 0 <= self.share < 1, "from 0 to below 1"),
            ("radii", _all(self.radii, lambda r: 0 < r < math.inf), "one or more, all positive"),
            ("points", _all(self.points, lambda n: n >= 2), "one or more, each 2 or more"),
            ("seed", 0 <= self.seed < 2**32, f"from 0 to {2**32 - 1}"),
        ):
            if not fits:
                raise ValueError(f"{name} must be {range_}; got {getattr(self, name)}.")

    @staticmethod
    def of(config: TrainConfig) -> "TuneConfig":
        """For a training run: its data, network, inputs and relaxations.

        Raises:
            ValueError: If it trains by backpropagation, which has no radius.
        """
        if config.method == "bp":
            raise ValueError("method is bp, which has no radius: choose a run by ep.")
        shared = ("data", "seed", "inputs", "network", "free", "nudged")
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
    images = load_split(config.data, "train", config.network)
    config.network.check(images.name, images.images.shape[1:], len(images.class_names))
    config.inputs.check(images.name, images.images.shape[1:])
    if config.images < len(images):
        _, images = hold_out(images, count=config.images, seed=config.seed)
    network = config.network.build(seed=config.seed)
    if config.weights is not None:
        network = load_weights(network, config.weights)
    examples = as_examples(images)
    tuning = hp.tune(
        network,
        PrepareImages.of(config.inputs, config.network)(jax.numpy.asarray(examples.inputs)),
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
    text = json.dumps(record, indent=2) + "\n"
    write_whole(folder / "tuning.json", lambda part: part.write_text(text, encoding="utf-8"))
    write_whole(folder / "tuning.png", lambda part: draw_tuning(tuning, part))
    return tuning, folder


def _all(values: tuple[Any, ...], fits: Callable[[Any], bool]) -> bool:
    return bool(values) and all(map(fits, values))


def _default(phase: str) -> hp.AbstractRelaxation:
    """How a training run's phase settles where nothing else is said."""
    relaxation: hp.AbstractRelaxation = getattr(TrainConfig(), phase)
    return relaxation
