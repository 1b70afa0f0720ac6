"""The implicit reference: an adjoint linear solve at the free equilibrium."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import gmres

from holoprop._tree import dot, real_dtype, squared_norm, where_examples
from holoprop._types import Float, Input, PyTree, State
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
from holoprop.relaxation import AbstractRelaxation, Phase, Problem, is_usable, solve


class Implicit(AbstractEstimator):
    """The exact gradient at the free equilibrium, by an adjoint linear solve.

    With T the synchronous map, whose fixed point is the equilibrium, the adjoint state solves
    (1 - dT/ds)^T a = dl/ds, and dL/dtheta = dl/dtheta + a . dT/dtheta (implicit function theorem,
    as in the proof of Lemma 1). Solved by GMRES with Jacobian-vector products, example by example.

    Arguments:
        restart: Size of the Krylov space, 1 or more; default 60.
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
        phase = Phase(phases.free, phases.batching, phases.key, newest=True)
        free = solve(problem, phase, nudge=None, init=phases.init)
        keep = is_usable(free, phases.free)
        state = where_examples(keep, free.state, problem.init_state())
        adjoint, residual = jax.vmap(
            lambda x, objective, s: self._solve(problem.energy, x, objective, s)
        )(problem.x, problem.objective, state)

        def scalar(problem: Problem) -> tuple[Float[jax.Array, ""], None]:
            mapped = jax.vmap(lambda x, s: _step(problem.energy, x, s))(problem.x, state)
            pull = jax.vmap(dot)(adjoint, mapped)
            return masked_mean(costs(problem, state) + pull, keep), None

        (energy, x), _ = by_parameters(problem, scalar)
        # How the gradient depends on where the free phase ended is not known here.
        budget = left_over(residual + FREE_ERROR * free.residual, dtype=problem.dtype)
        aux = phase_aux(problem, free, keep, budget, steps={}, residuals={"adjoint": residual})
        return Estimate(masked_mean(costs(problem, free.state), keep), energy, x, aux)

    def _solve(
        self, energy: AbstractEnergy, x: Input, objective: PyTree, state: State
    ) -> tuple[State, Float[jax.Array, ""]]:
        """The adjoint state of one example, and the relative residual of its equation."""
        slope = jax.grad(lambda s: objective.cost(energy, s))(state)
        _, transposed = jax.vjp(lambda s: _step(energy, x, s), state)

        def operator(a: State) -> State:
            return jax.tree.map(lambda u, v: u - v, a, transposed(a)[0])

        adjoint, _ = gmres(
            operator,
            slope,
            tol=10 * float(jnp.finfo(real_dtype(state)).eps),
            restart=self.restart,
            maxiter=self.max_restarts,
        )
        left = jax.tree.map(lambda u, v: u - v, slope, operator(adjoint))
        scale = jnp.maximum(squared_norm(slope), jnp.finfo(real_dtype(state)).tiny)
        return adjoint, jnp.sqrt(squared_norm(left) / scale)


def _step(energy: AbstractEnergy, x: Input, state: State) -> State:
    """One synchronous free step of one example."""
    numerics = energy.numerics()
    dynamics = numerics.dynamics(numerics.prepare(x), None, numerics.maps())
    return dynamics.state(dynamics.synchronous(dynamics.extend(state), None))
