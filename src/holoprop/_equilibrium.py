"""`equilibrium`: the free equilibrium as a function that JAX differentiates."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._checks import check_finite
from holoprop._energy import AbstractEnergy
from holoprop._estimator import AbstractEstimator
from holoprop._problem import LinearAim, Problem, check_init
from holoprop._relax import default_relaxation
from holoprop._relaxation import AbstractRelaxation
from holoprop._settle import Result, settle
from holoprop._tree import squared_norm
from holoprop._types import Array, Input, PyTree, State


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
        free: Relaxation of the free phase; default `Anderson(Sequential())` for a
            `LayeredNetwork`, else `GradientFlow(0.1)`. Without noise.
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
    batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], x)
    energy.check(batch, None)
    check_finite(x=x, init=init)
    start = Problem(energy, batch).init_state()
    estimator.check(Problem(energy, batch, LinearAim(start)), free, nudged)
    given = None if init is None else jax.tree.map(lambda s: jnp.asarray(s)[None], init)
    init = check_init(energy, batch, given)
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
    rest = settle(Problem(energy, x), settings.free, nudge=None, init=init, key=None, newest=True)
    if not settings.throw or settings.free.steps is not None:
        return rest.state
    return eqx.error_if(
        rest.state,
        rest.result != Result.SETTLED,
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
    # Estimators with phases begin at the equilibrium already found; BPTT must walk the whole way.
    start = init if settings.estimator.from_start else state
    estimate = settings.estimator.estimate(
        Problem(energy, x, LinearAim(unit)),
        free=settings.free,
        nudged=settings.nudged,
        init=start,
        key=None,
    )
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
