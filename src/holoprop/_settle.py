"""The one loop that relaxes, for a batch of examples and a circle of nudges at once."""

import enum
import functools
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._dynamics import AbstractDynamics
from holoprop._energy import AbstractEnergy
from holoprop._linear_maps import Precision
from holoprop._problem import Given, Problem, dynamics, prepare
from holoprop._relaxation import AbstractRelaxation, default_tolerance
from holoprop._tree import real_dtype, to_complex
from holoprop._types import Array, Bool, Float, Inexact, Int, Key, PyTree, RealScalar, Scalar, State

# With a fixed number of steps there is no tolerance to miss; a state that still moves by more than
# a tenth of itself in one step is no equilibrium of any kind.
_STILL_MOVING = 0.1
# Where plain states stop to settle in low precision, whose rounding is of this size.
_COARSE = 0.01
# A crowd of this many or more goes on without its settled ones once a quarter of it is left, if its
# members are small: each such stage is compiled by itself, which takes long for large networks.
_MANY, _FEW, _SMALL = 16, 4, 2**13


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
    crowd = _Crowd.of(problem, nudge, relaxation.precision)
    init, carry = _start(crowd, problem, init, warm=relaxation.from_feed_forward and fixed is None)
    if tolerance is None:
        own = relaxation.tolerance
        tolerance = own if isinstance(own, float | int) else default_tolerance(real_dtype(init))

    def begin_loop(crowd: _Crowd, count: Array, state: State, carry: PyTree[Any]) -> _Loop:
        # Not infinite, which would mean that it has diverged.
        unknown = jnp.full(crowd.shape, jnp.finfo(real_dtype(init)).max)
        state = None if newest else state
        return _Loop(count, state, crowd.map(relaxation.init, carry), unknown)

    loop = begin_loop(crowd, jnp.array(0), init, carry)

    def step(crowd: _Crowd, loop: _Loop) -> _Loop:
        noise: tuple[State, ...] = ()
        if relaxation.noise > 0 and key is not None:
            noise = (_draw(jax.random.fold_in(key, loop.count), relaxation.noise, init),)

        def one(
            rule: AbstractDynamics, carry: PyTree[Any], noise: State | None = None
        ) -> tuple[PyTree[Any], Float[Array, ""]]:
            return relaxation.step(
                rule, carry, count=loop.count, noise=noise, backwards=nudge is not None
            )

        new, residual = crowd.map(one, loop.carry, *noise)
        state = None if newest else crowd.map(relaxation.state, loop.carry)
        return _Loop(loop.count + 1, state, new, residual)

    def look(crowd: _Crowd, loop: _Loop) -> State:
        return crowd.map(relaxation.state, loop.carry) if newest else loop.state

    def unsettled(loop: _Loop, tolerance: Any = tolerance) -> Bool[Array, "*points batch"]:
        return (loop.residual > tolerance) & jnp.isfinite(loop.residual)

    units = sum(leaf.size for leaf in jax.tree.leaves(init)) // math.prod(crowd.shape)
    small = units <= _SMALL

    def settle_all(crowd: _Crowd, loop: _Loop) -> tuple[State, Array, Int[Array, ""]]:
        """State and residual of everyone in the crowd, and the steps of the slowest."""
        count = math.prod(crowd.shape)
        few = count // _FEW if count >= _MANY and small else 0

        def moving(loop: _Loop) -> Bool[Array, ""]:
            return (jnp.sum(unsettled(loop)) > few) & (loop.count <= relaxation.max_steps)

        loop = jax.lax.while_loop(moving, lambda loop: step(crowd, loop), loop)
        state = look(crowd, loop)
        if few == 0:
            return state, loop.residual, loop.count
        order = jnp.argsort(~unsettled(loop).reshape(-1), stable=True)
        chosen = order[:few]
        rest = _Loop(loop.count, *crowd.rows((loop.state, loop.carry, loop.residual), chosen))
        late_state, late_residual, steps = settle_all(crowd.take(chosen), rest)
        # Put back without a scatter: everyone looks up where it went.
        place = jnp.argsort(order)
        merge = functools.partial(crowd.merge, place=place)
        return (
            jax.tree.map(merge, state, late_state),
            merge(loop.residual, late_residual),
            steps,
        )

    # One step more than asked for: it measures the residual of the state that is returned.
    if fixed is None:
        if relaxation.precision is not None and problem.centre is None:
            loop = jax.lax.while_loop(
                lambda loop: (
                    jnp.any(unsettled(loop, _COARSE)) & (loop.count < relaxation.max_steps)
                ),
                lambda loop: step(crowd, loop),
                loop,
            )
            state = crowd.map(relaxation.state, loop.carry)
            crowd = _Crowd.of(problem, nudge, None)
            carry = crowd.map(lambda rule, state: rule.begin(state), state)
            loop = begin_loop(crowd, loop.count, state, carry)
        state, residual, count = settle_all(crowd, loop)
    else:
        loop, _ = jax.lax.scan(lambda loop, _: (step(crowd, loop), None), loop, length=fixed + 1)
        state, residual, count = loop.state, loop.residual, loop.count
    result = jnp.where(residual <= tolerance, Result.SETTLED, Result.OUT_OF_STEPS)
    result = jnp.where(jnp.isfinite(residual), result, Result.DIVERGED)
    # The step that measured the residual counts where its result is what is returned.
    return Equilibrium(state, residual, count if newest else count - 1, result)


