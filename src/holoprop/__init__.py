"""holoprop: exact gradients from finite oscillations, in JAX."""

from importlib.metadata import version as _version

from holoprop._activations import (
    AbstractActivation,
    ClippedReLU,
    DSiLU,
    Identity,
    ReLU,
    ShiftedSigmoid,
    SiLU,
    Tanh,
)
from holoprop._alignment import Alignment, gradient_alignment
from holoprop._anderson import Anderson
from holoprop._builders import mlp, vgg
from holoprop._costs import AbstractCost, CrossEntropy, SquaredError
from holoprop._couplings import AbstractCoupling, Conv, Dense
from holoprop._energy import AbstractEnergy
from holoprop._equilibrium import equilibrium
from holoprop._estimator import AbstractEstimator, Aux
from holoprop._holomorphy import Holomorphy, check_holomorphic
from holoprop._hopfield import HopfieldNetwork
from holoprop._layered import LayeredNetwork
from holoprop._online import Online
from holoprop._phased import Centred, Holomorphic, OneSided
from holoprop._pooling import AbstractPooling, AveragePool, MaxPool, SoftmaxPool
from holoprop._readings import Form, Part, Rule
from holoprop._references import Implicit, Unrolled
from holoprop._relax import relax
from holoprop._relaxation import AbstractRelaxation
from holoprop._settle import Equilibrium, Result
from holoprop._stability import StabilityMap, stability_map
from holoprop._steppers import GradientFlow, Sequential, Synchronous
from holoprop._value_and_grad import value_and_grad

__version__ = _version("holoprop")

__all__ = [
    "AbstractActivation",
    "AbstractCost",
    "AbstractCoupling",
    "AbstractEnergy",
    "AbstractEstimator",
    "AbstractPooling",
    "AbstractRelaxation",
    "Alignment",
    "Anderson",
    "Aux",
    "AveragePool",
    "Centred",
    "ClippedReLU",
    "Conv",
    "CrossEntropy",
    "DSiLU",
    "Dense",
    "Equilibrium",
    "Form",
    "GradientFlow",
    "Holomorphic",
    "Holomorphy",
    "HopfieldNetwork",
    "Identity",
    "Implicit",
    "LayeredNetwork",
    "MaxPool",
    "OneSided",
    "Online",
    "Part",
    "ReLU",
    "Result",
    "Rule",
    "Sequential",
    "ShiftedSigmoid",
    "SiLU",
    "SoftmaxPool",
    "SquaredError",
    "StabilityMap",
    "Synchronous",
    "Tanh",
    "Unrolled",
    "check_holomorphic",
    "equilibrium",
    "gradient_alignment",
    "mlp",
    "relax",
    "stability_map",
    "value_and_grad",
    "vgg",
]
