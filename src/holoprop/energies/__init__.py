"""What settles: the abstract energy, the dynamics of one example, and the shipped networks.

An energy of one's own needs `AbstractEnergy` alone. A network with a faster way to compute returns
numerics of its own (`AbstractNumerics`), which is how `LayeredNetwork` has its fast path; nothing
above this package asks what kind of energy it has. Each further physics is one file here.

It may import `holoprop.nn` and the shared helpers, and sees one example, never a batch. How long
and in which steps something settles belongs to `holoprop.relaxation`.
"""

from holoprop.energies._builders import mlp, vgg
from holoprop.energies._dynamics import AbstractDynamics, GradientDeviation, GradientDynamics
from holoprop.energies._energy import AbstractEnergy, initial_state
from holoprop.energies._hopfield import HopfieldNetwork
from holoprop.energies._layered import LayeredNetwork
from holoprop.energies._layered_numerics import LayeredNumerics
from holoprop.energies._numerics import AbstractNumerics, GradientNumerics

__all__ = [
    "AbstractDynamics",
    "AbstractEnergy",
    "AbstractNumerics",
    "GradientDeviation",
    "GradientDynamics",
    "GradientNumerics",
    "HopfieldNetwork",
    "LayeredNetwork",
    "LayeredNumerics",
    "initial_state",
    "mlp",
    "vgg",
]
