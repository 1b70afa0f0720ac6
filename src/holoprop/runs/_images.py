"""The images of a run: its splits, and their way into the network."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from holoprop.data import (
    ImageSet,
    UnlabelledError,
    as_colour,
    as_grey,
    hold_out,
    load_images,
    split_names,
)
from holoprop.runs._config import DataConfig, InputConfig, TrainConfig
from holoprop.runs._networks import AbstractNetwork, Vgg
from holoprop.training import Examples

# What `datasets` calls a split in a folder `val`, `valid` or `validation`.
_VALIDATION = "validation"


@dataclasses.dataclass(frozen=True)
class Splits:
    """The images of a run, with labels that count the classes of the training split.

    Attributes:
        train: To learn from.
        validation: To choose by.
        test: To report alone, or None where there are none with labels.
        notes: Sentences on what was done to them, for people.
    """

    train: ImageSet
    validation: ImageSet
    test: ImageSet | None
    notes: tuple[str, ...]


def load_splits(config: TrainConfig, on_warning: Callable[[str], None] | None = None) -> Splits:
    """Read the splits of a run.

    Arguments:
        config: Of the run.
        on_warning: As for `load_images`.

    Raises:
        FileNotFoundError: If there are no such data.
        ValueError: If they cannot be used, or there is nothing to validate on.
    """
    data, notes = config.data, []
    names = split_names(data.source)
    train = load_split(data, "train", config.network, on_warning)
    whose = train.name

    def other(split: str) -> ImageSet:
        found = load_split(data, split, config.network, on_warning)
        return found.with_classes(train.class_names, whose)

    test = None
    if "test" in names:
        try:
            test = other("test")
        except UnlabelledError as error:
            if config.validation == 0:
                raise ValueError(f"{error}: validate on a share of the training split.") from error
            notes.append(f"{error}, so there will be no test.")
    if config.validation == 0:
        validation = test
    elif _VALIDATION in names:
        validation = other(_VALIDATION)
        notes.append(f"Validated on the data's own {len(validation)} validation images.")
    else:
        train, validation = _held_out(train, config)
    if validation is None:
        raise ValueError(
            f"{data.source} has no test split to validate on (it has {', '.join(names)}): hold a "
            "share of the training split out, for instance --validation 0.1."
        )
    changes = {c: None for part in (train, validation, test) if part for c in part.changes}
    return Splits(
        _at_most(train, config),
        _at_most(validation, config),
        None if test is None else _at_most(test, config),
        (*notes, *(f"{change}." for change in changes)),
    )


def load_split(
    data: DataConfig,
    split: str,
    network: AbstractNetwork,
    on_warning: Callable[[str], None] | None = None,
) -> ImageSet:
    """One split, grey or in colour as a network takes it where its size leaves no doubt."""
    found = load_images(
        data.source,
        split,
        image=data.image,
        label=data.label,
        size=data.size,
        on_warning=on_warning,
    )
    images = as_taken(found.images, network)
    if images is found.images:
        return found
    kind = "RGB" if images.ndim == 4 else "grey"
    change = f"all images of {found.name} made {kind}, as the network takes them"
    return dataclasses.replace(found, images=images, changes=(*found.changes, change))


def as_taken(images: np.ndarray, network: AbstractNetwork) -> np.ndarray:
    """Images [n, height, width, ...] with one channel or three, as a network of that size takes."""
    channels = network.image_channels(images.shape[1:3])
    if images.ndim == 3 and channels == 3:
        return as_colour(images)
    if images.ndim == 4 and channels == 1:
        return as_grey(images)
    return images


def _held_out(images: ImageSet, config: TrainConfig) -> tuple[ImageSet, ImageSet]:
    """A training and a validation part."""
    held = round(config.validation * len(images))
    if not 0 < held < len(images):
        raise ValueError(
            f"--validation {config.validation} holds out {held} of {len(images)} images: choose a "
            "share that leaves some on both sides."
        )
    return hold_out(images, fraction=config.validation, seed=config.seed)


def _at_most(images: ImageSet, config: TrainConfig) -> ImageSet:
    """As many images as are wanted, evenly from the classes."""
    if config.images is None or config.images >= len(images):
        return images
    _, some = hold_out(images, count=config.images, seed=config.seed)
    return dataclasses.replace(some, name=images.name)


def as_examples(images: ImageSet) -> Examples:
    """Images and labels as training takes them."""
    return Examples(images.images, images.labels)


def scale_images(images: jax.Array) -> jax.Array:
    """Unsigned bytes to real numbers from 0 to 1."""
    return images.astype(jnp.float32) / 255


@dataclasses.dataclass(frozen=True)
class PrepareImages:
    """From stored bytes, [batch, height, width] or with channels, to what a network takes.

    Attributes:
        inputs: What is taken off and divided by.
        channel_axis: Whether grey images get an axis for their one channel.
    """

    inputs: InputConfig
    channel_axis: bool

    @staticmethod
    def of(inputs: InputConfig, network: AbstractNetwork) -> "PrepareImages":
        """As a network takes them."""
        return PrepareImages(inputs, channel_axis=isinstance(network, Vgg))

    def __call__(self, images: jax.Array) -> jax.Array:
        """The images as real numbers."""
        scaled = scale_images(images)
        if self.channel_axis and scaled.ndim == 3:
            scaled = scaled[..., None]
        if (self.inputs.mean, self.inputs.std) == ((0.0,), (1.0,)):
            return scaled
        mean, std = (jnp.asarray(v, scaled.dtype) for v in (self.inputs.mean, self.inputs.std))
        return (scaled - mean) / std


@dataclasses.dataclass(frozen=True)
class AugmentImages:
    """Images flipped and shifted at random, each on its own.

    Attributes:
        inputs: Whether they are flipped, and padded by how much.
    """

    inputs: InputConfig

    def __call__(self, images: jax.Array, key: jax.Array) -> jax.Array:
        """Images of the same shape, [batch, height, width, ...]."""
        flip_key, place_key = jax.random.split(key)
        if self.inputs.flip:
            flipped = jax.random.bernoulli(flip_key, shape=(len(images),))
            flipped = flipped.reshape(-1, *[1] * (images.ndim - 1))
            images = jnp.where(flipped, images[:, :, ::-1], images)
        pad = self.inputs.pad
        if pad:
            shape = images.shape[1:]
            sides = [(0, 0), (pad, pad), (pad, pad), *[(0, 0)] * (images.ndim - 3)]
            corners = jax.random.randint(place_key, (len(images), 2), 0, 2 * pad + 1)

            def cut(image: jax.Array, corner: jax.Array) -> jax.Array:
                start = (*corner, *[0] * (len(shape) - 2))
                return jax.lax.dynamic_slice(image, start, shape)

            images = jax.vmap(cut)(jnp.pad(images, sides), corners)
        return images
