"""In turns: few of a crowd walk at a time, and who has settled makes room for the next."""

import functools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._crowd import Crowd
from holoprop._types import Array, Bool, Float, Int, PyTree, State
from holoprop._walk import Loop, Rest, Walk, anywhere

# So many examples of a large network keep a processor as busy as more of them would.
SEATS = 8


class _Turns(eqx.Module):
    """Who walks, who has yet to, and where the others came to rest.

    Attributes:
        seats: What those who walk are given.
        loop: Where they are; its count goes on from one to the next.
        who: Their rows in the whole crowd, or the number of rows for a seat that is left empty.
        since: The loop's count when they had taken no steps.
        following: The row that takes a seat next.
        left: How many have not come to their end.
        state: [rows, ...]: where everyone ended or, before that, starts.
        residual: [rows].
        steps: Of the slowest so far.
    """

    seats: PyTree[Any]
    loop: Loop
    who: Int[Array, " seats"]
    since: Int[Array, " seats"]
    following: Int[Array, ""]
    left: Int[Array, ""]
    state: State
    residual: Float[Array, " rows"]
    steps: Int[Array, ""]


def in_turns(
    walk: Walk,
    crowd: Crowd,
    init: State,
    carry: PyTree[Any],
    *,
    spent: Int[Array, ""],
    tolerance: Any,
) -> Rest:
    """Everyone at rest, and the steps of the slowest.

    Nobody waits for others while there are some to follow: a batch takes as long as its examples do
    on average, not as its slowest. What a step needs of an example is copied when it takes its
    seat, which for a large network is little beside a step.

    Arguments:
        walk: How to step.
        crowd: Whom to relax.
        init: Their states.
        carry: Their dynamics' carries.
        spent: Steps that they have taken before.
        tolerance: Of the residual.
    """
    axes, rows = len(crowd.shape), math.prod(crowd.shape)
    init, carry = jax.tree.map(lambda a: a.reshape(rows, *a.shape[axes:]), (init, carry))

    def over(turns: _Turns, loop: Loop) -> Bool[Array, " seats"]:
        """Who is at its end."""
        tired = loop.count - turns.since > walk.relaxation.max_steps
        return (turns.who < rows) & (tired | ~loop.unsettled(tolerance))

    def walk_on(turns: _Turns) -> Loop:
        """Until one is at its end; beside other batches in a caller's vmap, one of each."""

        def going(loop: Loop) -> Bool[Array, ""]:
            return anywhere((turns.left > 0) & ~jnp.any(over(turns, loop)))

        step = functools.partial(walk.step, crowd.seated(turns.seats))
        return jax.lax.while_loop(going, step, turns.loop)

    def next_one(turns: _Turns) -> _Turns:
        loop = walk_on(turns)
        ended = turns.left > 0
        seat = jnp.argmax(over(turns, loop))
        row = jnp.minimum(turns.who[seat], rows - 1)
        end = _row((walk.state(crowd.seated(turns.seats), loop), loop.residual), seat)
        state, residual = jax.tree.map(
            lambda new, old: jnp.where(ended, new, old),
            end,
            _row((turns.state, turns.residual), row),
        )
        state, residual = _put((turns.state, turns.residual), (state, residual), row)
        # Where nobody is left to follow, the last one walks again, and nobody looks.
        new = jnp.minimum(turns.following, rows - 1)
        seats = crowd.one(new)
        begun = walk.begin(crowd.seated(seats), loop.count, *_row((state, carry), new))
        carries = jax.tree.map(
            lambda starts, old, new: _put(old, new, seat) if starts else old,
            walk.relaxation.starts,
            loop.carry,
            begun.carry,
        )
        return _Turns(
            seats=_put(turns.seats, seats, seat),
            loop=Loop(
                loop.count,
                _put(loop.state, begun.state, seat),
                carries,
                _put(loop.residual, begun.residual, seat),
            ),
            who=turns.who.at[seat].set(jnp.minimum(turns.following, rows)),
            since=turns.since.at[seat].set(loop.count - spent),
            following=turns.following + 1,
            left=turns.left - ended,
            state=state,
            residual=residual,
            steps=jnp.maximum(turns.steps, jnp.where(ended, loop.count - turns.since[seat], 0)),
        )

    first = jnp.arange(min(SEATS, rows))
    seats = crowd.take(first).changing
    start = jax.tree.map(lambda a: a[: first.size], (init, carry))
    loop = walk.begin(crowd.seated(seats), spent, *start)
    turns = _Turns(
        seats=seats,
        loop=loop,
        who=first,
        since=jnp.zeros_like(first),
        following=jnp.array(first.size),
        left=jnp.array(rows),
        state=init,
        residual=jnp.zeros(rows, loop.residual.dtype),
        steps=jnp.array(0),
    )
    turns = jax.lax.while_loop(lambda turns: anywhere(turns.left > 0), next_one, turns)
    state, residual = jax.tree.map(
        lambda a: a.reshape(*crowd.shape, *a.shape[1:]), (turns.state, turns.residual)
    )
    return state, residual, turns.steps


def _row(tree: PyTree[Any], at: Int[Array, ""]) -> PyTree[Any]:
    """One row, with its axis."""
    return jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, at, 1), tree)


def _put(tree: PyTree[Any], row: PyTree[Any], at: Int[Array, ""]) -> PyTree[Any]:
    """The same with one row replaced."""
    return jax.tree.map(
        lambda whole, new: jax.lax.dynamic_update_slice_in_dim(whole, new, at, 0), tree, row
    )
