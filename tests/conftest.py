"""Shared by all tests: quick compilation, float64, and the real data where it is to be had."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from holoprop.data import ImageSet, load_images

# Most of the tests' time is compilation, of programs that run once: without optimisation, and
# without the emitters that build every fusion by way of MLIR, it takes a sixth.
QUICK = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_parallel_codegen_split_count=1 --xla_cpu_use_fusion_emitters=false"
)


def quick_flags() -> str:
    """The flags for XLA, or none under a version that lacks one: it ends the process instead."""
    flags = f"{QUICK} {os.environ.get('XLA_FLAGS', '')}"
    probe = [sys.executable, "-c", "import jax; jax.devices()"]
    known = subprocess.run(probe, env=os.environ | {"XLA_FLAGS": flags}, capture_output=True)
    return flags if known.returncode == 0 else os.environ.get("XLA_FLAGS", "")


# Read when JAX first compiles; inherited by pytest-xdist's workers and by what a test starts.
if QUICK not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = quick_flags()
jax.config.update("jax_enable_x64", True)


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
