"""What depends on where a computation runs, which only the compiler knows."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax.extend.backend import backends

_Answer = TypeVar("_Answer")


def by_platform(
    *args: Any, cpu: Callable[..., _Answer], default: Callable[..., _Answer]
) -> _Answer:
    """One of two ways to the same arrays: for a processor, or for accelerators.

    The process's default backend does not tell where a traced computation will be placed. So where
    a process has both, both ways are traced and the compiler keeps the one of its platform; where
    it has one of them, there is nothing to choose.

    Arguments:
        args: Given to either.
        cpu: The way for a processor.
        default: The way for everything else.
    """
    platforms = set(backends())
    if platforms == {"cpu"}:
        return cpu(*args)
    if "cpu" not in platforms:
        return default(*args)
    return jax.lax.platform_dependent(*args, cpu=cpu, default=default)
