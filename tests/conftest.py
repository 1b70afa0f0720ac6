"""Shared by all tests: quick compilation, float64, and the real data where it is to be had."""

import fnmatch
import gc
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from holoprop.data import ImageSet, load_images

jax.config.update("jax_enable_x64", True)
# Tracing makes objects by the million, nearly all of which stay: looking through them takes a tenth
# of the tests' time.
gc.set_threshold(100_000, 50, 100)


# Most of the quick tests' time is compilation, of programs that run once: without optimisation, and
# without the emitters that build every fusion by way of MLIR, it takes a sixth.
QUICK = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_parallel_codegen_split_count=1 --xla_cpu_use_fusion_emitters=false"
)


def pytest_configure(config: pytest.Config) -> None:
    """Let XLA compile the quick tests quickly, and the slow ones as for use.

    The flags are read when JAX first compiles. Workers of pytest-xdist and programs that tests
    start inherit them; flags that are set already have the last word.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if config.getoption("markexpr") != "not slow" or QUICK in flags:
        return
    quickly = os.environ | {"XLA_FLAGS": f"{QUICK} {flags}"}
    # A version of XLA that lacks a flag ends the process; then the tests take longer.
    probe = subprocess.run(
        [sys.executable, "-c", "import jax; jax.devices()"], env=quickly, capture_output=True
    )
    if probe.returncode == 0:
        os.environ["XLA_FLAGS"] = quickly["XLA_FLAGS"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of a test marked `quick`, the cases that it does not name are slow."""
    named = set()
    for item in items:
        for mark in item.iter_markers("quick"):
            here = {name for name in mark.args if fnmatch.fnmatchcase(item.callspec.id, name)}
            named |= {(item.function, name) for name in here}
            if not here:
                item.add_marker(pytest.mark.slow)
    if any("::" in argument for argument in config.args):
        return
    for item in items:
        for mark in item.iter_markers("quick"):
            for name in mark.args:
                if (item.function, name) not in named:
                    raise pytest.UsageError(f"{item.nodeid}: no case is named {name!r}.")


def real_set(name: str, split: str) -> ImageSet:
    """A split of one of the real data sets, or a skip with the reason."""
    folder = os.environ.get("HOLOPROP_DATA")
    if not folder or not (Path(folder) / name).is_dir():
        pytest.skip(f"{name} is not there: set HOLOPROP_DATA to the folder that holds it")
    return load_images(Path(folder) / name, split)


@pytest.fixture(scope="session")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Ten real digits of the packaged subset, float64 from 0 to 1, and their labels."""
    images = load_images(None, "test")
    return images.images[:10].reshape(10, 784) / 255.0, images.labels[:10]


@pytest.fixture(scope="session")
def pictures() -> tuple[np.ndarray, np.ndarray]:
    """Four real CIFAR-10 images, normalised as in the paper, and their labels."""
    images = real_set("cifar10", "test")
    mean, std = np.array([0.4914, 0.4822, 0.4465]), 1.5 * np.array([0.2023, 0.1994, 0.2010])
    return (images.images[:4] / 255.0 - mean) / std, images.labels[:4]
