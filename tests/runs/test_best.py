"""Which epoch is the best, and how long a better one is waited for."""

import dataclasses

import pytest

from holoprop.runs._best import best_epoch, is_past_best
from holoprop.training import EpochMetrics


def history(errors, losses=None):
    blank = {field.name: 0.0 for field in dataclasses.fields(EpochMetrics)}
    losses = [1.0] * len(errors) if losses is None else losses
    return [
        EpochMetrics(**blank | {"epoch": n, "validation_error": e, "validation_loss": loss})
        for n, (e, loss) in enumerate(zip(errors, losses, strict=True), 1)
    ]


@pytest.mark.parametrize(
    ("errors", "best"), [([0.5], 1), ([0.5, 0.3, 0.4], 2), ([0.5, 0.3, 0.3], 2), ([0.2, 0.3], 1)]
)
def test_the_smallest_error_is_best_and_of_several_the_first(errors, best):
    assert best_epoch(history(errors)).epoch == best


def test_without_classes_the_smallest_loss_is_best():
    assert best_epoch(history([None] * 3, [3.0, 1.0, 2.0])).epoch == 2


@pytest.mark.parametrize(
    ("errors", "patience", "past"),
    [
        ([], 1, False),
        ([0.5], 1, False),
        ([0.5, 0.5], 1, True),
        ([0.5, 0.4], 1, False),
        ([0.5, 0.6, 0.6], 3, False),
        ([0.5, 0.6, 0.6, 0.5], 3, True),
        ([0.5] * 9, None, False),
    ],
)
def test_patience(errors, patience, past):
    assert is_past_best(history(errors), patience) == past
