"""The abstract estimator, and what every estimate carries."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._tree import is_real_array
from holoprop._types import Array, Bool, Float, Inexact, Int, Key, PyTree, State
from holoprop.relaxation import AbstractRelaxation, Batching, Equilibrium, Problem

# What is said where `has_no_nudge`.
NO_NUDGE = (
    "the estimator's radius or nudge moves nothing, or everything: in the states' precision a "
    "radius must be positive and finite, a nudge finite and other than 0."
)


class Budget(eqx.Module):
    """What is known of the error of each example's gradient, relative to the gradient.

    Attributes:
        bias: Real [batch], as the others: of finite radius and number of points (Eq. 9).
        settling: Of phases that are not quite at equilibrium.
        noise: Of the noise in the phases, one standard deviation.
        rounding: Of the precision.
        trusted: Boolean [batch]: whether the nudges stay where s*(beta) is holomorphic, as far as
            the states can tell.
    """

    bias: Float[Array, " batch"]
    settling: Float[Array, " batch"]
    noise: Float[Array, " batch"]
    rounding: Float[Array, " batch"]
    trusted: Bool[Array, " batch"]

    @property
    def parts(self) -> dict[str, Float[Array, " batch"]]:
        """The errors by name."""
        return {
            "bias": self.bias,
            "settling": self.settling,
            "noise": self.noise,
            "rounding": self.rounding,
        }


class Aux(eqx.Module):
    """What an estimate saw beside the gradient.

    Attributes:
        logits: [batch, classes] at the free equilibrium, or None for an energy without classes.
        steps: Integer scalar for each phase ("free", "nudged", ...): the steps it took.
        residuals: For each phase, real [batch] or [points, batch].
        settled: Boolean [batch]: examples that the gradient is the mean of; they settled in every
            phase (for `Implicit`, their linear solve reached its tolerance as well).
        unsettled: Integer scalar: examples left out of it.
        count: Integer scalar: examples that are in it, its weight in a mean over shards.
        free_settled: Boolean [batch]: examples that the loss is the mean of; they settled without
            a nudge.
        state: [batch, ...]: where the first phase ended (the free equilibrium; for `Online` the
            oscillating state), to start the next call from.
        imaginary: Real scalar: size of the imaginary part that was dropped from the first Fourier
            coefficient of the state, relative to the whole; zero where symmetry makes it so.
        error: Real [batch]: estimated error of each example's gradient, relative to that gradient,
            the sum of its parts; infinite for an example that is left out.
        error_parts: Real [batch] each: "bias" of finite radius and number of points, "settling" of
            phases that are not quite at equilibrium, "noise" and "rounding".
        trusted: Boolean [batch]: examples in the gradient's mean whose nudges stay where s*(beta)
            is holomorphic, as far as the states can tell. Where they do not, no number of points
            makes the gradient right: use a smaller radius.
        untrusted: Integer scalar: the others in the gradient's mean.
        radius: Real [batch]: size of the nudges that each example's gradient is read from; zero for
            the exact references.
        holomorphy: For "energy" (or "step", for numerics that are a fixed-point map) and "cost",
            real [leaves]: how far it is from holomorphic in each leaf of the state, by the
            Cauchy-Riemann equations near the equilibrium of one example. Some roundings for what
            is holomorphic, more than the root of the precision's epsilon (and up to 1) for what is
            not, so that the gradient is wrong; not a number where it cannot be told. Empty where
            nudges are real or the energy declares what it is, and before `value_and_grad` fills it.
    """

    logits: Inexact[Array, "batch classes"] | None
    steps: dict[str, Int[Array, ""]]
    residuals: dict[str, Float[Array, "*points batch"]]
    settled: Bool[Array, " batch"]
    unsettled: Int[Array, ""]
    count: Int[Array, ""]
    free_settled: Bool[Array, " batch"]
    state: State
    imaginary: Float[Array, ""]
    error: Float[Array, " batch"]
    error_parts: dict[str, Float[Array, " batch"]]
    trusted: Bool[Array, " batch"]
    untrusted: Int[Array, ""]
    radius: Float[Array, " batch"]
    holomorphy: dict[str, Float[Array, " leaves"]] = eqx.field(default_factory=dict)


class Estimate(eqx.Module):
    """Mean loss and mean gradient over the examples that settled.

    Attributes:
        loss: Real scalar; mean over the examples that settled without a nudge.
        energy: Gradient by the energy's real arrays, mean over the examples that settled in every
            phase; None for other leaves.
        x: Gradient by the real inputs, [batch, ...].
        aux: What was seen on the way.
    """

    loss: Float[Array, ""]
    energy: PyTree[Any]
    x: PyTree[Any]
    aux: Aux


class Phases(eqx.Module):
    """How the phases of an estimate are relaxed.

    Attributes:
        free: Relaxation of the free phase.
        nudged: Relaxation of the nudged phases.
        batching: Which lanes step together.
        init: [batch, ...]: where the first phase starts; None for the energy's own start.
        key: For noise, or None.
        strict: Whether after a fixed number of steps, too, an example must have settled to the
            precision's tolerance to be kept.
        close: Whether an oscillation that lags a tenth behind its nudge is left out.
    """

    free: AbstractRelaxation
    nudged: AbstractRelaxation
    batching: Batching
    init: State | None = None
    key: Key | None = None
    strict: bool = eqx.field(default=False, static=True)
    close: bool = eqx.field(default=False, static=True)


class AbstractEstimator(eqx.Module):
    """A way to read the loss's gradient off a network's equilibria.

    Attributes:
        from_start: Whether it must step from the starting state even where the free equilibrium is
            known already.
    """

    from_start: eqx.AbstractClassVar[bool]

    @property
    def complex_nudges(self) -> bool:
        """Whether its nudges are complex, so that energies must be holomorphic; not by default."""
        return False

    @property
    def nudge_size(self) -> float | Float[Array, ""] | None:
        """What must be positive and finite for its nudges to be any, or None where it has none."""
        return None

    @abc.abstractmethod
    def check(self, problem: Problem, free: AbstractRelaxation, nudged: AbstractRelaxation) -> None:
        """Raise `ValueError` where the estimator cannot serve a problem; nothing is computed."""

    @abc.abstractmethod
    def estimate(self, problem: Problem, phases: Phases) -> Estimate:
        """Loss and gradient of a batch.

        Arguments:
            problem: The batch and its objective.
            phases: How it is relaxed.
        """


def costs(problem: Problem, state: State) -> Inexact[Array, " batch"]:
    """l of every example."""
    assert problem.objective is not None
    return jax.vmap(lambda objective, s: objective.cost(problem.energy, s))(
        problem.objective, state
    )


def logits(problem: Problem, state: State) -> Inexact[Array, "batch classes"] | None:
    """Every example's prediction, or None."""
    return jax.vmap(problem.energy.logits)(state)


