"""Wheel and sdist build, and the wheel works in an empty virtual environment."""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


def run(*command, cwd):
    """Run a program away from this checkout and its environment; its output, or its complaint."""
    own = ("PYTHONPATH", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in own}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def make_environment(folder):
    """The interpreter of a new, empty virtual environment."""
    run(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python"


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """A folder with a wheel and an sdist."""
    folder = tmp_path_factory.mktemp("build")
    python = make_environment(folder / "environment")
    run(python, "-m", "pip", "install", "--quiet", "build", cwd=folder)
    run(python, "-m", "build", "--outdir", folder / "dist", ROOT, cwd=folder)
    return folder / "dist"


@pytest.fixture(scope="module")
def installed(distributions, tmp_path_factory):
    """The interpreter of an environment with the wheel and what it asks for, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    python = make_environment(folder / "environment")
    (wheel,) = distributions.glob("*.whl")
    run(python, "-m", "pip", "install", "--quiet", wheel, cwd=folder)
    return python


def test_both_have_the_package_and_its_digits(distributions):
    (wheel,), (sdist,) = distributions.glob("*.whl"), distributions.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
    with tarfile.open(sdist) as archive:
        in_sdist = {name.split("/", 1)[-1] for name in archive.getnames()}
    for name in ("__init__.py", "py.typed", "data/mnist_subset/train.parquet"):
        assert f"holoprop/{name}" in in_wheel
        assert f"src/holoprop/{name}" in in_sdist
    assert {"README.md", "LICENSE", "docs/oscillation.png"} <= in_sdist
    assert not {name for name in in_wheel if name.startswith(("tests/", "benchmarks/"))}


def test_the_wheel_trains(installed, tmp_path):
    command = installed.with_name("holoprop")
    output = run(command, "train", "--epochs", 1, "--output", tmp_path / "run", cwd=tmp_path)
    assert "Gradient against the implicit gradient" in output
    assert (tmp_path / "run" / "summary.json").is_file()


def test_the_first_example_of_the_readme_runs(installed, tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (tmp_path / "example.md").write_text(re.findall("^```python\n.*?^```", readme, re.M | re.S)[0])
    run(installed, "-m", "doctest", tmp_path / "example.md", cwd=tmp_path)
