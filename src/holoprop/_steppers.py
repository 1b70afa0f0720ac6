"""The plain relaxations: synchronous, sequential, and gradient flow."""

from typing import Any

import equinox as eqx
import jax

from holoprop._dynamics import AbstractDynamics
from holoprop._linear_maps import Precision
from holoprop._relaxation import AbstractRelaxation, Tolerance, check_settings, residual
from holoprop._types import Float, Int, PyTree, State


class Synchronous(AbstractRelaxation):
    """All units at once: the paper's dynamics (Appendix B).

    For a layered network the fixed-point map; for any other energy s <- s - dF/ds, which settles
    where the energy's curvature is below two.

    Arguments:
        steps: Fixed number of steps, 1 or more; or None (default).
        tolerance: Residual at which an example has settled: positive, or "auto" for what the
            gradient needs, or None (default) for 1e-6 in float32 and 1e-13 in float64.
        max_steps: Largest number of steps with a tolerance, 1 or more; default 1000.
        noise: Standard deviation of Gaussian noise on each unit's input, drawn anew for each unit,
            example and step; 0 or more, default 0; needs fixed `steps`.
        precision: "bfloat16" or "tensorfloat32" to round the operands of a layered network's linear
            maps; default None, no rounding.

    Raises:
        ValueError: If both steps and tolerance are given, or a number is out of range.

    Example:
        >>> Synchronous(steps=200).steps
        200
    """

    steps: int | None = eqx.field(default=None, kw_only=True, static=True)
    tolerance: Tolerance = eqx.field(default=None, kw_only=True, static=True)
    max_steps: int = eqx.field(default=1000, kw_only=True, static=True)
    noise: float = eqx.field(default=0.0, kw_only=True, static=True)
    precision: Precision = eqx.field(default=None, kw_only=True, static=True)

    def __check_init__(self) -> None:
        check_settings(self)

    def init(self, dynamics: AbstractDynamics, carry: PyTree[Any]) -> PyTree[Any]:
        """The dynamics' own carry."""
        return carry

    def step(
        self,
        dynamics: AbstractDynamics,
        carry: PyTree[Any],
        *,
        count: Int[jax.Array, ""],
        noise: State | None,
        backwards: bool,
    ) -> tuple[PyTree[Any], Float[jax.Array, ""]]:
        """One update of all units."""
        new = dynamics.synchronous(carry, noise)
        return new, residual(dynamics, carry, new)

    def state(self, dynamics: AbstractDynamics, carry: PyTree[Any]) -> State:
        """The state of a carry."""
        return dynamics.state(carry)


class Sequential(AbstractRelaxation):
    """Layer after layer, each from its neighbours' newest state.

    Front to back in the free phase, as a feed-forward pass goes, and back to front in nudged
    phases, as the nudge travels. It has the equilibria of `Synchronous` and reaches them in about
    half the steps, each of the same cost. For an energy of one's own the layers are the leaves of
    the state, and a step costs one gradient for each leaf.

    Arguments:
        steps: Fixed number of steps, 1 or more; or None (default).
        tolerance: Residual at which an example has settled: positive, or "auto" for what the
            gradient needs, or None (default) for 1e-6 in float32 and 1e-13 in float64.
        max_steps: Largest number of steps with a tolerance, 1 or more; default 1000.
        noise: Standard deviation of Gaussian noise on each unit's input, drawn anew for each unit,
            example and step; 0 or more, default 0; needs fixed `steps`.
        precision: "bfloat16" or "tensorfloat32" to round the operands of a layered network's linear
            maps; default None, no rounding.

    Raises:
        ValueError: If both steps and tolerance are given, or a number is out of range.

    Example:
        >>> Sequential(tolerance=1e-4, max_steps=100).max_steps
        100
    """

    steps: int | None = eqx.field(default=None, kw_only=True, static=True)
    tolerance: Tolerance = eqx.field(default=None, kw_only=True, static=True)
    max_steps: int = eqx.field(default=1000, kw_only=True, static=True)
    noise: float = eqx.field(default=0.0, kw_only=True, static=True)
    precision: Precision = eqx.field(default=None, kw_only=True, static=True)

    def __check_init__(self) -> None:
        check_settings(self)

    @property
    def from_feed_forward(self) -> bool:
        """A feed-forward pass is the first sweep from zero, less the feedback of nothing."""
        return True

    def init(self, dynamics: AbstractDynamics, carry: PyTree[Any]) -> PyTree[Any]:
        """The dynamics' own carry."""
        return carry

    def step(
        self,
        dynamics: AbstractDynamics,
        carry: PyTree[Any],
        *,
        count: Int[jax.Array, ""],
        noise: State | None,
        backwards: bool,
    ) -> tuple[PyTree[Any], Float[jax.Array, ""]]:
        """One sweep over all layers."""
        new = dynamics.sequential(carry, noise, backwards=backwards)
        return new, residual(dynamics, carry, new)

    def state(self, dynamics: AbstractDynamics, carry: PyTree[Any]) -> State:
        """The state of a carry."""
        return dynamics.state(carry)


class GradientFlow(AbstractRelaxation):
    """ds/dt = -dF/ds, Eq. (1), in explicit steps of length dt, for any energy.

    For a layered network the right-hand side is activation(input) - s, the leaky units whose rest
    the fixed-point map finds.

    Arguments:
        dt: Length of a step, positive, in units of the flow's time; below two over the largest
            curvature of the energy, or the flow diverges.
        steps: Fixed number of steps, 1 or more; or None (default).
        tolerance: Residual (of one step, so proportional to dt) at which an example has settled:
            positive, or "auto" for what the gradient needs, or None (default) for 1e-6 in float32
            and 1e-13 in float64.
        max_steps: Largest number of steps with a tolerance, 1 or more; default 20000.
        noise: Standard deviation of Gaussian noise on each unit's input, drawn anew for each unit,
            example and step; 0 or more, default 0; needs fixed `steps`.
        precision: "bfloat16" or "tensorfloat32" to round the operands of a layered network's linear
            maps; default None, no rounding.

    Raises:
        ValueError: If both steps and tolerance are given, or a number is out of range.

    Example:
        >>> GradientFlow(0.1, steps=50).dt
        0.1
    """

    dt: float = eqx.field(static=True)
    steps: int | None = eqx.field(default=None, kw_only=True, static=True)
    tolerance: Tolerance = eqx.field(default=None, kw_only=True, static=True)
    max_steps: int = eqx.field(default=20000, kw_only=True, static=True)
    noise: float = eqx.field(default=0.0, kw_only=True, static=True)
    precision: Precision = eqx.field(default=None, kw_only=True, static=True)

    def __check_init__(self) -> None:
        if not 0 < self.dt < float("inf"):
            raise ValueError(f"dt must be positive; got {self.dt!r}.")
        check_settings(self)

    def init(self, dynamics: AbstractDynamics, carry: PyTree[Any]) -> PyTree[Any]:
        """The dynamics' own carry."""
        return carry

    def step(
        self,
        dynamics: AbstractDynamics,
        carry: PyTree[Any],
        *,
        count: Int[jax.Array, ""],
        noise: State | None,
        backwards: bool,
    ) -> tuple[PyTree[Any], Float[jax.Array, ""]]:
        """A step of length dt towards where the synchronous update leads."""
        full = dynamics.synchronous(carry, noise)
        new = jax.tree.map(lambda old, end: old + self.dt * (end - old), carry, full)
        return new, residual(dynamics, carry, new)

    def state(self, dynamics: AbstractDynamics, carry: PyTree[Any]) -> State:
        """The state of a carry."""
        return dynamics.state(carry)
