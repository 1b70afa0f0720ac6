"""The images of a run: its splits, and their way into the network."""

import jax
import jax.numpy as jnp

from holoprop.data import ImageSet, hold_out, load_images, split_names
from holoprop.runs._config import TrainConfig
from holoprop.training import Examples


def load_splits(config: TrainConfig) -> tuple[ImageSet, ImageSet, ImageSet | None]:
    """Training, validation and test images; the test split is None where there is none."""
    names = split_names(config.data)
    train_images = load_images(config.data, "train")
    test_images = load_images(config.data, "test") if "test" in names else None
    if config.validation > 0:
        held = round(config.validation * len(train_images))
        if not 0 < held < len(train_images):
            raise ValueError(
                f"--validation {config.validation} holds out {held} of {len(train_images)} images: "
                "choose a share that leaves some on both sides."
            )
        return *hold_out(train_images, fraction=config.validation, seed=config.seed), test_images
    if test_images is None:
        raise ValueError(
            f"{config.data} has no test split to validate on (it has {', '.join(names)}): hold a "
            "share of the training split out, for instance --validation 0.1."
        )
    return train_images, test_images, test_images


def as_examples(images: ImageSet) -> Examples:
    """Images and labels as training takes them."""
    return Examples(images.images, images.labels)


def scale_images(images: jax.Array) -> jax.Array:
    """Unsigned bytes to real numbers from 0 to 1."""
    return images.astype(jnp.float32) / 255
