"""The online estimator: a nudge that never stops."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from holoprop._tree import to_complex
from holoprop._types import Array, Bool, Complex, Float, State
from holoprop.estimators._circle import as_radius, check_points, point_groups, unit_circle
from holoprop.estimators._error import Nudges, budget_of
from holoprop.estimators._estimator import (
    AbstractEstimator,
    Aux,
    Budget,
    Estimate,
    Phases,
    costs,
    error_aux,
    logits,
    masked_mean,
)
from holoprop.estimators._gradient import (
    ComplexPart,
    Gradient,
    GradientRule,
    Reading,
    StateForm,
    first_coefficient,
    imaginary_share,
    read_gradient,
)
from holoprop.estimators._phases import Response
from holoprop.relaxation import (
    AbstractRelaxation,
    Equilibrium,
    Phase,
    Problem,
    solve,
    usable,
)


class Online(AbstractEstimator):
    """Gradients from oscillations that go on, without separate phases (Eq. 10).

    The nudge goes round the circle in N steps of 2 pi/N, `steps_per_point` relaxation steps each,
    so that T_osc = N steps_per_point and T_plas = periods T_osc in steps. The state is never reset:
    each point starts where the one before ended. The state at the end of each point enters the
    Fourier coefficient of dF/dtheta, a Riemann sum of the integral in Eq. (10). It is summed from
    period to period, so that memory holds the states of one, however many there are; an example
    that diverges in a later period is in the sums of those before. Too few steps a point leave the
    state behind the nudge, and the gradient biased (Fig. 3a); `aux.error` says by how much. What
    lags behind stays in the mean, as in the paper; only examples that diverge are left out.

    There is no free phase: loss and logits are their means round the circle, which for holomorphic
    functions are the values at the centre. The relaxation is the nudged one, whatever its own
    stopping says.

    Arguments:
        radius: |beta|, positive.
        points: N, 2 or more; default 10.
        steps_per_point: Relaxation steps at each point, 1 or more; default 30.
        periods: Periods that are averaged, 1 or more; default 3.
        warmup_periods: Periods before that, which are not read, 0 or more; default 1. With
            `init=aux.state` of the call before the oscillation carries over and 0 will do.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> Online(radius=0.4).steps_per_point
        30

    Reference: Laborieux and Zenke (2022), Eq. (10), Appendix A.6.
    """

    from_start: ClassVar[bool] = False
    radius: float | Float[Array, ""] = eqx.field(converter=as_radius)
    points: int = eqx.field(default=10, static=True)
    steps_per_point: int = eqx.field(default=30, kw_only=True, static=True)
    periods: int = eqx.field(default=3, kw_only=True, static=True)
    warmup_periods: int = eqx.field(default=1, kw_only=True, static=True)

    def __check_init__(self) -> None:
        check_points(self.points)
        for name, least in (("steps_per_point", 1), ("periods", 1), ("warmup_periods", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be a whole number, {least} or more; got {value!r}.")

    @property
    def complex_nudges(self) -> bool:
        """It goes round the circle."""
        return True

    @property
    def nudge_size(self) -> float | Float[Array, ""]:
        """The radius."""
        return self.radius

    def check(self, problem: Problem, free: AbstractRelaxation, nudged: AbstractRelaxation) -> None:
        """The nudge is complex, so the energy must be holomorphic."""
        problem.check_complex()

    def estimate(self, problem: Problem, phases: Phases) -> Estimate:
        """Warm-up periods, then the periods that are read."""
        relaxation, key = phases.nudged, phases.key
        dtype = problem.dtype
        circle = unit_circle(np.arange(self.points), self.points)
        beta = jnp.asarray(self.radius, dtype) * jnp.asarray(
            circle, jnp.result_type(dtype, jnp.complex64)
        )

        def oscillate(state: State, count: Array, nudge: Complex[Array, ""]) -> Equilibrium:
            step_key = None if key is None else jax.random.fold_in(key, count)
            phase = Phase(relaxation, phases.batching, step_key, steps=self.steps_per_point)
            return solve(problem, phase, nudge=nudge, init=state)

        def read(
            state: State, point: tuple[Array, Array]
        ) -> tuple[State, tuple[State, Array, Array]]:
            reached = oscillate(state, *point)
            # A state that follows the nudge may lag, and is then as far off as the budget says.
            follows = usable(reached, fixed=True, noisy=relaxation.noise > 0 or not phases.close)
            return reached.state, (reached.state, reached.residual, follows)

        # exp(-i phi) / (T_plas |beta|) in units of points, as the weights of real and imaginary
        # part.
        weights = jnp.conj(beta) / jnp.abs(beta) ** 2 / (self.periods * self.points)

        def period(
            state: State, keep: Bool[Array, " batch"], counts: Array
        ) -> tuple[State, Bool[Array, " batch"], State, Array, _Sums]:
            state, (states, residuals, follows) = jax.lax.scan(read, state, (counts, beta))
            keep = keep & jnp.all(follows, axis=0)
            reading = Reading(beta, jnp.real(weights), -jnp.imag(weights), states)
            prediction = jax.vmap(lambda s: logits(problem, s))(states)
            sums = _Sums(
                read_gradient(
                    problem,
                    [reading],
                    GradientRule.AVERAGE,
                    form=StateForm.PLAIN,
                    free=problem.init_state(),
                    keep=keep,
                ),
                first_coefficient(states, weights),
                jnp.sum(jnp.real(jax.vmap(lambda s: costs(problem, s))(states)), axis=0),
                None if prediction is None else jnp.sum(jnp.real(prediction), axis=0),
            )
            return state, keep, states, residuals, sums

        def onward(carry: Any, counts: Array) -> tuple[Any, Array]:
            state, keep, _, sums = carry
            state, keep, states, residuals, new = period(state, keep, counts)
            return (state, keep, states, jax.tree.map(jnp.add, sums, new)), residuals

        warmup = self.warmup_periods * self.points
        counts = warmup + jnp.arange(self.periods * self.points).reshape(self.periods, -1)
        state, _ = jax.lax.scan(
            lambda s, point: (oscillate(s, *point).state, None),
            to_complex(problem.init_state() if phases.init is None else phases.init),
            (jnp.arange(warmup), jnp.tile(beta, self.warmup_periods)),
        )
        keep = jnp.ones(problem.batch, bool)
        _, _, states, _, sums = jax.tree.map(
            lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(period, state, keep, counts[0])
        )
        (state, keep, states, sums), residuals = jax.lax.scan(
            onward, (state, keep, states, sums), counts
        )
        read_points = self.periods * self.points
        energy, x = sums.gradient
        aux = Aux(
            logits=None if sums.logits is None else sums.logits / read_points,
            steps={"online": jnp.array(self.points * self.steps_per_point)},
            residuals={"online": residuals.reshape(read_points, -1)},
            settled=keep,
            unsettled=jnp.sum(~keep),
            count=jnp.sum(keep),
            free_settled=keep,
            state=state,
            imaginary=imaginary_share(sums.coefficient, keep),
            **error_aux(
                self._budget(problem, phases, states, residuals[-1]),
                keep,
                jnp.full(problem.batch, jnp.abs(beta[0])),
            ),
        )
        return Estimate(masked_mean(sums.loss / read_points, keep), energy, x, aux)

    def _budget(
        self,
        problem: Problem,
        phases: Phases,
        states: State,
        residual: Float[Array, "points batch"],
    ) -> Budget:
        """By the last period, and by a free phase of as many steps as a point has."""
        points, relaxation, key = self.points, phases.nudged, phases.key
        centre = jax.tree.map(lambda s: jnp.mean(s, axis=0), states)
        if problem.is_real:
            centre = jax.tree.map(jnp.real, centre)
        free_key = None if key is None else jax.random.fold_in(key, 2**32 - 1)
        phase = Phase(relaxation, phases.batching, free_key, steps=self.steps_per_point)
        free = solve(problem, phase, nudge=None, init=centre)
        (group,) = point_groups(points, ComplexPart.BOTH, real=False, half=False)
        beta = jnp.asarray(self.radius, problem.dtype) * jnp.asarray(
            group.nudges, jax.tree.leaves(states)[0].dtype
        )
        weights = (
            jnp.asarray(group.real, problem.dtype),
            jnp.asarray(group.imaginary, problem.dtype),
        )
        response = Response(
            free,
            [Equilibrium(states, residual, free.steps, jnp.zeros_like(residual, int))],
            [Reading(beta, *weights, states)],
            StateForm.PLAIN,
        )
        noisy = relaxation.noise > 0
        nudges = Nudges([group], points, GradientRule.AVERAGE, noisy=noisy, moving=True)
        budget = budget_of(problem, response, nudges)
        # Each period has noise of its own.
        return eqx.tree_at(lambda b: b.noise, budget, budget.noise / self.periods**0.5)


class _Sums(eqx.Module):
    """What is summed over the periods.

    Attributes:
        gradient: By the energy's and the inputs' real arrays.
        coefficient: The first Fourier coefficient of the state, [batch, ...].
        loss: Of each example, over all points.
        logits: [batch, classes], over all points, or None for an energy without classes.
    """

    gradient: Gradient
    coefficient: State
    loss: Float[Array, " batch"]
    logits: Float[Array, "batch classes"] | None
