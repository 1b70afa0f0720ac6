"""`value_and_grad`: a batch's mean loss and its gradient, by any estimator."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._types import Array, Bool, Float, Key, PyTree, State
from holoprop.energies import AbstractEnergy
from holoprop.estimators import AbstractEstimator, Aux, Estimate, Phases, in_microbatches
from holoprop.relaxation import (
    AbstractRelaxation,
    Batching,
    Problem,
    TargetObjective,
    check_arguments,
    default_relaxation,
    label_classes,
    with_batching,
)


def value_and_grad(
    network: AbstractEnergy,
    x: PyTree[Any],
    labels: PyTree[Any],
    *,
    estimator: AbstractEstimator,
    free: AbstractRelaxation | None = None,
    nudged: AbstractRelaxation | None = None,
    batching: Batching | None = None,
    key: Key | None = None,
    init: State | None = None,
    throw: bool = True,
) -> tuple[tuple[Float[Array, ""], Aux], PyTree[Any]]:
    """Mean loss of a batch at its free equilibria, and the loss's gradient.

    An example that does not settle in some phase is left out of both means and counted in
    `aux.unsettled`. It can be jitted, and mapped over keys and networks.

    Arguments:
        network: An `AbstractEnergy` with a cost.
        x: Inputs with a leading batch axis on every leaf; [batch, *input_shape] for a network, real
            floating point.
        labels: [batch] class indices, or [batch, ...] targets as the network's cost takes them.
        estimator: `Holomorphic(radius, points)`, or any other.
        free: Relaxation of the free phase; default `Anderson(Sequential(tolerance="auto"))` where
            the network's numerics are a fixed-point map, as a `LayeredNetwork`'s are, else
            `GradientFlow(0.1)`.
        nudged: Relaxation of the nudged phases; default as `free`.
        batching: Which examples step together: `Lockstep()`, `Lockstep(count)` or `Slots(count)`.
            The default is `Lockstep()` where the computation runs on an accelerator; on a processor
            it is `Slots(8)` for a large network and `Lockstep(count)` for others.
        key: PRNG key; needed if a relaxation has noise.
        init: [batch, ...]: state to start from, for instance `aux.state` of an earlier call;
            default the network's own.
        throw: Whether to raise for what only the values can tell. Without, a program that calls
            this under `jax.jit` has no callback to Python (but for `Unrolled`, which raises all the
            same), and can be kept in JAX's persistent compilation cache; look at `aux.unsettled`
            yourself.

    Returns:
        `(loss, aux), grads`: a real scalar, an `Aux`, and a tree with the structure of the
        network's floating-point arrays (None for other leaves), as optax takes it.

    Raises:
        ValueError: If shapes, types or values do not fit, before anything is computed.
        RuntimeError: With `throw`, if no example settles, or under `jax.jit`, where values are not
            known before, for labels out of range and inputs that are not finite.

    Example:
        >>> import holoprop as hp
        >>> network = hp.mlp([6, 4, 4, 3], key=jax.random.key(0))
        >>> x, labels = jnp.ones((2, 6)), jnp.array([0, 2])
        >>> estimator = hp.Holomorphic(radius=0.4, points=10)
        >>> (loss, aux), grads = hp.value_and_grad(network, x, labels, estimator=estimator)
        >>> grads.couplings[0].weight.shape, int(aux.unsettled)
        ((4, 6), 0)

    Reference: Laborieux and Zenke (2022), Eq. (8).
    """
    default = default_relaxation(network, mixed=True, tolerance="auto")
    free, nudged = default if free is None else free, default if nudged is None else nudged
    noise = max(free.noise, nudged.noise)
    init = check_arguments(network, x, targets={"labels": labels}, init=init, key=key, noise=noise)
    problem = Problem(network, x, TargetObjective(labels))
    classes = label_classes(network, x, labels)
    loss, aux, grads, faults = _value_and_grad(
        problem, estimator, free, nudged, batching, init, key, classes
    )
    # Outside the program, for the same reason as `throw`.
    return (_raise_faults(loss, faults, classes) if throw else loss, aux), grads


@eqx.filter_jit
def _value_and_grad(
    problem: Problem,
    estimator: AbstractEstimator,
    free: AbstractRelaxation,
    nudged: AbstractRelaxation,
    batching: Batching | None,
    init: State | None,
    key: Key | None,
    classes: int | None,
) -> tuple[Float[Array, ""], Aux, PyTree[Any], Bool[Array, " faults"]]:
    # Here it is looked at once for all calls of one kind; nothing has been computed yet.
    estimator.check(problem, free, nudged)

    def compute(batching: Batching) -> Estimate:
        phases = Phases(free, nudged, batching, init, key)
        return in_microbatches(estimator.estimate, problem, phases)

    estimate = with_batching(batching, problem, compute)
    return estimate.loss, estimate.aux, estimate.energy, _find_faults(problem, estimate, classes)


def _find_faults(
    problem: Problem, estimate: Estimate, classes: int | None
) -> Bool[Array, " faults"]:
    """What only the values can tell; each has its sentence in `_raise_faults`."""
    objective = problem.objective
    labels = jnp.zeros(1, int)
    if classes is not None and isinstance(objective, TargetObjective):
        labels = objective.y
    finite = [
        jnp.all(jnp.isfinite(a)) for a in jax.tree.leaves(problem.x) if eqx.is_inexact_array(a)
    ]
    return jnp.stack(
        [
            jnp.any((labels < 0) | (labels >= (classes or 1))),
            ~jnp.all(jnp.array(finite)),
            estimate.aux.unsettled == problem.batch,
        ]
    )


@eqx.filter_jit
def _raise_faults(
    loss: Float[Array, ""], faults: Bool[Array, " faults"], classes: int | None
) -> Float[Array, ""]:
    """The loss, or a `RuntimeError`."""
    return eqx.branched_error_if(
        loss,
        jnp.any(faults),
        jnp.argmax(faults),
        [
            f"labels are out of range: they must be from 0 to {(classes or 1) - 1}.",
            "the inputs have values that are not finite.",
            "no example settled in every phase, so there is no gradient: use a smaller radius or "
            "nudge, more steps or a looser tolerance, or smaller weights.",
        ],
    )
