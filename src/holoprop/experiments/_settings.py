"""JAX's settings while an experiment computes."""

import contextlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def jax_settings(**settings: bool) -> Iterator[None]:
    """Some settings of JAX for a while, and then those that were there before."""
    before = {name: jax.config.read(name) for name in settings}
    try:
        for name, value in settings.items():
            jax.config.update(name, value)
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
