"""What relaxation leaves: where a batch settled, how well, and what of it may be used."""

import enum

import equinox as eqx

from holoprop._types import Array, Bool, Float, Int, State
from holoprop.relaxation._relaxation import AbstractRelaxation

# With a fixed number of steps there is no tolerance to miss; a state that still moves by more than
# a tenth of itself in one step is no equilibrium of any kind.
_STILL_MOVING = 0.1


class RelaxationResult(enum.IntEnum):
    """How an example's relaxation ended."""

    SETTLED = 0
    OUT_OF_STEPS = 1
    DIVERGED = 2


class Equilibrium(eqx.Module):
    """Where a batch settled, and how well.

    Attributes:
        state: Tree of arrays [batch, ...], or [points, batch, ...] for several nudges.
        residual: Real [batch] or [points, batch]: size of one further step relative to the state;
            infinite or not a number where an example diverged.
        steps: Integer scalar: steps taken by the slowest example of the batch.
        result: Integers shaped as `residual`: `RelaxationResult.SETTLED` where the residual is
            within the tolerance (the precision's default for a fixed number of steps),
            `RelaxationResult.OUT_OF_STEPS` or `RelaxationResult.DIVERGED`.
    """

    state: State
    residual: Float[Array, "*points batch"]
    steps: Int[Array, ""]
    result: Int[Array, "*points batch"]


def usable(equilibrium: Equilibrium, *, fixed: bool, noisy: bool) -> Bool[Array, "*points batch"]:
    """Which examples settled well enough to learn from.

    With a tolerance, those that settled. With a fixed number of steps, as in the paper, those and
    all others that neither diverged nor still move by a tenth of themselves; with noise, all that
    did not diverge. A response so small that rounding moves it by more has settled as well as it
    can: how much is wrong with it, the error budget says.
    """
    if noisy:
        return equilibrium.result != RelaxationResult.DIVERGED
    settled = equilibrium.result == RelaxationResult.SETTLED
    return settled | (equilibrium.residual <= _STILL_MOVING) if fixed else settled


def is_usable(
    equilibrium: Equilibrium, relaxation: AbstractRelaxation, *, strict: bool = False
) -> Bool[Array, "*points batch"]:
    """`usable` by the stopping of the relaxation that made the equilibrium.

    Arguments:
        equilibrium: Where it settled.
        relaxation: What made it.
        strict: Whether after a fixed number of steps, too, only what has settled may be used.
    """
    fixed = relaxation.steps is not None and not strict
    return usable(equilibrium, fixed=fixed, noisy=relaxation.noise > 0)
