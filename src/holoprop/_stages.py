"""In stages: once most of a crowd have settled, the others go on without them."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from holoprop._crowd import Crowd
from holoprop._types import Array, Int, PyTree, State
from holoprop._walk import Loop, Rest, Walk

# A crowd of this many or more goes on without its settled ones once a quarter of it is left.
_MANY, _FEW = 16, 4


def in_stages(
    walk: Walk,
    crowd: Crowd,
    init: State,
    carry: PyTree[Any],
    *,
    spent: Int[Array, ""],
    tolerance: Any,
    stages: bool = True,
) -> Rest:
    """Everyone at rest, and the steps of the slowest.

    Each stage is compiled by itself, and copies what it goes on with; for a small network that
    costs less than steps with everyone.

    Arguments:
        walk: How to step.
        crowd: Whom to relax.
        init: Their states.
        carry: Their dynamics' carries.
        spent: Steps that they have taken before.
        tolerance: Of the residual.
        stages: Whether there are any; large networks take too long to compile for more than one.
    """
    loop = walk.begin(crowd, spent, init, carry)
    if stages:
        return _go_on(walk, crowd, loop, tolerance=tolerance)
    loop = walk.until(crowd, loop, tolerance=tolerance)
    return walk.state(crowd, loop), loop.residual, loop.count


def _go_on(walk: Walk, crowd: Crowd, loop: Loop, *, tolerance: Any) -> Rest:
    """Everyone, and then the slowest of them alone."""
    count = math.prod(crowd.shape)
    few = count // _FEW if count >= _MANY else 0
    loop = walk.until(crowd, loop, tolerance=tolerance, few=few)
    state = walk.state(crowd, loop)
    if few == 0:
        return state, loop.residual, loop.count
    order = jnp.argsort(~loop.unsettled(tolerance).reshape(-1), stable=True)
    chosen = order[:few]
    rest = Loop(loop.count, *crowd.rows((loop.state, loop.carry, loop.residual), chosen))
    late_state, late_residual, steps = _go_on(walk, crowd.take(chosen), rest, tolerance=tolerance)
    # Put back without a scatter: everyone looks up where it went.
    merge = functools.partial(crowd.merge, place=jnp.argsort(order))
    return jax.tree.map(merge, state, late_state), merge(loop.residual, late_residual), steps
