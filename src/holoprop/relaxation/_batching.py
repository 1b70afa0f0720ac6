"""Batching: which lanes step together."""

import math
from collections.abc import Callable
from typing import TypeAlias, TypeVar

import equinox as eqx
import jax

from holoprop._platform import by_platform
from holoprop.relaxation._problem import Problem

_Answer = TypeVar("_Answer")

# Units of an example from which on a step costs so much more than to put a lane into a slot.
_LARGE = 2**14
# So many lanes of a large network keep a processor as busy as more of them would.
_SLOTS = 8
# Units that step together where examples are smaller, and the fewest lanes.
_IN_CACHE, _LEAST = 2**12, 4


class Lockstep(eqx.Module):
    """All lanes step together until the last of them has settled.

    That is best on accelerators. A processor is better off to step the few lanes that take long by
    themselves: with a `count`, all step together until a quarter of them is left (or one group, if
    that is more), and these go on in groups of so many, one group after another.

    Arguments:
        count: Lanes of a group, 1 or more; default None, for no groups.

    Raises:
        ValueError: If count is out of range.

    Example:
        >>> Lockstep(8).count
        8
    """

    count: int | None = eqx.field(default=None, static=True)

    def __check_init__(self) -> None:
        if self.count is not None:
            _check_count(self.count)


class Slots(eqx.Module):
    """A few lanes step at a time, and one that has settled makes room for the next.

    Known elsewhere as continuous batching. No lane waits for the slowest, so a batch takes as long
    as its examples do on average. What a step needs of a lane is copied when it takes a slot, which
    for a large network is little beside a step. `value_and_grad` also estimates no more than twice
    as many examples at a time as there are slots, where the batch divides into such parts, so that
    memory does not grow with it.

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
        _check_count(self.count)


# Which lanes step together in a relaxation to a tolerance; with fixed steps it is all of them. It
# decides time and memory; equilibria are the same to the tolerance.
Batching: TypeAlias = Lockstep | Slots


def _check_count(count: int) -> None:
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"count must be a whole number, 1 or more; got {count!r}.")


def on_a_processor(problem: Problem) -> Batching:
    """What is fastest there for examples of a problem's size."""
    units = sum(math.prod(leaf.shape[1:]) for leaf in jax.tree.leaves(problem.states))
    if units >= _LARGE:
        return Slots(_SLOTS)
    return Lockstep(max(_LEAST, _IN_CACHE // max(1, units)))


def with_batching(
    batching: Batching | None,
    problem: Problem,
    compute: Callable[[Batching], _Answer],
) -> _Answer:
    """What `compute` makes of the batching asked for, or of the problem's default.

    The default is `Lockstep()` on an accelerator; on a processor `Slots(8)` for a large network
    and `Lockstep(count)` with groups that fit its cache for a smaller one.

    Arguments:
        batching: As asked for, or None for the default.
        problem: Whose size decides.
        compute: From a batching to arrays.
    """
    if batching is not None:
        return compute(batching)
    return by_platform(
        cpu=lambda: compute(on_a_processor(problem)), default=lambda: compute(Lockstep())
    )
