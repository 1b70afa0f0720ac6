"""What all tests of training run on."""

import jax
import pytest

import holoprop as hp


@pytest.fixture(scope="module", autouse=True)
def compiled_quickly():
    """Most of a small run is compilation, and most of that is spent on speed."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def network():
    """One hidden layer under a readout: its equilibrium is the feed-forward pass."""
    return hp.mlp([6, 5, 3], key=jax.random.key(0))
