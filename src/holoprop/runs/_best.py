"""The best epoch of a run by its validation images, and when to wait for a better one no longer."""

from collections.abc import Sequence

from holoprop.training import EpochMetrics


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


def _score(metrics: EpochMetrics) -> float:
    return metrics.validation_loss if metrics.validation_error is None else metrics.validation_error
