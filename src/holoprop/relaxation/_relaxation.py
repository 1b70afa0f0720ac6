"""The abstract relaxation: what one step does, and when it is enough."""

import abc
from typing import Any, Literal, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from holoprop._tree import real_dtype, squared_norm
from holoprop._types import Float, Int, PyTree, State
from holoprop.energies import AbstractDynamics
from holoprop.nn import Precision
from holoprop.relaxation._lanes import Lanes

# A residual; or None for the dtype's default; or "auto" for what the gradient needs.
Tolerance: TypeAlias = float | Literal["auto"] | None

# A state whose root mean square passes this has diverged: far beyond any working network, and
# small enough that its square is finite in float32.
_BOUND = 1e8


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

        None for the dtype's default, "auto" for what the gradient needs.
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
    ) -> tuple[PyTree[Any], Float[jax.Array, " lanes"]]:
        """One step of all lanes: the next carry, and the residuals of the one given.

        Arguments:
            lanes: What steps.
            carry: From `init` or an earlier step, [lanes, ...].
            count: Steps of the loop before this one.
            noise: On each unit's input, [lanes, ...], or None.
            backwards: Whether layers are updated back to front (nudged phases).
        """

    @abc.abstractmethod
    def state(self, lanes: Lanes, carry: PyTree[Any]) -> State:
        """The states of a carry, [lanes, ...]."""


def default_tolerance(dtype: np.dtype) -> float:
    """1e-6 in float32 and 1e-13 in float64: some ten times the rounding of one step."""
    return 1e-13 if dtype == np.float64 else 1e-6


def residual(
    dynamics: AbstractDynamics, old: PyTree[Any], new: PyTree[Any]
) -> Float[jax.Array, ""]:
    """Size of the step between two extended states, relative to the old; infinite beyond bounds.

    Both sizes are root mean squares over all units. A state smaller than the square root of the
    precision counts as that large (see `AbstractDynamics.floor`).
    """
    old, new = jax.lax.stop_gradient((dynamics.state(old), dynamics.state(new)))
    units = sum(leaf.size for leaf in jax.tree.leaves(old))
    precision = jnp.finfo(real_dtype(old))
    floor = max(dynamics.floor * float(precision.eps) ** 0.5, float(precision.tiny))
    size = jnp.sqrt(squared_norm(old) / units)
    change = jnp.sqrt(squared_norm(jax.tree.map(lambda a, b: a - b, new, old)) / units)
    # A deviation starts at zero, which is settled only if it stays there.
    relative = jnp.where(change > 0, change / jnp.maximum(size, floor), 0.0)
    return jnp.where(size < _BOUND, relative, jnp.inf)


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
