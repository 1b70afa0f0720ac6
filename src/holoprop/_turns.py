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

    def due(turns: _Turns, loop: Loop) -> Bool[Array, " seats"]:
        """Whose seat is to be taken by the next: it is at its end, or nobody is there."""
        empty = turns.who == rows
        tired = loop.count - turns.since > walk.relaxation.max_steps
        ended = ~empty & (tired | ~loop.unsettled(tolerance))
        return ended | (empty & (turns.following < rows))

    def walk_on(turns: _Turns) -> Loop:
        """Until one is due; beside other batches in a caller's vmap, one of each."""

        def going(loop: Loop) -> Bool[Array, ""]:
            return anywhere((turns.left > 0) & ~jnp.any(due(turns, loop)))

        step = functools.partial(walk.step, crowd.seated(turns.seats))
        return jax.lax.while_loop(going, step, turns.loop)

    def change_one(turns: _Turns) -> _Turns:
        loop = walk_on(turns)
        seat = jnp.argmax(due(turns, loop))
        row = turns.who[seat]
        ended = row < rows
        row = jnp.minimum(row, rows - 1)
        end = _row((walk.state(crowd.seated(turns.seats), loop), loop.residual), seat)
        before = _row((turns.state, turns.residual), row)
        end = jax.tree.map(functools.partial(jnp.where, ended), end, before)
        state, residual = _put((turns.state, turns.residual), end, row)
        # Where nobody is left to follow, the last one walks again, and nobody looks.
        new = jnp.minimum(turns.following, rows - 1)
        seats = crowd.one(new)
        begun = walk.begin(crowd.seated(seats), loop.count, *_row((init, carry), new))
        return _Turns(
            seats=_put(turns.seats, seats, seat),
            loop=Loop(
                loop.count,
                _put(loop.state, begun.state, seat),
                _put(loop.carry, begun.carry, seat),
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

    def empty(count: int) -> tuple[PyTree[Any], Loop]:
        """So many seats with nobody there."""
        first = jnp.arange(count)
        seated = crowd.take(first)
        states = jax.tree.map(lambda a: a[first], (init, carry))
        return seated.changing, walk.begin(seated, spent, *states)

    count = min(SEATS, rows)
    seats, loop = jax.tree.map(
        lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(lambda: empty(count))
    )
    turns = _Turns(
        seats=seats,
        loop=eqx.tree_at(lambda loop: loop.count, loop, spent),
        who=jnp.full(count, rows),
        since=jnp.zeros(count, spent.dtype),
        following=jnp.array(0),
        left=jnp.array(rows),
        state=init,
        residual=jnp.zeros(rows, loop.residual.dtype),
        steps=jnp.array(0),
    )
    turns = jax.lax.while_loop(lambda turns: anywhere(turns.left > 0), change_one, turns)
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
