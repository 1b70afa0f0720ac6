"""The training loop, from the first batch to the last."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

import holoprop as hp
from holoprop._tree import as_arrays
from holoprop.data import batches_per_epoch, epoch_batches
from holoprop.training._checks import check_classes, check_values
from holoprop.training._evaluate import evaluate
from holoprop.training._examples import Examples
from holoprop.training._metrics import EpochMetrics, Progress
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
    profile: Path | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_epoch: Callable[[EpochMetrics], None] = lambda metrics: None,
) -> hp.AbstractEnergy:
    """Train a network and return it.

    Arguments:
        network: With a cost, and logits if there are classes.
        train: At least one batch.
        validation: One example or more; looked at after each epoch, never used to choose anything.
        method: How gradients are had, optimiser, transform, augmentation.
        epochs: 1 or more.
        batch_size: 1 or more; what is left of an epoch after its last full batch is not seen.
        seed: Of the order of examples, of the noise and of the augmentation.
        profile: Folder for a `jax.profiler` trace of twenty steps of the first epoch (fewer where
            there are fewer; the first step, which compiles, is left out: where it is the only one
            of its epoch, the second epoch's is traced), or None.
        on_progress: Called after the first batch of an epoch, and then every few batches.
        on_epoch: Called after each epoch.

    Raises:
        ValueError: If the batch is larger than the training set, a number or a label is out of
            range, or an input is not finite.
        RuntimeError: If no example of a batch settles.

    Example:
        >>> import holoprop as hp, optax
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
    if len(validation) == 0:
        raise ValueError("validation is empty: give one example or more.")
    batches = batches_per_epoch(len(train), batch_size)
    check_values(train)
    for examples in (train, validation):
        check_classes(method, network, examples)
    network = as_arrays(network)
    optimiser_state = method.optimiser.init(eqx.filter(network, eqx.is_inexact_array))
    noise_key = jax.random.key(seed)
    first = min(_TRACED, batches - 1)
    last = min(first + _TRACED, batches) - 1
    for epoch in range(1, epochs + 1):
        started, sums, pending = time.perf_counter(), _Sums(), []
        for index, rows in enumerate(epoch_batches(len(train), batch_size, seed=seed, epoch=epoch)):
            traced = profile is not None and epoch == (1 if batches > 1 else 2)
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
            # After the first one, too: it took what there is to compile.
            if index == 0 or len(pending) == _LOOK_EVERY or index + 1 == batches:
                sums.add(jax.device_get(pending))
                if batch_size in sums.values["unsettled"]:
                    raise RuntimeError(
                        f"no example settled in every phase of a batch of epoch {epoch}, so there "
                        "is no gradient: use a smaller radius or nudge, more steps or a looser "
                        "tolerance, or smaller weights."
                    )
                pending = []
                seconds = time.perf_counter() - started
                on_progress(
                    Progress(
                        epoch,
                        index + 1,
                        batches,
                        sums.loss(),
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
                train_loss=sums.loss(),
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

    def loss(self) -> float:
        """Mean over the examples, of which some batches may have fewer than others."""
        counts = self.values["in_loss"]
        losses = zip(self.values["loss"], counts, strict=True)
        return float(sum(float(loss) * int(count) for loss, count in losses)) / int(sum(counts))

    def mean(self, name: str) -> Any:
        values = self.values[name]
        return None if values[0] is None else float(np.mean(values))

    def means(self, name: str) -> dict[str, float]:
        values = self.values[name]
        return {phase: float(np.mean([v[phase] for v in values])) for phase in values[0]}
