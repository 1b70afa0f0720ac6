"""Training steps of several networks as one compiled program."""

import threading
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from holoprop._tree import as_arrays
from holoprop.training._step import AbstractMethod, train_step

Step = Callable[..., Any]


class JointStep:
    """Where the steps of several networks meet, each of which trains in a thread of its own.

    A step waits for those of the others, and all are taken by one program, as one batch. Who has
    left is stood in for by another, so that it stays the same program. Where phases have a fixed
    number of steps the outcome of each is its own. Where they settle to a tolerance all wait for
    the slowest, and are the same to that tolerance: worth it on an accelerator alone
    (docs/runs.md).

    Arguments:
        count: Networks, 1 or more.

    Example:
        >>> joint = JointStep(2)
        >>> joint.leave(1)
        >>> step = joint.of(0)
    """

    def __init__(self, count: int) -> None:
        self._count, self._members = count, set(range(count))
        self._method: AbstractMethod | None = None
        self._given: dict[int, tuple[Any, ...]] = {}
        self._taken: dict[int, Any] = {}
        self._changed = threading.Condition()

    def of(self, place: int) -> Step:
        """What one of the networks has in place of `train_step`.

        Arguments:
            place: Which, from 0.
        """

        def step(*arguments: Any) -> Any:
            with self._changed:
                self._given[place] = arguments
                self._take_if_all_are_here()
                self._changed.wait_for(lambda: place in self._taken)
                taken = self._taken.pop(place)
            if isinstance(taken, Exception):
                raise taken
            return taken

        return step

    def leave(self, place: int) -> None:
        """One of the networks takes no more steps.

        Arguments:
            place: Which, from 0.
        """
        with self._changed:
            self._members.discard(place)
            self._take_if_all_are_here()

    def _take_if_all_are_here(self) -> None:
        if not self._given or set(self._given) != self._members:
            return
        given, self._given = self._given, {}
        first = given[min(given)]
        # Of all alike; another one would be compiled anew.
        self._method = first[0] if self._method is None else self._method
        rows = [given.get(place, first)[1:] for place in range(self._count)]
        try:
            taken = _steps(self._method, rows)
            self._taken = {place: taken[place] for place in given}
        except Exception as error:
            # All of them have the same program, and the same fault.
            self._taken = dict.fromkeys(given, error)
        self._changed.notify_all()


@eqx.filter_jit
def _steps(method: AbstractMethod, rows: list[tuple[Any, ...]]) -> list[Any]:
    """The outcomes of `train_step` for several networks, each with its own arguments."""
    rows = [(as_arrays(network), *others) for network, *others in rows]
    arrays, fixed = zip(*(eqx.partition(row, eqx.is_array) for row in rows), strict=True)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *arrays)

    def one(row: PyTree[Any]) -> PyTree[Any]:
        return eqx.filter(train_step(method, *eqx.combine(row, fixed[0])), eqx.is_array)

    found = jax.vmap(one)(stacked)
    # What is no array is the same after a step.
    shape = eqx.filter_eval_shape(train_step, method, *rows[0])
    unchanged = eqx.filter(shape, lambda leaf: not isinstance(leaf, jax.ShapeDtypeStruct))
    return [
        eqx.combine(jax.tree.map(lambda leaf, i=index: leaf[i], found), unchanged)
        for index in range(len(rows))
    ]
