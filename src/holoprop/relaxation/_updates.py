"""Relaxations whose step is one update of the state: synchronous, sequential, gradient flow."""

import abc
from typing import Any

import equinox as eqx
import jax

from holoprop._types import Int, PyTree, State
from holoprop.energies import AbstractDynamics
from holoprop.nn import PRECISIONS, Precision
from holoprop.relaxation._distance import Distance, Goal, Moves
from holoprop.relaxation._lanes import Lanes
from holoprop.relaxation._relaxation import AbstractRelaxation, Tolerance, as_tolerance


# A converter, because it runs before a type checker would complain in words of its own.
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
        default=None, kw_only=True, static=True, converter=as_tolerance
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
    ) -> tuple[PyTree[Any], State]:
        """The next extended state of one example, and the move of its state.

        Arguments:
            dynamics: Of the example.
            extended: Its extended state.
            noise: On each unit's input, or None.
            backwards: Whether layers are updated back to front (nudged phases).
        """

    def update_all(
        self, lanes: Lanes, extended: PyTree[Any], *, noise: State | None, backwards: bool
    ) -> tuple[PyTree[Any], State]:
        """`update` for all lanes."""

        def one(
            dynamics: AbstractDynamics, extended: PyTree[Any], noise: State | None = None
        ) -> tuple[PyTree[Any], State]:
            return self.update(dynamics, extended, noise=noise, backwards=backwards)

        return lanes.map(one, extended, *(() if noise is None else (noise,)))

    def init(self, lanes: Lanes, extended: PyTree[Any]) -> "_Carry":
        """The extended states, which have not moved."""
        return _Carry(extended, Moves.none(lanes.states(extended)))

    def step(
        self,
        lanes: Lanes,
        carry: "_Carry",
        *,
        count: Int[jax.Array, ""],
        noise: State | None,
        backwards: bool,
    ) -> "_Carry":
        """One update."""
        new, move = self.update_all(lanes, carry.extended, noise=noise, backwards=backwards)
        return _Carry(new, carry.moves.then(move))

    def distance(
        self, lanes: Lanes, carry: "_Carry", state: State, goal: Goal, *, newest: bool
    ) -> Distance:
        """By the last two updates."""
        return lanes.distance(carry.moves, state, goal, newest=newest)

    def state(self, lanes: Lanes, carry: "_Carry") -> State:
        """The states of extended states."""
        return lanes.states(carry.extended)


class _Carry(eqx.Module):
    """Extended states, and how they have moved."""

    extended: PyTree[Any]
    moves: Moves


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
    ) -> tuple[PyTree[Any], State]:
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
    ) -> tuple[PyTree[Any], State]:
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
    ) -> tuple[PyTree[Any], State]:
        """A step of length dt towards where the synchronous update leads."""
        end, move = dynamics.synchronous(extended, noise)
        new = dynamics.part_way(extended, end, move, self.dt)
        return new, jax.tree.map(lambda m: self.dt * m, move)
