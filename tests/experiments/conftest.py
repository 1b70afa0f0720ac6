"""The smoke runs of all experiments, each once for all tests that look at one."""

import functools
import os

import pytest

from holoprop.experiments import _data, experiments, read_numbers, reproduce


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Programs that are compiled go to no user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "XDG_CACHE_HOME", str(tmp_path_factory.mktemp("user") / "cache"))
        yield


@pytest.fixture(autouse=True)
def no_hub(monkeypatch):
    """Configurations look for their images; tests ask no network."""
    monkeypatch.setattr(_data, "_is_on_hub", lambda name: False)


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """A function from a name to what its smoke run left: configuration, numbers, reproduction."""
    # Workers of pytest-xdist share what is computed.
    base = tmp_path_factory.getbasetemp()
    output = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "reproduced"

    @functools.cache
    def run(name):
        experiment = experiments()[name]
        done = reproduce(experiment, scale="smoke", output=output)
        numbers = read_numbers(done.folder / "numbers.json")
        return experiment.configs["smoke"](), numbers, done

    return run
