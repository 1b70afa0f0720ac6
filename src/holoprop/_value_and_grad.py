"""`value_and_grad`: a batch's mean loss and its gradient, by any estimator."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._tree import as_arrays, as_stored, at_least_single, is_real_array
from holoprop._types import Array, Bool, Float, Key, PyTree, State
from holoprop._varying import of_own_share, without_explicit_axes
from holoprop.energies import AbstractEnergy
from holoprop.estimators import (
    NO_NUDGE,
    AbstractEstimator,
    Aux,
    Estimate,
    Phases,
    has_no_nudge,
    in_microbatches,
)
from holoprop.relaxation import (
    AbstractRelaxation,
    Batching,
    Problem,
    TargetObjective,
    as_batch,
    check_arguments,
    default_relaxation,
    holomorphy_defects,
    holomorphy_faults,
    is_broken,
    label_classes,
    out_of_range,
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

    The loss is the mean over the examples that settle without a nudge (`aux.free_settled`), the
    gradient over those of them that settle in every phase (`aux.settled`), of which there are
    `aux.count`; the others are counted in `aux.unsettled`. It can be jitted, and mapped over keys
    and networks. Of shards of a batch, in a `jax.shard_map`, the whole batch's gradient is the mean
    with `aux.count` as the weights, and its loss that with `aux.free_settled.sum()`:

        (loss, aux), grads = hp.value_and_grad(network, x, labels, estimator=..., throw=False)
        count = jax.lax.psum(aux.count, "shards")
        grads = jax.tree.map(lambda g: jax.lax.psum(aux.count * g, "shards") / count, grads)

    Arguments:
        network: An `AbstractEnergy` with a cost.
        x: Inputs with a leading batch axis on every leaf; [batch, *input_shape] for a network, real
            floating point. Nested lists of numbers count as arrays.
        labels: [batch] class indices, or [batch, ...] targets as the network's cost takes them;
            likewise.
        estimator: `Holomorphic(radius, points)`, or any other.
        free: Relaxation of the free phase; default `Anderson(Sequential(tolerance="auto"))` where
            the network's numerics are a fixed-point map, as a `LayeredNetwork`'s are, else
            `Descent()`.
        nudged: Relaxation of the nudged phases; default as `free`.
        batching: Which examples step together: `Lockstep()`, `Lockstep(count)` or `Slots(count)`.
            The default is `Lockstep()` where the computation runs on an accelerator; on a processor
            it is `Slots(8)` for a large network and `Lockstep(count)` for others.
        key: PRNG key; needed if a relaxation has noise.
        init: [batch, ...]: state to start from, for instance `aux.state` of an earlier call;
            default the network's own. Of a complex state, as `Online` leaves it, a free phase takes
            the real part.
        throw: Whether to raise for what only the values can tell. Without, a program that calls
            this under `jax.jit` has no callback to Python (but for `Unrolled`, which raises all the
            same), and can be kept in JAX's persistent compilation cache; look at `aux.unsettled`
            and `aux.holomorphy` yourself. An example with a class index out of range is unsettled,
            or the loss is not a number.

    Returns:
        `(loss, aux), grads`: a real scalar, an `Aux`, and a tree with the structure and the dtypes
        of the network's floating-point arrays and numbers (None for other leaves), as optax takes
        it.

    Raises:
        ValueError: If shapes, types or values do not fit, or the network has nothing to train,
            before anything is computed.
        RuntimeError: With `throw`, if no example settles or, for `Implicit`, has its
            linear equation solved; if an energy or cost of one's own turns
            out not to be holomorphic, under complex nudges; or under `jax.jit`, where values are
            not known before, for labels out of range, inputs or labels that are not finite, and a
            radius or nudge that is none.

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
    settings: dict[str, Any] = {"estimator": estimator, "free": free, "nudged": nudged}
    settings |= {"batching": batching, "key": key, "throw": throw}
    sharded = without_explicit_axes(
        lambda network, x, labels, init: value_and_grad(network, x, labels, init=init, **settings),
        *(network, x, labels, init),
    )
    if sharded is not None:
        return sharded
    parameters = as_arrays(network)
    network, x, labels = at_least_single(parameters), as_batch("x", x), as_batch("labels", labels)
    # Of a share of a batch the gradient is the share's own.
    network, x, labels, init = of_own_share((network, x, labels, init), throw=throw)
    default = default_relaxation(network, mixed=True, tolerance="auto")
    free, nudged = default if free is None else free, default if nudged is None else nudged
    noise = max(free.noise, nudged.noise)
    init = check_arguments(network, x, targets={"labels": labels}, init=init, key=key, noise=noise)
    problem = Problem(network, x, TargetObjective(labels))
    classes = label_classes(network, x, labels)
    loss, aux, grads, faults = _value_and_grad(
        problem, estimator, free, nudged, batching, init, key, classes
    )
    grads = as_stored(grads, eqx.filter(parameters, is_real_array))
    if throw:
        # Outside the program, for the same reason as `throw`.
        broken = holomorphy_faults(network, aux.state, aux.holomorphy)
        loss = _raise_faults(loss, faults, _messages(classes, broken))
    return (loss, aux), grads


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
    _check_parameters(problem.energy)

    def compute(batching: Batching) -> Estimate:
        phases = Phases(free, nudged, batching, init, key)
        return in_microbatches(estimator.estimate, problem, phases)

    estimate = with_batching(batching, problem, compute)
    aux = estimate.aux
    if estimator.complex_nudges or not problem.is_real:
        example = jnp.argmax(aux.settled)
        state = jax.tree.map(lambda s: s[example], aux.state)
        aux = dataclasses.replace(aux, holomorphy=holomorphy_defects(problem, state, example))
    return estimate.loss, aux, estimate.energy, _find_faults(problem, estimator, aux, classes)


def _check_parameters(energy: AbstractEnergy) -> None:
    """Raise `ValueError` where there is nothing to train, or something that cannot be."""
    name = type(energy).__name__
    parameters = jax.tree_util.tree_leaves_with_path(eqx.filter(energy, eqx.is_inexact_array))
    if not parameters:
        raise ValueError(
            f"{name} has nothing to train: give it a floating-point array or number as a field "
            "that is not static."
        )
    for path, leaf in parameters:
        if not is_real_array(leaf):
            raise ValueError(
                f"{name}{jax.tree_util.keystr(path)} has dtype {leaf.dtype}, but parameters must "
                "be real: make its real and imaginary part two fields."
            )


def _find_faults(
    problem: Problem, estimator: AbstractEstimator, aux: Aux, classes: int | None
) -> Bool[Array, " faults"]:
    """What only the values can tell; each has its sentence in `_messages`."""
    y = problem.objective.y if isinstance(problem.objective, TargetObjective) else None
    nobody = aux.count == 0
    faults = [
        out_of_range(y, classes),
        _not_finite(problem.x),
        _not_finite(y),
        _not_counted(problem, aux.state, classes),
        has_no_nudge(estimator, problem.dtype),
        nobody & ("adjoint" in aux.residuals) & jnp.any(aux.free_settled),
        nobody,
    ]
    return jnp.concatenate([is_broken(aux.holomorphy), jnp.stack(faults)])


def _messages(classes: int | None, broken: list[str]) -> tuple[str, ...]:
    return (
        *broken,
        f"labels are out of range: they must be from 0 to {(classes or 1) - 1}.",
        "the inputs have values that are not finite.",
        "the labels have values that are not finite.",
        "labels are out of range: the cost of an example is not a number, whatever its state; "
        "class indices must be from 0 to the number of classes less one.",
        NO_NUDGE,
        "no example's linear equation was solved to its tolerance, so there is no gradient: "
        "give Implicit a larger restart or max_restarts, and if that does not help, the "
        "equilibria are degenerate (the energy is flat in a direction in which the cost is "
        "not).",
        "no example settled in every phase, so there is no gradient: use a smaller radius or "
        "nudge, more steps or a looser tolerance, or smaller weights.",
    )


def _not_finite(tree: PyTree[Any]) -> Bool[Array, ""]:
    finite = [jnp.all(jnp.isfinite(a)) for a in jax.tree.leaves(tree) if eqx.is_inexact_array(a)]
    return ~jnp.all(jnp.array(finite))


def _not_counted(problem: Problem, state: State, classes: int | None) -> Bool[Array, ""]:
    """Whether a class index is out of range in an energy that does not say its classes.

    Its cost is not a number then (see `holoprop.nn.AbstractCost`), at its start and at the end
    alike; one that has no value at one of the two alone has another reason.
    """
    integers = [
        a for a in jax.tree.leaves(problem.objective) if jnp.issubdtype(a.dtype, jnp.integer)
    ]
    if classes is not None or not integers:
        return jnp.array(False)

    def unknown(state: State) -> Bool[Array, " batch"]:
        return jnp.isnan(
            jax.vmap(lambda objective, s: objective.cost(problem.energy, s))(
                problem.objective, state
            )
        )

    return jnp.any(unknown(problem.init_state()) & unknown(state))


@eqx.filter_jit
def _raise_faults(
    loss: Float[Array, ""], faults: Bool[Array, " faults"], messages: tuple[str, ...]
) -> Float[Array, ""]:
    """The loss, or a `RuntimeError`."""
    return eqx.branched_error_if(loss, jnp.any(faults), jnp.argmax(faults), messages)
