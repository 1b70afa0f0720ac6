"""`equilibrium`: the free equilibrium as a function that JAX differentiates."""

from typing import Any

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
from jax.extend.core import get_opaque_trace_state

from holoprop._tree import as_arrays, as_parameters, at_least_single, is_real_array, scaled, unit
from holoprop._types import Array, Input, PyTree, State
from holoprop._varying import of_own_share
from holoprop.energies import AbstractEnergy, initial_state
from holoprop.estimators import NO_NUDGE, AbstractEstimator, Estimate, Phases, has_no_nudge
from holoprop.relaxation import (
    AbstractRelaxation,
    Batching,
    Defects,
    Equilibrium,
    LinearObjective,
    Phase,
    Problem,
    RelaxationResult,
    check_arguments,
    default_relaxation,
    holomorphy_defects,
    holomorphy_faults,
    is_broken,
    solve,
    with_batching,
)

_OUTSIDE = get_opaque_trace_state()


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
        energy: An `AbstractEnergy`; it needs no cost. It is differentiated by its fields, and not
            by what its methods close over.
        x: Input of one example, without a batch axis.
        estimator: The reverse rule: `Holomorphic`, `Centred`, `OneSided`, `Online`, `Implicit` or
            `Unrolled`.
        free: Relaxation of the free phase; default `Anderson(Sequential())` where the energy's
            numerics are a fixed-point map, as a `LayeredNetwork`'s are, else `Descent()`.
            Without noise.
        nudged: Relaxation of the nudged phases; default as `free`. Without noise.
        init: State to start from; default the energy's own. At rest nothing depends on it: the
            derivative by it is zero.
        throw: Whether to raise where a phase does not settle (default), after a fixed number of
            steps as well: the answer is where the state rests, not where it passes. If not, the
            state comes as it is, and the gradient is zero where a phase of the reverse rule misses
            its tolerance or, after a fixed number of steps, still moves by a tenth of itself, or a
            linear solve of `Implicit` fails. Of `Online`, which never rests, a tenth is asked in
            either case. The gradient of an energy that turns out not to be holomorphic, by complex
            nudges, is not a number.

    Returns:
        The state s* with dE/ds = 0, real, shaped as `init_state` makes it.

    Raises:
        ValueError: If shapes, types or values do not fit, before anything is computed.
        RuntimeError: With `throw`, if a phase does not settle to its tolerance (the precision's
            default for a fixed number of steps), a linear solve of `Implicit` fails, a traced
            radius or nudge is none, or the energy turns out not to be holomorphic, by complex
            nudges; where it is differentiated by what the energy closes over.

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
    energy = as_parameters(energy)
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
    # Marked out here, where the derivative of the mark is the sum over all devices.
    energy, batch, given = of_own_share((energy, at_least_single(batch), given), throw=throw)
    init = check_arguments(energy, batch, targets={}, init=given, key=None, noise=0.0)
    problem = Problem(energy, batch)
    start = problem.init_state()
    estimator.check(Problem(energy, batch, LinearObjective(start)), free, nudged)
    # Neither where relaxation starts nor how large nudges are moves the equilibrium.
    init, estimator = _held((problem.start(init), estimator))
    settings = _Settings(estimator, free, nudged, throw)
    state = _equilibrium((energy, batch), init, settings, _closed_over(problem))
    return jax.tree.map(lambda s: s[0], state)


def _held(tree: PyTree[Any]) -> PyTree[Any]:
    """The same tree, without a derivative by its arrays."""
    return jax.tree.map(lambda a: jax.lax.stop_gradient(a) if eqx.is_array(a) else a, tree)


def _closed_over(problem: Problem) -> list[Array]:
    """Traced values that the energy computes with and that are no fields of it.

    No custom rule has a derivative by such a value; to ask for one is an error.
    """
    # Outside of all transformations there are none, and the energy need not be traced.
    if get_opaque_trace_state() == _OUTSIDE:
        return []

    def energies(problem: Problem) -> Array:
        energy = problem.energy
        return jax.vmap(lambda x: energy.energy(initial_state(energy, x), x))(problem.x)

    jaxpr, _, _ = eqx.filter_make_jaxpr(energies)(problem)
    name = type(problem.energy).__name__
    return eqxi.nondifferentiable(
        [value for value in jaxpr.consts if isinstance(value, jax.core.Tracer)],
        msg=f"equilibrium has no derivative by a value that {name} closes over: make it a field of "
        "the energy, or part of x.",
    )


class _Settings(eqx.Module):
    estimator: AbstractEstimator
    free: AbstractRelaxation
    nudged: AbstractRelaxation
    throw: bool = eqx.field(static=True)


@eqx.filter_custom_vjp
def _equilibrium(
    differentiable: tuple[AbstractEnergy, PyTree[Any]],
    init: State,
    settings: _Settings,
    closed_over: list[Array],
) -> State:
    energy, x = differentiable
    return _settle_free(energy, x, init, settings)


