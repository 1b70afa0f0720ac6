"""One training run, from the data to the summary."""

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import holoprop as hp
from holoprop.runs._best import best_epoch, evaluate_best, is_past_best, tested, validated
from holoprop.runs._card import card
from holoprop.runs._checkpoints import Checkpoints, Saved
from holoprop.runs._compilation_cache import compilation_cache
from holoprop.runs._config import TrainConfig
from holoprop.runs._curves import draw_curves
from holoprop.runs._files import reason
from holoprop.runs._gradient_check import GradientCheck, check_gradient
from holoprop.runs._images import as_examples
from holoprop.runs._json import as_json
from holoprop.runs._listener import Listener
from holoprop.runs._processes import any_of, is_first, own_folder, together
from holoprop.runs._provenance import machine, versions
from holoprop.runs._read_config import read_config
from holoprop.runs._run_folder import BEST, CARD, CONFIG, CURVES, METRICS, RunFolder
from holoprop.runs._saver import InterruptedRunError, Saver
from holoprop.runs._setup import Setup, set_up
from holoprop.runs._trackers import check_trackers, tracked
from holoprop.training import (
    DivergedError,
    EpochMetrics,
    Evaluation,
    Method,
    Progress,
    TrainState,
    evaluate,
    fit,
)

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


def train(
    config: TrainConfig,
    *,
    preset: str = "custom",
    listener: Listener | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    step: Callable[..., Any] | None = None,
) -> Outcome:
    """Train as configured and leave a run folder.

    Arguments:
        config: Of the run.
        preset: What the configuration is called, in the run folder's name and the summary.
        listener: Told how it goes; default nobody.
        should_stop: Asked after each step whether to save the run and stop.
        step: What takes the training steps in place of `train_step`, as for `fit`.

    Raises:
        FileExistsError: If the run folder is taken.
        ValueError: If data, network and settings do not fit each other, or a tracker is not
            installed, before anything is written.
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
    told = _told(listener)
    if config.output == "":
        raise ValueError("--output is empty: name a folder, or leave it out for a dated one.")
    check_trackers(config.track)
    run = RunFolder.dated(preset) if config.output is None else RunFolder(config.output)
    with contextlib.ExitStack() as stack:
        run = stack.enter_context(own_folder(run))
        begun = run.begun(overwrite=config.overwrite, on_warning=told.on_warning)
        together(lambda: stack.enter_context(begun), same=str)
        stack.enter_context(_compiling(config, told))
        told = stack.enter_context(tracked(told, run, config.track))
        return _train(run, config, preset, told, should_stop, step, None)


def resume(
    path: str | os.PathLike[str],
    *,
    listener: Listener | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    step: Callable[..., Any] | None = None,
) -> Outcome | None:
    """Go on with a run that was interrupted, as if it never had been.

    Its weights, and its metrics but for times, are to the bit those of a run without an
    interruption, on the same machine.

    Arguments:
        path: Its folder.
        listener: As for `train`.
        should_stop: As for `train`.
        step: As for `train`.

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
    told = _told(listener)
    given = RunFolder(path)
    with contextlib.ExitStack() as stack:

        def reopen() -> tuple[TrainConfig, str, Saved] | None:
            # It is kept from other runs, not from this run's other processes, which read alone.
            if is_first():
                stack.enter_context(given.reopened(on_warning=told.on_warning))
            return _left_at(given, told)

        found = together(reopen, same=lambda found: "" if found is None else str(found[2].step))
        if found is None:
            return None
        config, preset, saved = found
        run = stack.enter_context(own_folder(given))
        if not is_first() and (given.path / BEST).exists():
            shutil.copy(given.path / BEST, run.path / BEST)
        stack.enter_context(_compiling(config, told))
        told = stack.enter_context(tracked(told, run, config.track))
        return _train(run, config, preset, told, should_stop, step, saved)


# Of a run that was interrupted before its first checkpoint.
_NOTHING = Saved(0, {}, {})


def _left_at(run: RunFolder, told: Listener) -> tuple[TrainConfig, str, Saved] | None:
    """Settings, preset and newest checkpoint of a run, or None if it has ended."""
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
    check_trackers(config.track)
    return config, preset, saved or _NOTHING


def _told(listener: Listener | None) -> Listener:
    """Who is told: of several processes' listeners the first one's."""
    return Listener() if listener is None or not is_first() else listener


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
    step: Callable[..., Any] | None,
    saved: Saved | None,
) -> Outcome:
    """A new run, or the rest of one that was saved."""
    setup = together(lambda: set_up(config, told, saved), same=Setup.mark)
    train_images, batches, method = setup.train, setup.batches, setup.method
    train_set, validation = as_examples(train_images), as_examples(setup.validation)
    sample = train_set.take(slice(0, min(config.checked_images, len(train_set))))
    initial, start, history = setup.initial, setup.start, setup.history
    if saved is not None:
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

    if any_of(should_stop()):
        raise InterruptedRunError(
            f"interrupted; {saver.how_to_go_on()}"
            if started
            else "interrupted before the first step: nothing was written."
        )
    told.on_start(
        f"{train_images.name}: {len(train_images)} training and {len(validation)} "
        f"validation images; run folder {run.path}"
    )
    for note in setup.notes:
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
            devices=setup.devices,
            step=step,
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
    if setup.test is not None:
        saver.on_state(end)
        told.on_stage("testing")
        test_set = as_examples(setup.test)
        test = best_test = evaluate(
            method, network, test_set, seed=config.seed, devices=setup.devices
        )
        if best.epoch < history[-1].epoch:
            best_test = evaluate_best(
                run,
                method,
                network,
                test_set,
                seed=config.seed,
                devices=setup.devices,
                on_warning=told.on_warning,
            )
    before = after = None
    if isinstance(method, Method) and config.checked_images:
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
