"""One training run, from the data to the summary."""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import holoprop as hp
from holoprop.data import batches_per_epoch
from holoprop.runs._best import best_epoch, evaluate_best, is_past_best, tested, validated
from holoprop.runs._card import card
from holoprop.runs._checkpoints import Checkpoints, Saved
from holoprop.runs._compilation_cache import compilation_cache
from holoprop.runs._config import TrainConfig
from holoprop.runs._curves import draw_curves
from holoprop.runs._files import reason
from holoprop.runs._gradient_check import GradientCheck, check_gradient
from holoprop.runs._images import AugmentImages, PrepareImages, as_examples, load_splits
from holoprop.runs._json import as_json
from holoprop.runs._listener import Listener
from holoprop.runs._memory import check_memory
from holoprop.runs._provenance import machine, versions
from holoprop.runs._read_config import read_config
from holoprop.runs._run_folder import BEST, CARD, CONFIG, CURVES, METRICS, RunFolder
from holoprop.runs._saver import InterruptedRunError, Saver, resumed_history
from holoprop.training import (
    AbstractMethod,
    Backpropagation,
    DivergedError,
    EpochMetrics,
    Evaluation,
    Method,
    Progress,
    TrainState,
    evaluate,
    first_state,
    fit,
    restored_state,
)

# Images on which the gradient is compared with the implicit one, before and after training.
_CHECKED_IMAGES = 100
# Of the images, so many that do not settle are worth a word.
_MANY = 0.1


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


