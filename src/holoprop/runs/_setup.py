"""What a run trains, on what, and from where: all that is there before its first step."""

import dataclasses
import hashlib
import json

import jax

import holoprop as hp
from holoprop.data import ImageSet, batches_per_epoch
from holoprop.runs._checkpoints import Saved
from holoprop.runs._config import TrainConfig
from holoprop.runs._images import AugmentImages, PrepareImages, load_splits
from holoprop.runs._json import as_json
from holoprop.runs._listener import Listener
from holoprop.runs._memory import check_memory
from holoprop.runs._processes import devices_for
from holoprop.runs._saver import resumed_history
from holoprop.runs._weights import weights_sha256
from holoprop.training import (
    AbstractMethod,
    Backpropagation,
    EpochMetrics,
    Method,
    TrainState,
    first_state,
    restored_state,
)


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a run trains, on what, and from where.

    Attributes:
        config: Of the run.
        initial: The network at its initial weights.
        method: How it is trained.
        train: Images to learn from.
        validation: To choose by.
        test: To report alone, or None.
        batches: In an epoch.
        devices: Among which each batch is shared; none for JAX's own default device.
        start: Where training begins or goes on.
        history: Metrics of the epochs that are done.
        notes: Sentences on images and devices, for people.
    """

    config: TrainConfig
    initial: hp.AbstractEnergy
    method: AbstractMethod
    train: ImageSet
    validation: ImageSet
    test: ImageSet | None
    batches: int
    devices: list[jax.Device]
    start: TrainState
    history: list[EpochMetrics]
    notes: tuple[str, ...]

    def mark(self) -> str:
        """What must be the same in all processes of a run."""
        own = {"output", "overwrite", "profile", "compilation_cache", "checkpoints"}
        sets = [s for s in (self.train, self.validation, self.test) if s is not None]
        labels = [hashlib.sha256(s.labels.tobytes()).hexdigest() for s in sets]
        settings = {n: v for n, v in as_json(self.config).items() if n not in own}
        where = self.start.epoch, self.start.batch, weights_sha256(self.start.network)
        return json.dumps([settings, labels, where])


def build_method(config: TrainConfig, *, steps: int) -> AbstractMethod:
    """What a training step needs beside the network, for a run of so many steps.

    Arguments:
        config: Of the run.
        steps: Over which a schedule of the learning rate extends, 1 or more.

    Example:
        >>> build_method(TrainConfig(), steps=10).estimator.points
        10
    """
    optimiser = config.optimiser.build(steps=steps, epochs=config.epochs)
    prepare = PrepareImages.of(config.inputs, config.network)
    augments = config.inputs.flip or config.inputs.pad
    augment = AugmentImages(config.inputs) if augments else None
    if config.method == "bp":
        return Backpropagation(optimiser=optimiser, transform=prepare, augment=augment)
    # Which the configuration fills in.
    assert config.estimator is not None
    assert config.free is not None
    assert config.nudged is not None
    return Method(
        estimator=config.estimator,
        free=config.free,
        nudged=config.nudged,
        optimiser=optimiser,
        transform=prepare,
        augment=augment,
    )


def set_up(config: TrainConfig, told: Listener, saved: Saved | None) -> Setup:
    """Read the images, build the network, and see that all of it fits.

    Arguments:
        config: Of the run.
        told: How it goes.
        saved: Where it goes on from, or None.

    Raises:
        FileNotFoundError: If there are no such data.
        ValueError: If data, network, settings, devices and what was saved do not fit each other.
    """
    check_memory(config)
    initial = config.network.build(seed=config.seed)
    told.on_stage("reading images")
    splits = load_splits(config, told.on_warning)
    for images in (splits.train, splits.validation, splits.test):
        if images is not None:
            config.network.check(images.name, images.images.shape[1:], len(images.class_names))
            config.inputs.check(images.name, images.images.shape[1:])
    if config.batch_size > len(splits.train):
        raise ValueError(
            f"--batch-size {config.batch_size} is larger than the training set: choose at most "
            f"{len(splits.train)}."
        )
    devices, note = devices_for(config.batch_size)
    batches = batches_per_epoch(len(splits.train), config.batch_size)
    method = build_method(config, steps=config.epochs * batches)
    start, history = first_state(method, initial), []
    if saved is not None and saved.step:
        history = resumed_history(saved.record, batches=batches, on_warning=told.on_warning)
        start = restored_state(method, initial, saved.arrays, saved.record)
    return Setup(
        config=config,
        initial=initial,
        method=method,
        train=splits.train,
        validation=splits.validation,
        test=splits.test,
        batches=batches,
        devices=devices,
        start=start,
        history=history,
        notes=splits.notes if note is None else (*splits.notes, note),
    )
