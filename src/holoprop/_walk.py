"""How a crowd walks towards rest: one step of everyone after another."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._crowd import Crowd
from holoprop._dynamics import AbstractDynamics
from holoprop._relaxation import AbstractRelaxation
from holoprop._tree import real_dtype
from holoprop._types import Array, Bool, Float, Int, Key, PyTree, State

# States, their residuals, and the steps until the last of them was known.
Rest = tuple[State, Float[Array, "*points batch"], Int[Array, ""]]


@jax.custom_batching.custom_vmap
def anywhere(going: Bool[Array, ""]) -> Bool[Array, ""]:
    """Whether a loop goes on, in any of the batches that a caller's vmap lets through together.

    A `while` whose condition differs between them would select, in every step, over all that it
    carries; like examples of one batch, they go on until the last has settled.
    """
    return going


@anywhere.def_vmap
def _(size: int, batched: list[bool], going: Bool[Array, " batches"]) -> tuple[Array, bool]:
    return anywhere(jnp.any(going)), False


class Loop(eqx.Module):
    """Where everyone is.

    Attributes:
        count: Steps taken.
        state: The states whose residuals are known, or None where nobody will ask for them.
        carry: The carries that a step from them led to.
        residual: Infinite or not a number for who has diverged.
    """

    count: Int[Array, ""]
    state: State | None
    carry: PyTree[Any]
    residual: Float[Array, "*points batch"]

    def unsettled(self, tolerance: Any) -> Bool[Array, "*points batch"]:
        """Who still moves, and has not diverged."""
        return (self.residual > tolerance) & jnp.isfinite(self.residual)


class Walk(eqx.Module):
    """How everyone walks.

    Attributes:
        relaxation: The step.
        key: For the noise, or None.
        nudged: Whether the phase is nudged.
        newest: Whether the state that the last step led to is wanted, not the one whose residual is
            known.
    """

    relaxation: AbstractRelaxation
    key: Key | None
    nudged: bool = eqx.field(static=True)
    newest: bool = eqx.field(static=True)

    def begin(self, crowd: Crowd, count: Array, state: State, carry: PyTree[Any]) -> Loop:
        """Before the first step."""
        # Not infinite, which would mean that it has diverged.
        unknown = jnp.full(crowd.shape, jnp.finfo(real_dtype(state)).max)
        known = None if self.newest else state
        return Loop(count, known, crowd.map(self.relaxation.init, carry), unknown)

    def step(self, crowd: Crowd, loop: Loop) -> Loop:
        """One step of everyone."""
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
        return Loop(loop.count + 1, state, new, residual)

    def state(self, crowd: Crowd, loop: Loop) -> State:
        """The states that are wanted."""
        return crowd.map(self.relaxation.state, loop.carry) if self.newest else loop.state

    def steps(self, crowd: Crowd, init: State, carry: PyTree[Any], count: int) -> Rest:
        """After a fixed number of steps."""
        loop = self.begin(crowd, jnp.array(0), init, carry)
        # One step more than asked for: it measures the residual of the state that is returned.
        loop, _ = jax.lax.scan(
            lambda loop, _: (self.step(crowd, loop), None), loop, length=count + 1
        )
        return loop.state, loop.residual, loop.count

    def until(self, crowd: Crowd, loop: Loop, *, tolerance: Any, few: int = 0) -> Loop:
        """Until no more than a few are left that have not settled."""

        def going(loop: Loop) -> Bool[Array, ""]:
            many = jnp.sum(loop.unsettled(tolerance)) > few
            return anywhere(many & (loop.count <= self.relaxation.max_steps))

        return jax.lax.while_loop(going, functools.partial(self.step, crowd), loop)


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
