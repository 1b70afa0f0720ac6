"""`equilibrium`: the free equilibrium as a function that JAX differentiates."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._tree import squared_norm
from holoprop._types import Array, Input, PyTree, State
from holoprop.energies import AbstractEnergy
from holoprop.estimators import AbstractEstimator, Estimate, Phases
from holoprop.relaxation import (
    AbstractRelaxation,
    Batching,
    Equilibrium,
    LinearObjective,
    Phase,
    Problem,
    RelaxationResult,
    check_arguments,
    default_relaxation,
    solve,
    with_batching,
)


def equilibrium(
    energy: AbstractEnergy,
    x: Input,
    *,
    estimator: AbstractEstimator,
    free: AbstractRelaxation | None = None,
    nudged: AbstractRelaxation | None = None,
    init: State | None = None,
    throw: bool = True,
) -> State:
    """The free equilibrium of one example, transparent to `jax.grad`, `jax.vjp` and `jax.jit`.

    In reverse a cotangent v becomes the linear nudge beta v . s, scaled to |v| = 1, so that the
    estimator's radius is in units of the state. The estimator then supplies the product of v with
    the equilibrium's Jacobian, for parameters and input alike. Map it over a batch with `jax.vmap`.

    Arguments:
        energy: An `AbstractEnergy`; it needs no cost.
        x: Input of one example, without a batch axis.
        estimator: The reverse rule: `Holomorphic`, `Centred`, `OneSided`, `Online`, `Implicit` or
            `Unrolled`.
        free: Relaxation of the free phase; default `Anderson(Sequential())` where the energy's
            numerics are a fixed-point map, as a `LayeredNetwork`'s are, else `GradientFlow(0.1)`.
            Without noise.
        nudged: Relaxation of the nudged phases; default as `free`. Without noise.
        init: State to start from; default the energy's own.
        throw: Whether to raise where a phase does not settle (default). If not, the state comes as
            it is, and an example whose nudged phases do not settle has a zero gradient.

    Returns:
        The state s* with dE/ds = 0, real, shaped as `init_state` makes it.

    Raises:
        ValueError: If shapes, types or values do not fit, before anything is computed.
        RuntimeError: With `throw`, if a phase does not settle.

    Example:
        >>> import holoprop as hp
        >>> network = hp.mlp([6, 4, 4, 3], key=jax.random.key(0))
        >>> estimator = hp.Holomorphic(radius=0.4, points=8)
        >>> def top(x):
        ...     return hp.equilibrium(network, x, estimator=estimator)[-1].sum()
        >>> jax.grad(top)(jnp.ones(6)).shape
        (6,)

    Reference: Laborieux and Zenke (2022), Lemma 1; the implicit function theorem.
    """
    # The state itself is the answer: it settles to the dtype's tolerance, whatever the estimator.
    exact = default_relaxation(energy, mixed=True)
    free, nudged = exact if free is None else free, exact if nudged is None else nudged
    for name, relaxation in (("free", free), ("nudged", nudged)):
        if relaxation.noise > 0:
            raise ValueError(
                f"{name} has noise {relaxation.noise}, but equilibrium is a function of its "
                "arguments alone: use a relaxation without noise."
            )
    batch, given = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], (x, init))
    init = check_arguments(energy, batch, targets={}, init=given, key=None, noise=0.0)
    start = Problem(energy, batch).init_state()
    estimator.check(Problem(energy, batch, LinearObjective(start)), free, nudged)
    settings = _Settings(estimator, free, nudged, throw)
    state = _equilibrium((energy, batch), init, settings)
    return jax.tree.map(lambda s: s[0], state)


class _Settings(eqx.Module):
    estimator: AbstractEstimator
    free: AbstractRelaxation
    nudged: AbstractRelaxation
    throw: bool = eqx.field(static=True)


@eqx.filter_custom_vjp
def _equilibrium(
    differentiable: tuple[AbstractEnergy, PyTree[Any]], init: State, settings: _Settings
) -> State:
    energy, x = differentiable
    return _settle_free(energy, x, init, settings)


@eqx.filter_jit
def _settle_free(energy: AbstractEnergy, x: PyTree[Any], init: State, settings: _Settings) -> State:
    problem = Problem(energy, x)

    def compute(batching: Batching) -> Equilibrium:
        return solve(problem, Phase(settings.free, batching, newest=True), nudge=None, init=init)

    free = with_batching(None, problem, compute)
    if not settings.throw or settings.free.steps is not None:
        return free.state
    return eqx.error_if(
        free.state,
        free.result != RelaxationResult.SETTLED,
        "equilibrium: the free phase did not settle; allow more steps, a looser tolerance or "
        "smaller weights, or look at hp.relax.",
    )


def _forward(
    perturbed: Any,
    differentiable: tuple[AbstractEnergy, PyTree[Any]],
    init: State,
    settings: _Settings,
) -> tuple[State, State]:
    state = _settle_free(*differentiable, init, settings)
    return state, state


def _reverse(
    residuals: State,
    cotangent: State,
    perturbed: Any,
    differentiable: tuple[AbstractEnergy, PyTree[Any]],
    init: State,
    settings: _Settings,
) -> tuple[PyTree[Any], PyTree[Any]]:
    energy, x = differentiable
    # A cotangent leaf is None where nothing depends on it.
    cotangent = jax.tree.map(
        lambda s, c: jnp.zeros_like(s) if c is None else c,
        residuals,
        cotangent,
        is_leaf=lambda leaf: leaf is None,
    )
    return _pull_back(energy, x, init, residuals, cotangent, settings)


@eqx.filter_jit
def _pull_back(
    energy: AbstractEnergy,
    x: PyTree[Any],
    init: State,
    state: State,
    cotangent: State,
    settings: _Settings,
) -> tuple[PyTree[Any], PyTree[Any]]:
    length: Array = jnp.sqrt(squared_norm(cotangent))
    unit = jax.tree.map(lambda c: c / jnp.where(length > 0, length, 1), cotangent)
    # Estimators with phases begin at the equilibrium already found; BPTT takes all steps again.
    start = init if settings.estimator.from_start else state
    problem = Problem(energy, x, LinearObjective(unit))

    def compute(batching: Batching) -> Estimate:
        phases = Phases(settings.free, settings.nudged, batching, start)
        return settings.estimator.estimate(problem, phases)

    estimate = with_batching(None, problem, compute)
    gradient = jax.tree.map(lambda g: length * g, (estimate.energy, estimate.x))
    if not settings.throw:
        return gradient
    return eqx.error_if(
        gradient,
        estimate.aux.unsettled > 0,
        "equilibrium: a phase of the reverse rule did not settle; use a smaller radius, more steps "
        "or a looser tolerance.",
    )


_equilibrium.def_fwd(_forward)
_equilibrium.def_bwd(_reverse)
