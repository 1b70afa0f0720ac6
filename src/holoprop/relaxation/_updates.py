"""Relaxations whose step is one update of the state: synchronous, sequential, gradient flow."""

import abc
from typing import Any

import equinox as eqx
import jax
import numpy as np

from holoprop._types import Float, Int, PyTree, State
from holoprop.energies import AbstractDynamics
from holoprop.nn import PRECISIONS, Precision
from holoprop.relaxation._lanes import Lanes
from holoprop.relaxation._relaxation import (
    AbstractRelaxation,
    Tolerance,
    residual,
)


# Converters, because they run before a type checker would complain in words of its own. Numbers are
# Python's, because one of NumPy's would decide the precision of what it is multiplied with.
def _as_tolerance(value: Any) -> Any:
    if isinstance(value, str) and value != "auto":
        raise ValueError(f'tolerance must be a positive number, "auto" or None; got {value!r}.')
    return float(value) if isinstance(value, np.generic) else value


def _as_precision(value: Any) -> Any:
    if value not in PRECISIONS:
        raise ValueError(
            f"precision must be one of {', '.join(map(repr, PRECISIONS))}; got {value!r}."
        )
    return value


class AbstractUpdate(AbstractRelaxation):
    """A relaxation whose step is one update of the state: it says which, and nothing else.

    Its settings stand here once for all of them.
    """

    steps: int | None = eqx.field(default=None, kw_only=True, static=True)
    tolerance: Tolerance = eqx.field(
        default=None, kw_only=True, static=True, converter=_as_tolerance
    )
    max_steps: int = eqx.field(default=1000, kw_only=True, static=True)
    noise: float = eqx.field(default=0.0, kw_only=True, static=True, converter=float)

    @abc.abstractmethod
    def update(
        self,
        dynamics: AbstractDynamics,
        extended: PyTree[Any],
        *,
        noise: State | None,
        backwards: bool,
    ) -> PyTree[Any]:
        """The next extended state of one example.

        Arguments:
            dynamics: Of the example.
            extended: Its extended state.
            noise: On each unit's input, or None.
            backwards: Whether layers are updated back to front (nudged phases).
        """

    def init(self, lanes: Lanes, extended: PyTree[Any]) -> PyTree[Any]:
        """The extended states are all that is carried."""
        return extended

    def step(
        self,
        lanes: Lanes,
        carry: PyTree[Any],
        *,
        count: Int[jax.Array, ""],
        noise: State | None,
        backwards: bool,
    ) -> tuple[PyTree[Any], Float[jax.Array, " lanes"]]:
        """One update, and its size."""

        def one(
            dynamics: AbstractDynamics, extended: PyTree[Any], noise: State | None = None
        ) -> tuple[PyTree[Any], Float[jax.Array, ""]]:
            new = self.update(dynamics, extended, noise=noise, backwards=backwards)
            return new, residual(dynamics, extended, new)

        return lanes.map(one, carry, *(() if noise is None else (noise,)))

    def state(self, lanes: Lanes, carry: PyTree[Any]) -> State:
        """The states of extended states."""
        return lanes.map(lambda dynamics, extended: dynamics.state(extended), carry)


class Synchronous(AbstractUpdate):
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

    precision: Precision = eqx.field(
        default=None, kw_only=True, static=True, converter=_as_precision
    )

    def update(
        self,
        dynamics: AbstractDynamics,
        extended: PyTree[Any],
        *,
        noise: State | None,
        backwards: bool,
    ) -> PyTree[Any]:
        """All units from the old state of all others."""
        return dynamics.synchronous(extended, noise)


class Sequential(AbstractUpdate):
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

    precision: Precision = eqx.field(
        default=None, kw_only=True, static=True, converter=_as_precision
    )

    @property
    def from_feed_forward(self) -> bool:
        """A feed-forward pass is the first sweep from zero, less the feedback of nothing."""
        return True

    def update(
        self,
        dynamics: AbstractDynamics,
        extended: PyTree[Any],
        *,
        noise: State | None,
        backwards: bool,
    ) -> PyTree[Any]:
        """One sweep over all layers."""
        return dynamics.sequential(extended, noise, backwards=backwards)


class GradientFlow(AbstractUpdate):
    """ds/dt = -dF/ds, Eq. (1), in explicit steps of length dt, for any energy.

    For a layered network the right-hand side is activation(input) - s, the leaky units whose
    equilibrium the fixed-point map finds.

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

    Raises:
        ValueError: If both steps and tolerance are given, or a number is out of range.

    Example:
        >>> GradientFlow(0.1, steps=50).dt
        0.1
    """

    dt: float = eqx.field(static=True, converter=float)
    max_steps: int = eqx.field(default=20000, kw_only=True, static=True)

    def __check_init__(self) -> None:
        if not 0 < self.dt < float("inf"):
            raise ValueError(f"dt must be positive; got {self.dt!r}.")

    def update(
        self,
        dynamics: AbstractDynamics,
        extended: PyTree[Any],
        *,
        noise: State | None,
        backwards: bool,
    ) -> PyTree[Any]:
        """A step of length dt towards where the synchronous update leads."""
        full = dynamics.synchronous(extended, noise)
        return jax.tree.map(lambda old, end: old + self.dt * (end - old), extended, full)
