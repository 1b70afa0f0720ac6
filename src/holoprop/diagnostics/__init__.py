"""Is my energy holomorphic, where is it stable, under which nudges, and how good is a gradient?

Tools that look at energies and gradients from outside; none is needed to train. They may import
everything up to the estimators, and `value_and_grad`. What measures a training run belongs to
`holoprop.training`.
"""

from holoprop.diagnostics._alignment import Alignment, gradient_alignment
from holoprop.diagnostics._check_stable import Stability, check_stable
from holoprop.diagnostics._holomorphy import Holomorphy, check_holomorphic
from holoprop.diagnostics._stability import StabilityMap, stability_map
from holoprop.diagnostics._tune import Trial, Tuning, tune

__all__ = [
    "Alignment",
    "Holomorphy",
    "Stability",
    "StabilityMap",
    "Trial",
    "Tuning",
    "check_holomorphic",
    "check_stable",
    "gradient_alignment",
    "stability_map",
    "tune",
]
