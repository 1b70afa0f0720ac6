"""Is my energy holomorphic, for which nudges does it settle, and how good is a gradient?

Tools that look at energies and gradients from outside; none is needed to train. They may import
everything up to the estimators. What measures a training run belongs to `holoprop.training`.
"""

from holoprop.diagnostics._alignment import Alignment, gradient_alignment
from holoprop.diagnostics._holomorphy import Holomorphy, check_holomorphic
from holoprop.diagnostics._stability import StabilityMap, stability_map

__all__ = [
    "Alignment",
    "Holomorphy",
    "StabilityMap",
    "check_holomorphic",
    "gradient_alignment",
    "stability_map",
]
