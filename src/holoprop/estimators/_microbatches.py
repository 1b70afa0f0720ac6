"""A large network's batch, a few of its examples at a time."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._types import Array, PyTree
from holoprop.estimators._estimator import Estimate, Phases
from holoprop.relaxation import Batching, Problem, Slots


def microbatch_size(batch: int, batching: Batching) -> int:
    """How many examples are estimated together: a divisor of the batch, or the whole of it.

    Where few lanes step at a time, twice as many examples: memory does not grow with the batch
    then, and the cache of a processor holds what is read together.
    """
    if not isinstance(batching, Slots):
        return batch
    largest = 2 * batching.count
    divisors = [d for d in range(1, largest + 1) if batch % d == 0]
    # Microbatches of very few examples would leave the processor idle.
    return divisors[-1] if divisors[-1] > largest // 2 else batch


def in_microbatches(
    estimate: Callable[[Problem, Phases], Estimate], problem: Problem, phases: Phases
) -> Estimate:
    """An estimate of a batch, one microbatch after another: the same numbers, but for the noise.

    Arguments:
        estimate: From a problem and how it is relaxed.
        problem: The whole batch.
        phases: How it is relaxed.
    """
    size = microbatch_size(problem.batch, phases.batching)
    if size == problem.batch:
        return estimate(problem, phases)
    count = problem.batch // size

    def split(tree: PyTree[Any]) -> PyTree[Any]:
        return jax.tree.map(lambda a: a.reshape(count, size, *a.shape[1:]), tree)

    def one(microbatch: tuple[PyTree[Any], PyTree[Any], PyTree[Any], Array]) -> Estimate:
        x, objective, init, index = microbatch
        key = None if phases.key is None else jax.random.fold_in(phases.key, index)
        own = eqx.tree_at(
            lambda p: (p.init, p.key), phases, (init, key), is_leaf=lambda leaf: leaf is None
        )
        return estimate(Problem(problem.energy, x, objective), own)

    x = jax.tree.map(jnp.asarray, problem.x)
    split_up = split((x, problem.objective, phases.init))
    return _joined(jax.lax.map(one, (*split_up, jnp.arange(count))))


def _joined(estimates: Estimate) -> Estimate:
    """One estimate from those of all microbatches, which have a leading axis."""
    aux = estimates.aux

    def shares(counts: Array) -> Array:
        return counts / jnp.maximum(jnp.sum(counts), 1)

    # Loss and gradient are means over examples of their own.
    of_loss, of_gradient = shares(jnp.sum(aux.free_settled, axis=1)), shares(aux.count)

    def flat(a: Array) -> Array:
        return a.reshape(-1, *a.shape[2:])

    def last_axis_flat(a: Array) -> Array:
        return jnp.moveaxis(a, 0, -2).reshape(*a.shape[1:-1], -1)

    def weighted(a: Array, share: Array = of_gradient) -> Array:
        return jnp.tensordot(share.astype(a.dtype), a, 1)

    def scaled(a: Array) -> Array:
        return flat(a * of_gradient.astype(a.dtype).reshape(-1, *[1] * (a.ndim - 1)))

    joined = type(aux)(
        logits=jax.tree.map(flat, aux.logits),
        steps=jax.tree.map(jnp.max, aux.steps),
        residuals=jax.tree.map(last_axis_flat, aux.residuals),
        settled=flat(aux.settled),
        unsettled=jnp.sum(aux.unsettled),
        count=jnp.sum(aux.count),
        free_settled=flat(aux.free_settled),
        state=jax.tree.map(flat, aux.state),
        imaginary=jnp.max(aux.imaginary),
        error=flat(aux.error),
        error_parts=jax.tree.map(flat, aux.error_parts),
        trusted=flat(aux.trusted),
        untrusted=jnp.sum(aux.untrusted),
        radius=flat(aux.radius),
    )
    return Estimate(
        weighted(estimates.loss, of_loss),
        jax.tree.map(weighted, estimates.energy),
        jax.tree.map(scaled, estimates.x),
        joined,
    )
