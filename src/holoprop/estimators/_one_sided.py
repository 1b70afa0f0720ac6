"""The classic estimator: one nudged phase."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp

from holoprop._checks import checked_size
from holoprop._types import Array, Float
from holoprop.estimators._circle import ONE_POINT
from holoprop.estimators._error import Nudges, budget_of
from holoprop.estimators._estimator import AbstractEstimator, Estimate, Phases, split_key
from holoprop.estimators._gradient import GradientRule, Reading, StateForm
from holoprop.estimators._phases import (
    NudgedPhases,
    Response,
    as_points,
    check_real,
    chosen_form,
    estimate_from,
    is_noisy,
)
from holoprop.relaxation import AbstractRelaxation, Problem


# A converter, because it runs before a type checker would complain in words of its own.
def as_nudge(value: Any) -> Any:
    """The nudge; `ValueError` for one that is known to move nothing, or everything."""
    return checked_size("nudge", value, positive=False)


class OneSided(AbstractEstimator):
    """Classic equilibrium propagation: one nudged phase against the free one (Eq. 2).

    Its bias is of first order in the nudge.

    Arguments:
        nudge: beta, real, not zero.
        rule: `GradientRule.AVERAGE` (default) or `GradientRule.FOURIER`.
        form: `StateForm.PLAIN` or `StateForm.DEVIATION`; default the latter where the energy has it
            in closed form (layered networks) and there is no noise.

    Raises:
        ValueError: If the nudge is zero or not finite.

    Example:
        >>> OneSided(0.1).nudge
        0.1

    Reference: Scellier and Bengio (2017).
    """

    from_start: ClassVar[bool] = False
    nudge: float | Float[Array, ""] = eqx.field(converter=as_nudge)
    rule: GradientRule = eqx.field(default=GradientRule.AVERAGE, kw_only=True, static=True)
    form: StateForm | None = eqx.field(default=None, kw_only=True, static=True)

    @property
    def nudge_size(self) -> Float[Array, ""]:
        """|beta|."""
        return jnp.abs(self.nudge)

    def check(self, problem: Problem, free: AbstractRelaxation, nudged: AbstractRelaxation) -> None:
        """Any energy that is real on real states will do."""
        check_real(self, problem)

    def estimate(self, problem: Problem, phases: Phases) -> Estimate:
        """A free phase, and one at `nudge`."""
        free_key, nudged_key = split_key(phases.key, 2)
        form = chosen_form(self.form, problem, phases)
        both = NudgedPhases(problem, phases, form, self.nudge, 1)
        free = both.free(free_key)
        beta = jnp.asarray(self.nudge, problem.dtype)[None]
        nudged = both.nudged(beta, free.state, nudged_key)
        readings = [Reading(beta, 1 / beta, 0 * beta, nudged.state)]
        if form is StateForm.PLAIN:
            unmoved = as_points(free.state, 1)
            readings.append(Reading(jnp.zeros_like(beta), -1 / beta, 0 * beta, unmoved))
        response = Response(free, [nudged], readings, form)
        nudges = Nudges([ONE_POINT], 1, self.rule, noisy=is_noisy(phases))
        budget = budget_of(problem, response, nudges)
        radius = jnp.full(problem.batch, jnp.abs(beta[0]))
        return estimate_from(problem, phases, response, self.rule, budget, radius=radius)
