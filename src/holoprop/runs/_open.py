"""A run that is there, for use: its network, its error on other data, what it predicts."""

import dataclasses
import json
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, UnidentifiedImageError

import holoprop as hp
from holoprop.data import as_colour, as_grey, split_names, to_pixels
from holoprop.runs._checkpoints import Checkpoints
from holoprop.runs._config import TrainConfig
from holoprop.runs._hub import download, is_repository
from holoprop.runs._images import as_examples, load_split
from holoprop.runs._networks import Custom
from holoprop.runs._read_config import read_config
from holoprop.runs._run_folder import SUMMARY, WEIGHTS, RunFolder
from holoprop.runs._setup import build_method
from holoprop.runs._weights import with_weights
from holoprop.training import Evaluation, restored_state
from holoprop.training import evaluate as evaluate_examples


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a network makes of an image.

    Attributes:
        file: The image.
        label: The class's name.
        settled: Whether the network settled; if not, the label is that of the state it reached.
    """

    file: Path
    label: str
    settled: bool


def load(run: str | os.PathLike[str]) -> hp.AbstractEnergy:
    """The network of a run.

    Arguments:
        run: Its folder, or a repository of the hub that `push` has made.

    Returns:
        The network, with the run's weights in their precision; those of its last checkpoint if it
        has not ended. It takes images as `inputs` of the configuration prepares them: from 0 to 1,
        and normalised where that is set. One that was trained by backpropagation predicts by a
        feed-forward pass, which `evaluate` and `predict` know.

    Raises:
        FileNotFoundError: If there is no run, or it has no weights yet.
        ValueError: If its files are damaged, or the repository cannot be had.

    Example:
        >>> load("nowhere")
        Traceback (most recent call last):
        ...
        FileNotFoundError: there is no run at nowhere: name a run's folder.
    """
    return _opened(run)[2]


def evaluate(
    run: str | os.PathLike[str], *, data: str | None = None, split: str = "test"
) -> Evaluation:
    """Loss and error of a run's network.

    Arguments:
        run: As for `load`.
        data: A folder or a name on the hub; default the run's own data.
        split: Of the data; all of it, also where the run itself took some `images` alone.

    Raises:
        FileNotFoundError: As `load`, or if there are no such data.
        ValueError: As `load`, or if the data do not fit the network or have images of a class that
            it was not trained on.
    """
    folder, config, network = _opened(run)
    source = config.data if data is None else dataclasses.replace(config.data, source=data)
    images = load_split(source, split, config.network)
    config.network.check(images.name, images.images.shape[1:], len(images.class_names))
    config.inputs.check(images.name, images.images.shape[1:])
    classes = tuple(_described(folder)["classes"])
    images = images.with_classes(classes, "the training set")
    method = build_method(config, steps=1)
    return evaluate_examples(
        method, network, as_examples(images), seed=config.seed, devices=jax.local_devices()
    )


def predict(
    run: str | os.PathLike[str], files: Sequence[str | os.PathLike[str]]
) -> list[Prediction]:
    """The classes of some images.

    Arguments:
        run: As for `load`.
        files: Images in any format that Pillow reads, of the size that the network was trained on,
            unless the run's `data.size` brings them to it; colours are made grey, and the other way
            round, as it was.

    Raises:
        FileNotFoundError: As `load`, or if there is no such image.
        ValueError: As `load`, if the network has no classes, or for an image that cannot be read or
            is of another size.
    """
    folder, config, network = _opened(run)
    described = _described(folder)
    shape = tuple(described["image_shape"])
    images = np.stack([_read(Path(file), shape, config.data.size) for file in files])
    found = _classes(config, network, images)
    if found is None:
        raise ValueError(f"the network of {run} has no classes to predict.")
    return [
        Prediction(Path(file), described["classes"][index], settled)
        for file, (index, settled) in zip(files, found, strict=True)
    ]


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """Some images of a run's data, and what its network makes of them.

    Attributes:
        images: uint8 [n, height, width] or [n, height, width, 3].
        truth: Their classes' names.
        predictions: The names of the classes predicted; empty for an energy without classes.
    """

    images: np.ndarray
    truth: list[str]
    predictions: list[str]


def sample(run: str | os.PathLike[str], count: int) -> Sample:
    """The first images of a run's test split, or of its training split where there is no other.

    Arguments:
        run: As for `load`.
        count: So many, or all if there are fewer.

    Raises:
        FileNotFoundError: As `load`, or if the data are no longer there; so is ValueError.
    """
    _, config, network = _opened(run)
    split = "test" if "test" in split_names(config.data.source) else "train"
    images = load_split(config.data, split, config.network)
    some = images.images[:count]
    found = _classes(config, network, some) or []
    names = images.class_names
    return Sample(
        some,
        [names[label] for label in images.labels[:count]],
        [names[index] for index, _ in found],
    )


def _classes(
    config: TrainConfig, network: hp.AbstractEnergy, images: np.ndarray
) -> list[tuple[int, bool]] | None:
    """The class predicted of each image, and whether it settled; None for no classes."""
    method = build_method(config, steps=1)
    inputs = method.transform(jnp.asarray(images))
    states, settled = method.settle(network, inputs, key=jax.random.key(config.seed))
    logits = jax.vmap(network.logits)(states)
    if logits is None:
        return None
    best = np.asarray(jnp.argmax(jnp.real(logits), axis=-1))
    return list(zip(best.tolist(), np.asarray(settled).tolist(), strict=True))


def _opened(run: str | os.PathLike[str]) -> tuple[Path, TrainConfig, hp.AbstractEnergy]:
    """A run's folder, its configuration and its network."""
    here = RunFolder(run)
    is_local = here.path.exists() or not is_repository(run)
    folder = here if is_local else RunFolder(download(str(run)))
    if not folder.holds_run:
        raise FileNotFoundError(f"there is no run at {run}: name a run's folder.")
    content = folder.read_config()
    content.pop("preset", None)
    config = read_config(content)
    if not is_local and isinstance(config.network, Custom):
        raise ValueError(
            f"the network of {run} is built by code of its author's own "
            f"({config.network.factory}): get the code and the repository, and name its folder."
        )
    initial = config.network.build(seed=config.seed)
    if not (folder.path / WEIGHTS).exists():
        checkpoints = Checkpoints(folder.checkpoints, keep=config.checkpoints.keep)
        saved = checkpoints.newest(lambda sentence: warnings.warn(sentence, stacklevel=2))
        if saved is not None:
            method = build_method(config, steps=1)
            state = restored_state(method, initial, saved.arrays, saved.record)
            return folder.path, config, state.network
    return folder.path, config, with_weights(initial, folder.path, as_stored=True)


def _described(folder: Path) -> dict[str, Any]:
    """What the summary says of the data."""
    path = folder / SUMMARY
    try:
        described: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["data"]
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{path} does not say what the network was trained on: give a finished run's folder."
        ) from error
    return described


def _read(file: Path, shape: tuple[int, ...], size: int | None) -> np.ndarray:
    """An image of a shape, unsigned bytes."""
    try:
        with Image.open(file) as image:
            pixels = to_pixels(image, size, Counter())
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no image {file}: correct the path.") from None
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read as an image: give another.") from error
    if pixels.ndim < len(shape):
        pixels = as_colour(pixels)
    if pixels.ndim > len(shape):
        pixels = as_grey(pixels)
    if pixels.shape != shape:
        raise ValueError(
            f"{file} is {pixels.shape[1]} wide and {pixels.shape[0]} high, but the network takes "
            f"images {shape[1]} wide and {shape[0]} high: resize it."
        )
    return pixels
