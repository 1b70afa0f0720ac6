"""Large batches in parts that a processor's cache can hold."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from holoprop._crowd import takes_turns
from holoprop._estimator import Estimate
from holoprop._problem import Problem
from holoprop._types import Array, Key, PyTree, State

# A large network's examples are estimated so many at a time. On a processor that is faster than all
# at once, needs memory for one part alone, and lets a part that has settled go; an accelerator is
# better off with the whole batch.
_EXAMPLES = 16


def part_size(problem: Problem) -> int:
    """How many examples go together: a divisor of the batch, or the whole of it."""
    if not takes_turns(problem.states):
        return problem.batch
    divisors = [d for d in range(1, _EXAMPLES + 1) if problem.batch % d == 0]
    # Parts of very few examples would leave the processor idle.
    return divisors[-1] if divisors[-1] > _EXAMPLES // 2 else problem.batch


def in_parts(
    estimate: Callable[[Problem, State | None, Key | None], Estimate],
    problem: Problem,
    *,
    init: State | None,
    key: Key | None,
) -> Estimate:
    """An estimate of a batch, part after part: the same numbers, but for the noise drawn.

    Arguments:
        estimate: From a problem, a starting state and a key.
        problem: The whole batch.
        init: [batch, ...] or None.
        key: For noise, or None.
    """
    size = part_size(problem)
    if size == problem.batch:
        return estimate(problem, init, key)
    parts = problem.batch // size

    def split(tree: PyTree[Any]) -> PyTree[Any]:
        return jax.tree.map(lambda a: a.reshape(parts, size, *a.shape[1:]), tree)

    def one(part: tuple[PyTree[Any], PyTree[Any], PyTree[Any], Array]) -> Estimate:
        x, aim, start, index = part
        part_key = None if key is None else jax.random.fold_in(key, index)
        return estimate(Problem(problem.energy, x, aim), start, part_key)

    x, aim, start = split((jax.tree.map(jnp.asarray, problem.x), problem.aim, init))
    return _joined(jax.lax.map(one, (x, aim, start, jnp.arange(parts))))


def _joined(parts: Estimate) -> Estimate:
    """One estimate from those of all parts, which have a leading axis."""
    aux = parts.aux
    kept = jnp.sum(aux.settled, axis=1)
    share = kept / jnp.maximum(jnp.sum(kept), 1)

    def flat(a: Array) -> Array:
        return a.reshape(-1, *a.shape[2:])

    def last_axis_flat(a: Array) -> Array:
        return jnp.moveaxis(a, 0, -2).reshape(*a.shape[1:-1], -1)

    def weighted(a: Array) -> Array:
        return jnp.tensordot(share.astype(a.dtype), a, 1)

    def scaled(a: Array) -> Array:
        return flat(a * share.astype(a.dtype).reshape(-1, *[1] * (a.ndim - 1)))

    joined = type(aux)(
        logits=jax.tree.map(flat, aux.logits),
        steps=jax.tree.map(jnp.max, aux.steps),
        residuals=jax.tree.map(last_axis_flat, aux.residuals),
        settled=flat(aux.settled),
        unsettled=jnp.sum(aux.unsettled),
        state=jax.tree.map(flat, aux.state),
        imaginary=jnp.max(aux.imaginary),
    )
    return Estimate(
        weighted(parts.loss),
        jax.tree.map(weighted, parts.energy),
        jax.tree.map(scaled, parts.x),
        joined,
    )
