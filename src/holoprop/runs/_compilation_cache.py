"""JAX's persistent compilation cache, in the user's cache folder."""

import contextlib
import os
import platform
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache.compilation_cache import reset_cache

# Of everything that is compiled: a run's first step waits for many small programs, too.
_SETTINGS = {
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}
# What JAX's warnings about single entries begin with.
_FAULTS = tuple(f"Error {verb} persistent compilation cache" for verb in ("reading", "writing"))


def cache_folder() -> Path:
    """Where compiled programs are kept: one folder a machine, since each compiles for itself."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "holoprop" / "compiled" / (platform.node() or "unnamed")


@contextlib.contextmanager
def compilation_cache(on_warning: Callable[[str], None]) -> Iterator[None]:
    """Keep what is compiled, and take what was kept.

    Arguments:
        on_warning: Told at most once, in a sentence, that the folder or an entry cannot be used.
            The run goes on, and compiles.
    """
    folder = cache_folder()
    settings = _SETTINGS | {"jax_compilation_cache_dir": str(folder)}
    before = {name: getattr(jax.config, name) for name in settings}
    if before["jax_compilation_cache_dir"] is not None:
        # The user has a cache already.
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        on_warning(f"compiled programs cannot be kept in {folder} ({error.strerror}).")
        yield
        return
    with _told_once(f"{folder} has a damaged entry: delete that folder.", on_warning):
        _configure(settings)
        try:
            yield
        finally:
            _configure(before)


def _configure(settings: dict[str, Any]) -> None:
    for name, value in settings.items():
        jax.config.update(name, value)
    # What JAX has found out about its cache before holds no longer.
    reset_cache()


@contextlib.contextmanager
def _told_once(sentence: str, on_warning: Callable[[str], None]) -> Iterator[None]:
    """One sentence in place of JAX's warnings about its cache; all other warnings as they are."""
    told, show = False, warnings.showwarning

    def show_warning(message: Warning | str, *rest: Any, **more: Any) -> None:
        nonlocal told
        if not str(message).startswith(_FAULTS):
            show(message, *rest, **more)
        elif not told:
            told = True
            on_warning(sentence)

    with warnings.catch_warnings():
        for beginning in _FAULTS:
            warnings.filterwarnings("always", message=beginning)
        warnings.showwarning = show_warning
        yield
