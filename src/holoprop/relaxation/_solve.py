"""One phase: a problem relaxed under a nudge, from its start to an `Equilibrium`."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._tree import real_dtype, to_complex
from holoprop._types import Array, Inexact, Int, Key, PyTree, RealScalar, State
from holoprop.energies import AbstractDynamics
from holoprop.relaxation._batching import Batching
from holoprop.relaxation._distance import Goal
from holoprop.relaxation._driver import End, iterate
from holoprop.relaxation._lanes import Lanes
from holoprop.relaxation._no_derivative import without_derivative
from holoprop.relaxation._problem import Problem
from holoprop.relaxation._relaxation import AbstractRelaxation, default_tolerance
from holoprop.relaxation._solution import Equilibrium, RelaxationResult
from holoprop.relaxation._stepper import Stepper

# Where plain states stop in low precision, whose rounding is of this size.
_COARSE = 0.01


class Phase(eqx.Module):
    """How one phase is relaxed.

    Attributes:
        relaxation: How to step and when to stop.
        batching: Which lanes step together.
        key: For the noise, or None.
        steps: A fixed number of steps instead of the relaxation's own stopping, or None.
        tolerance: Where the relaxation leaves it open, or None for the precision's own.
    """

    relaxation: AbstractRelaxation
    batching: Batching
    key: Key | None = None
    steps: int | None = eqx.field(default=None, static=True)
    tolerance: float | RealScalar | None = None

    @property
    def fixed(self) -> int | None:
        """Fixed number of steps, or None for a tolerance."""
        return self.relaxation.steps if self.steps is None else self.steps

    def goal(self, problem: Problem, dtype: Any) -> Goal:
        """The tolerance asked for; or another, or the precision's own, as rounding allows.

        A response that states are the difference of is never known better than they are.
        """
        asked, own = self.relaxation.tolerance, default_tolerance(dtype)
        if asked is not None and not isinstance(asked, str):
            return Goal(asked, None if problem.origin is None else own)
        return Goal(own if self.tolerance is None else self.tolerance, own)


def solve(
    problem: Problem,
    phase: Phase,
    *,
    nudge: Inexact[Array, "*points"] | None,
    init: State | None,
) -> Equilibrium:
    """Relax every example, under one nudge or under several at once.

    Examples and points do not influence each other.

    Arguments:
        problem: The batch.
        phase: How it is relaxed.
        nudge: Real or complex scalar or [points], or None for the free phase.
        init: [batch, ...], or [points, batch, ...] if there are several nudges; None for the
            energy's own start, or for no deviation.
    """
    relaxation, fixed = phase.relaxation, phase.fixed
    # A fixed number of steps is followed by one more, which measures.
    newest = fixed is None
    lanes = Lanes.of(problem, nudge, relaxation.precision)
    warm = relaxation.from_feed_forward and fixed is None
    state, extended = _start(lanes, problem, init, warm=warm)
    stepper = Stepper(
        relaxation,
        phase.key,
        phase.goal(problem, real_dtype(state)),
        nudged=nudge is not None,
        newest=newest,
        looks=not (problem.energy.numerics().fixed_point_map or relaxation.knows_curvature),
    )
    spent = jnp.array(0)
    if fixed is None and relaxation.precision is not None and problem.centre is None:
        goal = Goal(_COARSE, None)
        coarse = eqx.tree_at(lambda s: s.goal, stepper, goal, is_leaf=lambda leaf: leaf is None)
        rough = Lanes.of(_without_origin(problem), nudge, relaxation.precision)
        end = iterate(rough, coarse, phase.batching, state, extended, spent=spent)
        # One step is left for who has taken all, to measure where it is.
        state, spent = end.state, jnp.minimum(end.count, relaxation.max_steps - 1)
        lanes = Lanes.of(problem, nudge, None)
        extended = lanes.map(lambda dynamics, state: dynamics.extend(state), state)
    end = iterate(lanes, stepper, phase.batching, state, extended, spent=spent, steps=fixed)
    if fixed is None:
        state = jax.tree.map(without_derivative, end.state)
        end = eqx.tree_at(lambda end: end.state, end, state)
    return _equilibrium(lanes, end, newest=newest)


def _without_origin(problem: Problem) -> Problem:
    """Low precision leaves no more of a state than a rough place, whatever the response is."""
    return eqx.tree_at(lambda p: p.origin, problem, None, is_leaf=lambda leaf: leaf is None)


def _equilibrium(lanes: Lanes, end: End, *, newest: bool) -> Equilibrium:
    """The end of all lanes, in the shape of batch and points."""
    settled, residual = end.distance.settled, end.distance.residual
    result = jnp.where(settled, RelaxationResult.SETTLED, RelaxationResult.OUT_OF_STEPS)
    result = jnp.where(jnp.isfinite(residual), result, RelaxationResult.DIVERGED)
    # The step that measured the distance counts where its result is what is returned.
    steps: Int[Array, ""] = end.count if newest else end.count - 1
    state, residual, result = lanes.in_grid((end.state, residual, result))
    return Equilibrium(state, residual, steps, result)


def _start(
    lanes: Lanes, problem: Problem, init: State | None, *, warm: bool
) -> tuple[State, PyTree[Any]]:
    """Every lane's starting state, and its extended state."""
    nudge, known = lanes.nudge, init is not None
    if init is None and problem.centre is None:
        init = problem.init_state()
    elif init is None:
        init = jax.tree.map(jnp.zeros_like, problem.centre)
    if not known and len(lanes.shape) == 2:
        init = jax.tree.map(lambda s: jnp.broadcast_to(s, (lanes.shape[0], *s.shape)), init)
    if nudge is not None and jnp.issubdtype(nudge.dtype, jnp.complexfloating):
        init = to_complex(init)
    init = lanes.in_row(init)

    def extend(dynamics: AbstractDynamics, state: State) -> PyTree[Any]:
        return dynamics.feed_forward(state) if warm and not known else dynamics.extend(state)

    if known or problem.centre is None:
        return init, lanes.map(extend, init)
    # The extended state of zero is zero: no need to compute it.
    shapes = jax.eval_shape(lambda state: lanes.map(extend, state), init)
    return init, jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
