"""The holomorphic estimator, a circle of nudges, and the centred one, its two real points."""

import functools
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp

from holoprop._types import Array, Bool, Float, Key
from holoprop.estimators._circle import as_radius, check_points, point_groups
from holoprop.estimators._error import Nudges, budget_of
from holoprop.estimators._estimator import (
    AbstractEstimator,
    Budget,
    Estimate,
    Phases,
    split_key,
)
from holoprop.estimators._gradient import ComplexPart, GradientRule, Reading, StateForm
from holoprop.estimators._one_sided import as_nudge
from holoprop.estimators._phases import (
    NudgedPhases,
    Response,
    check_real,
    chosen_form,
    estimate_from,
    extrapolated,
    is_noisy,
    nudged_usable,
)
from holoprop.estimators._radius import refine
from holoprop.relaxation import AbstractRelaxation, Equilibrium, Problem, is_usable


class Holomorphic(AbstractEstimator):
    """Holomorphic equilibrium propagation: N nudges round a circle in the complex plane (Eq. 8).

    The gradient is the first Fourier coefficient of the response; its bias falls as radius^N
    (Eq. 9). For an energy that is real on real states, and without noise, s*(conj beta) is the
    conjugate of s*(beta), and only the upper half circle is simulated. Real nudges among the points
    are computed in real arithmetic.

    From the real part alone the gradient is 2/(N radius) sum_k Re f(beta_k) cos(2 pi k/N), from the
    imaginary part alone the same with Im and sin (Appendix A.4). With f(beta) = sum_p a_p beta^p,
    a_p real, the sums over k leave a_p radius^(p-1) for p = 1 and p = -1 modulo N, the latter with
    the opposite sign for the imaginary part. So for N > 2 a single part's bias begins at p = N - 1,
    with radius^(N-2), where both together (their mean, which cancels p = -1) begin at p = N + 1.
    For N = 2 the two residues are the same one: the real part's factor is 1/(N radius) instead, and
    the imaginary part is zero at both points and carries nothing.

    Arguments:
        radius: |beta|, positive; it must lie within the region of stable equilibria.
        points: N, 2 or more.
        rule: `GradientRule.AVERAGE`, Eq. (8) (default), or `GradientRule.FOURIER`.
        part: `ComplexPart.BOTH` (default), `ComplexPart.REAL` or `ComplexPart.IMAGINARY`.
        form: `StateForm.PLAIN` or `StateForm.DEVIATION`; default the latter where the energy has it
            in closed form (layered networks) and there is no noise.
        full_circle: Simulate all N points, each in complex arithmetic, whatever the symmetry.
        max_error: Largest bias of an example's gradient by its own estimate (`aux.error_parts`),
            from 0 to 1, or None (default). Examples above it, and those that do not settle under
            the nudges, go through the nudged phases again with half the radius, and again, down to
            a thousandth of it or until less radius would cost more in rounding, settling or noise
            than it wins. `aux.radius` has the radii that were used.

    Raises:
        ValueError: If the radius is not positive, there are fewer than two points, the imaginary
            part alone is asked of two points, or max_error is out of range.

    Example:
        >>> Holomorphic(radius=0.4, points=10).points
        10

    Reference: Laborieux and Zenke (2022), Theorem 1, Eq. (8) and (9), Appendix A.4.
    """

    from_start: ClassVar[bool] = False
    radius: float | Float[Array, ""] = eqx.field(converter=as_radius)
    points: int = eqx.field(static=True)
    rule: GradientRule = eqx.field(default=GradientRule.AVERAGE, kw_only=True, static=True)
    part: ComplexPart = eqx.field(default=ComplexPart.BOTH, kw_only=True, static=True)
    form: StateForm | None = eqx.field(default=None, kw_only=True, static=True)
    full_circle: bool = eqx.field(default=False, kw_only=True, static=True)
    max_error: float | None = eqx.field(default=None, kw_only=True, static=True)

    def __check_init__(self) -> None:
        check_points(self.points)
        if self.max_error is not None and not 0 < self.max_error < 1:
            raise ValueError(
                f"max_error must be a relative error above 0 and below 1; got {self.max_error!r}."
            )
        if self.part is ComplexPart.IMAGINARY and self.points == 2:
            raise ValueError(
                "points=2 puts both nudges on the real axis, where the imaginary part is zero: use "
                "3 points or more, or another part."
            )

    @property
    def complex_nudges(self) -> bool:
        """Unless both points are on the real axis."""
        return self.points > 2 or self.full_circle

    @property
    def nudge_size(self) -> float | Float[Array, ""]:
        """The radius."""
        return self.radius

    def check(self, problem: Problem, free: AbstractRelaxation, nudged: AbstractRelaxation) -> None:
        """Complex arithmetic needs a holomorphic energy; single parts and FOURIER a real one."""
        if self.complex_nudges or not problem.is_real:
            problem.check_complex()
        if self.rule is GradientRule.FOURIER or self.part is not ComplexPart.BOTH:
            check_real(self, problem)

    def estimate(self, problem: Problem, phases: Phases) -> Estimate:
        """A free phase, and one batched solve in each arithmetic for the points."""
        free_key, *nudged_keys = split_key(phases.key, 3)
        dtype, form = problem.dtype, chosen_form(self.form, problem, phases)
        radius = jnp.asarray(self.radius, dtype)
        half, fixed = not is_noisy(phases), phases.nudged.steps is not None
        real = problem.is_real and not self.full_circle
        groups = point_groups(self.points, self.part, real=real, half=half)

        def steps(problem: Problem) -> NudgedPhases:
            return NudgedPhases(problem, phases, form, self.radius, self.points, self.max_error)

        def settle(problem: Problem, free: Equilibrium, keys: list[Key | None]) -> Response:
            nudged: list[Equilibrium] = []
            readings: list[Reading] = []
            for group, key in zip(groups, keys, strict=False):
                arithmetic = dtype if group.is_real else jnp.result_type(dtype, jnp.complex64)
                beta = radius * jnp.asarray(group.nudges, arithmetic)
                start = None
                # Fixed steps are the physics that was asked for, from the free equilibrium.
                if readings and half and not fixed and form is StateForm.DEVIATION:
                    start = extrapolated(readings[0], beta)
                equilibrium = steps(problem).nudged(beta, free.state, key, start=start)
                nudged.append(equilibrium)
                readings.append(
                    Reading(
                        beta,
                        jnp.asarray(group.real, dtype) / radius,
                        jnp.asarray(group.imaginary, dtype) / radius,
                        equilibrium.state,
                        opposite=group.opposite,
                    )
                )
            return Response(free, nudged, readings, form)

        nudges = Nudges(groups, self.points, self.rule, self.part, noisy=not half)
        response = settle(problem, steps(problem).free(free_key), nudged_keys)
        share = None
        if self.max_error is None:
            budget = budget_of(problem, response, nudges)
        else:
            refined = refine(
                problem,
                response,
                settle=settle,
                judge=lambda problem, response: budget_of(problem, response, nudges),
                wanting=functools.partial(self._wants_less, phases),
                key=phases.key,
            )
            response, budget, share = refined.response, refined.budget, refined.share
        radii = radius * (jnp.ones(problem.batch, dtype) if share is None else share)
        return estimate_from(
            problem,
            phases,
            response,
            self.rule,
            budget,
            radius=radii,
            share=share,
            full_circle=not real,
        )

    def _wants_less(self, phases: Phases, response: Response, budget: Budget) -> Bool[Array, "..."]:
        """Which examples would be better off with half the radius."""
        assert self.max_error is not None
        floor = budget.settling + budget.noise + budget.rounding
        biased = (budget.bias > self.max_error) & (budget.bias > floor)
        failed = ~nudged_usable(response.nudged, phases)
        return is_usable(response.free, phases.free) & (biased | failed)


class Centred(AbstractEstimator):
    """Two nudged phases of opposite sign: the symmetric estimate, Eq. (8) with N = 2.

    It is `Holomorphic(abs(nudge), points=2)` by the name that it had before, for energies that are
    real on real states. Its bias is of second order in the nudge.

    Arguments:
        nudge: beta, real, not zero.
        rule: `GradientRule.AVERAGE` (default) or `GradientRule.FOURIER`.
        form: `StateForm.PLAIN` or `StateForm.DEVIATION`; default the latter where the energy has it
            in closed form (layered networks) and there is no noise.

    Raises:
        ValueError: If the nudge is zero or not finite.

    Example:
        >>> Centred(0.1).nudge
        0.1

    Reference: Laborieux et al. (2021), doi 10.3389/fnins.2021.633674.
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
        """A free phase, and two at `nudge` and `-nudge`."""
        radius = jnp.abs(jnp.asarray(self.nudge, problem.dtype))
        circle = Holomorphic(radius, 2, rule=self.rule, form=self.form)
        return circle.estimate(problem, phases)
