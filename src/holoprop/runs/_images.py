"""The images of a run: its splits, and their way into the network."""

import dataclasses

import jax
import jax.numpy as jnp

from holoprop.data import ImageSet, hold_out, load_images, split_names
from holoprop.runs._config import InputConfig, TrainConfig
from holoprop.runs._networks import AbstractNetwork, Vgg
from holoprop.training import Examples


def load_splits(config: TrainConfig) -> tuple[ImageSet, ImageSet, ImageSet | None]:
    """Training, validation and test images; the test split is None where there is none."""
    names = split_names(config.data)
    train_images = load_images(config.data, "train")
    test_images = load_images(config.data, "test") if "test" in names else None
    validation_images = test_images
    if config.validation > 0:
        held = round(config.validation * len(train_images))
        if not 0 < held < len(train_images):
            raise ValueError(
                f"--validation {config.validation} holds out {held} of {len(train_images)} images: "
                "choose a share that leaves some on both sides."
            )
        train_images, validation_images = hold_out(
            train_images, fraction=config.validation, seed=config.seed
        )
    if validation_images is None:
        raise ValueError(
            f"{config.data} has no test split to validate on (it has {', '.join(names)}): hold a "
            "share of the training split out, for instance --validation 0.1."
        )
    return (
        _at_most(train_images, config),
        _at_most(validation_images, config),
        None if test_images is None else _at_most(test_images, config),
    )


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
