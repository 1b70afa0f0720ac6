"""The training loop, from the first batch to the last."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from holoprop._checks import check_labels
from holoprop._types import PyTree
from holoprop.data import batches_per_epoch, epoch_batches
from holoprop.energies import AbstractEnergy
from holoprop.relaxation import label_classes
from holoprop.training._step import Method, evaluate_batch, train_step

# The host looks at the device's numbers only every so many batches: each look waits for it.
_LOOK_EVERY = 20
# A profile leaves out so many steps and takes as many.
_TRACED = 20


@dataclasses.dataclass(frozen=True)
class Examples:
    """Inputs and labels that belong together.

    Attributes:
        inputs: Tree of NumPy arrays with a leading axis over examples, as they are stored.
        labels: Class indices or targets, with the same leading axis.
    """

    inputs: PyTree[Any]
    labels: PyTree[Any]

    def __len__(self) -> int:
        return int(jax.tree.leaves(self.labels)[0].shape[0])

    def take(self, rows: np.ndarray | slice) -> "Examples":
        """The examples of some rows."""
        return Examples(*jax.tree.map(lambda a: a[rows], (self.inputs, self.labels)))


@dataclasses.dataclass(frozen=True)
class EpochMetrics:
    """What one epoch came to; the keys of a line of `metrics.jsonl`.

    Errors are fractions of 1, None for an energy without classes; residuals and steps are means
    over the epoch's batches (of each batch's median residual), by phase.
    """

    epoch: int
    train_loss: float
    train_error: float | None
    validation_loss: float
    validation_error: float | None
    residuals: dict[str, float]
    steps: dict[str, float]
    unsettled: int
    validation_unsettled: int
    images_per_second: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where training stands within an epoch: means over the epoch so far."""

    epoch: int
    batch: int
    batches: int
    loss: float
    error: float | None
    residuals: dict[str, float]
    images_per_second: float


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Mean loss and error of a set of examples, and how many did not settle."""

    loss: float
    error: float | None
    unsettled: int


def evaluate(
    method: Method, network: AbstractEnergy, examples: Examples, *, seed: int = 0
) -> Evaluation:
    """Loss and error over a set, by the free phase alone.

    Arguments:
        method: Its `free` relaxation and `transform` are used.
        network: With a cost, and logits if there are classes.
        examples: One or more.
        seed: Of the noise, if the relaxation has any.

    Raises:
        ValueError: If there is no example, or a label is out of range.

    Example:
        >>> import holoprop as hp, optax
        >>> network = hp.mlp([4, 3, 2], key=jax.random.key(0))
        >>> method = Method(
        ...     hp.Holomorphic(0.2, 4), hp.Sequential(), hp.Sequential(), optax.sgd(0.1), jnp.array
        ... )
        >>> examples = Examples(np.ones((6, 4)), np.array([0, 1, 0, 1, 0, 1]))
        >>> evaluate(method, network, examples).error
        0.5
    """
    if len(examples) == 0:
        raise ValueError("examples is empty: give one example or more.")
    first = examples.take(slice(0, 1))
    inputs = method.transform(jax.tree.map(jnp.asarray, first.inputs))
    classes = label_classes(network, inputs, first.labels)
    if classes is not None:
        check_labels(examples.labels, classes)
    batch = min(len(examples), 250)
    sums: list[Any] = []
    for start in range(0, len(examples), batch):
        rows = np.arange(start, start + batch)
        # The last batch is filled up with the last example, at no weight: one shape, one program.
        weight = jnp.asarray(rows < len(examples), float)
        part = examples.take(np.minimum(rows, len(examples) - 1))
        key = jax.random.fold_in(jax.random.key(seed), start)
        sums.append(evaluate_batch(method, network, part.inputs, part.labels, weight, key))
    loss, wrong, unsettled = jax.tree.map(lambda *leaves: sum(map(float, leaves)), *sums)
    count = len(examples)
    return Evaluation(loss / count, None if wrong is None else wrong / count, round(unsettled))


def fit(
    network: AbstractEnergy,
    train: Examples,
    validation: Examples,
    *,
    method: Method,
    epochs: int,
    batch_size: int,
    seed: int,
    profile: Path | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_epoch: Callable[[EpochMetrics], None] = lambda metrics: None,
) -> AbstractEnergy:
    """Train a network and return it.

    Arguments:
        network: With a cost, and logits if there are classes.
        train: At least one batch.
        validation: One example or more; looked at after each epoch, never used to choose anything.
        method: Estimator, relaxations, optimiser, transform.
        epochs: 1 or more.
        batch_size: 1 or more; what is left of an epoch after its last full batch is not seen.
        seed: Of the order of examples and of the noise.
        profile: Folder for a `jax.profiler` trace of twenty steps of the first epoch (fewer where
            there are fewer; the first step, which compiles, is left out), or None.
        on_progress: Called every few batches.
        on_epoch: Called after each epoch.

    Raises:
        ValueError: If the batch is larger than the training set, or a number is out of range.

    Example:
        >>> import holoprop as hp, optax
        >>> network = hp.mlp([4, 3, 2], key=jax.random.key(0))
        >>> method = Method(
        ...     hp.Holomorphic(0.2, 4), hp.Sequential(), hp.Sequential(), optax.sgd(0.1), jnp.array
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
    if len(validation) == 0:
        raise ValueError("validation is empty: give one example or more.")
    batches = batches_per_epoch(len(train), batch_size)
    optimiser_state = method.optimiser.init(eqx.filter(network, eqx.is_inexact_array))
    noise_key = jax.random.key(seed)
    first = min(_TRACED, batches - 1)
    last = min(first + _TRACED, batches) - 1
    for epoch in range(1, epochs + 1):
        started, sums, pending = time.perf_counter(), _Sums(), []
        for index, rows in enumerate(epoch_batches(len(train), batch_size, seed=seed, epoch=epoch)):
            traced = profile is not None and epoch == 1
            if traced and index == first:
                jax.block_until_ready(network)
                jax.profiler.start_trace(str(profile))
            part = train.take(rows)
            key = jax.random.fold_in(noise_key, (epoch - 1) * batches + index)
            network, optimiser_state, seen = train_step(
                method, network, optimiser_state, part.inputs, part.labels, key
            )
            if traced and index == last:
                jax.block_until_ready(network)
                jax.profiler.stop_trace()
            pending.append(seen)
            if len(pending) == _LOOK_EVERY or index + 1 == batches:
                sums.add(jax.device_get(pending))
                pending = []
                seconds = time.perf_counter() - started
                on_progress(
                    Progress(
                        epoch,
                        index + 1,
                        batches,
                        sums.mean("loss"),
                        sums.mean("error"),
                        sums.means("residuals"),
                        (index + 1) * batch_size / seconds,
                    )
                )
        seconds = time.perf_counter() - started
        held_out = evaluate(method, network, validation, seed=seed)
        on_epoch(
            EpochMetrics(
                epoch=epoch,
                train_loss=sums.mean("loss"),
                train_error=sums.mean("error"),
                validation_loss=held_out.loss,
                validation_error=held_out.error,
                residuals=sums.means("residuals"),
                steps=sums.means("steps"),
                unsettled=int(sum(sums.values["unsettled"])),
                validation_unsettled=held_out.unsettled,
                images_per_second=batches * batch_size / seconds,
                seconds=seconds,
            )
        )
    return network


class _Sums:
    """What the batches of an epoch reported, on the host."""

    def __init__(self) -> None:
        self.values: dict[str, list[Any]] = {}

    def add(self, seen: list[dict[str, Any]]) -> None:
        for batch in seen:
            for name, value in batch.items():
                self.values.setdefault(name, []).append(value)

    def mean(self, name: str) -> Any:
        values = self.values[name]
        return None if values[0] is None else float(np.mean(values))

    def means(self, name: str) -> dict[str, float]:
        values = self.values[name]
        return {phase: float(np.mean([v[phase] for v in values])) for phase in values[0]}
