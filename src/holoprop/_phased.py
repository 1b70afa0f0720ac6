"""Estimators with separate phases: classic (one-sided), centred, and holomorphic."""

import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from holoprop._estimator import (
    AbstractEstimator,
    Estimate,
    costs,
    masked_mean,
    phase_aux,
    split_key,
)
from holoprop._problem import Problem
from holoprop._readings import Form, Part, Reading, Rule, imaginary_share, read_gradient
from holoprop._relaxation import AbstractRelaxation
from holoprop._settle import Equilibrium, is_usable, settle
from holoprop._tolerance import needed_tolerance
from holoprop._types import Array, Bool, Complex, Float, Inexact, Key, State


class OneSided(AbstractEstimator):
    """Classic equilibrium propagation: one nudged phase against the free one (Eq. 2).

    Its bias is of first order in the nudge.

    Arguments:
        nudge: beta, real, not zero.
        rule: `Rule.AVERAGE` (default) or `Rule.FOURIER`.
        form: `Form.PLAIN` or `Form.DEVIATION`; default the latter where the energy has it in closed
            form (layered networks) and there is no noise.

    Raises:
        ValueError: If the nudge is zero or not finite.

    Example:
        >>> OneSided(0.1).nudge
        0.1

    Reference: Scellier and Bengio (2017).
    """

    from_start: ClassVar[bool] = False
    nudge: float | Float[Array, ""]
    rule: Rule = eqx.field(default=Rule.AVERAGE, kw_only=True, static=True)
    form: Form | None = eqx.field(default=None, kw_only=True, static=True)

    def __check_init__(self) -> None:
        if isinstance(self.nudge, int | float) and not (
            math.isfinite(self.nudge) and self.nudge != 0
        ):
            raise ValueError(f"nudge must be a real number other than 0; got {self.nudge!r}.")

    def check(self, problem: Problem, free: AbstractRelaxation, nudged: AbstractRelaxation) -> None:
        """Any energy that is real on real states will do."""
        _check_real(self, problem)

    def estimate(
        self,
        problem: Problem,
        *,
        free: AbstractRelaxation,
        nudged: AbstractRelaxation,
        init: State | None,
        key: Key | None,
    ) -> Estimate:
        """A free phase, and one at `nudge`."""
        free_key, nudged_key = split_key(key, 2)
        rest = _free_phase(problem, free, init, free_key, radius=self.nudge, points=1)
        beta = jnp.asarray(self.nudge, problem.dtype)[None]
        form = _form(self.form, problem, free, nudged)
        pushed = _nudged_phase(problem, nudged, beta, rest.state, nudged_key, form, points=1)
        readings = [Reading(beta, 1 / beta, 0 * beta, pushed.state)]
        if form is Form.PLAIN:
            still = _as_points(rest.state, 1)
            readings.append(Reading(jnp.zeros_like(beta), -1 / beta, 0 * beta, still))
        return _finish(problem, self.rule, form, rest, free, [pushed], nudged, readings)


