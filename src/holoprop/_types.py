"""Shared type aliases: what the arrays of this library are called.

Real and complex arrays are told apart: a free equilibrium is real, an equilibrium under a complex
nudge is complex, and `Inexact` stands where the same equations serve both.
"""

from typing import Any, TypeAlias

from jaxtyping import Array, Bool, Complex, Float, Inexact, Int, PRNGKeyArray, PyTree

# Any tree of real or complex arrays: the activities of one example, or of a batch of them.
State: TypeAlias = PyTree[Inexact[Array, "..."]]
# Whatever an energy takes as its input for one example; networks take one array.
Input: TypeAlias = PyTree[Any]
# A class index, or a vector over classes or output units.
Target: TypeAlias = PyTree[Any]
Scalar: TypeAlias = Inexact[Array, ""]
RealScalar: TypeAlias = Float[Array, ""]
Key: TypeAlias = PRNGKeyArray

__all__ = [
    "Array",
    "Bool",
    "Complex",
    "Float",
    "Inexact",
    "Input",
    "Int",
    "Key",
    "PyTree",
    "RealScalar",
    "Scalar",
    "State",
    "Target",
]
