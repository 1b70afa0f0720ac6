"""What a run says of images that were left out."""

import dataclasses

import pytest

from holoprop.runs import Listener
from holoprop.runs._train import _warn_of_unsettled
from holoprop.training import EpochMetrics


def line(epoch, unsettled):
    """The metrics of an epoch of which only some examples were left out."""
    values = {field.name: 0.0 for field in dataclasses.fields(EpochMetrics)}
    phases = {"free": 0.0, "nudged": 0.0}
    lists = {name: phases for name in ("residuals", "steps", "gradient_error") if name in values}
    counts = {name: 0 for name in ("validation_unsettled", "untrusted") if name in values}
    return EpochMetrics(**values | lists | counts | {"epoch": epoch, "unsettled": unsettled})


@pytest.mark.parametrize(
    ("unsettled", "told_in"),
    [([0, 10, 9], []), ([0, 11, 50], [2]), ([50, 0, 60], [1]), ([100], [1])],
)
def test_many_images_that_do_not_settle_are_worth_a_word_once(unsettled, told_in):
    told, history = [], []
    for epoch, count in enumerate(unsettled, 1):
        said = len(told)
        metrics = line(epoch, count)
        _warn_of_unsettled(Listener(on_warning=told.append), metrics, history, 100)
        history.append(metrics)
        assert (len(told) > said) == (epoch in told_in)
    for sentence in told:
        assert f"{unsettled[told_in[0] - 1]} of 100 images did not settle" in sentence
        assert "smaller radius or nudge" in sentence
