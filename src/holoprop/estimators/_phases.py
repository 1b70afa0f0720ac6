"""A free phase, nudged phases from its equilibrium, and the estimate that is read from them."""

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._types import Array, Bool, Complex, Float, Inexact, State
from holoprop.estimators._estimator import (
    AbstractEstimator,
    Budget,
    Estimate,
    Phases,
    costs,
    masked_mean,
    phase_aux,
)
from holoprop.estimators._gradient import (
    GradientRule,
    Reading,
    StateForm,
    first_coefficient,
    imaginary_share,
    read_gradient,
)
from holoprop.estimators._tolerances import needed_tolerance
from holoprop.relaxation import Equilibrium, Phase, Problem, ScaledObjective, is_usable, solve


class Response(eqx.Module):
    """The free equilibria of a batch, and how they respond to nudges.

    Attributes:
        free: The free equilibria.
        nudged: The nudged ones, an entry for each batched solve.
        readings: What of them enters the gradient.
        form: What relaxed in the nudged phases.
    """

    free: Equilibrium
    nudged: list[Equilibrium]
    readings: list[Reading]
    form: StateForm = eqx.field(static=True)


class NudgedPhases(eqx.Module):
    """The phases of one estimate with nudges of one size.

    Attributes:
        problem: The batch and its objective.
        phases: How it is relaxed.
        form: What relaxes in the nudged phases.
        radius: Size of the nudges; its sign does not matter.
        points: N, or 1 for a one-sided estimate.
        max_error: The largest bias that is wanted, where it is not radius and points that decide.
    """

    problem: Problem
    phases: Phases
    form: StateForm = eqx.field(static=True)
    radius: float | Float[Array, ""]
    points: int = eqx.field(static=True)
    max_error: float | None = eqx.field(default=None, static=True)

    def free(self, key: Array | None) -> Equilibrium:
        """The free equilibria, as near as the estimate needs them."""
        relaxation, problem = self.phases.free, self.problem
        tolerance = needed_tolerance(
            relaxation,
            nudged=False,
            radius=self.radius,
            points=self.points,
            dtype=problem.dtype,
            max_error=self.max_error,
        )
        phase = Phase(relaxation, self.phases.batching, key, tolerance=tolerance)
        return solve(problem, phase, nudge=None, init=problem.start(self.phases.init))

    def nudged(
        self,
        nudge: Inexact[Array, " points"],
        free: State,
        key: Array | None,
        *,
        start: State | None = None,
    ) -> Equilibrium:
        """All nudges in one batched solve, from the free equilibrium or from `start`."""
        relaxation, problem = self.phases.nudged, self.problem
        if self.form is StateForm.DEVIATION:
            problem = eqx.tree_at(
                lambda p: p.centre, problem, free, is_leaf=lambda leaf: leaf is None
            )
        else:
            problem = eqx.tree_at(
                lambda p: p.origin, problem, free, is_leaf=lambda leaf: leaf is None
            )
            start = as_points(free, nudge.shape[0]) if start is None else start
        tolerance = needed_tolerance(
            relaxation,
            nudged=True,
            radius=jnp.abs(nudge[0]),
            points=self.points,
            dtype=problem.dtype,
            max_error=self.max_error,
        )
        phase = Phase(relaxation, self.phases.batching, key, tolerance=tolerance)
        return solve(problem, phase, nudge=nudge, init=start)


def chosen_form(asked: StateForm | None, problem: Problem, phases: Phases) -> StateForm:
    """The form asked for, or the energy's default: noise acts on states, not on deviations."""
    if asked is not None:
        return asked
    closed = problem.energy.numerics().closed_deviation and problem.is_real
    return StateForm.DEVIATION if closed and not is_noisy(phases) else StateForm.PLAIN


def is_noisy(phases: Phases) -> bool:
    """Whether any phase has noise."""
    return phases.free.noise > 0 or phases.nudged.noise > 0


def check_real(estimator: AbstractEstimator, problem: Problem) -> None:
    """Raise `ValueError` for an energy that is complex on real states."""
    if not problem.is_real:
        raise ValueError(
            f"{type(estimator).__name__} with this rule needs an energy that is real on real "
            "states: use Holomorphic with GradientRule.AVERAGE and ComplexPart.BOTH."
        )


def as_points(state: State, points: int) -> State:
    """The same state for every point, [points, batch, ...]."""
    return jax.tree.map(lambda s: jnp.broadcast_to(s, (points, *s.shape)), state)


def extrapolated(known: Reading, nudge: Complex[Array, " points"]) -> State:
    """Deviations to start from at complex nudges: the polynomial through zero and known real ones.

    Linear in the nudge through one known point, quadratic through two that are opposite.
    """
    turn = nudge / known.nudges[0]
    weights = (
        jnp.stack([turn])
        if known.nudges.shape[0] == 1
        else jnp.stack([(turn + turn**2) / 2, (turn**2 - turn) / 2])
    )
    return jax.tree.map(
        lambda delta: jnp.tensordot(weights.T, delta.astype(weights.dtype), 1), known.states
    )


def nudged_usable(nudged: list[Equilibrium], phases: Phases) -> Bool[Array, " batch"]:
    """Which examples settled well enough under all nudges."""
    usable = [
        jnp.all(is_usable(one, phases.nudged, strict=phases.strict), axis=0) for one in nudged
    ]
    return jnp.all(jnp.stack(usable), axis=0)


def scaled(problem: Problem, share: Float[Array, " batch"] | None) -> Problem:
    """The problem whose examples are nudged by a share each of every nudge."""
    if share is None:
        return problem
    assert problem.objective is not None
    objective = ScaledObjective(problem.objective, share)
    return Problem(problem.energy, problem.x, objective, problem.centre)


def estimate_from(
    problem: Problem,
    phases: Phases,
    response: Response,
    rule: GradientRule,
    budget: Budget,
    *,
    radius: Float[Array, " batch"],
    share: Float[Array, " batch"] | None = None,
    full_circle: bool = False,
) -> Estimate:
    """Loss of the examples that settled freely, gradient of those that settled everywhere.

    Arguments:
        problem: The batch and its objective.
        phases: How it was relaxed.
        response: What came of it.
        rule: From states to the gradient.
        budget: What is known of its error.
        radius: Size of each example's nudges.
        share: Part of the nudge that each example got, or None where all got the whole.
        full_circle: Whether the readings are one whole circle in complex arithmetic.
    """
    free, readings = response.free, response.readings
    free_settled = is_usable(free, phases.free, strict=phases.strict)
    keep = free_settled & nudged_usable(response.nudged, phases)
    energy, x = read_gradient(
        scaled(problem, share),
        readings,
        rule,
        form=response.form,
        free=free.state,
        keep=keep,
        share=share,
    )
    imaginary = None
    if full_circle:
        weights = jax.lax.complex(readings[0].real, -readings[0].imaginary)
        imaginary = imaginary_share(first_coefficient(readings[0].states, weights), keep)
    aux = phase_aux(
        problem,
        free,
        budget,
        free_settled=free_settled,
        settled=keep,
        radius=radius,
        steps={"nudged": jnp.max(jnp.stack([nudged.steps for nudged in response.nudged]))},
        residuals={"nudged": jnp.concatenate([nudged.residual for nudged in response.nudged])},
        imaginary=imaginary,
    )
    loss = masked_mean(jnp.real(costs(problem, free.state)), free_settled)
    return Estimate(loss, energy, x, aux)