def train(
    config: TrainConfig,
    *,
    preset: str = "custom",
    listener: Listener | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train as configured and leave a run folder.

    Arguments:
        config: Of the run.
        preset: What the configuration is called, in the run folder's name and the summary.
        listener: Told how it goes; default nobody.
        should_stop: Asked after each step whether to save the run and stop.

    Raises:
        FileExistsError: If the run folder is taken.
        ValueError: If data, network and settings do not fit each other, before anything is written.
        DivergedError: If nothing settles, or the loss is not finite or far above what it was.
        InterruptedRunError: If the run was asked to stop.
        OSError: If the weights or the summary cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     train(TrainConfig(output=folder, batch_size=9001, compilation_cache=False))
        Traceback (most recent call last):
        ...
        ValueError: --batch-size 9001 is larger than the training set: choose at most 9000.
    """
    told = Listener() if listener is None else listener
    if config.output == "":
        raise ValueError("--output is empty: name a folder, or leave it out for a dated one.")
    run = RunFolder.dated(preset) if config.output is None else RunFolder(config.output)
    with (
        run.begun(overwrite=config.overwrite, on_warning=told.on_warning),
        _compiling(config, told),
    ):
        return _train(run, config, preset, told, should_stop, None)


def resume(
    path: str | os.PathLike[str],
    *,
    listener: Listener | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome | None:
    """Go on with a run that was interrupted, as if it never had been.

    Its weights, and its metrics but for times, are to the bit those of a run without an
    interruption, on the same machine.

    Arguments:
        path: Its folder.
        listener: As for `train`.
        should_stop: As for `train`.

    Returns:
        What it came to, or None if it had ended already.

    Raises:
        FileNotFoundError: If no run is there.
        FileExistsError: If another process is at work there.
        ValueError: If its configuration has been changed, or its data are not there as they were.
        DivergedError: As `train`; so are InterruptedRunError and OSError.

    Example:
        >>> resume("nowhere")
        Traceback (most recent call last):
        ...
        FileNotFoundError: there is no run at nowhere: name a run's folder.
    """
    told = Listener() if listener is None else listener
    run = RunFolder(path)
    with run.reopened(on_warning=told.on_warning):
        if run.is_finished:
            return None
        content = run.read_config()
        preset = str(content.pop("preset", "custom"))
        saved = Checkpoints(run.checkpoints, keep=1).newest(told.on_warning)
        if saved is not None and saved.record["config"] != content:
            raise ValueError(
                f"{run.path / CONFIG} was changed after the run had begun: put back what it was, "
                "or train anew."
            )
        config = read_config(content)
        with _compiling(config, told):
            return _train(run, config, preset, told, should_stop, saved or _NOTHING)


# Of a run that was interrupted before its first checkpoint.
_NOTHING = Saved(0, {}, {})


@contextlib.contextmanager
def _compiling(config: TrainConfig, told: Listener) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        if config.compilation_cache:
            stack.enter_context(compilation_cache(told.on_warning))
        yield


def _train(
    run: RunFolder,
    config: TrainConfig,
    preset: str,
    told: Listener,
    should_stop: Callable[[], bool],
    saved: Saved | None,
) -> Outcome:
    """A new run, or the rest of one that was saved."""
    check_memory(config)
    initial = config.network.build(seed=config.seed)
    told.on_stage("reading images")
    splits = load_splits(config, told.on_warning)
    train_images, validation_images, test_images = splits.train, splits.validation, splits.test
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

    start = first_state(method, initial)
    history: list[EpochMetrics] = []
    if saved is not None:
        if saved.step:
            history = resumed_history(saved.record, batches=batches, on_warning=told.on_warning)
            start = restored_state(method, initial, saved.arrays, saved.record)
        # What later epochs had left would come twice.
        _write(told, run.path / METRICS, lambda: run.write_metrics(history))

    def on_state(state: TrainState) -> None:
        # The end of an epoch, whose metrics have come.
        if state.batch == 0 and history and best_epoch(history).epoch == state.epoch - 1:
            _write(told, run.path / BEST, lambda: run.save_best(state.network))
        saver.on_state(state)

    saver = Saver(
        run,
        preset,
        config,
        batches=batches,
        history=history,
        start=start,
        should_stop=should_stop,
        on_warning=told.on_warning,
    )
    started = saved is not None

    def on_progress(progress: Progress) -> None:
        nonlocal started
        # Only now is it known that settings, network and data go together: nothing was written.
        if not started:
            started = True
            run.start({"preset": preset} | as_json(config))
        told.on_progress(progress)

    def on_epoch(metrics: EpochMetrics) -> None:
        _warn_of_unsettled(told, metrics, history, batches * config.batch_size)
        # Once is enough for a run.
        if metrics.untrusted and not any(m.untrusted for m in history):
            told.on_warning(
                f"in epoch {metrics.epoch} the nudges of {_examples(metrics.untrusted)} leave the "
                "region where the equilibrium is holomorphic, and what they contribute is wrong: "
                "use a smaller radius or nudge, or --estimator.max-error for a radius of each "
                "example's own."
            )
        history.append(metrics)
        _write(told, run.path / METRICS, lambda: run.write_metrics(history))
        told.on_epoch(metrics)

    if should_stop():
        raise InterruptedRunError(
            f"interrupted; {saver.how_to_go_on()}"
            if started
            else "interrupted before the first step: nothing was written."
        )
    told.on_start(
        f"{train_images.name}: {len(train_images)} training and {len(validation_images)} "
        f"validation images; run folder {run.path}"
    )
    for note in splits.notes:
        told.on_start(note)
    if saved is not None:
        told.on_start(f"going on in epoch {start.epoch}, after batch {start.batch} of {batches}")
    told.on_stage("compiling the training step")
    try:
        network = fit(
            initial,
            train_set,
            validation,
            method=method,
            epochs=config.epochs,
            batch_size=config.batch_size,
            seed=config.seed,
            start=start,
            max_unsettled=config.max_unsettled,
            profile=run.profile if config.profile else None,
            on_progress=on_progress,
            on_state=on_state,
            on_epoch=on_epoch,
            should_end=lambda: is_past_best(history, config.patience),
        )
    except DivergedError as error:
        raise DivergedError(f"{error} {saver.last_good()}" if started else str(error)) from error

    # `fit` has brought it to the end: whoever stops the run now goes on from here.
    end = start
    try:
        sha256 = run.save_weights(network)
    except OSError as error:
        raise OSError(
            f"the weights cannot be written to {run.path} ({reason(error)}): make room, then "
            + saver.how_to_go_on()
        ) from error
    _write(told, run.path / CURVES, lambda: run.draw(lambda part: draw_curves(history, part)))
    best, test, best_test = best_epoch(history), None, None
    if test_images is not None:
        saver.on_state(end)
        told.on_stage("testing")
        test_set = as_examples(test_images)
        test = best_test = evaluate(method, network, test_set, seed=config.seed)
        if best.epoch < history[-1].epoch:
            best_test = evaluate_best(
                run, method, network, test_set, seed=config.seed, on_warning=told.on_warning
            )
    before = after = None
    if isinstance(method, Method):
        # Both last: what they compile would otherwise keep the first training step waiting.
        saver.on_state(end)
        told.on_stage("comparing gradients with implicit ones")
        before, after = (
            check_gradient(method, n, sample, seed=config.seed) for n in (initial, network)
        )
    summary = dataclasses.asdict(history[-1]) | {
        "preset": preset,
        "total_seconds": sum(m.seconds for m in history),
        "best": validated(best) | tested(best_test),
        "alignment": None
        if before is None or after is None
        else {"before": before.as_dict(), "after": after.as_dict()},
        "weights_sha256": sha256,
        "versions": versions(),
        "machine": machine(),
        "data": {
            "name": train_images.name,
            "classes": list(train_images.class_names),
            "image_shape": list(train_images.images.shape[1:]),
        },
    }
    summary |= tested(test)
    _write(told, run.path / CARD, lambda: run.write_card(card(config, summary)))
    try:
        run.finish(summary)
    except OSError as error:
        raise OSError(
            f"the summary cannot be written to {run.path} ({reason(error)}): make room, then "
            + saver.how_to_go_on()
        ) from error
    return Outcome(network, run, history[-1], test, before, after, summary)


def _examples(count: int) -> str:
    return "one example" if count == 1 else f"{count} examples"


def _write(told: Listener, path: Path, write: Callable[[], None]) -> None:
    """Write a file that the run can do without."""
    try:
        write()
    # A picture can fail in many ways; it is not worth a trained network.
    except Exception as error:
        told.on_warning(f"{path} cannot be written ({reason(error)}): the run goes on without it.")


def _warn_of_unsettled(
    told: Listener, metrics: EpochMetrics, history: list[EpochMetrics], images: int
) -> None:
    """Once in a run, a word on images that were left out."""
    if metrics.unsettled > _MANY * images and all(m.unsettled <= _MANY * images for m in history):
        told.on_warning(
            f"in epoch {metrics.epoch} {metrics.unsettled} of {images} images did not settle and "
            "were left out: use a smaller radius or nudge, smaller weights, a smaller "
            "--optimiser.learning-rate, more steps or a looser tolerance."
        )
