"""The training loop, from the first batch to the last."""

import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import holoprop as hp
from holoprop.data import batches_per_epoch, epoch_batches
from holoprop.training._checks import check_classes, check_seed, check_values
from holoprop.training._divergence import check_progress, mean_loss
from holoprop.training._evaluate import evaluate
from holoprop.training._examples import Examples
from holoprop.training._metrics import EpochMetrics, Progress
from holoprop.training._sharded_step import sharded_train_step
from holoprop.training._shards import Shards, of_this_process
from holoprop.training._state import TrainState, first_state
from holoprop.training._step import AbstractMethod, train_step

# The host looks at the device's numbers only every so many batches: each look waits for it.
_LOOK_EVERY = 20
# A profile leaves out so many steps and takes as many.
_TRACED = 20


def fit(
    network: hp.AbstractEnergy,
    train: Examples,
    validation: Examples,
    *,
    method: AbstractMethod,
    epochs: int,
    batch_size: int,
    seed: int,
    start: TrainState | None = None,
    max_unsettled: float = 0.5,
    profile: Path | None = None,
    devices: Sequence[jax.Device] = (),
    step: Callable[..., Any] | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_state: Callable[[TrainState], None] = lambda state: None,
    on_epoch: Callable[[EpochMetrics], None] = lambda metrics: None,
    should_end: Callable[[], bool] = lambda: False,
) -> hp.AbstractEnergy:
    """Train a network and return it.

    Arguments:
        network: With a cost, and logits if there are classes.
        train: At least one batch.
        validation: One example or more; looked at after each epoch.
        method: How gradients are had, optimiser, transform, augmentation.
        epochs: 1 or more.
        batch_size: 1 or more; what is left of an epoch after its last full batch is not seen.
        seed: Of the order of examples, of the noise and of the augmentation, from 0 to 2^32 - 1.
        start: Where to go on from, in place of the network's weights: what `on_state` was given, or
            a copy from `restored_state`. It is brought forward in place. The outcome is that of
            training that never stopped.
        max_unsettled: Share of the examples, from 0 to 1, that may be left out for several looks on
            end because they do not settle; default 0.5.
        profile: Folder for a `jax.profiler` trace of twenty steps of the first epoch (fewer where
            there are fewer; the first step, which compiles, is left out: where it is the only one
            of its epoch, the second epoch's is traced), or None.
        devices: Among which each batch is shared evenly, of all processes where there are several
            (which then call this alike), equally many of each; default none but JAX's own default
            device. Examples and augmentation are the same on any number of them, the noise is not.
        step: What takes a step in place of `train_step`, as `JointStep.of` has it; not with several
            devices.
        on_progress: Called after the first batch of an epoch, and then every few batches.
        on_state: Called after each batch, and after each epoch. What it raises ends training; what
            it is given is good until it returns, and can be saved meanwhile.
        on_epoch: Called after each epoch.
        should_end: Asked before each epoch whether there have been enough.

    Raises:
        ValueError: If the batch is larger than the training set or cannot be shared evenly by the
            devices, a number or a label is out of range, or an input is not finite.
        DivergedError: If no example of a batch settles, the loss is not finite, or for several
            looks on end too few examples settle or the loss is far above that of the first.

    Example:
        >>> import holoprop as hp, optax
        >>> from holoprop.training import Method
        >>> network = hp.mlp([4, 3, 2], key=jax.random.key(0))
        >>> method = Method(
        ...     hp.Holomorphic(0.2, 4), hp.Sequential(), hp.Sequential(), optax.sgd(0.1),
        ...     jax.numpy.array,
        ... )
        >>> examples = Examples(np.ones((6, 4)), np.array([0, 1, 0, 1, 0, 1]))
        >>> seen = []
        >>> network = fit(
        ...     network, examples, examples, method=method, epochs=2, batch_size=3, seed=0,
        ...     on_epoch=seen.append,
        ... )
        >>> [metrics.epoch for metrics in seen]
        [1, 2]
    """
    if epochs < 1:
        raise ValueError(f"epochs must be 1 or more; got {epochs}.")
    if not 0 <= max_unsettled <= 1:
        raise ValueError(f"max_unsettled must be from 0 to 1; got {max_unsettled}.")
    check_seed(seed)
    if len(validation) == 0:
        raise ValueError("validation is empty: give one example or more.")
    batches = batches_per_epoch(len(train), batch_size)
    shards = Shards(devices) if len(devices) > 1 else None
    if shards is not None:
        if step is not None:
            raise ValueError("step is for one device: leave it out, or devices.")
        shards.check(batch_size)
    check_values(train)
    for examples in (train, validation):
        check_classes(method, network, examples)
    state = first_state(method, network) if start is None else start
    if shards is not None:
        state.network = shards.replicated(state.network)
        state.optimiser_state = shards.replicated(state.optimiser_state)
    if step is None:
        step = train_step if shards is None else functools.partial(sharded_train_step, shards)
    noise_key = jax.random.key(seed)
    trace = _Trace(profile, batches)
    while state.epoch <= epochs and not should_end():
        epoch, before, resumed = state.epoch, state.seconds, time.perf_counter()
        order = epoch_batches(len(train), batch_size, seed=seed, epoch=epoch, start=state.batch)
        for index, rows in enumerate(order, state.batch):
            trace.before(epoch, index, state.network)
            part = train.take(rows) if shards is None else shards.take(train, rows)
            key = jax.random.fold_in(noise_key, (epoch - 1) * batches + index)
            state.network, state.optimiser_state, seen = step(
                method, state.network, state.optimiser_state, part.inputs, part.labels, key
            )
            trace.after(epoch, index, state.network)
            # An energy without classes has no error, and backpropagation none of its gradient.
            state.seen.append({name: value for name, value in seen.items() if value is not None})
            state.batch = index + 1
            # After the first one, too: it took what there is to compile.
            if index % _LOOK_EVERY == 0 or state.batch == batches:
                last = 0 if index == 0 else (index - 1) // _LOOK_EVERY * _LOOK_EVERY + 1
                state.seen[last:] = jax.device_get(state.seen[last:])
                check_progress(
                    state, state.seen[last:], batch_size=batch_size, max_unsettled=max_unsettled
                )
                seconds = before + time.perf_counter() - resumed
                on_progress(
                    Progress(
                        epoch,
                        epochs,
                        state.batch,
                        batches,
                        mean_loss(state.seen),
                        _mean(state.seen, "error"),
                        _means(state.seen, "residuals"),
                        _means(state.seen, "steps"),
                        state.batch * batch_size / seconds,
                    )
                )
            state.seconds = before + time.perf_counter() - resumed
            on_state(state)
        held_out = evaluate(method, state.network, validation, seed=seed, devices=devices)
        on_epoch(
            EpochMetrics(
                epoch=epoch,
                train_loss=mean_loss(state.seen),
                train_error=_mean(state.seen, "error"),
                validation_loss=held_out.loss,
                validation_error=held_out.error,
                validation_top5_error=held_out.top5_error,
                residuals=_means(state.seen, "residuals"),
                steps=_means(state.seen, "steps"),
                residual_quartiles=_quartiles(state.seen, "residuals"),
                step_quartiles=_quartiles(state.seen, "steps"),
                unsettled=sum(int(batch["unsettled"]) for batch in state.seen),
                validation_unsettled=held_out.unsettled,
                untrusted=sum(int(batch["untrusted"]) for batch in state.seen),
                gradient_error=_gradient_error(state.seen),
                images_per_second=batches * batch_size / state.seconds,
                seconds=state.seconds,
            )
        )
        state.epoch, state.batch, state.seen, state.seconds = epoch + 1, 0, [], 0.0
        on_state(state)
    return state.network if shards is None else of_this_process(state.network)


