"""The best epoch of a run by its validation images, and when to wait for a better one no longer."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax

import holoprop as hp
from holoprop.runs._processes import any_of
from holoprop.runs._run_folder import BEST, RunFolder
from holoprop.runs._weights import with_weights
from holoprop.training import AbstractMethod, EpochMetrics, Evaluation, Examples, evaluate


def best_epoch(history: Sequence[EpochMetrics]) -> EpochMetrics:
    """The epoch with the smallest validation error, or loss where there are no classes.

    Of several the first.

    Arguments:
        history: One epoch or more.
    """
    return min(history, key=_score)


def is_past_best(history: Sequence[EpochMetrics], patience: int | None) -> bool:
    """Whether the last so many epochs were no better than one before them."""
    if patience is None or not history:
        return False
    return history[-1].epoch - best_epoch(history).epoch >= patience


def validated(metrics: EpochMetrics) -> dict[str, Any]:
    """Of an epoch what its validation images came to, for the summary."""
    whole = dataclasses.asdict(metrics)
    return {n: v for n, v in whole.items() if n == "epoch" or n.startswith("validation_")}


def tested(test: Evaluation | None) -> dict[str, Any]:
    """What the test images came to, for the summary; nothing where there are none."""
    if test is None:
        return {}
    return {f"test_{name}": value for name, value in dataclasses.asdict(test).items()}


def evaluate_best(
    run: RunFolder,
    method: AbstractMethod,
    network: hp.AbstractEnergy,
    examples: Examples,
    *,
    seed: int,
    devices: Sequence[jax.Device],
    on_warning: Callable[[str], None],
) -> Evaluation | None:
    """The test at the best epoch's weights; None where they are lost.

    Arguments:
        run: Where they are.
        method: As for `evaluate`.
        network: Of the run's structure.
        examples: To test on.
        seed: As for `evaluate`.
        devices: As for `evaluate`.
        on_warning: Told where they are lost.
    """
    best = None
    try:
        best = with_weights(network, run.path / BEST, as_stored=True)
    except (OSError, ValueError) as error:
        on_warning(f"the best epoch is not tested, because its weights are lost: {error}")
    # All processes evaluate, or none.
    if any_of(best is None) or best is None:
        return None
    return evaluate(method, best, examples, seed=seed, devices=devices)


def _score(metrics: EpochMetrics) -> float:
    return metrics.validation_loss if metrics.validation_error is None else metrics.validation_error
