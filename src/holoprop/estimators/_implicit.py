"""The implicit reference: an adjoint linear solve at the free equilibrium."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._tree import dot, where_examples
from holoprop._types import Bool, Float, Input, PyTree, RealScalar, State
from holoprop.energies import AbstractEnergy
from holoprop.estimators._error import FREE_ERROR, left_over
from holoprop.estimators._estimator import (
    AbstractEstimator,
    Estimate,
    Phases,
    by_parameters,
    check_reference,
    costs,
    masked_mean,
    phase_aux,
)
from holoprop.estimators._gmres import gmres
from holoprop.relaxation import AbstractRelaxation, Phase, Problem, is_usable, solve


class Implicit(AbstractEstimator):
    """The exact gradient at the free equilibrium, by an adjoint linear solve.

    With f(theta, s) = 0 at equilibrium, the adjoint state solves -(df/ds)^T a = dl/ds, and
    dL/dtheta = dl/dtheta + a . df/dtheta (implicit function theorem, as in the proof of Lemma 1).
    For a layered network f is T(s) - s with T the synchronous map, for any other energy -dE/ds, so
    that units of energy and state do not matter. Solved by GMRES with Jacobian-vector products,
    example by example.

    An example whose solve does not reach its tolerance is left out of the gradient and counted in
    `aux.unsettled`. The tolerance: the equation's residual is at most 100 roundings of |dl/ds| +
    |df/ds| |a|, as near as rounding lets one come with some margin, and with the digits of the
    state's precision a is known to a hundredth, which in float32 it is for a condition number up to
    some 1e4. The residual relative to |dl/ds| stands in `aux.residuals["adjoint"]`. A degenerate
    equilibrium, along which the energy is flat, has no gradient, and fails; but where the cost is
    flat in the same directions, as for an energy and a cost of phase differences alone, the
    gradient exists and comes out.

    Arguments:
        restart: Size of the Krylov space, 1 or more; default 60. A solve takes as many
            Jacobian-vector products as it needs.
        max_restarts: Largest number of restarts, 1 or more; default 40.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> Implicit().restart
        60
    """

    from_start: ClassVar[bool] = False
    restart: int = eqx.field(default=60, kw_only=True, static=True)
    max_restarts: int = eqx.field(default=40, kw_only=True, static=True)

    def __check_init__(self) -> None:
        for name in ("restart", "max_restarts"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number, 1 or more; got {value!r}.")

    def check(self, problem: Problem, free: AbstractRelaxation, nudged: AbstractRelaxation) -> None:
        """Any energy that is real on real states will do, without noise."""
        check_reference(self, problem, free)

    def estimate(self, problem: Problem, phases: Phases) -> Estimate:
        """A free phase, and one linear solve for each example."""
        phase = Phase(phases.free, phases.batching, phases.key)
        free = solve(problem, phase, nudge=None, init=problem.start(phases.init))
        free_settled = is_usable(free, phases.free, strict=phases.strict)
        state = where_examples(free_settled, free.state, problem.init_state())
        adjoint, residual, solved = jax.vmap(
            lambda x, objective, s, sought: self._solve(problem.energy, x, objective, s, sought)
        )(problem.x, problem.objective, state, free_settled)
        keep = free_settled & solved
        # Zero times what is no number must not happen.
        adjoint = where_examples(keep, adjoint, jax.tree.map(jnp.zeros_like, adjoint))
        state = where_examples(keep, state, problem.init_state())

        def scalar(problem: Problem) -> tuple[Float[jax.Array, ""], None]:
            force = jax.vmap(lambda x, s: _force(problem.energy, x, s))(problem.x, state)
            pull = jax.vmap(dot)(adjoint, force)
            return masked_mean(costs(problem, state) + pull, keep), None

        (energy, x), _ = by_parameters(problem, scalar)
        # How the gradient depends on where the free phase ended is not known here.
        budget = left_over(residual + FREE_ERROR * free.residual, dtype=problem.dtype)
        aux = phase_aux(
            problem,
            free,
            budget,
            free_settled=free_settled,
            settled=keep,
            steps={},
            residuals={"adjoint": residual},
        )
        return Estimate(masked_mean(costs(problem, free.state), free_settled), energy, x, aux)

    def _solve(
        self,
        energy: AbstractEnergy,
        x: Input,
        objective: PyTree,
        state: State,
        sought: Bool[jax.Array, ""],
    ) -> tuple[State, RealScalar, Bool[jax.Array, ""]]:
        """The adjoint state of one example, its equation's relative residual, and if it is solved.

        Where it is not sought, it is zero, at no price.
        """
        slope = jax.grad(lambda s: objective.cost(energy, s))(state)
        slope = jax.tree.map(lambda g: jnp.where(sought, g, 0), slope)
        _, transposed = jax.vjp(lambda s: _force(energy, x, s), state)

        def operator(a: State) -> State:
            return jax.tree.map(lambda v: -v, transposed(a)[0])

        return gmres(operator, slope, restart=self.restart, max_restarts=self.max_restarts)


def _force(energy: AbstractEnergy, x: Input, state: State) -> State:
    """What vanishes at one example's equilibrium: a synchronous step's change, or -dE/ds.

    The step of an energy without a map of its own is s - dE/ds, in whose rounding a small dE/ds
    would drown.
    """
    numerics = energy.numerics()
    if not numerics.fixed_point_map:
        return jax.tree.map(lambda g: -g, jax.grad(energy.energy)(state, x))
    dynamics = numerics.dynamics(numerics.prepare(x), None, numerics.maps())
    return dynamics.synchronous(dynamics.extend(state), None)[1]
