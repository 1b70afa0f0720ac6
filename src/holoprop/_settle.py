"""The one loop that relaxes, for a batch of examples and a circle of nudges at once."""

import enum
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._dynamics import AbstractDynamics
from holoprop._problem import Given, Problem, dynamics, prepare
from holoprop._relaxation import AbstractRelaxation, default_tolerance
from holoprop._tree import real_dtype, to_complex
from holoprop._types import Array, Bool, Float, Inexact, Int, Key, PyTree, Scalar, State

# With a fixed number of steps there is no tolerance to miss; a state that still moves by more than
# a tenth of itself in one step is no equilibrium of any kind.
_STILL_MOVING = 0.1


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


class _Loop(eqx.Module):
    count: Int[Array, ""]
    # The carry whose residual is known, and the one that its step led to.
    previous: PyTree[Any]
    current: PyTree[Any]
    residual: Float[Array, "*points batch"]


def settle(
    problem: Problem,
    relaxation: AbstractRelaxation,
    *,
    nudge: Inexact[Array, "*points"] | None,
    init: State,
    key: Key | None,
    steps: int | None = None,
) -> Equilibrium:
    """Relax every example, under one nudge or under several at once.

    Examples and points go through the loop together and do not influence each other; the loop ends
    when each has settled or diverged.

    Arguments:
        problem: The batch.
        relaxation: How to step and when to stop.
        nudge: Real or complex scalar or [points], or None for the free phase.
        init: [batch, ...], or [points, batch, ...] if there are several nudges.
        key: For the noise, or None.
        steps: A fixed number of steps instead of the relaxation's own stopping.
    """
    if nudge is not None and jnp.issubdtype(nudge.dtype, jnp.complexfloating):
        init = to_complex(init)
    fixed = relaxation.steps if steps is None else steps
    tolerance = relaxation.tolerance
    tolerance = default_tolerance(init) if tolerance is None else tolerance
    backwards = nudge is not None

    def on_batch(function: Any, *, counted: bool) -> Any:
        """Map a function of one example's dynamics over examples, then over points."""

        def one(given: Given, beta: Scalar | None, *rest: Any) -> Any:
            return function(dynamics(problem.energy, given, beta), *rest)

        axes = (0, 0) if counted else (0,)
        unbatched = (None,) if counted else ()
        mapped = jax.vmap(one, in_axes=(0, None, *axes, *unbatched))
        if nudge is not None and nudge.ndim == 1:
            mapped = jax.vmap(mapped, in_axes=(None, 0, *axes, *unbatched))
        return lambda *rest: mapped(given, nudge, *rest)

    def step_one(
        rule: AbstractDynamics, carry: PyTree[Any], noise: State | None, count: Int[Array, ""]
    ) -> tuple[PyTree[Any], Float[Array, ""]]:
        return relaxation.step(rule, carry, count=count, noise=noise, backwards=backwards)

    given = prepare(problem)
    begin = on_batch(relaxation.init, counted=False)
    step = on_batch(step_one, counted=True)
    state = on_batch(relaxation.state, counted=False)

    def body(loop: _Loop) -> _Loop:
        noise = None
        if relaxation.noise > 0 and key is not None:
            noise = _draw(jax.random.fold_in(key, loop.count), relaxation.noise, init)
        new, residual = step(loop.current, noise, loop.count)
        return _Loop(loop.count + 1, loop.current, new, residual)

    def moving(loop: _Loop) -> Bool[Array, ""]:
        unsettled = (loop.residual > tolerance) & jnp.isfinite(loop.residual)
        return (loop.count == 0) | (jnp.any(unsettled) & (loop.count <= relaxation.max_steps))

    start = begin(init)
    points = () if nudge is None else nudge.shape
    infinite = jnp.full((*points, problem.batch), jnp.inf, real_dtype(init))
    loop = _Loop(jnp.array(0), start, start, infinite)
    # One step more than asked for: it measures the residual of the state that is returned.
    if fixed is None:
        loop = jax.lax.while_loop(moving, body, loop)
    else:
        loop, _ = jax.lax.scan(lambda loop, _: (body(loop), None), loop, length=fixed + 1)
    result = jnp.where(loop.residual <= tolerance, Result.SETTLED, Result.OUT_OF_STEPS)
    result = jnp.where(jnp.isfinite(loop.residual), result, Result.DIVERGED)
    return Equilibrium(state(loop.previous), loop.residual, loop.count - 1, result)


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
