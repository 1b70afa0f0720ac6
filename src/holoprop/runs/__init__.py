"""Runs: what the command line runs.

Here are a run's configuration, the presets (a file for each), the training run itself, how it goes
on after an interruption, what it leaves behind (run folder, weights, curves, provenance), the use
of that, and the search for its radius and number of points. It may import the library's public
names, `holoprop.data` and `holoprop.training`. Steps, loops and evaluation that serve any arrays
belong to `holoprop.training`; parsing and drawing on the terminal to `holoprop.cli`.
"""

from holoprop.runs._config import (
    EQUILIBRIUM_SETTINGS,
    CheckpointConfig,
    DataConfig,
    InputConfig,
    TrainConfig,
)
from holoprop.runs._gradient_check import GradientCheck
from holoprop.runs._hub import push
from holoprop.runs._json import as_json
from holoprop.runs._listener import Listener
from holoprop.runs._networks import AbstractNetwork, Custom, Mlp, Vgg
from holoprop.runs._open import Prediction, evaluate, load, predict
from holoprop.runs._optimiser import OptimiserConfig
from holoprop.runs._presets import Preset, describe_changes, presets
from holoprop.runs._processes import is_first
from holoprop.runs._provenance import machine, versions
from holoprop.runs._read_config import read_config, read_config_file
from holoprop.runs._report import report
from holoprop.runs._run_folder import RunFolder
from holoprop.runs._saver import InterruptedRunError
from holoprop.runs._seeds import SeedsOutcome, holds_seeds, resume_seeds, train_seeds
from holoprop.runs._setup import build_method
from holoprop.runs._train import Outcome, resume, train
from holoprop.runs._tune import TuneConfig, tune
from holoprop.runs._weights import load_weights

__all__ = [
    "EQUILIBRIUM_SETTINGS",
    "AbstractNetwork",
    "CheckpointConfig",
    "Custom",
    "DataConfig",
    "GradientCheck",
    "InputConfig",
    "InterruptedRunError",
    "Listener",
    "Mlp",
    "OptimiserConfig",
    "Outcome",
    "Prediction",
    "Preset",
    "RunFolder",
    "SeedsOutcome",
    "TrainConfig",
    "TuneConfig",
    "Vgg",
    "as_json",
    "build_method",
    "describe_changes",
    "evaluate",
    "holds_seeds",
    "is_first",
    "load",
    "load_weights",
    "machine",
    "predict",
    "presets",
    "push",
    "read_config",
    "read_config_file",
    "report",
    "resume",
    "resume_seeds",
    "train",
    "train_seeds",
    "tune",
    "versions",
]
