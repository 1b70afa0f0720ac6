"""The one driver: lanes that step until each has come to its end.

`Lockstep` is one loop over all lanes, and where it is asked for another one over groups of those
that take long. With `Slots` a loop ends whenever a lane comes to its end, and an outer one puts the
next lane into its slot.
"""

import functools
from typing import Any

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp

from holoprop._types import Array, Bool, Int, PyTree, State
from holoprop._varying import alike
from holoprop.relaxation._batching import Batching, Lockstep, Slots
from holoprop.relaxation._distance import Distance
from holoprop.relaxation._lanes import Content, Lanes, rows
from holoprop.relaxation._stepper import Progress, Stepper

# A part of all lanes of which it is worth while to step them by themselves: one in so many.
_FEW = 4
# Steps of a loop, and where its lanes are.
_Loop = tuple[Int[Array, ""], Progress]


class End(eqx.Module):
    """Where lanes came to their end.

    Attributes:
        state: [lanes, ...].
        distance: [lanes]: from equilibrium.
        count: Steps of the slowest, the one that measured the distance included.
    """

    state: State
    distance: Distance
    count: Int[Array, ""]


def iterate(
    lanes: Lanes,
    stepper: Stepper,
    batching: Batching,
    state: State,
    extended: PyTree[Any],
    *,
    spent: Int[Array, ""],
    steps: int | None = None,
) -> End:
    """Step lanes until each has come to its end.

    Arguments:
        lanes: What steps.
        stepper: How, and until when.
        batching: Which lanes step together.
        state: [lanes, ...]: where they start.
        extended: [lanes, ...]: the extended states of it.
        spent: Steps that count as taken before.
        steps: A fixed number of steps for all lanes instead, which reverse mode can go through.
    """
    if steps is not None:
        return _fixed(lanes, stepper, state, extended, spent, steps)
    if isinstance(batching, Slots) and batching.count < lanes.count:
        return _through_slots(lanes, stepper, batching.count, state, extended, spent)
    if isinstance(batching, Lockstep) and batching.count is not None:
        groups = max(1, lanes.count // (_FEW * batching.count))
        if groups * batching.count < lanes.count:
            return _then_in_groups(lanes, stepper, groups, batching.count, state, extended, spent)
    return _together(lanes, stepper, state, extended, spent)


def _fixed(
    lanes: Lanes,
    stepper: Stepper,
    state: State,
    extended: PyTree[Any],
    spent: Int[Array, ""],
    steps: int,
) -> End:
    """All lanes, for a fixed number of steps."""

    def advance(loop: _Loop, _: None) -> tuple[_Loop, None]:
        count, progress = loop
        return (count + 1, stepper.advanced(lanes, progress, count)), None

    # One step more than asked for: it measures the distance of the state that is returned.
    loop = spent, stepper.init(lanes, state, extended)
    (count, progress), _ = jax.lax.scan(advance, alike(loop, lanes), length=steps + 1)
    progress = stepper.ended(lanes, progress)
    return End(stepper.state(lanes, progress), progress.distance, count)


def _together(
    lanes: Lanes, stepper: Stepper, state: State, extended: PyTree[Any], spent: Int[Array, ""]
) -> End:
    """All lanes, until the last has come to its end."""
    loop = spent, stepper.init(lanes, state, extended)
    count, progress = _step_while(
        lanes, stepper, loop, lambda count, p: jnp.any(stepper.goes_on(p, count))
    )
    return End(stepper.state(lanes, progress), progress.distance, count)


def _then_in_groups(
    lanes: Lanes,
    stepper: Stepper,
    groups: int,
    width: int,
    state: State,
    extended: PyTree[Any],
    spent: Int[Array, ""],
) -> End:
    """All lanes, until so many are left as fill some groups; then one group after another."""
    loop = spent, stepper.init(lanes, state, extended)
    count, progress = _step_while(
        lanes,
        stepper,
        loop,
        lambda count, p: jnp.sum(stepper.goes_on(p, count)) > groups * width,
    )
    order = jnp.argsort(~stepper.goes_on(progress, count), stable=True)

    def one(at: Int[Array, " width"]) -> End:
        held = lanes.holding(lanes.content(at))
        own = jax.tree.map(lambda a: rows(a, at), progress)
        slowest, own = _step_while(
            held, stepper, (count, own), lambda count, p: jnp.any(stepper.goes_on(p, count))
        )
        return End(stepper.state(held, own), own.distance, slowest)

    late = jax.lax.map(one, order[: groups * width].reshape(groups, width))
    # Put back without a scatter: every lane looks up where it went.
    place = jnp.argsort(order)

    def merge(whole: Array, some: Array) -> Array:
        some = rows(some.reshape(-1, *some.shape[2:]), jnp.minimum(place, groups * width - 1))
        went = place < groups * width
        return jnp.where(went.reshape(-1, *[1] * (whole.ndim - 1)), some, whole)

    return End(
        jax.tree.map(merge, stepper.state(lanes, progress), late.state),
        jax.tree.map(merge, progress.distance, late.distance),
        jnp.max(late.count),
    )


def _step(lanes: Lanes, stepper: Stepper, loop: _Loop) -> _Loop:
    count, progress = loop
    return count + 1, stepper.step(lanes, progress, count)


def _step_while(lanes: Lanes, stepper: Stepper, loop: _Loop, goes_on: Any) -> _Loop:
    """Step on while a condition of count and progress holds in any batch of a caller's vmap.

    A loop whose condition differs between those would select, in every step, over all that it
    carries; like the lanes of one batch, they go on until the last has come to its end.
    """
    return jax.lax.while_loop(
        lambda loop: eqxi.unvmap_any(goes_on(*loop)),
        functools.partial(_step, lanes, stepper),
        alike(loop, lanes),
    )


class _Queue(eqx.Module):
    """Lanes in slots, lanes that wait for one, and where the others came to their end.

    Attributes:
        content: What the lanes in the slots have.
        count: Steps of all loops so far.
        progress: Where the lanes in the slots are.
        lane: Which lane each slot holds; the number of lanes for a slot that is empty.
        since: The count when it had taken no steps.
        following: The lane that takes a slot next.
        left: How many lanes have not come to their end.
        state: [lanes, ...]: where each ended or, before that, starts.
        distance: [lanes].
        slowest: Steps of the slowest so far.
    """

    content: Content
    count: Int[Array, ""]
    progress: Progress
    lane: Int[Array, " slots"]
    since: Int[Array, " slots"]
    following: Int[Array, ""]
    left: Int[Array, ""]
    state: State
    distance: Distance
    slowest: Int[Array, ""]


def _through_slots(
    lanes: Lanes,
    stepper: Stepper,
    slots: int,
    init: State,
    extended: PyTree[Any],
    spent: Int[Array, ""],
) -> End:
    total = lanes.count

    def due(queue: _Queue, count: Array, progress: Progress) -> Bool[Array, " slots"]:
        """Which slots the next lane may take: of a lane at its end, or empty while some wait."""
        empty = queue.lane == total
        ended = ~empty & ~stepper.goes_on(progress, count - queue.since)
        return ended | (empty & (queue.following < total))

    def begin(lane: Int[Array, ""]) -> tuple[Content, Progress]:
        """One lane at its start, with an axis of one."""
        content = lanes.content(lane[None])
        return content, stepper.init(lanes.holding(content), *_row((init, extended), lane))

    def exchange(queue: _Queue) -> _Queue:
        """Step until a slot is due, keep what it holds if it has ended, and put the next in."""
        held = lanes.holding(queue.content)
        count, progress = _step_while(
            held,
            stepper,
            (queue.count, queue.progress),
            lambda count, p: (queue.left > 0) & ~jnp.any(due(queue, count, p)),
        )
        slot = jnp.argmax(due(queue, count, progress))
        lane = queue.lane[slot]
        ended = lane < total
        lane = jnp.minimum(lane, total - 1)
        end = _row((stepper.state(held, progress), progress.distance), slot)
        kept = queue.state, queue.distance
        end = jax.tree.map(functools.partial(jnp.where, ended), end, _row(kept, lane))
        state, distance = _put(kept, end, lane)
        # Where no lane waits, the last one starts again, and nobody looks.
        new_content, new_progress = begin(jnp.minimum(queue.following, total - 1))
        taken = jnp.where(ended, count - queue.since[slot], 0)
        return _Queue(
            content=_put(queue.content, new_content, slot),
            count=count,
            progress=_put(progress, new_progress, slot),
            lane=queue.lane.at[slot].set(jnp.minimum(queue.following, total)),
            since=queue.since.at[slot].set(count - spent),
            following=queue.following + 1,
            left=queue.left - ended,
            state=state,
            distance=distance,
            slowest=jnp.maximum(queue.slowest, taken),
        )

    content, progress = jax.tree.map(
        lambda a: jnp.zeros((slots, *a.shape[1:]), a.dtype), jax.eval_shape(begin, spent)
    )
    queue = _Queue(
        content=content,
        count=spent,
        progress=progress,
        lane=jnp.full(slots, total),
        since=jnp.zeros(slots, spent.dtype),
        following=jnp.array(0),
        left=jnp.array(total),
        state=init,
        distance=jax.tree.map(lambda d: jnp.zeros(total, d.dtype), progress.distance),
        slowest=jnp.array(0),
    )
    queue = jax.lax.while_loop(lambda q: eqxi.unvmap_any(q.left > 0), exchange, alike(queue, lanes))
    return End(queue.state, queue.distance, queue.slowest)


def _row(tree: PyTree[Any], at: Int[Array, ""]) -> PyTree[Any]:
    """One row, with its axis."""
    return jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, at, 1), tree)


def _put(tree: PyTree[Any], row: PyTree[Any], at: Int[Array, ""]) -> PyTree[Any]:
    """The same with one row replaced."""
    return jax.tree.map(
        lambda whole, new: jax.lax.dynamic_update_slice_in_dim(whole, new, at, 0), tree, row
    )
