"""Which relaxation an energy gets where none is given: what its numerics say of it."""

from holoprop.energies import AbstractEnergy
from holoprop.relaxation._anderson import Anderson
from holoprop.relaxation._descent import Descent
from holoprop.relaxation._relaxation import AbstractRelaxation, Tolerance
from holoprop.relaxation._updates import GradientFlow, Sequential, Synchronous


def default_relaxation(
    energy: AbstractEnergy, *, mixed: bool, tolerance: Tolerance = None
) -> AbstractRelaxation:
    """Sweeps where the energy's numerics are a fixed-point map, else `Descent()`.

    Arguments:
        energy: To be relaxed.
        mixed: Whether sweeps are Anderson-mixed: for gradients, where only the equilibrium counts;
            not where the way there is looked at.
        tolerance: Of the sweeps.
    """
    if not energy.numerics().fixed_point_map:
        # Nudges are in units of the energy, and "auto" knows those of layered networks alone.
        return Descent()
    sweeps = Sequential(tolerance=tolerance)
    return Anderson(sweeps) if mixed else sweeps


def physical_relaxation(energy: AbstractEnergy) -> AbstractRelaxation:
    """The plain dynamics for a fixed time: what a physical system would do.

    200 synchronous steps of a fixed-point map, as in Fig. 2b, or 2000 steps of `GradientFlow(0.1)`.
    """
    if energy.numerics().fixed_point_map:
        return Synchronous(steps=200)
    return GradientFlow(0.1, steps=2000)
