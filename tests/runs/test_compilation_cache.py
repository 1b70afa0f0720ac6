"""The compilation cache: what is kept, and what a folder that cannot be used costs."""

import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from holoprop.runs._compilation_cache import cache_folder, compilation_cache


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user's cache folder, which is not there yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def compiled():
    """A number from a program that is new to this process, and what was said meanwhile."""
    said = []
    with compilation_cache(said.append):
        # A new function each time, with the same program.
        number = jax.jit(lambda x: jnp.sum(jnp.sin(x) * 3))(jnp.arange(5.0))
    return float(number), said


def kept(home):
    """The entries of the cache."""
    return [path for path in home.rglob("*") if path.is_file()]


def test_folder_is_the_users(home, monkeypatch):
    assert cache_folder().is_relative_to(home / "holoprop")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder().is_relative_to(Path.home() / ".cache" / "holoprop")


def test_programs_are_kept_once(home):
    first = compiled()
    entries = kept(home)
    assert len(entries) > 0
    assert compiled() == first
    assert first[1] == []
    assert kept(home) == entries


def test_damaged_entries_cost_one_warning(home):
    number, _ = compiled()
    for entry in kept(home):
        entry.write_bytes(b"garbage")
    again, said = compiled()
    assert again == number
    assert len(said) == 1
    assert str(cache_folder()) in said[0]
    assert "damaged" in said[0]


@pytest.mark.parametrize("file", ["cache", "cache/holoprop"])
def test_file_in_the_folders_place_costs_one_warning(home, file):
    place = home.parent / file
    place.parent.mkdir(exist_ok=True)
    place.write_text("mine")
    number, said = compiled()
    assert number == pytest.approx(3 * sum(map(float, jnp.sin(jnp.arange(5.0)))))
    assert len(said) == 1
    assert str(cache_folder()) in said[0]
    assert place.read_text() == "mine"


def test_settings_are_put_back(home):
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = [getattr(jax.config, name) for name in names]
    with compilation_cache(print):
        assert [getattr(jax.config, name) for name in names] == [str(cache_folder()), 0.0]
    assert [getattr(jax.config, name) for name in names] == before


def test_users_own_cache_stays(home, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
    try:
        compiled()
    finally:
        jax.config.update("jax_compilation_cache_dir", None)
    assert not home.exists()


def test_other_warnings_are_left_as_they_are(home):
    with pytest.warns(UserWarning, match="something else"), compilation_cache(print):
        warnings.warn("something else", stacklevel=1)
