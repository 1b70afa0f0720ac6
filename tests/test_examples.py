"""The programs in `examples/` run as their first lines say."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
pytestmark = pytest.mark.slow


def output_of(name, *arguments, cwd):
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_oscillation(tmp_path):
    """Each pair of further nudges takes the error of the gradient down."""
    lines = output_of("oscillation.py", "picture.png", cwd=tmp_path).splitlines()
    errors = [float(line.split()[-1]) for line in lines]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.1
    assert errors[-1] < 1e-6
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_equilibrium_layer(tmp_path):
    words = output_of("equilibrium_layer.py", cwd=tmp_path).split()
    before, after, cosine = float(words[1]), float(words[3]), float(words[-1])
    assert after < before / 2
    assert cosine > 0.999
