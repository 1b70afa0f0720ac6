"""What a relaxation to a tolerance has instead of a derivative: an error.

How many steps it takes depends on where it starts and not on the parameters that are differentiated
by. Forward mode through the steps would give what they happen to have carried along: nothing at all
from a start at the equilibrium.
"""

from typing import Any, NoReturn

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from holoprop._types import Array

# The derivative in a program. It may stand there as long as nobody uses it, for instance under a
# `stop_gradient`: only what computes or transposes it raises.
_derivative = Primitive("derivative_of_a_relaxation_to_a_tolerance")


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise ValueError(
        "a relaxation to a tolerance has no derivative: use hp.equilibrium, which jax.grad sees "
        "through once, or a fixed number of steps in every phase, for instance "
        "Sequential(steps=100)."
    )


_derivative.def_impl(_refuse)
_derivative.def_abstract_eval(lambda tangent: tangent)
ad.deflinear2(_derivative, _refuse)
batching.defvectorized(_derivative)
mlir.register_lowering(_derivative, _refuse)


@jax.custom_jvp
def without_derivative(state: Array) -> Array:
    """An array as it is, whose derivative by anything it depends on raises `ValueError`."""
    return state


@without_derivative.defjvp
def _slope(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return without_derivative(*primals), _derivative.bind(*tangents)
