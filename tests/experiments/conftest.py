"""The smoke runs of all experiments, each once for all tests that look at one."""

import functools

import jax
import pytest

from holoprop.experiments import experiments, read_numbers, reproduce


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """A function from a name to what its smoke run left: configuration, numbers, reproduction."""
    output = tmp_path_factory.mktemp("reproduced")

    @functools.cache
    def run(name):
        experiment = experiments()[name]
        jax.config.update("jax_disable_most_optimizations", True)
        try:
            done = reproduce(experiment, scale="smoke", output=output)
        finally:
            jax.config.update("jax_disable_most_optimizations", False)
        numbers = read_numbers(done.folder / "numbers.json")
        return experiment.configs["smoke"](), numbers, done

    return run
