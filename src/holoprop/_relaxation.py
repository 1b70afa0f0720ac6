"""The abstract relaxation: what it means to settle, and when to stop."""

import abc
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from holoprop._dynamics import AbstractDynamics
from holoprop._linear_maps import PRECISIONS, Precision
from holoprop._tree import real_dtype, squared_norm
from holoprop._types import Float, Int, PyTree, State

# A residual; or None for the dtype's default; or "auto" for what the gradient needs.
Tolerance: TypeAlias = float | str | None

# A state whose root mean square passes this has diverged: far beyond any working network, and
# small enough that its square is finite in float32.
_BOUND = 1e8


class AbstractRelaxation(eqx.Module):
    """A way to settle: how a carry begins, what one step does to it, and when it is enough.

    Every relaxation takes either a fixed number of `steps`, or a `tolerance` on the residual with a
    largest number of steps.

    Attributes:
        steps: Fixed number of steps, or None.
        tolerance: Residual at which an example has settled; None for the dtype's default, "auto"
            for what the gradient needs (`_tolerance`).
        max_steps: Largest number of steps where there is a tolerance.
        noise: Standard deviation of the Gaussian noise on each unit's input at each step.
        precision: How the operands of linear maps are rounded, or None. States are not rounded.
            Deviations are relaxed in this precision all the way; plain states settle to a hundredth
            in it and then to the tolerance without rounding.
    """

    steps: eqx.AbstractVar[int | None]
    tolerance: eqx.AbstractVar[Tolerance]
    max_steps: eqx.AbstractVar[int]
    noise: eqx.AbstractVar[float]
    precision: eqx.AbstractVar[Precision]

    @property
    def from_feed_forward(self) -> bool:
        """Whether a layered network settles to a tolerance from a feed-forward pass, not zero."""
        return False

    @abc.abstractmethod
    def init(self, dynamics: AbstractDynamics, carry: PyTree[Any]) -> PyTree[Any]:
        """What the loop carries for one example that starts at a carry of its dynamics."""

    @abc.abstractmethod
    def step(
        self,
        dynamics: AbstractDynamics,
        carry: PyTree[Any],
        *,
        count: Int[jax.Array, ""],
        noise: State | None,
        backwards: bool,
    ) -> tuple[PyTree[Any], Float[jax.Array, ""]]:
        """One step of one example: the next carry, and the residual of the one given.

        Arguments:
            dynamics: Of the example.
            carry: From `init` or an earlier step.
            count: Steps taken before this one.
            noise: On each unit's input, or None.
            backwards: Whether layers are updated back to front (nudged phases).
        """

    @abc.abstractmethod
    def state(self, dynamics: AbstractDynamics, carry: PyTree[Any]) -> State:
        """The state of a carry."""


def default_tolerance(dtype: np.dtype) -> float:
    """1e-6 in float32 and 1e-13 in float64: some ten times the rounding of one step."""
    return 1e-13 if dtype == np.float64 else 1e-6


def residual(
    dynamics: AbstractDynamics, old: PyTree[Any], new: PyTree[Any]
) -> Float[jax.Array, ""]:
    """Size of the step between two carries' states, relative to the old; infinite beyond bounds.

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
    if isinstance(tolerance, str):
        if tolerance != "auto":
            raise ValueError(
                f'tolerance must be a positive number, "auto" or None; got {tolerance!r}.'
            )
    elif tolerance is not None and not tolerance > 0:
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
    if relaxation.precision not in PRECISIONS:
        raise ValueError(
            f"precision must be one of {', '.join(map(repr, PRECISIONS))}; got "
            f"{relaxation.precision!r}."
        )