def _mean(seen: list[dict[str, Any]], name: str) -> float | None:
    values = [batch[name] for batch in seen if name in batch]
    return float(np.mean(values)) if values else None


def _means(seen: list[dict[str, Any]], name: str) -> dict[str, float]:
    return {phase: float(np.mean([b[name][phase] for b in seen])) for phase in seen[0][name]}


def _quartiles(seen: list[dict[str, Any]], name: str) -> dict[str, list[float]]:
    return {
        phase: np.percentile([b[name][phase] for b in seen], [0, 25, 50, 75, 100]).tolist()
        for phase in seen[0][name]
    }


def _gradient_error(seen: list[dict[str, Any]]) -> dict[str, float] | None:
    if "gradient_error" not in seen[0]:
        return None
    errors = np.concatenate([batch["gradient_error"] for batch in seen])
    errors = np.minimum(errors[~np.isnan(errors)], 1)
    return {
        "mean": float(np.mean(errors)),
        "median": float(np.median(errors)),
        "largest": float(np.max(errors)),
    }


class _Trace:
    """A profile of some steps of the first epoch that has more than one, or of the second."""

    def __init__(self, folder: Path | None, batches: int) -> None:
        self.folder, self.epoch = folder, 1 if batches > 1 else 2
        self.first = min(_TRACED, batches - 1)
        self.last = min(self.first + _TRACED, batches) - 1
        self.running = False

    def before(self, epoch: int, index: int, network: hp.AbstractEnergy) -> None:
        if self.folder is not None and (epoch, index) == (self.epoch, self.first):
            jax.block_until_ready(network)
            jax.profiler.start_trace(str(self.folder))
            self.running = True

    def after(self, epoch: int, index: int, network: hp.AbstractEnergy) -> None:
        if self.running and (epoch, index) == (self.epoch, self.last):
            jax.block_until_ready(network)
            jax.profiler.stop_trace()
            self.running = False
