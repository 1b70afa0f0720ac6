"""The abstract relaxation: what one step does, and when it is enough."""

import abc
from typing import Any, Literal, TypeAlias

import equinox as eqx
import jax
import numpy as np

from holoprop._types import Int, PyTree, State
from holoprop.nn import Precision
from holoprop.relaxation._distance import Distance, Goal
from holoprop.relaxation._lanes import Lanes

# A residual; or None for the dtype's default; or "auto" for what the gradient needs.
Tolerance: TypeAlias = float | Literal["auto"] | None


# A converter, because it runs before a type checker would complain in words of its own.
def as_tolerance(value: Any) -> Any:
    """A setting that may be a tolerance; `ValueError` for other words than "auto"."""
    if isinstance(value, str) and value != "auto":
        raise ValueError(f'tolerance must be a positive number, "auto" or None; got {value!r}.')
    return float(value) if isinstance(value, np.generic) else value


class AbstractRelaxation(eqx.Module):
    """A way to relax: what a loop carries for its lanes, and what one step does to it.

    Every relaxation takes either a fixed number of `steps`, or a `tolerance` on the residual with a
    largest number of steps. A relaxation whose step is one update of the state subclasses
    `AbstractUpdate`, which has all of this; one that wraps another reads it from the one inside.

    """

    def __check_init__(self) -> None:
        check_settings(self)

    # Properties, so that they may be fields or be read from a relaxation inside.

    @property
    @abc.abstractmethod
    def steps(self) -> int | None:
        """Fixed number of steps, or None."""

    @property
    @abc.abstractmethod
    def tolerance(self) -> Tolerance:
        """Residual at which an example has settled.

        None for the dtype's default, "auto" for what the gradient needs; both allow for what
        rounding makes impossible, a number does not.
        """

    @property
    @abc.abstractmethod
    def max_steps(self) -> int:
        """Largest number of steps where there is a tolerance."""

    @property
    @abc.abstractmethod
    def noise(self) -> float:
        """Standard deviation of the Gaussian noise on each unit's input at each step."""

    @property
    def precision(self) -> Precision:
        """How the operands of linear maps are rounded, or None. States are not rounded.

        Deviations are relaxed in this precision all the way; plain states settle to a hundredth in
        it and then to the tolerance without rounding.
        """
        return None

    @property
    def from_feed_forward(self) -> bool:
        """Whether a phase to a tolerance starts from a feed-forward pass, where there is one."""
        return False

    @property
    def knows_curvature(self) -> bool:
        """Whether its distances are by the energy's curvature, and not by moves alone."""
        return False

    @abc.abstractmethod
    def init(self, lanes: Lanes, extended: PyTree[Any]) -> PyTree[Any]:
        """What the loop carries for lanes that start at extended states, [lanes, ...]."""

    @abc.abstractmethod
    def step(
        self,
        lanes: Lanes,
        carry: PyTree[Any],
        *,
        count: Int[jax.Array, ""],
        noise: State | None,
        backwards: bool,
    ) -> PyTree[Any]:
        """One step of all lanes: the next carry.

        Arguments:
            lanes: What steps.
            carry: From `init` or an earlier step, [lanes, ...].
            count: Steps of the loop before this one.
            noise: On each unit's input, [lanes, ...], or None.
            backwards: Whether layers are updated back to front (nudged phases).
        """

    @abc.abstractmethod
    def distance(
        self, lanes: Lanes, carry: PyTree[Any], state: State, goal: Goal, *, newest: bool
    ) -> Distance:
        """How far the lanes are from equilibrium, by a carry that has come out of a step.

        Arguments:
            lanes: What steps.
            carry: From the last step.
            state: [lanes, ...]: the states whose distance is asked for.
            goal: When it is near enough.
            newest: Whether these are the carry's own, and not those before its step.
        """

    @abc.abstractmethod
    def state(self, lanes: Lanes, carry: PyTree[Any]) -> State:
        """The states of a carry, [lanes, ...]."""


def default_tolerance(dtype: np.dtype) -> float:
    """1e-6 in float32 and 1e-13 in float64: some ten times the rounding of one step or more."""
    return 1e-13 if dtype == np.float64 else 1e-6


def check_settings(relaxation: AbstractRelaxation) -> None:
    """Raise `ValueError` for settings that describe no relaxation."""
    steps, tolerance = relaxation.steps, relaxation.tolerance
    max_steps, noise = relaxation.max_steps, relaxation.noise
    if steps is not None and tolerance is not None:
        raise ValueError(
            f"steps={steps!r} and tolerance={tolerance!r} exclude each other: give a fixed number "
            "of steps, or a tolerance with max_steps."
        )
    if steps is not None and (not isinstance(steps, int) or steps < 1):
        raise ValueError(f"steps must be a whole number, 1 or more; got {steps!r}.")
    if tolerance is not None and not isinstance(tolerance, str) and not tolerance > 0:
        raise ValueError(f"tolerance must be positive; got {tolerance!r}.")
    if not isinstance(max_steps, int) or max_steps < 1:
        raise ValueError(f"max_steps must be a whole number, 1 or more; got {max_steps!r}.")
    if not 0 <= noise < float("inf"):
        raise ValueError(f"noise must be a standard deviation, 0 or more; got {noise!r}.")
    if noise > 0 and steps is None:
        raise ValueError(
            f"noise={noise!r} never lets the residual fall to a tolerance: give a fixed number of "
            "steps instead."
        )
