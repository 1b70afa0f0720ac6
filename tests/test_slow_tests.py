"""Which slow tests a change asks for."""

import runpy
from pathlib import Path

import pytest

SCRIPT = runpy.run_path(str(Path(__file__).parent.parent / "scripts" / "slow_tests.py"))


@pytest.mark.parametrize(
    ("changed", "folders"),
    [
        (["src/holoprop/training/_fit.py"], [".", "training"]),
        (
            ["src/holoprop/training/_fit.py", "src/holoprop/data/deep/_load.py"],
            [".", "data", "training"],
        ),
        (["src/holoprop/_value_and_grad.py"], ["."]),
        (["src/holoprop/nowhere/_file.py"], ["."]),
        (["tests/training/test_fit.py"], ["training"]),
        (["tests/zoo.py"], ["."]),
        (["docs/howto/radius.md"], ["docs"]),
        (["README.md", "pyproject.toml"], []),
        ([], []),
    ],
)
def test_folders_of_changed_files(changed, folders):
    assert SCRIPT["folders"](changed) == folders
