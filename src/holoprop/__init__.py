"""holoprop: exact gradients from finite oscillations, in JAX."""

import importlib as _importlib
import os as _os
from importlib.metadata import version as _version

from holoprop import diagnostics as diagnostics
from holoprop import energies as energies
from holoprop import estimators as estimators
from holoprop import nn as nn
from holoprop import relaxation as relaxation
from holoprop._equilibrium import equilibrium
from holoprop._value_and_grad import value_and_grad
from holoprop.diagnostics import (
    check_holomorphic,
    check_stable,
    gradient_alignment,
    stability_map,
    tune,
)
from holoprop.energies import AbstractEnergy, HopfieldNetwork, LayeredNetwork, mlp, vgg
from holoprop.estimators import (
    AbstractEstimator,
    Aux,
    Centred,
    ComplexPart,
    GradientRule,
    Holomorphic,
    Implicit,
    OneSided,
    Online,
    StateForm,
    Unrolled,
)
from holoprop.nn import (
    AveragePool,
    ClippedReLU,
    Conv,
    CrossEntropy,
    Dense,
    DSiLU,
    Identity,
    MaxPool,
    ReLU,
    ShiftedSigmoid,
    SiLU,
    SoftmaxPool,
    SquaredError,
    Tanh,
)
from holoprop.relaxation import (
    AbstractRelaxation,
    Anderson,
    Descent,
    Equilibrium,
    GradientFlow,
    Lockstep,
    RelaxationResult,
    Sequential,
    Slots,
    Synchronous,
    relax,
)

__version__ = _version("holoprop")


def load(run: str | _os.PathLike[str]) -> AbstractEnergy:
    """The network of a run.

    Arguments:
        run: Its folder, or `owner/name` on the Hugging Face hub.

    Returns:
        The network, with the run's weights in their precision; those of its last checkpoint if it
        has not ended.

    Raises:
        FileNotFoundError: If there is no run, or it has no weights yet.
        ValueError: If its files are damaged, or the hub does not have it.

    Example:
        >>> load("nowhere")
        Traceback (most recent call last):
        ...
        FileNotFoundError: there is no run at nowhere: name a run's folder.
    """
    # Data sets and drawing are imported by those alone who use runs.
    network: AbstractEnergy = _importlib.import_module("holoprop.runs").load(run)
    return network


__all__ = [
    "AbstractEnergy",
    "AbstractEstimator",
    "AbstractRelaxation",
    "Anderson",
    "Aux",
    "AveragePool",
    "Centred",
    "ClippedReLU",
    "ComplexPart",
    "Conv",
    "CrossEntropy",
    "DSiLU",
    "Dense",
    "Descent",
    "Equilibrium",
    "GradientFlow",
    "GradientRule",
    "Holomorphic",
    "HopfieldNetwork",
    "Identity",
    "Implicit",
    "LayeredNetwork",
    "Lockstep",
    "MaxPool",
    "OneSided",
    "Online",
    "ReLU",
    "RelaxationResult",
    "Sequential",
    "ShiftedSigmoid",
    "SiLU",
    "Slots",
    "SoftmaxPool",
    "SquaredError",
    "StateForm",
    "Synchronous",
    "Tanh",
    "Unrolled",
    "check_holomorphic",
    "check_stable",
    "equilibrium",
    "gradient_alignment",
    "load",
    "mlp",
    "relax",
    "stability_map",
    "tune",
    "value_and_grad",
    "vgg",
]
