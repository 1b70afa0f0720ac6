"""How a batch settles: problems, relaxations, and the one driver that steps them.

A relaxation says what one step of one example does; the driver steps *lanes* (one example under
one nudge each) by a *stepper*, together as a *batching* says, until each has come to its end.
`relax` is the entry point, `solve` what estimators call: one phase of a problem.

It may import `holoprop.nn`, `holoprop.energies` and the shared helpers. What settled states teach
belongs to `holoprop.estimators`.
"""

from holoprop.relaxation._anderson import Anderson
from holoprop.relaxation._arguments import (
    as_batch,
    check_arguments,
    label_classes,
    out_of_range,
)
from holoprop.relaxation._batching import (
    Batching,
    Lockstep,
    Slots,
    with_batching,
)
from holoprop.relaxation._defaults import default_relaxation, physical_relaxation
from holoprop.relaxation._descent import Descent
from holoprop.relaxation._holomorphy import (
    Defects,
    holomorphy_defects,
    holomorphy_faults,
    is_broken,
)
from holoprop.relaxation._lanes import Lanes
from holoprop.relaxation._problem import (
    AbstractObjective,
    LinearObjective,
    Problem,
    ScaledObjective,
    TargetObjective,
)
from holoprop.relaxation._relax import relax
from holoprop.relaxation._relaxation import AbstractRelaxation, Tolerance, default_tolerance
from holoprop.relaxation._solution import Equilibrium, RelaxationResult, is_usable, usable
from holoprop.relaxation._solve import Phase, solve
from holoprop.relaxation._updates import AbstractUpdate, GradientFlow, Sequential, Synchronous

__all__ = [
    "AbstractObjective",
    "AbstractRelaxation",
    "AbstractUpdate",
    "Anderson",
    "Batching",
    "Defects",
    "Descent",
    "Equilibrium",
    "GradientFlow",
    "Lanes",
    "LinearObjective",
    "Lockstep",
    "Phase",
    "Problem",
    "RelaxationResult",
    "ScaledObjective",
    "Sequential",
    "Slots",
    "Synchronous",
    "TargetObjective",
    "Tolerance",
    "as_batch",
    "check_arguments",
    "default_relaxation",
    "default_tolerance",
    "holomorphy_defects",
    "holomorphy_faults",
    "is_broken",
    "is_usable",
    "label_classes",
    "out_of_range",
    "physical_relaxation",
    "relax",
    "solve",
    "usable",
    "with_batching",
]
