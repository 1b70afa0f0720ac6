"""What layers are made of: activations, couplings, linear maps, poolings, costs, initialisers.

What lives here works on the arrays of one example and knows neither energies nor how they are
relaxed. Each says whether it is holomorphic, and has a difference form: how its value changes,
without subtracting two nearly equal numbers.

It may import the shared helpers (`_types`, `_tree`, `_quadrature`). What makes a network of them
belongs to `holoprop.energies`.
"""

from holoprop.nn._activations import (
    AbstractActivation,
    ClippedReLU,
    DSiLU,
    Identity,
    ReLU,
    ShiftedSigmoid,
    SiLU,
    Tanh,
)
from holoprop.nn._costs import AbstractCost, CrossEntropy, SquaredError
from holoprop.nn._couplings import AbstractCoupling, Conv, Dense
from holoprop.nn._initialisers import truncated_normal
from holoprop.nn._linear_maps import PRECISIONS, AbstractLinearMap, Precision
from holoprop.nn._pooling import AbstractPooling, AveragePool, MaxPool, SoftmaxPool

__all__ = [
    "PRECISIONS",
    "AbstractActivation",
    "AbstractCost",
    "AbstractCoupling",
    "AbstractLinearMap",
    "AbstractPooling",
    "AveragePool",
    "ClippedReLU",
    "Conv",
    "CrossEntropy",
    "DSiLU",
    "Dense",
    "Identity",
    "MaxPool",
    "Precision",
    "ReLU",
    "ShiftedSigmoid",
    "SiLU",
    "SoftmaxPool",
    "SquaredError",
    "Tanh",
    "truncated_normal",
]
