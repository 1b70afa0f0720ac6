"""What settled states teach: gradient estimators, and the references that they are judged by.

Each estimator is a class of its own in a file of its own (`Holomorphic` with `Centred`, `OneSided`,
`Online`; the exact references `Implicit` and `Unrolled`). They share how a circle is laid out, how
phases are relaxed, and how settled states are read into a gradient.

It may import `holoprop.relaxation` and what lies below. What a user calls (`value_and_grad`,
`equilibrium`) stands above, and what judges a gradient from outside belongs to
`holoprop.diagnostics`.
"""

from holoprop.estimators._circle import real_states
from holoprop.estimators._estimator import (
    NO_NUDGE,
    AbstractEstimator,
    Aux,
    Estimate,
    Phases,
    has_no_nudge,
)
from holoprop.estimators._gradient import ComplexPart, GradientRule, StateForm
from holoprop.estimators._holomorphic import Centred, Holomorphic
from holoprop.estimators._implicit import Implicit
from holoprop.estimators._microbatches import in_microbatches
from holoprop.estimators._one_sided import OneSided
from holoprop.estimators._online import Online
from holoprop.estimators._unrolled import Unrolled

__all__ = [
    "NO_NUDGE",
    "AbstractEstimator",
    "Aux",
    "Centred",
    "ComplexPart",
    "Estimate",
    "GradientRule",
    "Holomorphic",
    "Implicit",
    "OneSided",
    "Online",
    "Phases",
    "StateForm",
    "Unrolled",
    "has_no_nudge",
    "in_microbatches",
    "real_states",
]
