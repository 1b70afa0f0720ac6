"""The circle of nudges: its points, which of them are simulated, and their weights."""

import dataclasses
from typing import Any

import numpy as np

from holoprop._checks import checked_size
from holoprop.estimators._gradient import ComplexPart


# A converter, because it runs before a type checker would complain in words of its own.
def as_radius(value: Any) -> Any:
    """The radius of a circle; `ValueError` for one that is known to be none."""
    return checked_size("radius", value, positive=True)


def check_points(points: int) -> None:
    """Raise `ValueError` for a number of points that makes no circle."""
    if not isinstance(points, int) or points < 2:
        raise ValueError(f"points must be a whole number, 2 or more; got {points!r}.")


def unit_circle(k: np.ndarray, points: int) -> np.ndarray:
    """exp(2 pi i k / N), exact on the axes."""
    quarter = 4 * k / points
    exact = np.round(np.exp(0.5j * np.pi * np.round(quarter)))
    return np.where(quarter == np.round(quarter), exact, np.exp(0.5j * np.pi * quarter))


@dataclasses.dataclass(frozen=True)
class PointGroup:
    """Points that go through one batched solve.

    Attributes:
        nudges: exp(2 pi i k/N) of its points; real where the arithmetic is.
        real: Weights of the real parts in the gradient, times the radius.
        imaginary: Weights of the imaginary parts, times the radius.
        is_real: Whether they are computed in real arithmetic.
        multiplicity: Points of the circle that each of them stands for: 2 for a conjugate pair.
    """

    nudges: np.ndarray
    real: np.ndarray
    imaginary: np.ndarray
    is_real: bool
    multiplicity: float = 1.0

    @property
    def opposite(self) -> bool:
        """Whether its points are 1 and -1 on the real axis."""
        return self.is_real and len(self.nudges) == 2


# The one point of an estimate that has no circle.
ONE_POINT = PointGroup(np.ones(1), np.ones(1), np.zeros(1), is_real=True)


def point_groups(points: int, part: ComplexPart, *, real: bool, half: bool) -> list[PointGroup]:
    """The points of a circle, those on the real axis first where these are computed as real ones.

    Arguments:
        points: N.
        part: Which part of the activity is read.
        real: Whether real nudges are computed in real arithmetic; if not, all are in one group.
        half: Whether conjugate points stand for each other, so that the lower half is left out.
    """
    k = np.arange(points)
    on_axis = 2 * k % points == 0
    if not real:
        return [_group(k, points, part, is_real=False, multiplicity=1.0)]
    groups = [_group(k[on_axis], points, part, is_real=True, multiplicity=1.0)]
    off_axis = k[~on_axis & (2 * k < points)] if half else k[~on_axis]
    if off_axis.size:
        multiplicity = 2.0 if half else 1.0
        groups.append(_group(off_axis, points, part, is_real=False, multiplicity=multiplicity))
    return groups


def real_states(points: int, *, noisy: bool) -> int:
    """How many real states the points of a circle make, by which their steps cost."""
    groups = point_groups(points, ComplexPart.BOTH, real=True, half=not noisy)
    return sum(len(g.nudges) * (1 if g.is_real else 2) for g in groups)


def _group(
    k: np.ndarray, points: int, part: ComplexPart, *, is_real: bool, multiplicity: float
) -> PointGroup:
    circle, angle = unit_circle(k, points), 2 * np.pi * k / points
    real, imaginary = np.cos(angle) / points, np.sin(angle) / points
    if part is ComplexPart.REAL:
        # For N = 2 both harmonics that a cosine has are the same one.
        real, imaginary = (real if points == 2 else 2 * real), 0 * imaginary
    elif part is ComplexPart.IMAGINARY:
        real, imaginary = 0 * real, 2 * imaginary
    return PointGroup(
        circle.real if is_real else circle,
        multiplicity * real,
        multiplicity * imaginary,
        is_real,
        multiplicity,
    )
