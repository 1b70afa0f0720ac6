"""The one loop that relaxes, for a batch of examples and a circle of nudges at once."""

import enum
import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._crowd import Crowd, is_large, takes_turns
from holoprop._dynamics import AbstractDynamics
from holoprop._problem import Problem
from holoprop._relaxation import AbstractRelaxation, default_tolerance
from holoprop._stages import in_stages
from holoprop._tree import real_dtype, to_complex
from holoprop._turns import in_turns
from holoprop._types import Array, Bool, Float, Inexact, Int, Key, PyTree, RealScalar, State
from holoprop._walk import Rest, Walk

# With a fixed number of steps there is no tolerance to miss; a state that still moves by more than
# a tenth of itself in one step is no equilibrium of any kind.
_STILL_MOVING = 0.1
# Where plain states stop to settle in low precision, whose rounding is of this size.
_COARSE = 0.01


class Result(enum.IntEnum):
    """How an example's relaxation ended."""

    SETTLED = 0
    OUT_OF_STEPS = 1
    DIVERGED = 2


class Equilibrium(eqx.Module):
    """Where a batch came to rest, and how well.

    Attributes:
        state: Tree of arrays [batch, ...], or [points, batch, ...] for several nudges.
        residual: Real [batch] or [points, batch]: size of one further step relative to the state;
            infinite or not a number where an example diverged.
        steps: Integer scalar: steps taken, the same for the whole batch.
        result: Integers shaped as `residual`: `Result.SETTLED` where the residual is within the
            tolerance (the precision's default for a fixed number of steps), `Result.OUT_OF_STEPS`
            or `Result.DIVERGED`.
    """

    state: State
    residual: Float[Array, "*points batch"]
    steps: Int[Array, ""]
    result: Int[Array, "*points batch"]


def settle(
    problem: Problem,
    relaxation: AbstractRelaxation,
    *,
    nudge: Inexact[Array, "*points"] | None,
    init: State | None,
    key: Key | None,
    steps: int | None = None,
    tolerance: float | RealScalar | None = None,
    newest: bool = False,
) -> Equilibrium:
    """Relax every example, under one nudge or under several at once.

    Examples and points go through the loop together and do not influence each other; the loop ends
    when each has settled or diverged. Most settle soon and a few take long: small networks go on
    with those few alone (`_stages`), large ones settle few at a time on a processor (`_turns`).

    Arguments:
        problem: The batch.
        relaxation: How to step and when to stop.
        nudge: Real or complex scalar or [points], or None for the free phase.
        init: [batch, ...], or [points, batch, ...] if there are several nudges; None for the
            energy's own start, or for no deviation.
        key: For the noise, or None.
        steps: A fixed number of steps instead of the relaxation's own stopping.
        tolerance: Instead of the relaxation's own.
        newest: Whether to return, after settling to a tolerance, the state that the last step led
            to instead of the one that the residual belongs to: nearer to rest, at no price.
    """
    fixed = relaxation.steps if steps is None else steps
    newest = newest and fixed is None
    crowd = Crowd.of(problem, nudge, relaxation.precision)
    init, carry = _start(crowd, problem, init, warm=relaxation.from_feed_forward and fixed is None)
    if tolerance is None:
        own = relaxation.tolerance
        tolerance = own if isinstance(own, float | int) else default_tolerance(real_dtype(init))
    walk = Walk(relaxation, key, nudged=nudge is not None, newest=newest)
    if fixed is not None:
        state, residual, count = walk.steps(crowd, init, carry, fixed)
    else:
        come_to_rest: Callable[..., Rest] = in_turns
        if not takes_turns(problem.states):
            come_to_rest = functools.partial(in_stages, stages=not is_large(problem.states))
        spent = jnp.array(0)
        if relaxation.precision is not None and problem.centre is None:
            coarse = Walk(relaxation, key, nudged=nudge is not None, newest=True)
            init, _, spent = come_to_rest(
                coarse, crowd, init, carry, spent=spent, tolerance=_COARSE
            )
            # One step is left for who has taken all, to measure where it is.
            spent = jnp.minimum(spent, relaxation.max_steps)
            crowd = Crowd.of(problem, nudge, None)
            carry = crowd.map(lambda rule, state: rule.begin(state), init)
        state, residual, count = come_to_rest(
            walk, crowd, init, carry, spent=spent, tolerance=tolerance
        )
    result = jnp.where(residual <= tolerance, Result.SETTLED, Result.OUT_OF_STEPS)
    result = jnp.where(jnp.isfinite(residual), result, Result.DIVERGED)
    # The step that measured the residual counts where its result is what is returned.
    return Equilibrium(state, residual, count if newest else count - 1, result)


def _start(
    crowd: Crowd, problem: Problem, init: State | None, *, warm: bool
) -> tuple[State, PyTree[Any]]:
    """Everyone's starting state and dynamics' carry."""
    nudge, known = crowd.nudge, init is not None
    if init is None and problem.centre is None:
        init = problem.init_state()
    elif init is None:
        init = jax.tree.map(jnp.zeros_like, problem.centre)
    if not known and len(crowd.shape) == 2:
        init = jax.tree.map(lambda s: jnp.broadcast_to(s, (crowd.shape[0], *s.shape)), init)
    if nudge is not None and jnp.issubdtype(nudge.dtype, jnp.complexfloating):
        init = to_complex(init)

    def begin(rule: AbstractDynamics, state: State) -> PyTree[Any]:
        return rule.feed_forward(state) if warm and not known else rule.begin(state)

    if known or problem.centre is None:
        return init, crowd.map(begin, init)
    # The carry of zero is zero: no need to compute it.
    shapes = jax.eval_shape(lambda state: crowd.map(begin, state), init)
    return init, jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)


def usable(equilibrium: Equilibrium, *, fixed: bool, noisy: bool) -> Bool[Array, "*points batch"]:
    """Which examples came to rest well enough to learn from.

    With a tolerance, those that settled. With a fixed number of steps, as in the paper, all that
    neither diverged nor still move by a tenth of themselves; with noise, all that did not diverge.
    """
    if noisy:
        return equilibrium.result != Result.DIVERGED
    if fixed:
        return equilibrium.residual <= _STILL_MOVING
    return equilibrium.result == Result.SETTLED


def is_usable(
    equilibrium: Equilibrium, relaxation: AbstractRelaxation
) -> Bool[Array, "*points batch"]:
    """`usable` by the stopping of the relaxation that made the equilibrium."""
    return usable(equilibrium, fixed=relaxation.steps is not None, noisy=relaxation.noise > 0)
