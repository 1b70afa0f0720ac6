"""Training: one step, the loop over epochs, evaluation, and what they report.

Here is what trains any energy on examples that are given as arrays. It may import the library's
public names and `holoprop.data`. What a run is called, told and leaves behind (configuration,
presets, run folder, curves) belongs to `holoprop.runs`; what is drawn on the terminal, to
`holoprop.cli`.
"""

from holoprop.training._always_on import always_on_step
from holoprop.training._backpropagation import Backpropagation
from holoprop.training._divergence import DivergedError
from holoprop.training._evaluate import evaluate
from holoprop.training._examples import Examples
from holoprop.training._fit import fit
from holoprop.training._joint_step import JointStep
from holoprop.training._metrics import EpochMetrics, Evaluation, Progress
from holoprop.training._state import TrainState, first_state, restored_state
from holoprop.training._step import AbstractMethod, Method, train_step

__all__ = [
    "AbstractMethod",
    "Backpropagation",
    "DivergedError",
    "EpochMetrics",
    "Evaluation",
    "Examples",
    "JointStep",
    "Method",
    "Progress",
    "TrainState",
    "always_on_step",
    "evaluate",
    "first_state",
    "fit",
    "restored_state",
    "train_step",
]