class Centred(AbstractEstimator):
    """Two nudged phases of opposite sign: the symmetric estimate, Eq. (8) with N = 2.

    Its bias is of second order in the nudge.

    Arguments:
        nudge: beta, real, not zero.
        rule: `Rule.AVERAGE` (default) or `Rule.FOURIER`.
        form: `Form.PLAIN` or `Form.DEVIATION`; default the latter where the energy has it in closed
            form (layered networks) and there is no noise.

    Raises:
        ValueError: If the nudge is zero or not finite.

    Example:
        >>> Centred(0.1).nudge
        0.1

    Reference: Laborieux et al. (2021), doi 10.3389/fnins.2021.633674.
    """

    from_start: ClassVar[bool] = False
    nudge: float | Float[Array, ""]
    rule: Rule = eqx.field(default=Rule.AVERAGE, kw_only=True, static=True)
    form: Form | None = eqx.field(default=None, kw_only=True, static=True)

    def __check_init__(self) -> None:
        if isinstance(self.nudge, int | float) and not (
            math.isfinite(self.nudge) and self.nudge != 0
        ):
            raise ValueError(f"nudge must be a real number other than 0; got {self.nudge!r}.")

    def check(self, problem: Problem, free: AbstractRelaxation, nudged: AbstractRelaxation) -> None:
        """Any energy that is real on real states will do."""
        _check_real(self, problem)

    def estimate(
        self,
        problem: Problem,
        *,
        free: AbstractRelaxation,
        nudged: AbstractRelaxation,
        init: State | None,
        key: Key | None,
    ) -> Estimate:
        """A free phase, and two at `nudge` and `-nudge`."""
        free_key, nudged_key = split_key(key, 2)
        rest = _free_phase(problem, free, init, free_key, radius=self.nudge, points=2)
        beta = jnp.asarray(self.nudge, problem.dtype) * jnp.array([1.0, -1.0], problem.dtype)
        form = _form(self.form, problem, free, nudged)
        pushed = _nudged_phase(problem, nudged, beta, rest.state, nudged_key, form, points=2)
        reading = Reading(beta, 1 / (2 * beta), 0 * beta, pushed.state, opposite=True)
        return _finish(problem, self.rule, form, rest, free, [pushed], nudged, [reading])


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
        rule: `Rule.AVERAGE`, Eq. (8) (default), or `Rule.FOURIER`.
        part: `Part.BOTH` (default), `Part.REAL` or `Part.IMAGINARY`.
        form: `Form.PLAIN` or `Form.DEVIATION`; default the latter where the energy has it in closed
            form (layered networks) and there is no noise.
        full_circle: Simulate all N points, each in complex arithmetic, whatever the symmetry.

    Raises:
        ValueError: If the radius is not positive, there are fewer than two points, or the imaginary
            part alone is asked of two points.

    Example:
        >>> Holomorphic(radius=0.4, points=10).points
        10

    Reference: Laborieux and Zenke (2022), Theorem 1, Eq. (8) and (9), Appendix A.4.
    """

    from_start: ClassVar[bool] = False
    radius: float | Float[Array, ""]
    points: int = eqx.field(static=True)
    rule: Rule = eqx.field(default=Rule.AVERAGE, kw_only=True, static=True)
    part: Part = eqx.field(default=Part.BOTH, kw_only=True, static=True)
    form: Form | None = eqx.field(default=None, kw_only=True, static=True)
    full_circle: bool = eqx.field(default=False, kw_only=True, static=True)

    def __check_init__(self) -> None:
        check_circle(self.radius, self.points)
        if self.part is Part.IMAGINARY and self.points == 2:
            raise ValueError(
                "points=2 puts both nudges on the real axis, where the imaginary part is zero: use "
                "3 points or more, or another part."
            )

    def check(self, problem: Problem, free: AbstractRelaxation, nudged: AbstractRelaxation) -> None:
        """Complex nudges need a holomorphic energy; single parts and FOURIER a real one."""
        if self.points > 2 or self.full_circle:
            problem.check_complex()
        if self.rule is Rule.FOURIER or self.part is not Part.BOTH:
            _check_real(self, problem)

    def _groups(self, *, real: bool, half: bool) -> list[tuple[np.ndarray, bool, float]]:
        """The points of each batched solve: indices k, whether in real arithmetic, multiplicity."""
        k = np.arange(self.points)
        on_axis = 2 * k % self.points == 0
        if self.full_circle or not real:
            return [(k, False, 1.0)]
        groups = [(k[on_axis], True, 1.0)]
        off_axis = k[~on_axis & (2 * k < self.points)] if half else k[~on_axis]
        if off_axis.size:
            groups.append((off_axis, False, 2.0 if half else 1.0))
        return groups

    def _weights(self, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of real and imaginary parts, times the radius."""
        angle = 2 * np.pi * k / self.points
        cosine, sine = np.cos(angle) / self.points, np.sin(angle) / self.points
        if self.part is Part.REAL:
            return (cosine if self.points == 2 else 2 * cosine), 0 * sine
        if self.part is Part.IMAGINARY:
            return 0 * cosine, 2 * sine
        return cosine, sine

    def estimate(
        self,
        problem: Problem,
        *,
        free: AbstractRelaxation,
        nudged: AbstractRelaxation,
        init: State | None,
        key: Key | None,
    ) -> Estimate:
        """A free phase, and one batched solve in each arithmetic for the points."""
        free_key, *nudged_keys = split_key(key, 3)
        rest = _free_phase(problem, free, init, free_key, radius=self.radius, points=self.points)
        dtype = problem.dtype
        radius = jnp.asarray(self.radius, dtype)
        form = _form(self.form, problem, free, nudged)
        half = free.noise == 0 and nudged.noise == 0
        phases: list[Equilibrium] = []
        readings: list[Reading] = []
        groups = self._groups(real=problem.is_real, half=half)
        for (k, is_real, multiplicity), group_key in zip(groups, nudged_keys, strict=False):
            circle = unit_circle(k, self.points)
            beta = radius * jnp.asarray(
                circle.real if is_real else circle,
                dtype if is_real else jnp.result_type(dtype, jnp.complex64),
            )
            start = None
            # A fixed number of steps is the physics that was asked for, from rest.
            if phases and half and form is Form.DEVIATION and nudged.steps is None:
                start = _extrapolated(readings[0], beta)
            phase = _nudged_phase(
                problem, nudged, beta, rest.state, group_key, form, points=self.points, start=start
            )
            real, imaginary = (multiplicity * w for w in self._weights(k))
            phases.append(phase)
            readings.append(
                Reading(
                    beta,
                    jnp.asarray(real, dtype) / radius,
                    jnp.asarray(imaginary, dtype) / radius,
                    phase.state,
                    opposite=is_real and len(k) == 2,
                )
            )
        whole = len(groups) == 1 and not groups[0][1]
        return _finish(
            problem, self.rule, form, rest, free, phases, nudged, readings, full_circle=whole
        )


