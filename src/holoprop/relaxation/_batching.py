"""Batching: which lanes step together."""

import math
from collections.abc import Callable
from typing import TypeVar

import equinox as eqx
import jax

from holoprop._platform import by_platform
from holoprop.relaxation._problem import Problem

_Answer = TypeVar("_Answer")

# Units of an example from which on a network is large: few examples keep a processor busy.
_LARGE = 2**14
# So many lanes of a large network keep a processor as busy as more of them would.
_SLOTS = 8


class AbstractBatching(eqx.Module):
    """Which lanes step together in a relaxation to a tolerance; with fixed steps it is all of them.

    It decides time and memory; equilibria are the same to the tolerance.
    """


class Lockstep(AbstractBatching):
    """All lanes step together until the last of them has settled.

    Best on accelerators, and for small networks everywhere.

    Example:
        >>> Lockstep()
        Lockstep()
    """


class Slots(AbstractBatching):
    """A few lanes step at a time, and one that has settled makes room for the next.

    Known elsewhere as continuous batching. No lane waits for the slowest, so a batch takes as long
    as its examples do on average. What a step needs of a lane is copied when it takes a slot, which
    for a large network is little beside a step. `value_and_grad` also estimates no more than twice
    as many examples at a time as there are slots, so that memory does not grow with the batch.

    Arguments:
        count: Lanes that step at a time, 1 or more.

    Raises:
        ValueError: If count is out of range.

    Example:
        >>> Slots(8).count
        8
    """

    count: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        if not isinstance(self.count, int) or self.count < 1:
            raise ValueError(f"count must be a whole number, 1 or more; got {self.count!r}.")


def is_large(problem: Problem) -> bool:
    """Whether few of a problem's examples keep a processor busy."""
    units = (math.prod(leaf.shape[1:]) for leaf in jax.tree.leaves(problem.states))
    return sum(units) >= _LARGE


def with_batching(
    batching: AbstractBatching | None,
    problem: Problem,
    compute: Callable[[AbstractBatching], _Answer],
) -> _Answer:
    """What `compute` makes of the batching asked for, or of the problem's default.

    The default is `Slots(8)` for a large network where the computation runs on a processor, else
    `Lockstep()`.

    Arguments:
        batching: As asked for, or None for the default.
        problem: Whose size decides.
        compute: From a batching to arrays.
    """
    if batching is not None:
        return compute(batching)
    if not is_large(problem):
        return compute(Lockstep())
    return by_platform(cpu=lambda: compute(Slots(_SLOTS)), default=lambda: compute(Lockstep()))