@eqx.filter_jit
def _settle_free(energy: AbstractEnergy, x: PyTree[Any], init: State, settings: _Settings) -> State:
    problem = Problem(energy, x)

    def compute(batching: Batching) -> Equilibrium:
        return solve(problem, Phase(settings.free, batching), nudge=None, init=init)

    free = with_batching(None, problem, compute)
    if not settings.throw:
        return free.state
    return eqx.error_if(
        free.state,
        free.result != RelaxationResult.SETTLED,
        "equilibrium: the free phase did not settle; allow more steps, a looser tolerance or "
        "smaller weights, or look at hp.relax, or take the state as it is with throw=False.",
    )


def _forward(
    perturbed: Any,
    differentiable: tuple[AbstractEnergy, PyTree[Any]],
    init: State,
    settings: _Settings,
    closed_over: list[Array],
) -> tuple[State, State]:
    for name, varies, leaf in zip(("the energy", "x"), perturbed, differentiable, strict=True):
        _check_real(name, varies, leaf)
    energy, x = as_arrays(differentiable)
    state = _settle_free(energy, x, init, settings)
    return state, state


def _check_real(name: str, perturbed: PyTree[Any], tree: PyTree[Any]) -> None:
    """Raise `ValueError` where something complex is differentiated by."""
    # Custom rules are handed numbers as they are, without a dtype.
    for (path, leaf), varies in zip(
        jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(perturbed), strict=True
    ):
        if varies and not is_real_array(as_arrays(leaf)):
            raise ValueError(
                f"equilibrium has no derivative by{jax.tree_util.keystr(path)} of {name}, which is "
                "complex: give its real and imaginary part as two."
            )


def _reverse(
    residuals: State,
    cotangent: State,
    perturbed: Any,
    differentiable: tuple[AbstractEnergy, PyTree[Any]],
    init: State,
    settings: _Settings,
    closed_over: list[Array],
) -> tuple[PyTree[Any], PyTree[Any]]:
    energy, x = as_arrays(differentiable)
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
    leaves = jax.tree.leaves(cotangent)
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))
    pulls = jnp.any(jnp.stack([jnp.any(leaf != 0) for leaf in leaves]))
    # A cotangent that is no number makes a gradient that is none, by way of no nudge.
    cotangent = jax.tree.map(lambda c: jnp.where(finite, c, 0), cotangent)
    # What is linear in the cotangent has the same derivatives for a scale that is taken as fixed.
    _, length, largest = unit(jax.lax.stop_gradient(cotangent))
    cotangent = scaled(cotangent, 1 / largest, 1 / length)
    # None makes exactly none: what a rule reads then is rounding.
    length = jnp.where(finite, jnp.where(pulls, length, 0), jnp.nan)
    # Estimators with phases begin at the equilibrium already found; BPTT takes all steps again.
    start = init if settings.estimator.from_start else state
    problem = Problem(energy, x, LinearObjective(cotangent))

    def compute(batching: Batching) -> Estimate:
        relaxations = settings.free, settings.nudged
        # What lags behind its nudge says so in `aux`, which nobody sees here.
        phases = Phases(*relaxations, batching, start, strict=settings.throw, close=True)
        return settings.estimator.estimate(problem, phases)

    estimate = with_batching(None, problem, compute)
    gradient = scaled((estimate.energy, estimate.x), length, largest)
    aux = estimate.aux
    defects: Defects = {}
    if settings.estimator.complex_nudges or not problem.is_real:
        defects = holomorphy_defects(problem, jax.tree.map(lambda s: s[0], state), 0)
    broken = is_broken(defects)
    if not settings.throw:
        return jax.tree.map(lambda g: jnp.where(jnp.any(broken), jnp.nan, g), gradient)
    unsettled = aux.unsettled > 0
    solve_failed = unsettled & ("adjoint" in aux.residuals) & jnp.all(aux.free_settled)
    others = [has_no_nudge(settings.estimator, problem.dtype), solve_failed, unsettled]
    faults = jnp.concatenate([broken, jnp.stack(others)])
    messages = [
        *holomorphy_faults(energy, state, defects),
        f"equilibrium: {NO_NUDGE}",
        "equilibrium: the linear solve of Implicit did not reach its tolerance; give it a "
        "larger restart or max_restarts, and if that does not help, the equilibrium is "
        "degenerate (the energy is flat in a direction that the cotangent pulls in) and has no "
        "derivative.",
        "equilibrium: a phase of the reverse rule did not settle; use a smaller radius, more steps "
        "or a looser tolerance.",
    ]
    return eqx.branched_error_if(gradient, jnp.any(faults), jnp.argmax(faults), messages)


_equilibrium.def_fwd(_forward)
_equilibrium.def_bwd(_reverse)
