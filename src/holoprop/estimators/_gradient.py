"""From settled states on the circle to gradients: the two rules for the parameters."""

import enum
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._tree import squared_norm, unit, where_examples
from holoprop._types import Array, Bool, Complex, Float, Inexact, PyTree, State
from holoprop.estimators._estimator import by_parameters, masked_mean
from holoprop.relaxation import Problem


class GradientRule(enum.Enum):
    """How settled states become a gradient by the parameters; both are exact for many points.

    AVERAGE is Eq. (8): the weighted mean over the circle of dF/dtheta at each point. FOURIER takes
    the first Fourier coefficient s_1 of the state over the same points and one mixed derivative at
    the free equilibrium, (d^2 E / ds dtheta) s_1 + dl/dtheta (Appendix A.4, Eq. 16).
    """

    AVERAGE = "average"
    FOURIER = "fourier"


class ComplexPart(enum.Enum):
    """Which part of the complex activity is read (Appendix A.4)."""

    BOTH = "both"
    REAL = "real"
    IMAGINARY = "imaginary"


class StateForm(enum.Enum):
    """What relaxes in the nudged phases: the states, or their deviations from the free equilibrium.

    Both simulate the same physics. In PLAIN form a teaching signal is a small difference of large
    states, and drowns in float32's rounding; in DEVIATION form nothing is such a difference, and
    residuals are relative to the deviation.
    """

    PLAIN = "plain"
    DEVIATION = "deviation"


class Reading(eqx.Module):
    """States at some nudges, and the weights of their real and imaginary parts in the gradient.

    A quantity f(beta) enters the gradient as sum_k [real_k Re f(beta_k) + imaginary_k Im
    f(beta_k)].

    Attributes:
        nudges: Real or complex [points].
        real: Real [points].
        imaginary: Real [points].
        states: [points, batch, ...]: states, or deviations from the free equilibrium.
        opposite: Whether there are two real nudges, beta and -beta, with weights of opposite sign.
    """

    nudges: Inexact[Array, " points"]
    real: Float[Array, " points"]
    imaginary: Float[Array, " points"]
    states: State
    opposite: bool = eqx.field(default=False, static=True)


Gradient = tuple[PyTree, PyTree]


def read_gradient(
    problem: Problem,
    readings: list[Reading],
    rule: GradientRule,
    *,
    form: StateForm,
    free: State,
    keep: Bool[Array, " batch"],
    share: Float[Array, " batch"] | None = None,
) -> Gradient:
    """Mean gradient over the kept examples, by the energy's and the inputs' real arrays.

    Where the problem's objective is a share of the whole, the gradient is that of the whole.
    """
    # States of examples that are left out may be infinite, and their targets may have no cost; zero
    # times infinity must not happen.
    problem = _with_targets_of(keep, problem)
    safe = problem.init_state()
    free = where_examples(keep, free, safe)
    nothing = jax.tree.map(jnp.zeros_like, safe) if form is StateForm.DEVIATION else safe
    readings = [
        eqx.tree_at(lambda r: r.states, reading, _replace(reading.states, keep, nothing))
        for reading in readings
    ]
    if rule is GradientRule.FOURIER:
        return _mixed_derivative(problem, free, _real_coefficient(readings), keep, share)
    return _average(problem, readings, free if form is StateForm.DEVIATION else None, keep, share)


def _with_targets_of(keep: Bool[Array, " batch"], problem: Problem) -> Problem:
    """The same problem with the target of a kept example for those that are left out."""
    first = jnp.argmax(keep)
    objective = jax.tree.map(
        lambda y: jnp.where(keep.reshape(-1, *[1] * (y.ndim - 1)), y, y[first]), problem.objective
    )
    return Problem(problem.energy, problem.x, objective)


def _replace(states: State, keep: Bool[Array, " batch"], safe: State) -> State:
    return jax.vmap(lambda s: where_examples(keep, s, jax.tree.map(_like, safe, s)))(states)


def _like(safe: Array, state: Array) -> Array:
    return safe.astype(state.dtype)