def masked_mean(values: Inexact[Array, " batch"], keep: Bool[Array, " batch"]) -> Array:
    """Mean over the kept examples; values of the others may be anything."""
    return jnp.sum(jnp.where(keep, values, 0)) / jnp.maximum(jnp.sum(keep), 1)


def by_parameters(
    problem: Problem, scalar: Callable[[Problem], tuple[Float[Array, ""], Any]]
) -> tuple[tuple[PyTree[Any], PyTree[Any]], Any]:
    """Gradient of a real scalar by a problem's energy and inputs, and what comes with the scalar.

    Arguments:
        problem: Whose energy's and inputs' real arrays are differentiated by; None for others.
        scalar: From a problem to a scalar and anything else.
    """
    trainable, fixed = eqx.partition((problem.energy, problem.x), is_real_array)

    def of(trainable: PyTree[Any]) -> tuple[Float[Array, ""], Any]:
        energy, x = eqx.combine(trainable, fixed)
        return scalar(Problem(energy, x, problem.objective))

    return jax.grad(of, has_aux=True)(trainable)


def has_no_nudge(estimator: AbstractEstimator, dtype: Any) -> Bool[Array, ""]:
    """Whether an estimator's nudges are none, or too small to divide by, in a real dtype."""
    if estimator.nudge_size is None:
        return jnp.array(False)
    size = jnp.asarray(estimator.nudge_size, dtype)
    return ~((size >= jnp.finfo(dtype).tiny) & jnp.isfinite(size))


def split_key(key: Key | None, count: int) -> list[Key | None]:
    """Independent keys, or as many times None."""
    return [None] * count if key is None else list(jax.random.split(key, count))


def phase_aux(
    problem: Problem,
    first: Equilibrium,
    budget: Budget,
    *,
    free_settled: Bool[Array, " batch"],
    settled: Bool[Array, " batch"],
    radius: Float[Array, " batch"] | None = None,
    steps: dict[str, Int[Array, ""]],
    residuals: dict[str, Float[Array, "*points batch"]],
    imaginary: Float[Array, ""] | None = None,
) -> Aux:
    """The record of an estimate whose first phase is a free one."""
    dtype = first.residual.dtype
    return Aux(
        logits=logits(problem, first.state),
        steps={"free": first.steps, **steps},
        residuals={"free": first.residual, **residuals},
        settled=settled,
        unsettled=jnp.sum(~settled),
        count=jnp.sum(settled),
        free_settled=free_settled,
        state=first.state,
        imaginary=jnp.zeros((), dtype) if imaginary is None else imaginary,
        **error_aux(budget, settled, radius),
    )


def error_aux(
    budget: Budget, keep: Bool[Array, " batch"], radius: Float[Array, " batch"] | None
) -> dict[str, Any]:
    """The part of the record that is about errors."""
    parts = {name: jnp.where(keep, part, jnp.inf) for name, part in budget.parts.items()}
    return {
        "error": sum(parts.values()),
        "error_parts": parts,
        "trusted": keep & budget.trusted,
        "untrusted": jnp.sum(keep & ~budget.trusted),
        "radius": jnp.zeros_like(budget.bias) if radius is None else radius,
    }


def check_reference(
    estimator: AbstractEstimator, problem: Problem, free: AbstractRelaxation
) -> None:
    """Raise `ValueError` where a reference gradient is not defined."""
    name = type(estimator).__name__
    if not problem.is_real:
        raise ValueError(f"{name} needs an energy that is real on real states.")
    if free.noise > 0:
        raise ValueError(
            f"{name} is a reference without noise, but free has noise {free.noise}: use a "
            "relaxation without."
        )
