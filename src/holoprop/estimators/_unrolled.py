"""The unrolled reference: backpropagation through time."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp

from holoprop._types import Array, Float, PyTree
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
from holoprop.relaxation import (
    AbstractRelaxation,
    Phase,
    Problem,
    RelaxationResult,
    solve,
    usable,
)


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
        check_reference(self, problem, free)

    def estimate(self, problem: Problem, phases: Phases) -> Estimate:
        """The steps, and their reverse."""

        phase = Phase(phases.free, phases.batching, steps=self.steps)
        init = problem.start(phases.init)

        def scalar(problem: Problem) -> tuple[Float[Array, ""], PyTree]:
            end = solve(problem, phase, nudge=None, init=init)
            keep = usable(end, fixed=not phases.strict, noisy=False)
            loss = masked_mean(costs(problem, end.state), keep)
            return loss, (loss, end, keep)

        (energy, x), (loss, end, keep) = by_parameters(problem, scalar)
        # Masking cannot mend a reverse pass through infinite states.
        loss = eqx.error_if(
            loss,
            jnp.any(end.result == RelaxationResult.DIVERGED),
            "Unrolled: an example diverged, and backpropagation through it has no finite gradient; "
            "take it out of the batch, or use smaller weights.",
        )
        budget = left_over(FREE_ERROR * end.residual, dtype=problem.dtype)
        aux = phase_aux(
            problem, end, budget, free_settled=keep, settled=keep, steps={}, residuals={}
        )
        return Estimate(loss, energy, x, aux)