def _average(
    problem: Problem,
    readings: list[Reading],
    centre: State | None,
    keep: Bool[Array, " batch"],
    share: Float[Array, " batch"] | None,
) -> Gradient:
    """Eq. (8): sum over points of weight times dF/dtheta, as one reverse pass.

    Of deviations from a centre, it sums the change of dF/dtheta instead. The centre's own part
    falls out of the sum, because the weights of a circle add up to zero.
    """

    def scalar(problem: Problem) -> tuple[Float[Array, ""], None]:
        energy, numerics = problem.energy, problem.energy.numerics()

        def total(
            x: PyTree,
            objective: PyTree,
            centre: PyTree,
            beta: Array,
            state: State,
            *,
            cost_alone: bool,
        ) -> Array:
            interaction: Any = 0
            if centre is None:
                interaction = numerics.interaction(state, x)
            else:
                if not cost_alone:
                    interaction = numerics.interaction_change(centre, state, x)
                state = jax.tree.map(lambda c, d: c + d, centre, state)
            return interaction + beta * objective.cost(energy, state)

        def difference(x: PyTree, centre: PyTree, one: State, other: State) -> Array:
            # Round the middle of two opposite points half as many products are needed.
            middle = jax.tree.map(lambda c, a, b: c + (a + b) / 2, centre, one, other)
            half = jax.tree.map(lambda a, b: (a - b) / 2, one, other)
            return numerics.interaction_difference(middle, half, x)

        value = jnp.zeros(keep.shape)
        for r in readings:
            paired = r.opposite and centre is not None
            on_batch = jax.vmap(
                functools.partial(total, cost_alone=paired), in_axes=(0, 0, 0, None, 0)
            )
            on_points = jax.vmap(on_batch, in_axes=(None, None, None, 0, 0))
            f = on_points(problem.x, problem.objective, centre, r.nudges, r.states)
            if paired:
                one, other = (jax.tree.map(lambda s, i=i: s[i], r.states) for i in range(2))
                value = value + r.real[0] * jax.vmap(difference)(problem.x, centre, one, other)
            value = value + r.real @ jnp.real(f)
            if jnp.issubdtype(f.dtype, jnp.complexfloating):
                value = value + r.imaginary @ jnp.imag(f)
        return masked_mean(value if share is None else value / share, keep), None

    return by_parameters(problem, scalar)[0]


def _real_coefficient(readings: list[Reading]) -> State:
    """The real s_1 of ds/dbeta at zero, [batch, ...]."""

    def read(r: Reading) -> State:
        def weigh(s: Array) -> Array:
            value = jnp.tensordot(r.real, jnp.real(s), 1)
            if jnp.issubdtype(s.dtype, jnp.complexfloating):
                value = value + jnp.tensordot(r.imaginary, jnp.imag(s), 1)
            return value

        return jax.tree.map(weigh, r.states)

    terms = [read(r) for r in readings]
    return jax.tree.map(lambda *leaves: sum(leaves[1:], leaves[0]), *terms)


def _mixed_derivative(
    problem: Problem,
    free: State,
    coefficient: State,
    keep: Bool[Array, " batch"],
    share: Float[Array, " batch"] | None,
) -> Gradient:
    """d/dtheta of the derivative of E along s_1, plus dl/dtheta, at the free equilibrium."""

    def scalar(problem: Problem) -> tuple[Float[Array, ""], None]:
        numerics = problem.energy.numerics()

        def one(x: PyTree, objective: PyTree, state: State, direction: State) -> Array:
            direction = jax.tree.map(lambda d, s: d.astype(s.dtype), direction, state)
            _, slope = jax.jvp(lambda s: numerics.interaction(s, x), (state,), (direction,))
            return jnp.real(slope + objective.cost(problem.energy, state))

        value = jax.vmap(one)(problem.x, problem.objective, free, coefficient)
        return masked_mean(value if share is None else value / share, keep), None

    return by_parameters(problem, scalar)[0]


def first_coefficient(states: State, weights: Complex[Array, " points"]) -> State:
    """The complex first coefficient of a full circle, [batch, ...]."""
    return jax.tree.map(lambda s: jnp.tensordot(weights.astype(s.dtype), s, 1), states)


def imaginary_share(coefficient: State, keep: Bool[Array, " batch"]) -> Float[Array, ""]:
    """Relative size of the imaginary part of a full circle's first coefficient.

    It vanishes for an energy that is real on real states once everything has settled; what is left
    measures noise and unfinished settling. This is the one place where it is dropped and reported.
    """
    coefficient = where_examples(keep, coefficient, jax.tree.map(jnp.zeros_like, coefficient))
    coefficient, *_ = unit(coefficient)
    return jnp.sqrt(squared_norm(jax.tree.map(jnp.imag, coefficient)))
