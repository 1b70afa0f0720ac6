"""The stepper: one step of all lanes, and which of them go on."""

from typing import Any

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import optax

from holoprop._tree import real_dtype
from holoprop._types import Array, Bool, Float, Int, Key, PyTree, State
from holoprop.relaxation._distance import Distance, Goal
from holoprop.relaxation._lanes import Lanes
from holoprop.relaxation._relaxation import AbstractRelaxation


class Progress(eqx.Module):
    """Where lanes are.

    Attributes:
        state: The states before the last step, or None where nobody will ask for them.
        carry: What the last step led to.
        distance: From equilibrium, of the states that are wanted; infinite or not a number for who
            has diverged.
    """

    state: State | None
    carry: PyTree[Any]
    distance: Distance


class Stepper(eqx.Module):
    """How lanes step, and when each has come to its end.

    Attributes:
        relaxation: The step.
        key: For the noise, or None.
        goal: When a lane has settled.
        nudged: Whether the phase is nudged.
        newest: Whether the state that the last step led to is wanted, not the one before it.
        looks: Whether who has settled by its moves has to have settled along the slope too.
    """

    relaxation: AbstractRelaxation
    key: Key | None
    goal: Goal
    nudged: bool = eqx.field(static=True)
    newest: bool = eqx.field(static=True)
    looks: bool = eqx.field(static=True)

    def init(self, lanes: Lanes, state: State, extended: PyTree[Any]) -> Progress:
        """Before the first step."""
        # Not infinite, which would mean that it has diverged.
        count = jax.tree.leaves(state)[0].shape[0]
        unknown = jnp.full(count, jnp.finfo(real_dtype(state)).max)
        known = None if self.newest else state
        carry = self.relaxation.init(lanes, extended)
        return Progress(known, carry, Distance(unknown, jnp.zeros(count, bool)))

    def step(self, lanes: Lanes, progress: Progress, count: Int[Array, ""]) -> Progress:
        """One step of every lane, and how far it has come."""
        return self.measured(lanes, self.advanced(lanes, progress, count))

    def advanced(self, lanes: Lanes, progress: Progress, count: Int[Array, ""]) -> Progress:
        """One step of every lane, `count` steps of the loop after its first."""
        relaxation = self.relaxation
        noise = None
        if relaxation.noise > 0 and self.key is not None:
            step_key = jax.random.fold_in(self.key, count)
            drawn = optax.tree.random_like(
                step_key, progress.state, dtype=real_dtype(progress.state)
            )
            noise = jax.tree.map(lambda eta: relaxation.noise * eta, drawn)
        new = relaxation.step(
            lanes, progress.carry, count=count, noise=noise, backwards=self.nudged
        )
        state = None if self.newest else relaxation.state(lanes, progress.carry)
        return Progress(state, new, progress.distance)

    def measured(self, lanes: Lanes, progress: Progress) -> Progress:
        """The same, with the distances after the last step, which may have a next one.

        A mixed step, or one of a slow mode beside fast ones, can be short far from equilibrium: who
        has just settled by its moves is looked at. What rounding allows is taken where a further
        step comes no nearer.
        """
        found, before = self._by_moves(lanes, progress), progress.distance
        if not self.looks:
            return Progress(progress.state, progress.carry, found)
        stay = found.settled & before.settled
        residual = jnp.where(stay, before.residual, found.residual)

        def look() -> Distance:
            further, settled = self._along_the_slope(lanes, progress, found)
            ends = (further <= self.goal.tolerance) | (further >= before.residual)
            residuals = jnp.where(found.settled & ~stay, further, residual)
            return Distance(residuals, stay | (settled & ends))

        some = eqxi.unvmap_any(found.settled & ~stay)
        distance = jax.lax.cond(some, look, lambda: Distance(residual, stay))
        return Progress(progress.state, progress.carry, distance)

    def ended(self, lanes: Lanes, progress: Progress) -> Progress:
        """The same, with the distances after the last step of a fixed number."""
        found = self._by_moves(lanes, progress)
        if self.looks:
            found = Distance(*self._along_the_slope(lanes, progress, found))
        return Progress(progress.state, progress.carry, found)

    def _by_moves(self, lanes: Lanes, progress: Progress) -> Distance:
        state = self.state(lanes, progress)
        return self.relaxation.distance(lanes, progress.carry, state, self.goal, newest=self.newest)

    def _along_the_slope(
        self, lanes: Lanes, progress: Progress, found: Distance
    ) -> tuple[Float[Array, " lanes"], Bool[Array, " lanes"]]:
        """Residuals no smaller than the slope's own way is long, and who has settled by both."""
        other = lanes.distance_along_the_slope(self.state(lanes, progress), self.goal)
        return jnp.maximum(found.residual, other.residual), found.settled & other.settled

    def goes_on(self, progress: Progress, taken: Int[Array, "..."]) -> Bool[Array, " lanes"]:
        """Which lanes have neither settled, nor diverged, nor taken all their steps.

        Arguments:
            progress: Where they are.
            taken: How many steps each has taken, or all have.
        """
        moves = ~progress.distance.settled & jnp.isfinite(progress.distance.residual)
        return moves & (taken < self.relaxation.max_steps)

    def state(self, lanes: Lanes, progress: Progress) -> State:
        """The states that are wanted."""
        return self.relaxation.state(lanes, progress.carry) if self.newest else progress.state
