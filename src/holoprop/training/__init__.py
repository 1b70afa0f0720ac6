"""Training a network; the command line's run folder can be read back with `load_weights`."""

from holoprop.training._fit import Examples, evaluate, fit
from holoprop.training._run_folder import load_weights
from holoprop.training._step import Method

__all__ = [
    "Examples",
    "Method",
    "evaluate",
    "fit",
    "load_weights",
]
