"""The one loop that relaxes, for a batch of examples and a circle of nudges at once."""

import enum
import functools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._crowd import Crowd, is_large
from holoprop._dynamics import AbstractDynamics
from holoprop._problem import Problem
from holoprop._relaxation import AbstractRelaxation, default_tolerance
from holoprop._tree import real_dtype, to_complex
from holoprop._types import Array, Bool, Float, Inexact, Int, Key, PyTree, RealScalar, State

# With a fixed number of steps there is no tolerance to miss; a state that still moves by more than
# a tenth of itself in one step is no equilibrium of any kind.
_STILL_MOVING = 0.1
# Where plain states stop to settle in low precision, whose rounding is of this size.
_COARSE = 0.01
# A crowd of this many or more goes on without its settled ones once a quarter of it is left.
_MANY, _FEW = 16, 4


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
    when each has settled or diverged. Most settle soon and a few take long: for small networks the
    loop goes on with those few alone, for large ones with everyone.

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
    walk = _Walk(relaxation, key, nudged=nudge is not None, newest=newest)
    if fixed is not None:
        state, residual, count = walk.steps(crowd, init, carry, fixed)
    else:
        polish = None
        if relaxation.precision is not None and problem.centre is None:
            polish = Crowd.of(problem, nudge, None)
        stages = not is_large(problem.states)
        state, residual, count = walk.rest(
            crowd, polish, init, carry, tolerance=tolerance, stages=stages
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


@jax.custom_batching.custom_vmap
def _anywhere(going: Bool[Array, ""]) -> Bool[Array, ""]:
    """Whether a loop goes on, in any of the batches that a caller's vmap lets through together.

    A `while` whose condition differs between them would select, in every step, over all that it
    carries; like examples of one batch, they go on until the last has settled.
    """
    return going


@_anywhere.def_vmap
def _(size: int, batched: list[bool], going: Bool[Array, " batches"]) -> tuple[Array, bool]:
    return _anywhere(jnp.any(going)), False


class _Loop(eqx.Module):
    count: Int[Array, ""]
    # The state whose residual is known, and the carry that a step from it led to.
    state: State | None
    carry: PyTree[Any]
    residual: Float[Array, "*points batch"]

    def unsettled(self, tolerance: Any) -> Bool[Array, "*points batch"]:
        """Who still moves, and has not diverged."""
        return (self.residual > tolerance) & jnp.isfinite(self.residual)


# States, their residuals, and the steps until the last of them was known.
_Rest = tuple[State, Float[Array, "*points batch"], Int[Array, ""]]


class _Walk(eqx.Module):
    """How a crowd walks to rest."""

    relaxation: AbstractRelaxation
    key: Key | None
    nudged: bool = eqx.field(static=True)
    newest: bool = eqx.field(static=True)

    def steps(self, crowd: Crowd, init: State, carry: PyTree[Any], count: int) -> _Rest:
        """After a fixed number of steps."""
        loop = self._begin(crowd, jnp.array(0), init, carry)
        # One step more than asked for: it measures the residual of the state that is returned.
        loop, _ = jax.lax.scan(
            lambda loop, _: (self._step(crowd, loop), None), loop, length=count + 1
        )
        return loop.state, loop.residual, loop.count

    def rest(
        self,
        crowd: Crowd,
        polish: Crowd | None,
        init: State,
        carry: PyTree[Any],
        *,
        tolerance: Any,
        stages: bool,
    ) -> _Rest:
        """Settled to a tolerance.

        Arguments:
            crowd: Whom to relax.
            polish: The same without rounding, if `crowd` rounds and is to settle only coarsely.
            init: Their states.
            carry: Their dynamics' carries.
            tolerance: Of the residual.
            stages: Whether slow ones go on alone; each stage is compiled by itself.
        """
        loop = self._begin(crowd, jnp.array(0), init, carry)
        if polish is not None:
            loop = jax.lax.while_loop(
                lambda loop: _anywhere(
                    jnp.any(loop.unsettled(_COARSE)) & (loop.count < self.relaxation.max_steps)
                ),
                functools.partial(self._step, crowd),
                loop,
            )
            state = crowd.map(self.relaxation.state, loop.carry)
            crowd = polish
            carry = crowd.map(lambda rule, state: rule.begin(state), state)
            loop = self._begin(crowd, loop.count, state, carry)
        return self._settle(crowd, loop, tolerance=tolerance, stages=stages)

    def _begin(self, crowd: Crowd, count: Array, state: State, carry: PyTree[Any]) -> _Loop:
        # Not infinite, which would mean that it has diverged.
        unknown = jnp.full(crowd.shape, jnp.finfo(real_dtype(state)).max)
        known = None if self.newest else state
        return _Loop(count, known, crowd.map(self.relaxation.init, carry), unknown)

    def _step(self, crowd: Crowd, loop: _Loop) -> _Loop:
        relaxation = self.relaxation
        noise: tuple[State, ...] = ()
        if relaxation.noise > 0 and self.key is not None:
            step_key = jax.random.fold_in(self.key, loop.count)
            noise = (_draw(step_key, relaxation.noise, loop.state),)

        def one(
            rule: AbstractDynamics, carry: PyTree[Any], noise: State | None = None
        ) -> tuple[PyTree[Any], Float[Array, ""]]:
            return relaxation.step(
                rule, carry, count=loop.count, noise=noise, backwards=self.nudged
            )

        new, residual = crowd.map(one, loop.carry, *noise)
        state = None if self.newest else crowd.map(relaxation.state, loop.carry)
        return _Loop(loop.count + 1, state, new, residual)

    def _settle(self, crowd: Crowd, loop: _Loop, *, tolerance: Any, stages: bool) -> _Rest:
        """Everyone in the crowd, and the steps of the slowest."""
        count = math.prod(crowd.shape)
        few = count // _FEW if count >= _MANY and stages else 0

        def moving(loop: _Loop) -> Bool[Array, ""]:
            many = jnp.sum(loop.unsettled(tolerance)) > few
            return _anywhere(many & (loop.count <= self.relaxation.max_steps))

        loop = jax.lax.while_loop(moving, functools.partial(self._step, crowd), loop)
        state = crowd.map(self.relaxation.state, loop.carry) if self.newest else loop.state
        if few == 0:
            return state, loop.residual, loop.count
        order = jnp.argsort(~loop.unsettled(tolerance).reshape(-1), stable=True)
        chosen = order[:few]
        rest = _Loop(loop.count, *crowd.rows((loop.state, loop.carry, loop.residual), chosen))
        late_state, late_residual, steps = self._settle(
            crowd.take(chosen), rest, tolerance=tolerance, stages=True
        )
        # Put back without a scatter: everyone looks up where it went.
        merge = functools.partial(crowd.merge, place=jnp.argsort(order))
        return (
            jax.tree.map(merge, state, late_state),
            merge(loop.residual, late_residual),
            steps,
        )


def _draw(key: Key, deviation: float, like: State) -> State:
    """Real Gaussian noise for every unit of every example and point."""
    leaves, structure = jax.tree.flatten(like)
    keys = jax.random.split(key, len(leaves))
    dtype = real_dtype(like)
    return jax.tree.unflatten(
        structure,
        [
            deviation * jax.random.normal(k, leaf.shape, dtype)
            for k, leaf in zip(keys, leaves, strict=True)
        ],
    )


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
