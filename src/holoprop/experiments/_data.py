"""The images that figures are computed on, from where they are to be had without a network."""

import os
from pathlib import Path

import numpy as np

from holoprop.data import load_images, split_names

# Reference for the normalisation: appendix E.2; the deviations are widened by half.
_NORMS = {
    "imagenet32_sample": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
}
DIGITS = "digits"


def digits(count: int, *, skip: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Digits of the packaged subset as the paper has them: divided by 255, nothing else."""
    images = load_images(None, "test")
    rows = slice(skip, skip + count)
    return images.images[rows].reshape(-1, 784) / 255.0, images.labels[rows]


def available_pictures(*names: str) -> str:
    """The first of some colour sets below the folder HOLOPROP_DATA, else the packaged digits."""
    folder = os.environ.get("HOLOPROP_DATA")
    for name in names if folder else ():
        if (Path(str(folder)) / name).is_dir():
            return name
    return DIGITS


def training_set(folder: str, hub: str) -> str:
    """A set to train on: that of the folder below HOLOPROP_DATA, else that of the hub."""
    return folder if available_pictures(folder) == folder else hub


def available_set(folder: str, hub: str) -> str:
    """As `training_set`, and the packaged digits where the hub's is not to be had."""
    found = training_set(folder, hub)
    return found if found == folder or _is_on_hub(hub) else DIGITS


def _is_on_hub(name: str) -> bool:
    """Whether it can be had, by the network or from an earlier time."""
    try:
        split_names(name)
    except ValueError:
        return False
    return True


def training_source(name: str) -> str | None:
    """Where a set's images are, as `holoprop train --data` takes it."""
    if name == DIGITS:
        return None
    return name if "/" in name else str(Path(os.environ["HOLOPROP_DATA"]) / name)


def pictures(
    name: str, count: int, *, side: int = 32, split: str = "test"
) -> tuple[np.ndarray, np.ndarray]:
    """Normalised colour images [count, side, side, 3] and labels.

    A side below 32 takes every second, fourth, ... pixel. Digits are set in a black frame, three
    equal channels.
    """
    if name == DIGITS:
        images = load_images(None, split)
        framed = np.pad(images.images[:count], ((0, 0), (2, 2), (2, 2)))[..., None]
        scaled = np.repeat(framed / 255.0, 3, axis=3)
    else:
        images = load_images(Path(os.environ["HOLOPROP_DATA"]) / name, split)
        mean, deviation = (np.array(values) for values in _NORMS[name])
        scaled = (images.images[:count] / 255.0 - mean) / (1.5 * deviation)
    step = 32 // side
    return scaled[:, ::step, ::step], images.labels[:count]


def described(name: str) -> str:
    """What a caption calls the set."""
    return {
        "imagenet32_sample": "ImageNet images of 32x32 pixels",
        "cifar10": "CIFAR-10 images, which stand in for ImageNet 32x32",
        DIGITS: "packaged digits in a frame, which stand in for ImageNet 32x32",
    }[name]
