"""One training run, from the data to the summary."""

import contextlib
import dataclasses
import datetime
import math
from collections.abc import Callable
from typing import Any

import holoprop as hp
from holoprop.data import batches_per_epoch
from holoprop.runs._compilation_cache import compilation_cache
from holoprop.runs._config import TrainConfig
from holoprop.runs._curves import draw_curves
from holoprop.runs._gradient_check import GradientCheck, check_gradient
from holoprop.runs._images import AugmentImages, PrepareImages, as_examples, load_splits
from holoprop.runs._networks import Vgg
from holoprop.runs._provenance import machine, versions
from holoprop.runs._run_folder import RunFolder
from holoprop.training import (
    AbstractMethod,
    Backpropagation,
    EpochMetrics,
    Evaluation,
    Method,
    Progress,
    evaluate,
    fit,
)

# Images on which the gradient is compared with the implicit one, before and after training.
_CHECKED_IMAGES = 100


@dataclasses.dataclass(frozen=True)
class Listener:
    """Who is told how a run goes.

    Attributes:
        on_stage: What is being done now, in a few words.
        on_warning: A sentence on what the run does without.
        on_start: Training begins: a sentence on the data and the run folder.
        on_progress: Every few batches.
        on_epoch: After each epoch.
    """

    on_stage: Callable[[str], None] = lambda words: None
    on_warning: Callable[[str], None] = lambda sentence: None
    on_start: Callable[[str], None] = lambda sentence: None
    on_progress: Callable[[Progress], None] = lambda progress: None
    on_epoch: Callable[[EpochMetrics], None] = lambda metrics: None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        network: Trained.
        folder: Where its files are.
        last: Of the last epoch.
        test: On the test split, or None where there is none.
        before: The gradient against the implicit one at the initial weights; None for
            backpropagation.
        after: The same at the trained ones.
        summary: What `summary.json` holds.
    """

    network: hp.AbstractEnergy
    folder: RunFolder
    last: EpochMetrics
    test: Evaluation | None
    before: GradientCheck | None
    after: GradientCheck | None
    summary: dict[str, Any]


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
    prepare = PrepareImages(config.inputs, channel_axis=isinstance(config.network, Vgg))
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


def train(
    config: TrainConfig, *, preset: str = "custom", listener: Listener | None = None
) -> Outcome:
    """Train as configured and leave a run folder.

    Arguments:
        config: Of the run.
        preset: What the configuration is called, in the run folder's name and the summary.
        listener: Told how it goes; default nobody.

    Raises:
        FileExistsError: If the run folder is taken.
        ValueError: If data, network and settings do not fit each other, before anything is written.
        RuntimeError: If nothing settles, or the loss is not finite.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     train(TrainConfig(output=folder, batch_size=9001, compilation_cache=False))
        Traceback (most recent call last):
        ...
        ValueError: --batch-size 9001 is larger than the training set: choose at most 9000.
    """
    listener = Listener() if listener is None else listener
    with contextlib.ExitStack() as stack:
        if config.compilation_cache:
            stack.enter_context(compilation_cache(listener.on_warning))
        return _train(config, preset, listener)


def _train(config: TrainConfig, preset: str, told: Listener) -> Outcome:
    if config.output == "":
        raise ValueError("--output is empty: name a folder, or leave it out for a dated one.")
    now = datetime.datetime.now()
    run = RunFolder(
        config.output or f"runs/{now:%Y-%m-%d-%H-%M-%S}-{preset}", overwrite=config.overwrite
    )
    initial = config.network.build(seed=config.seed)

    told.on_stage("reading images")
    train_images, validation_images, test_images = load_splits(config)
    for images in (train_images, validation_images, test_images):
        if images is not None:
            config.network.check(images.name, images.images.shape[1:], len(images.class_names))
            config.inputs.check(images.name, images.images.shape[1:])
    if config.batch_size > len(train_images):
        raise ValueError(
            f"--batch-size {config.batch_size} is larger than the training set: choose at most "
            f"{len(train_images)}."
        )
    batches = batches_per_epoch(len(train_images), config.batch_size)
    method = build_method(config, steps=config.epochs * batches)
    train_set, validation = as_examples(train_images), as_examples(validation_images)
    sample = train_set.take(slice(0, min(_CHECKED_IMAGES, len(train_set))))

    history: list[EpochMetrics] = []
    started = False

    def on_progress(progress: Progress) -> None:
        nonlocal started
        # Only now is it known that settings, network and data go together: nothing was written.
        if not started:
            started = True
            run.start(config)
            told.on_start(
                f"{train_images.name}: {len(train_images)} training and {len(validation_images)} "
                f"validation images; run folder {run.path}"
            )
        told.on_progress(progress)

    def on_epoch(metrics: EpochMetrics) -> None:
        history.append(metrics)
        run.add_metrics(metrics)
        told.on_epoch(metrics)
        if not math.isfinite(metrics.train_loss):
            raise RuntimeError(
                f"the loss is {metrics.train_loss} in epoch {metrics.epoch}: use a smaller "
                "--optimiser.learning-rate."
            )

    told.on_stage("compiling the training step")
    network = fit(
        initial,
        train_set,
        validation,
        method=method,
        epochs=config.epochs,
        batch_size=config.batch_size,
        seed=config.seed,
        profile=run.profile if config.profile else None,
        on_progress=on_progress,
        on_epoch=on_epoch,
    )

    sha256 = run.save_weights(network)
    draw_curves(history, run.path / "curves.png")
    test = None
    if test_images is not None:
        told.on_stage("testing")
        test = evaluate(method, network, as_examples(test_images), seed=config.seed)
    before = after = None
    if isinstance(method, Method):
        # Both last: what they compile would otherwise keep the first training step waiting.
        told.on_stage("comparing gradients with implicit ones")
        before, after = (
            check_gradient(method, n, sample, seed=config.seed) for n in (initial, network)
        )
    summary = dataclasses.asdict(history[-1]) | {
        "preset": preset,
        "total_seconds": sum(m.seconds for m in history),
        "alignment": None
        if before is None or after is None
        else {"before": before.as_dict(), "after": after.as_dict()},
        "weights_sha256": sha256,
        "versions": versions(),
        "machine": machine(),
    }
    if test is not None:
        summary |= {"test_error": test.error, "test_loss": test.loss}
    run.write_summary(summary)
    return Outcome(network, run, history[-1], test, before, after, summary)
