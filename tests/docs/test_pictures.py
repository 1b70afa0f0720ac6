"""The pictures of docs/method.md show what the page says."""

import subprocess
import sys
from collections import defaultdict

import numpy as np
import pytest
from test_docs import DOCS, ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The folder of pictures, and errors by precision, series and radius."""
    folder = tmp_path_factory.mktemp("method")
    command = [sys.executable, str(ROOT / "scripts" / "method_pictures.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    errors = defaultdict(dict)
    for line in done.stdout.splitlines():
        kind, name, radius, error = line.split("\t")
        errors[kind, name][float(radius)] = float(error)
    return folder, errors


def test_pictures_are_those_of_the_page(drawn):
    folder, _ = drawn
    assert {file.name for file in folder.iterdir()} == {
        file.name for file in (DOCS / "method").iterdir()
    }


@pytest.mark.parametrize(
    ("series", "order"), [("one-sided", 1), ("N = 2", 2), ("N = 4", 4), ("N = 8", 8)]
)
def test_error_falls_with_its_order(drawn, series, order):
    """Eq. (9), between radii where neither rounding nor higher orders matter."""
    errors = drawn[1]["float64", series]
    slope = np.log(errors[0.253] / errors[0.1]) / np.log(0.253 / 0.1)
    assert slope == pytest.approx(order, rel=0.03)


def test_deviations_lose_no_digits(drawn):
    errors = drawn[1]
    small = [radius for radius in errors["float32", "states"] if radius < 0.05]
    assert max(errors["float32", "deviations"][radius] for radius in small) < 1e-6
    assert errors["float32", "states"][min(small)] > 1e-3
