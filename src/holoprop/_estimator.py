"""The abstract estimator, and what every estimate carries."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._problem import Problem
from holoprop._relaxation import AbstractRelaxation
from holoprop._settle import Equilibrium
from holoprop._types import Array, Bool, Float, Inexact, Int, Key, PyTree, State


class Aux(eqx.Module):
    """What an estimate saw beside the gradient.

    Attributes:
        logits: [batch, classes] at the free equilibrium, or None for an energy without classes.
        steps: Integer scalar for each phase ("free", "nudged", ...): the steps it took.
        residuals: For each phase, real [batch] or [points, batch].
        settled: Boolean [batch]: examples that loss and gradient are the mean of.
        unsettled: Integer scalar: examples left out.
        state: [batch, ...]: where the first phase ended (the free equilibrium; for `Online` the
            oscillating state), to start the next call from.
        imaginary: Real scalar: size of the imaginary part that was dropped from the first Fourier
            coefficient of the state, relative to the whole; zero where symmetry makes it so.
    """

    logits: Inexact[Array, "batch classes"] | None
    steps: dict[str, Int[Array, ""]]
    residuals: dict[str, Float[Array, "*points batch"]]
    settled: Bool[Array, " batch"]
    unsettled: Int[Array, ""]
    state: State
    imaginary: Float[Array, ""]


class Estimate(eqx.Module):
    """Mean loss over the examples that settled, and its gradient.

    Attributes:
        loss: Real scalar.
        energy: Gradient by the energy's real arrays; None for its other leaves.
        x: Gradient by the real inputs, [batch, ...].
        aux: What was seen on the way.
    """

    loss: Float[Array, ""]
    energy: PyTree[Any]
    x: PyTree[Any]
    aux: Aux


class AbstractEstimator(eqx.Module):
    """A way to read the loss's gradient off a network's equilibria.

    Attributes:
        from_start: Whether it must walk from the starting state even where the free equilibrium is
            known already.
    """

    from_start: eqx.AbstractClassVar[bool]

    @abc.abstractmethod
    def check(self, problem: Problem, free: AbstractRelaxation, nudged: AbstractRelaxation) -> None:
        """Raise `ValueError` where the estimator cannot serve a problem; nothing is computed."""

    @abc.abstractmethod
    def estimate(
        self,
        problem: Problem,
        *,
        free: AbstractRelaxation,
        nudged: AbstractRelaxation,
        init: State | None,
        key: Key | None,
    ) -> Estimate:
        """Loss and gradient of a batch.

        Arguments:
            problem: The batch and its aim.
            free: Relaxation of the free phase.
            nudged: Relaxation of the nudged phases.
            init: [batch, ...]: where the first phase starts; None for the energy's own start.
            key: For noise, or None.
        """


def costs(problem: Problem, state: State) -> Inexact[Array, " batch"]:
    """l of every example."""
    assert problem.aim is not None
    return jax.vmap(lambda aim, s: aim.cost(problem.energy, s))(problem.aim, state)


def logits(problem: Problem, state: State) -> Inexact[Array, "batch classes"] | None:
    """Every example's prediction, or None."""
    return jax.vmap(problem.energy.logits)(state)


def masked_mean(values: Inexact[Array, " batch"], keep: Bool[Array, " batch"]) -> Array:
    """Mean over the kept examples; values of the others may be anything."""
    return jnp.sum(jnp.where(keep, values, 0)) / jnp.maximum(jnp.sum(keep), 1)


def by_parameters(
    problem: Problem, objective: Callable[[Problem], tuple[Float[Array, ""], Any]]
) -> tuple[tuple[PyTree[Any], PyTree[Any]], Any]:
    """Gradient of a real scalar by a problem's energy and inputs, and what comes with the scalar.

    Arguments:
        problem: Whose energy's and inputs' real arrays are differentiated by.
        objective: From a problem to a scalar and anything else.
    """
    trainable, fixed = eqx.partition((problem.energy, problem.x), eqx.is_inexact_array)

    def of(trainable: PyTree[Any]) -> tuple[Float[Array, ""], Any]:
        energy, x = eqx.combine(trainable, fixed)
        return objective(Problem(energy, x, problem.aim))

    return jax.grad(of, has_aux=True)(trainable)


def split_key(key: Key | None, count: int) -> list[Key | None]:
    """Independent keys, or as many times None."""
    return [None] * count if key is None else list(jax.random.split(key, count))


def phase_aux(
    problem: Problem,
    first: Equilibrium,
    keep: Bool[Array, " batch"],
    *,
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
        settled=keep,
        unsettled=jnp.sum(~keep),
        state=first.state,
        imaginary=jnp.zeros((), dtype) if imaginary is None else imaginary,
    )
