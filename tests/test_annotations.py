"""Shapes and types in the signatures are true: some tests again, with every call checked.

A check of every call costs the other tests a quarter of their time.
"""

import os
import subprocess
import sys
from pathlib import Path

CHECKED = (
    "--jaxtyping-packages=holoprop,"
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
)
CASES = (
    "estimators/test_exactness.py::test_every_estimator_on_every_network[mlp-float32]",
    "estimators/test_exactness.py::test_implicit_matches_finite_differences[little_vgg]",
    "relaxation/test_batching.py::test_slots_bring_every_example_where_it_goes_alone",
    "training/test_fit.py::test_hopfield_network_is_trained",
)


def test_every_call_fits_its_signature() -> None:
    folder = Path(__file__).parent
    checked = [sys.executable, "-m", "pytest", "-m", "", "-n", "0", CHECKED]
    run = subprocess.run(
        [*checked, *(str(folder / case) for case in CASES)],
        cwd=folder.parent,
        env=os.environ | {"PYTEST_ADDOPTS": ""},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert run.returncode == 0, run.stdout
