"""The error budget: what settled states say of the error of the gradient that is read from them.

With delta_k the deviations from the free equilibrium at N nudges beta_k = r exp(2 pi i k / N), and
s*(beta) = s_0 + sum_p a_p beta^p, the discrete Fourier coefficients of the deviations are

    c_p = (1/N) sum_k delta_k exp(-2 pi i p k / N) = a_p r^p + a_(p+N) r^(p+N) + ...,

where a_0 is zero because a nudge of zero moves nothing. So c_1 is the response that the gradient is
read from, with the bias a_(N+1) r^(N+1) of Eq. (9), and c_0 is nothing but a_N r^N. If coefficients
fall by r / rho from order to order, then |c_0| / |c_1| = (r / rho)^(N-1), |c_(N-1)| / |c_1| =
(r / rho)^(N-2), and either tells the relative bias (r / rho)^N. The larger one is taken: one of
them may be small by accident.

Two points or one have too few coefficients for that. There the polynomial through the known states,
the free one among them, is put into the equation of equilibrium at half the nudge, where none of
them was settled. With J the Jacobian of the step, the equation is missed by (1 - J) a_3 (3/8) r^3
for two points and by (1 - J) a_2 (1/4) r^2 for one; and (1 - J) a_1 r is the step that the whole
nudge makes from the free equilibrium. What is missed, relative to that, tells the relative bias,
for one step of one lane. For two points (|c_0| / |c_1|)^2 is taken where that is larger; for one,
what is missed at minus half the nudge, (1 - J) a_2 (3/4) r^2, because orders may cancel at one
place, but hardly at both.

Coefficients of a function with a singularity inside of the circle do not fall all the way: those
near N are those of negative order, which a holomorphic function has none of.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from holoprop._types import Array, Bool, Float, Inexact, State
from holoprop.energies import AbstractDynamics
from holoprop.estimators._circle import PointGroup
from holoprop.estimators._estimator import Budget
from holoprop.estimators._gradient import ComplexPart, GradientRule, StateForm
from holoprop.estimators._phases import Response
from holoprop.relaxation import Lanes, Problem

# A coefficient says nothing where it is not so many times as large as the noise in it.
_ABOVE_NOISE = 4.0
# Error of a gradient for a free phase's residual, at most, where it is not known (docs/speed.md).
FREE_ERROR = 8.0
# A gradient of deviations is rounded to some units of the precision.
_ROUNDINGS = 4.0
# From this bias on nothing is left of a gradient, whatever the circle.
_LOST = 0.3
# A bias below which coefficients that do not fall are noise, rounding or settling.
_SEEN = 0.01


@dataclasses.dataclass(frozen=True)
class Nudges:
    """What nudges there were, and what was made of the states under them.

    Attributes:
        groups: The points of a circle, or one point for a one-sided estimate.
        points: N, or 1.
        rule: From states to the gradient.
        part: Which part of the activity is read.
        noisy: Whether there is noise in the phases.
        moving: Whether the nudge went on before states came to rest.
    """

    groups: Sequence[PointGroup]
    points: int
    rule: GradientRule
    part: ComplexPart = ComplexPart.BOTH
    noisy: bool = False
    moving: bool = False

    @property
    def whole(self) -> bool:
        """Whether conjugate points were simulated both, so that coefficients need not be real."""
        return any(not g.is_real and g.multiplicity == 1 for g in self.groups)


def budget_of(problem: Problem, response: Response, nudges: Nudges) -> Budget:
    """The error of each example's gradient, by its own states.

    The parts are, beside the bias, relative to the gradient:

    - settling: the nudged residuals, which are relative to the response; and the free phase's,
      which moves the point that the response is one of. Over a distance of the response's size the
      response changes by 2 a_2 r / a_1, relative to itself, and in proportion over the residual's.
      States that are no deviations do not depend on where the free phase ended, but for a one-sided
      estimate, to which its distance is added as it is.
    - noise: on a whole circle of a real energy the imaginary part of c_1, which is nothing else and
      as large as that of the real part; else by the free phase's residual.
    - rounding: of deviations some units of the precision, and of the free equilibrium as far as the
      response depends on it; of states as much as they are larger than the response.
    """
    free, n = response.free, nudges.points
    plain = response.form is StateForm.PLAIN
    deviations = [reading.states for reading in response.readings[: len(nudges.groups)]]
    if plain:
        deviations = [jax.tree.map(lambda s, c: s - c, d, free.state) for d in deviations]
    orders = (1, *_later_orders(n))
    rows = _lengths(_coefficients(deviations, nudges, orders), 2)
    real, imaginary = rows[: len(orders)], rows[len(orders) :]
    first = real[0]
    size = _relative(_lengths(free.state, 1), first)
    measured = nudges.whole and problem.is_real and n > 2
    turned = _relative(imaginary[0], first) if measured else jnp.zeros_like(first)
    noise = jnp.zeros_like(first)
    if nudges.noisy:
        # One step from a noisy state to the next is the difference of two draws.
        by_residual = _times(free.residual, size) * (1.0 if n == 1 else (2 * n) ** -0.5)
        noise = turned if measured else by_residual
    whole = real if not nudges.whole else jnp.sqrt(real**2 + imaginary**2)
    ratios = dict(zip(orders[1:], _relative(whole[1:], first), strict=True))
    eps = jnp.finfo(first.dtype).eps
    lost = eps * size if plain else jnp.zeros_like(first)
    floor = _ABOVE_NOISE * noise + lost
    if n <= 2:
        bias = _beyond(_missed(problem, response, deviations, n), floor)
        if n == 2:
            bias = jnp.maximum(bias, _beyond(ratios[0], floor) ** 2)
        # With noise, what one or two states miss an equation by says nothing of the circle.
        trusted = (bias < _LOST) | nudges.noisy
    else:
        bias, trusted = _by_order(ratios, nudges, floor)
    second = bias if n == 1 else ratios[2 % n]
    sensitivity = 2 * _times(second, size)
    settling = jnp.zeros_like(first)
    if nudges.moving and measured:
        # The state lags behind by part of a step to the next point, across the circle and along it.
        settling = math.tan(math.pi / n) * turned
    else:
        residual = jnp.concatenate([nudged.residual for nudged in response.nudged])
        settling = jnp.mean(residual, axis=0)
        if not plain or nudges.rule is GradientRule.FOURIER:
            settling = settling + free.residual * (1 + sensitivity)
        elif n == 1:
            settling = settling + _times(free.residual, size)
    if nudges.noisy:
        settling = jnp.zeros_like(first)
    rounding = eps * (_ROUNDINGS + (0 if plain else sensitivity)) + lost
    # A residual of states at rest is their rounding, which has been counted.
    settling = jnp.maximum(settling - lost, 0)
    # What noise, rounding and unfinished settling look like says nothing of the circle.
    trusted |= bias <= settling + _ABOVE_NOISE * noise + rounding
    return jax.lax.stop_gradient(Budget(bias, settling, noise, rounding, trusted))


def left_over(error: Float[Array, " batch"], *, dtype: Any) -> Budget:
    """The budget of an exact reference, of which only what has not settled is known."""
    nothing = jnp.zeros_like(error)
    rounding = jnp.full_like(error, _ROUNDINGS * jnp.finfo(dtype).eps)
    trusted = jnp.ones_like(error, bool)
    return jax.lax.stop_gradient(Budget(nothing, error, nothing, rounding, trusted))


def _later_orders(n: int) -> tuple[int, ...]:
    """The coefficients beside the first: the second, those next to N, those in the middle."""
    if n <= 2:
        return () if n == 1 else (0,)
    return tuple(dict.fromkeys((2, 0, n - 1, n // 2, (n + 1) // 2)))


def _beyond(value: Float[Array, " batch"], floor: Float[Array, " batch"]) -> Float[Array, " batch"]:
    """What of a value cannot be noise or rounding; nothing where there is no response but these."""
    return jnp.where(jnp.isfinite(floor), jnp.maximum(value - floor, 0), 0)


def _by_order(
    ratios: dict[int, Float[Array, " batch"]], nudges: Nudges, floor: Float[Array, " batch"]
) -> tuple[Float[Array, " batch"], Bool[Array, " batch"]]:
    """The bias by coefficients relative to the first, above a floor, and whether they fall."""
    n = nudges.points
    clear = {p: jnp.maximum(ratio - floor, 0) for p, ratio in ratios.items()}
    last = clear[n - 1]
    bias = last ** (n / (n - 2))
    if not nudges.noisy:
        # The mean holds the free equilibrium, whose noise is not averaged round the circle.
        bias = jnp.maximum(bias, clear[0] ** (n / (n - 1)))
        last = jnp.maximum(last, clear[0])
    trusted = bias < _LOST
    if n > 3:
        middle = jnp.maximum(ratios[n // 2], ratios[(n + 1) // 2])
        trusted &= (last < middle) | (bias < _SEEN)
    if nudges.part is not ComplexPart.BOTH:
        bias = bias + clear[n - 1]
    return bias, trusted


def _missed(problem: Problem, response: Response, deviations: list[State], n: int) -> Array:
    """By how much a polynomial misses the equation where it was not settled, by the response."""
    centre, nudge = response.free.state, response.readings[0].nudges[0]
    # The whole step from rest, then where to look: parts of the nudge, and of the deviations there.
    parts, weights = [1.0, 1 / 2, -1 / 2], [[0.0], [1 / 2], [-1 / 2]]
    if n == 2:
        parts, weights = [1.0, 1 / 2], [[0.0, 0.0], [3 / 8, -1 / 8]]
    states = jax.tree.map(
        lambda d: jnp.tensordot(jnp.asarray(weights, d.dtype), d, 1), deviations[0]
    )
    if response.form is StateForm.PLAIN:
        states = jax.tree.map(lambda c, s: c.astype(s.dtype) + s, centre, states)
    else:
        problem = Problem(problem.energy, problem.x, problem.objective, centre)
    whole, *steps = _steps(problem, states, nudge * jnp.asarray(parts, nudge.dtype))
    if n == 2:
        return 8 / 3 * _relative(steps[0], whole)
    # At one of them the second and the third order may cancel.
    return jnp.maximum(4 * _relative(steps[0], whole), 4 / 3 * _relative(steps[1], whole))


def _steps(
    problem: Problem, states: State, nudges: Inexact[Array, " points"]
) -> Float[Array, "points batch"]:
    """Size of one step of each example at each nudge, as far as it tells."""
    numerics = problem.energy.numerics()

    def one(dynamics: AbstractDynamics, state: State) -> State:
        return numerics.nudged_part(dynamics.synchronous(dynamics.extend(state), None)[1])

    lanes = Lanes.of(problem, nudges, None)
    flat = jax.tree.map(lambda s: s.reshape(-1, *s.shape[2:]), states)
    return _lengths(lanes.in_grid(lanes.map(one, flat)), 2)


def _coefficients(deviations: list[State], nudges: Nudges, orders: Sequence[int]) -> State:
    """Fourier coefficients, [orders, batch, ...]: their real parts, and imaginary parts after them.

    The latter on a whole circle alone: on half a circle they vanish.
    """

    def weights(group: PointGroup) -> np.ndarray:
        turns = np.outer(orders, np.angle(group.nudges))
        scale = group.multiplicity / nudges.points
        cos, sin = scale * np.cos(turns), scale * np.sin(turns)
        real = cos if group.is_real else np.hstack([cos, sin])
        imaginary = -sin if group.is_real else np.hstack([-sin, cos])
        return np.vstack([real, imaginary]) if nudges.whole else real

    def combine(*leaves: Array) -> Array:
        terms = []
        for group, leaf in zip(nudges.groups, leaves, strict=True):
            reals = leaf
            if not group.is_real:
                reals = jnp.concatenate([jnp.real(leaf), jnp.imag(leaf)])
            factors = jnp.asarray(weights(group), reals.dtype)
            # What is looked for is what cancels: accelerators would round it away.
            terms.append(jnp.tensordot(factors, reals, 1, precision=jax.lax.Precision.HIGHEST))
        return sum(terms[1:], terms[0])

    return jax.tree.map(combine, *deviations)


def _lengths(tree: State, lead: int) -> Float[Array, "*lead"]:
    """Norms over all but some leading axes, of numbers of any size."""
    leaves = [leaf.reshape(*leaf.shape[:lead], -1) for leaf in jax.tree.leaves(tree)]
    largest = [jnp.max(jnp.abs(leaf), axis=-1, initial=0) for leaf in leaves]
    top = functools.reduce(jnp.maximum, largest)
    scale = jnp.where(top > 0, top, 1)[..., None]
    return top * jnp.sqrt(sum(jnp.sum(jnp.abs(leaf / scale) ** 2, axis=-1) for leaf in leaves))


def _times(part: Array, ratio: Array) -> Array:
    """A product of which nothing remains nothing, even if the ratio is infinite."""
    return jnp.where(part > 0, part * ratio, 0)


def _relative(part: Array, whole: Array) -> Array:
    """Of nothing, nothing is nothing and all else is infinite."""
    return jnp.where(
        whole > 0, part / jnp.where(whole > 0, whole, 1), jnp.where(part > 0, jnp.inf, 0)
    )
