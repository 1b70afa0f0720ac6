"""The stepper: one step of all lanes, and which of them go on."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from holoprop._tree import real_dtype
from holoprop._types import Array, Bool, Float, Int, Key, PyTree, State
from holoprop.energies import AbstractDynamics
from holoprop.relaxation._lanes import Lanes
from holoprop.relaxation._relaxation import AbstractRelaxation


class Progress(eqx.Module):
    """Where lanes are.

    Attributes:
        state: The states whose residuals are known, or None where nobody will ask for them.
        carry: What the step from them led to.
        residual: Infinite or not a number for who has diverged.
    """

    state: State | None
    carry: PyTree[Any]
    residual: Float[Array, " lanes"]


class Stepper(eqx.Module):
    """How lanes step, and when each has come to its end.

    Attributes:
        relaxation: The step.
        key: For the noise, or None.
        tolerance: On the residual.
        nudged: Whether the phase is nudged.
        newest: Whether the state that the last step led to is wanted, not the one whose residual is
            known.
    """

    relaxation: AbstractRelaxation
    key: Key | None
    tolerance: float | Float[Array, ""]
    nudged: bool = eqx.field(static=True)
    newest: bool = eqx.field(static=True)

    def init(self, lanes: Lanes, state: State, extended: PyTree[Any]) -> Progress:
        """Before the first step."""
        # Not infinite, which would mean that it has diverged.
        count = jax.tree.leaves(state)[0].shape[0]
        unknown = jnp.full(count, jnp.finfo(real_dtype(state)).max)
        known = None if self.newest else state
        return Progress(known, lanes.map(self.relaxation.init, extended), unknown)

    def step(self, lanes: Lanes, progress: Progress, count: Int[Array, ""]) -> Progress:
        """One step of every lane, `count` steps of the loop after its first."""
        relaxation = self.relaxation
        noise: tuple[State, ...] = ()
        if relaxation.noise > 0 and self.key is not None:
            step_key = jax.random.fold_in(self.key, count)
            drawn = optax.tree.random_like(
                step_key, progress.state, dtype=real_dtype(progress.state)
            )
            noise = (jax.tree.map(lambda eta: relaxation.noise * eta, drawn),)

        def one(
            dynamics: AbstractDynamics, carry: PyTree[Any], noise: State | None = None
        ) -> tuple[PyTree[Any], Float[Array, ""]]:
            return relaxation.step(dynamics, carry, count=count, noise=noise, backwards=self.nudged)

        new, residual = lanes.map(one, progress.carry, *noise)
        state = None if self.newest else lanes.map(relaxation.state, progress.carry)
        return Progress(state, new, residual)

    def goes_on(self, progress: Progress, taken: Int[Array, "..."]) -> Bool[Array, " lanes"]:
        """Which lanes have neither settled, nor diverged, nor taken all their steps.

        Arguments:
            progress: Where they are.
            taken: How many steps each has taken, or all have.
        """
        moves = (progress.residual > self.tolerance) & jnp.isfinite(progress.residual)
        # One step more than the largest number measures where the last of them led.
        return moves & (taken <= self.relaxation.max_steps)

    def state(self, lanes: Lanes, progress: Progress) -> State:
        """The states that are wanted."""
        return lanes.map(self.relaxation.state, progress.carry) if self.newest else progress.state
