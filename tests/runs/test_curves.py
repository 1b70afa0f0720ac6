"""The picture of a run."""

import dataclasses
import sys

import numpy as np
import pytest
from PIL import Image

from holoprop.runs._curves import draw_curves
from holoprop.training import EpochMetrics

FIRST = EpochMetrics(
    epoch=1,
    train_loss=2.0,
    train_error=0.5,
    validation_loss=2.5,
    validation_error=0.6,
    validation_top5_error=None,
    residuals={"free": 1e-3, "nudged": 1e-4},
    steps={"free": 7.0, "nudged": 4.0},
    residual_quartiles={"free": [1e-3] * 5, "nudged": [1e-4] * 5},
    step_quartiles={"free": [7.0] * 5, "nudged": [4.0] * 5},
    unsettled=0,
    validation_unsettled=0,
    untrusted=0,
    gradient_error={"mean": 2e-3, "median": 1e-3, "largest": 0.1},
    images_per_second=100.0,
    seconds=3.0,
)
SECOND = dataclasses.replace(
    FIRST, epoch=2, train_loss=1.0, train_error=0.2, validation_loss=1.5, validation_error=0.3
)
NO_CLASSES = {"train_error": None, "validation_error": None}


def drawn(metrics, path):
    """The picture's pixels, grey from 0 to 255."""
    draw_curves(metrics, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("L"))


def panels(pixels):
    """The three panels side by side."""
    return np.array_split(pixels, 3, axis=1)


@pytest.mark.parametrize("epochs", [1, 2])
def test_picture_has_three_panels_and_a_sensible_size(tmp_path, epochs):
    pixels = drawn([FIRST, SECOND][:epochs], tmp_path / "curves.png")
    height, width = pixels.shape
    assert 600 <= width <= 3000
    assert 200 <= height <= 2000
    for panel in panels(pixels):
        assert panel.min() < 100, "ink"
        assert np.median(panel) == 255, "paper"


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    return panels(drawn([FIRST, SECOND], tmp_path_factory.mktemp("before") / "curves.png"))


@pytest.mark.parametrize(
    ("change", "panel"),
    [
        ({"train_loss": 1.8}, 0),
        ({"validation_loss": 1.2}, 0),
        ({"train_error": 0.4}, 1),
        ({"validation_error": 0.1}, 1),
        ({"residuals": {"free": 1e-2, "nudged": 1e-4}}, 2),
        ({"residuals": {"free": 1e-3, "nudged": 1e-6}}, 2),
    ],
)
def test_each_number_shows_in_its_own_panel(before, tmp_path, change, panel):
    after = panels(drawn([FIRST, dataclasses.replace(SECOND, **change)], tmp_path / "after.png"))
    same = [np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
    assert not same[panel]


def test_energy_without_classes_is_drawn_too(tmp_path):
    metrics = [dataclasses.replace(m, **NO_CLASSES) for m in (FIRST, SECOND)]
    pixels = drawn(metrics, tmp_path / "curves.png")
    assert panels(pixels)[0].min() < 100


@pytest.mark.parametrize("value", [0.0, 1e-300, float("inf"), float("nan")])
def test_extreme_numbers_are_drawn_without_a_warning(tmp_path, value):
    extreme = dataclasses.replace(
        SECOND,
        train_loss=value,
        validation_loss=value,
        residuals={"free": value, "nudged": value},
    )
    drawn([FIRST, extreme], tmp_path / "curves.png")
    drawn([extreme], tmp_path / "alone.png")


def test_existing_picture_is_replaced(tmp_path):
    path = tmp_path / "curves.png"
    path.write_text("old")
    drawn([FIRST], path)
    draw_curves([FIRST], str(path))


def test_no_window_is_opened(tmp_path):
    drawn([FIRST], tmp_path / "curves.png")
    figures = sys.modules.get("matplotlib.pyplot")
    assert figures is None or figures.get_fignums() == []
