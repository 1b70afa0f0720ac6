"""`tune`: which radius, and how many points?"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from holoprop._types import Key, PyTree
from holoprop._value_and_grad import value_and_grad
from holoprop.diagnostics._check_stable import check_stable
from holoprop.energies import AbstractEnergy
from holoprop.estimators import Aux, Holomorphic, StateForm, real_states
from holoprop.relaxation import AbstractRelaxation

_RADII = tuple(0.01 * 200 ** (i / 11) for i in range(12))
_POINTS = (2, 3, 4, 6, 8, 12, 16)


@dataclasses.dataclass(frozen=True)
class Trial:
    """A circle of nudges that was tried.

    Attributes:
        radius: |beta|.
        points: N.
        error: Estimated relative error of an example's gradient that all but the share of examples
            stay below; infinite where more than that share are untrusted or did not settle.
        parts: Medians over the examples of the error's parts, as in `Aux.error_parts`.
        untrusted: Examples whose nudges leave the region where s*(beta) is holomorphic.
        unsettled: Examples that did not settle in every phase.
        cost: Applications of every linear map, there and back, to one real state of each example:
            steps of the free phase, and of the nudged ones times the real states that the circle's
            points make. Steps are those of the slowest example.
    """

    radius: float
    points: int
    error: float
    parts: dict[str, float]
    untrusted: int
    unsettled: int
    cost: float


@dataclasses.dataclass(frozen=True)
class Tuning:
    """What `tune` proposes, and all that it tried.

    Attributes:
        best: The cheapest trial whose error is small enough; if there is none, the one of the
            smallest error.
        reached: Whether there is one.
        error: The error asked for.
        share: Examples that may lie above it.
        examples: How many were looked at.
        unstable: Of these, those whose free equilibrium is not found to be stable under the plain
            dynamics (`check_stable`); no radius makes their gradient that of the physical system.
        trials: All trials, by points and radius.
        form: Of the nudged phases, as asked for.
    """

    best: Trial
    reached: bool
    error: float
    share: float
    examples: int
    unstable: int
    trials: tuple[Trial, ...]
    form: StateForm | None

    @property
    def estimator(self) -> Holomorphic:
        """The estimator proposed."""
        return Holomorphic(self.best.radius, self.best.points, form=self.form)


def tune(
    network: AbstractEnergy,
    x: PyTree[Any],
    labels: PyTree[Any],
    *,
    error: float = 1e-3,
    share: float = 0.05,
    radii: Sequence[float] = _RADII,
    points: Sequence[int] = _POINTS,
    free: AbstractRelaxation | None = None,
    nudged: AbstractRelaxation | None = None,
    form: StateForm | None = None,
    key: Key | None = None,
) -> Tuning:
    """Propose radius and number of points for `Holomorphic`, by the error budget of a sample.

    Every pair is tried on the examples given, as it would be used: in their dtype, with the
    relaxations' own stopping and noise. A larger radius costs bias, which falls as radius^N; a
    smaller one noise and, in plain form, rounding, which grow as 1/radius. The cheapest pair whose
    estimated error (`Aux.error`) stays below the one asked for is proposed.

    Arguments:
        network: An `AbstractEnergy` with a cost, holomorphic unless `points` is (2,).
        x: Inputs, as `value_and_grad` takes them: some ten to a hundred examples.
        labels: Labels or targets of these.
        error: Relative error of an example's gradient that is asked for, above 0 and below 1;
            default 1e-3.
        share: Examples that may lie above it, from 0 to below 1; default 0.05.
        radii: To try, positive; default twelve from 0.01 to 2.
        points: Numbers of points to try, each 2 or more, each compiled once; default 2, 3, 4, 6, 8,
            12 and 16.
        free: Relaxation of the free phase; default as in `value_and_grad`.
        nudged: Relaxation of the nudged phases.
        form: `StateForm.PLAIN` or `StateForm.DEVIATION`, or None (default) as in `Holomorphic`.
        key: PRNG key; needed if a relaxation has noise.

    Returns:
        A `Tuning`.

    Raises:
        ValueError: If a number is out of range, or as `value_and_grad` does.
        RuntimeError: As `value_and_grad` does, at the smallest radius.

    Example:
        >>> import holoprop as hp, jax
        >>> network = hp.mlp([6, 4, 4, 3], key=jax.random.key(0))
        >>> x, labels = jnp.ones((2, 6)), jnp.array([0, 2])
        >>> hp.tune(network, x, labels, radii=(0.05, 0.5), points=(2, 4)).reached
        True

    Reference: Laborieux and Zenke (2022), Eq. (9), Fig. 3c.
    """
    _check(error, share, radii, points)
    noisy = any(r is not None and r.noise > 0 for r in (free, nudged))
    trials, state = [], None
    for n in sorted(set(points)):
        for radius in sorted(set(radii)):
            (_, aux), _ = value_and_grad(
                network,
                x,
                labels,
                estimator=Holomorphic(jnp.asarray(radius), n, form=form),
                free=free,
                nudged=nudged,
                key=key,
                # Where a circle is too large is what is asked; the smallest one must do.
                throw=radius == min(radii),
            )
            state = aux.state if state is None else state
            trials.append(_trial(aux, radius, n, share, noisy=noisy))
    good = [trial for trial in trials if trial.error <= error]
    best = (
        min(good, key=lambda t: (t.cost, t.error)) if good else min(trials, key=lambda t: t.error)
    )
    stable = np.asarray(check_stable(network, x, state).stable)
    return Tuning(
        best=best,
        reached=bool(good),
        error=error,
        share=share,
        examples=len(stable),
        unstable=int(np.sum(~stable)),
        trials=tuple(trials),
        form=form,
    )


def _trial(aux: Aux, radius: float, points: int, share: float, *, noisy: bool) -> Trial:
    errors = np.where(aux.trusted, np.asarray(aux.error, np.float64), np.inf)
    allowed = math.floor(share * len(errors))
    settled = np.asarray(aux.settled)
    return Trial(
        radius=float(radius),
        points=points,
        error=float(np.sort(errors)[len(errors) - 1 - allowed]),
        parts={
            name: float(np.median(np.asarray(part)[settled])) if settled.any() else math.inf
            for name, part in aux.error_parts.items()
        },
        untrusted=int(aux.untrusted),
        unsettled=int(aux.unsettled),
        cost=float(aux.steps["free"] + real_states(points, noisy=noisy) * aux.steps["nudged"]),
    )


def _check(error: float, share: float, radii: Sequence[float], points: Sequence[int]) -> None:
    if not 0 < error < 1:
        raise ValueError(f"error must be a relative error above 0 and below 1; got {error!r}.")
    if not 0 <= share < 1:
        raise ValueError(f"share must be from 0 to below 1; got {share!r}.")
    if not radii or not all(0 < radius < math.inf for radius in radii):
        raise ValueError(f"radii must be one positive number or more; got {radii!r}.")
    if not points or not all(isinstance(n, int) and n >= 2 for n in points):
        raise ValueError(
            f"points must be one whole number or more, each 2 or more; got {points!r}."
        )
