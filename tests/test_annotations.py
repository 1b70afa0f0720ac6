"""Shapes and types in the signatures are true: tests again, with every call checked.

A check of every call costs the tests a quarter of their time: `make test-checked` does it for all.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHECKED = (
    "--jaxtyping-packages=holoprop,"
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
)
CASES = {
    "quick": (
        "tests/estimators/test_exactness.py::test_every_estimator_on_every_network[mlp-float32]",
        "tests/training/test_fit.py::test_hopfield_network_is_trained",
    ),
    "slow": (
        "tests/estimators/test_exactness.py::test_implicit_matches_finite_differences[little_vgg]",
        "tests/relaxation/test_batching.py::test_slots_bring_every_example_where_it_goes_alone",
    ),
}


@pytest.mark.parametrize("suite", CASES)
@pytest.mark.quick("quick")
def test_calls_fit_their_signatures(suite: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pytest", CHECKED, "-m", "", "-n", "0", *CASES[suite]],
        cwd=ROOT,
        env=os.environ | {"PYTEST_ADDOPTS": ""},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert run.returncode == 0, run.stdout
