"""Reference gradients: implicit differentiation, and backpropagation through time."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import gmres

from holoprop._energy import AbstractEnergy
from holoprop._estimator import (
    AbstractEstimator,
    Estimate,
    by_parameters,
    costs,
    masked_mean,
    phase_aux,
)
from holoprop._problem import Problem
from holoprop._relaxation import AbstractRelaxation
from holoprop._settle import Result, is_usable, settle, usable
from holoprop._tree import dot, real_dtype, squared_norm, where_examples
from holoprop._types import Array, Float, Input, Key, PyTree, State


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
        _check_reference(self, problem, free)

    def estimate(
        self,
        problem: Problem,
        *,
        free: AbstractRelaxation,
        nudged: AbstractRelaxation,
        init: State | None,
        key: Key | None,
    ) -> Estimate:
        """A free phase, and one linear solve for each example."""
        rest = settle(problem, free, nudge=None, init=init, key=key, newest=True)
        keep = is_usable(rest, free)
        state = where_examples(keep, rest.state, problem.init_state())
        adjoint, residual = jax.vmap(lambda x, aim, s: self._solve(problem.energy, x, aim, s))(
            problem.x, problem.aim, state
        )

        def objective(problem: Problem) -> tuple[Float[Array, ""], None]:
            mapped = jax.vmap(lambda x, s: _map(problem.energy, x, s))(problem.x, state)
            pull = jax.vmap(dot)(adjoint, mapped)
            return masked_mean(costs(problem, state) + pull, keep), None

        (energy, x), _ = by_parameters(problem, objective)
        aux = phase_aux(
            problem,
            rest,
            keep,
            steps={},
            residuals={"adjoint": residual},
        )
        return Estimate(masked_mean(costs(problem, rest.state), keep), energy, x, aux)

    def _solve(
        self, energy: AbstractEnergy, x: Input, aim: PyTree, state: State
    ) -> tuple[State, Float[Array, ""]]:
        """The adjoint state of one example, and the relative residual of its equation."""
        slope = jax.grad(lambda s: aim.cost(energy, s))(state)
        _, transposed = jax.vjp(lambda s: _map(energy, x, s), state)

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


class Unrolled(AbstractEstimator):
    """Backpropagation through time (BPTT) over a fixed number of free steps.

    Memory grows with the number of steps. The step is that of the free relaxation, whatever its own
    stopping says; for many steps the gradient is the implicit one.

    Arguments:
        steps: Relaxation steps from the starting state, 1 or more.

    Raises:
        ValueError: If steps is out of range.

    Example:
        >>> Unrolled(steps=100).steps
        100
    """

    from_start: ClassVar[bool] = True
    steps: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        if not isinstance(self.steps, int) or self.steps < 1:
            raise ValueError(f"steps must be a whole number, 1 or more; got {self.steps!r}.")

    def check(self, problem: Problem, free: AbstractRelaxation, nudged: AbstractRelaxation) -> None:
        """Any energy that is real on real states will do, without noise."""
        _check_reference(self, problem, free)

    def estimate(
        self,
        problem: Problem,
        *,
        free: AbstractRelaxation,
        nudged: AbstractRelaxation,
        init: State | None,
        key: Key | None,
    ) -> Estimate:
        """The steps, and their reverse."""

        def objective(problem: Problem) -> tuple[Float[Array, ""], PyTree]:
            rest = settle(problem, free, nudge=None, init=init, key=None, steps=self.steps)
            keep = usable(rest, fixed=True, noisy=False)
            loss = masked_mean(costs(problem, rest.state), keep)
            return loss, (loss, rest, keep)

        (energy, x), (loss, rest, keep) = by_parameters(problem, objective)
        # Masking cannot mend a reverse pass through infinite states.
        loss = eqx.error_if(
            loss,
            jnp.any(rest.result == Result.DIVERGED),
            "Unrolled: an example diverged, and backpropagation through it has no finite gradient; "
            "take it out of the batch, or use smaller weights.",
        )
        aux = phase_aux(problem, rest, keep, steps={}, residuals={})
        return Estimate(loss, energy, x, aux)


def _map(energy: AbstractEnergy, x: Input, state: State) -> State:
    """One synchronous free step of one example."""
    rule = energy.dynamics(energy.prepare(x), None)
    return rule.state(rule.synchronous(rule.begin(state), None))


def _check_reference(
    estimator: AbstractEstimator, problem: Problem, free: AbstractRelaxation
) -> None:
    name = type(estimator).__name__
    if not problem.is_real:
        raise ValueError(f"{name} needs an energy that is real on real states.")
    if free.noise > 0:
        raise ValueError(
            f"{name} is a reference without noise, but free has noise {free.noise}: use a "
            "relaxation without."
        )