def check_circle(radius: Any, points: int) -> None:
    """Raise `ValueError` for a circle that is none."""
    if not isinstance(points, int) or points < 2:
        raise ValueError(f"points must be a whole number, 2 or more; got {points!r}.")
    if isinstance(radius, int | float) and not 0 < radius < math.inf:
        raise ValueError(f"radius must be a positive number; got {radius!r}.")


def unit_circle(k: np.ndarray, points: int) -> np.ndarray:
    """exp(2 pi i k / N), exact on the axes."""
    quarter = 4 * k / points
    exact = np.round(np.exp(0.5j * np.pi * np.round(quarter)))
    return np.where(quarter == np.round(quarter), exact, np.exp(0.5j * np.pi * quarter))


def _check_real(estimator: AbstractEstimator, problem: Problem) -> None:
    if not problem.is_real:
        raise ValueError(
            f"{type(estimator).__name__} with this rule needs an energy that is real on real "
            "states: use Holomorphic with Rule.AVERAGE and Part.BOTH."
        )


def _as_points(state: State, points: int) -> State:
    return jax.tree.map(lambda s: jnp.broadcast_to(s, (points, *s.shape)), state)


def _form(
    asked: Form | None, problem: Problem, free: AbstractRelaxation, nudged: AbstractRelaxation
) -> Form:
    """The form asked for, or the energy's default: noise acts on states, not on deviations."""
    if asked is not None:
        return asked
    noisy = free.noise > 0 or nudged.noise > 0
    closed = problem.energy.closed_deviation and problem.is_real
    return Form.DEVIATION if closed and not noisy else Form.PLAIN


def _free_phase(
    problem: Problem,
    relaxation: AbstractRelaxation,
    init: State | None,
    key: Key | None,
    *,
    radius: float | Float[Array, ""],
    points: int,
) -> Equilibrium:
    """The free equilibria, as near as an estimate of that radius and so many points needs them."""
    tolerance = needed_tolerance(
        relaxation, nudged=False, radius=radius, points=points, dtype=problem.dtype
    )
    return settle(
        problem, relaxation, nudge=None, init=init, key=key, tolerance=tolerance, newest=True
    )


def _nudged_phase(
    problem: Problem,
    relaxation: AbstractRelaxation,
    nudge: Inexact[Array, " points"],
    free: State,
    key: Key | None,
    form: Form,
    *,
    points: int,
    start: State | None = None,
) -> Equilibrium:
    """All nudges in one batched solve, from the free equilibrium or from `start`."""
    if form is Form.DEVIATION:
        problem = eqx.tree_at(lambda p: p.centre, problem, free, is_leaf=lambda leaf: leaf is None)
    elif start is None:
        start = _as_points(free, nudge.shape[0])
    tolerance = needed_tolerance(
        relaxation,
        nudged=True,
        radius=jnp.abs(nudge[0]),
        points=points,
        dtype=problem.dtype,
        relative_to_state=form is Form.PLAIN,
    )
    return settle(
        problem, relaxation, nudge=nudge, init=start, key=key, tolerance=tolerance, newest=True
    )


def _extrapolated(known: Reading, nudge: Complex[Array, " points"]) -> State:
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


def _finish(
    problem: Problem,
    rule: Rule,
    form: Form,
    rest: Equilibrium,
    free: AbstractRelaxation,
    phases: list[Equilibrium],
    nudged: AbstractRelaxation,
    readings: list[Reading],
    *,
    full_circle: bool = False,
) -> Estimate:
    """Loss, gradient and record of the examples that settled everywhere."""
    keep: Bool[Array, " batch"] = is_usable(rest, free)
    for phase in phases:
        keep = keep & jnp.all(is_usable(phase, nudged), axis=0)
    energy, x = read_gradient(problem, readings, rule, form=form, free=rest.state, keep=keep)
    share = None
    if full_circle:
        weights = jax.lax.complex(readings[0].real, -readings[0].imaginary)
        share = imaginary_share(readings[0].states, weights, keep)
    aux = phase_aux(
        problem,
        rest,
        keep,
        steps={"nudged": jnp.max(jnp.stack([phase.steps for phase in phases]))},
        residuals={"nudged": jnp.concatenate([phase.residual for phase in phases])},
        imaginary=share,
    )
    return Estimate(masked_mean(jnp.real(costs(problem, rest.state)), keep), energy, x, aux)