class _Loop(eqx.Module):
    count: Int[Array, ""]
    # The state whose residual is known, and the carry that a step from it led to.
    state: State | None
    carry: PyTree[Any]
    residual: Float[Array, "*points batch"]


def _start(
    crowd: "_Crowd", problem: Problem, init: State | None, *, warm: bool
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


class _Crowd(eqx.Module):
    """The relaxation problems that go through a loop together.

    Attributes:
        energy: Of all.
        shared: What it computed once for all.
        given: What relaxation does not change, with a leading axis.
        nudge: Scalar, [points] or one for each row; or None.
        shape: Leading axes of states: (batch,), (points, batch) or (rows,).
        levels: For each axis, the last first, whether `given` and `nudge` have it.
    """

    energy: AbstractEnergy
    shared: PyTree[Any]
    given: Given
    nudge: Inexact[Array, "*points"] | None
    shape: tuple[int, ...] = eqx.field(static=True)
    levels: tuple[tuple[int | None, int | None], ...] = eqx.field(static=True)

    @staticmethod
    def of(
        problem: Problem, nudge: Inexact[Array, "*points"] | None, precision: Precision
    ) -> "_Crowd":
        """All examples of a problem under all nudges."""
        shared, given = problem.energy.share(precision), prepare(problem)
        if nudge is None or nudge.ndim == 0:
            return _Crowd(problem.energy, shared, given, nudge, (problem.batch,), ((0, None),))
        shape = (nudge.shape[0], problem.batch)
        return _Crowd(problem.energy, shared, given, nudge, shape, ((0, None), (None, 0)))

    def map(self, function: Callable[..., Any], *rest: Any) -> Any:
        """Map a function of one example's dynamics over everyone."""

        def one(given: Given, beta: Scalar | None, *rest: Any) -> Any:
            return function(dynamics(self.energy, given, beta, self.shared), *rest)

        for axes in self.levels:
            one = jax.vmap(one, in_axes=(*axes, *(0 for _ in rest)))
        return one(self.given, self.nudge, *rest)

    def rows(self, tree: PyTree[Any], chosen: Int[Array, " rows"]) -> PyTree[Any]:
        """Some of everyone's values, in one row."""
        axes = len(self.shape)
        return jax.tree.map(lambda a: a.reshape(-1, *a.shape[axes:])[chosen], tree)

    def take(self, chosen: Int[Array, " rows"]) -> "_Crowd":
        """A crowd of some, in one row."""
        example, nudge, axis = chosen, self.nudge, self.levels[-1][1]
        if nudge is not None and len(self.shape) == 2:
            point, example = jnp.divmod(chosen, self.shape[1])
            nudge = nudge[point]
        elif nudge is not None and axis is not None:
            nudge = nudge[chosen]
        given = jax.tree.map(lambda a: a[example], self.given)
        return _Crowd(self.energy, self.shared, given, nudge, chosen.shape, ((0, axis),))

    def merge(self, whole: Array, some: Array, *, place: Int[Array, " everyone"]) -> Array:
        """Everyone's values, from the row of `some` where one's place is in it."""
        axes = len(self.shape)
        inside = (place < some.shape[0]).reshape(self.shape + (1,) * (whole.ndim - axes))
        late = some[jnp.minimum(place, some.shape[0] - 1)].reshape(whole.shape)
        return jnp.where(inside, late, whole)


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
