"""A radius for each example: half of it, and half again, where it was too large.

Half the radius is half of every nudge, and a nudge of half the size is the same nudge of half the
cost (`ScaledObjective`). So the examples that are repeated, whatever the radii that they have come
to, go through one batched solve with the nudges of the whole circle.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp

from holoprop._types import Array, Bool, Float, Int, Key, PyTree
from holoprop._varying import alike
from holoprop.estimators._estimator import Budget, split_key
from holoprop.estimators._phases import Response, scaled
from holoprop.relaxation import Equilibrium, Problem

# The smallest radius is the one asked for times 2 to the minus so many.
_HALVINGS = 10
# One in so many examples is repeated at a time.
_PART = 8


class Refined(eqx.Module):
    """A response whose examples have radii of their own.

    Attributes:
        response: Under the nudges that each example has come to.
        budget: What is known of its error.
        share: [batch]: the radius of each, as a part of the one asked for.
    """

    response: Response
    budget: Budget
    share: Float[Array, " batch"]


def refine(
    problem: Problem,
    response: Response,
    *,
    settle: Callable[[Problem, Equilibrium, list[Key | None]], Response],
    judge: Callable[[Problem, Response], Budget],
    wanting: Callable[[Response, Budget], Bool[Array, "..."]],
    key: Key | None,
) -> Refined:
    """Repeat the nudged phases of wanting examples with half the radius, until none is left.

    Arguments:
        problem: The batch and its objective.
        response: Under the nudges of the radius asked for.
        settle: From some examples, their free equilibria and two keys to their response.
        judge: What is known of the error of some examples.
        wanting: Which examples would be better off with half the radius.
        key: For noise, or None.
    """
    free, batch = response.free, problem.batch
    size = max(1, batch // _PART)
    budget = judge(problem, response)
    share = jnp.ones(batch, problem.dtype)

    def goes_on(share: Array, wants: Array) -> Array:
        return wants & (share > 2.0**-_HALVINGS)

    def repeat(loop: _Loop) -> _Loop:
        wants, nudged, budget, share = loop.wants, loop.nudged, loop.budget, loop.share
        # The first of those that are wanting; where there are fewer, places stay empty.
        count = jnp.sum(wants)
        order = jnp.argsort(~wants, stable=True)
        taken = jnp.arange(size) < count
        at = jnp.where(taken, order[:size], order[0])
        half = share[at] / 2
        # An empty place is not nudged, and at rest from the start.
        x, objective = _rows((problem.x, problem.objective), at)
        own = scaled(Problem(problem.energy, x, objective), half * taken)
        own_key = None if key is None else jax.random.fold_in(key, loop.count)
        found = settle(own, _rows(free, at), split_key(own_key, 2))
        judged = judge(own, found)
        place = jnp.where(taken, at, batch)
        put = jax.tree.map
        return _Loop(
            wants=_put(wants, goes_on(half, wanting(found, judged)), place),
            nudged=[
                Equilibrium(
                    put(lambda a, b: _put_points(a, b, place), old.state, new.state),
                    _put_points(old.residual, new.residual, place),
                    jnp.maximum(old.steps, new.steps),
                    _put_points(old.result, new.result, place),
                )
                for old, new in zip(nudged, found.nudged, strict=True)
            ],
            budget=put(lambda a, b: _put(a, b, place), budget, judged),
            share=_put(share, half, place),
            count=loop.count + 1,
        )

    start = _Loop(
        goes_on(share, wanting(response, budget)), response.nudged, budget, share, jnp.array(0)
    )
    # Nothing changes where nobody wants, so that all of a caller's vmap may go on together.
    end = jax.lax.while_loop(lambda loop: eqxi.unvmap_any(loop.wants), repeat, alike(start))
    readings = [
        eqx.tree_at(lambda r: r.states, reading, nudged.state)
        for reading, nudged in zip(response.readings, end.nudged, strict=True)
    ]
    return Refined(Response(free, end.nudged, readings, response.form), end.budget, end.share)


class _Loop(eqx.Module):
    """What has been found so far.

    Attributes:
        wants: Which examples are to be repeated.
        nudged: The nudged equilibria, as in `Response`.
        budget: What is known of the error.
        share: Part of the radius.
        count: Repetitions so far.
    """

    wants: Bool[Array, " batch"]
    nudged: list[Equilibrium]
    budget: Budget
    share: Float[Array, " batch"]
    count: Int[Array, ""]


def _rows(tree: PyTree[Any], at: Int[Array, " some"]) -> PyTree[Any]:
    """Some examples of what has a leading batch axis."""
    return jax.tree.map(lambda a: jnp.asarray(a)[at] if jnp.ndim(a) else a, tree)


def _put(whole: Array, some: Array, place: Int[Array, " some"]) -> Array:
    """With some examples replaced; a place beyond the batch is dropped."""
    return whole.at[place].set(some, mode="drop")


def _put_points(whole: Array, some: Array, place: Int[Array, " some"]) -> Array:
    """The same where points come first."""
    return whole.at[:, place].set(some, mode="drop")
