"""Activation functions: what a unit makes of its input.

Each is a small module that can be called, says whether it is holomorphic, knows its primitive,
which the network's energy needs (`LayeredNetwork.energy`), and its difference form: f(a + d) - f(a)
without subtracting two nearly equal numbers, from a base computed once at `a`.
"""

import abc
from typing import ClassVar, TypeAlias

import equinox as eqx
import jax.numpy as jnp

from holoprop._quadrature import change_along, mean_along
from holoprop._types import Array, Inexact
from holoprop.nn._sigmoid import SigmoidChange, both_sides, sigmoid, softplus

# What an activation keeps of the input that changes are measured from.
Base: TypeAlias = tuple[Inexact[Array, "*shape"], ...]


class AbstractActivation(eqx.Module):
    """A pointwise function, real on real inputs.

    Attributes:
        holomorphic: Whether it is complex-differentiable, so that complex nudges make sense.
    """

    holomorphic: eqx.AbstractClassVar[bool]

    @abc.abstractmethod
    def __call__(self, z: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
        """The activity for an input of any shape, elementwise."""

    # What follows has a default for every activation; one overrides it where it knows better.

    def primitive(self, z: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
        """A function whose derivative is the activation: its integral from 0 to z."""
        return z * mean_along(self.__call__, z)

    def base(self, a: Inexact[Array, "*shape"]) -> Base:
        """What `change` needs of the input `a`: a tuple of arrays, computed once."""
        return (a,)

    def change(self, base: Base, d: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
        """f(a + d) - f(a), accurate relative to itself however small `d` is."""
        return change_along(self.__call__, base[0], d)


class ShiftedSigmoid(AbstractActivation):
    """1 / (1 + exp(-4 z + 2)), the paper's activation for multi-layer perceptrons (Fig. 5a).

    Example:
        >>> float(ShiftedSigmoid()(jnp.array(0.5)))
        0.5
    """

    holomorphic: ClassVar[bool] = True

    def __call__(self, z: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
        """The activity for an input of any shape, elementwise."""
        return sigmoid(4 * z - 2)

    def primitive(self, z: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
        """log(1 + exp(4 z - 2)) / 4."""
        return softplus(4 * z - 2) / 4

    def base(self, a: Inexact[Array, "*shape"]) -> Base:
        """The sigmoid and its complement at `a`."""
        return both_sides(4 * a - 2)

    def change(self, base: Base, d: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
        """By `SigmoidChange`, of four times the change."""
        return SigmoidChange.of(4 * d).at(*base)


class DSiLU(AbstractActivation):
    """(z/2) / (1 + exp(-z)) + (1 - z/2) / (1 + exp(2 - z)), the paper's for CNNs (Appendix B.2).

    Example:
        >>> float(DSiLU()(jnp.array(1.0)))
        0.5
    """

    holomorphic: ClassVar[bool] = True

    def __call__(self, z: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
        """The activity for an input of any shape, elementwise."""
        return z / 2 * sigmoid(z) + (1 - z / 2) * sigmoid(z - 2)

    def base(self, a: Inexact[Array, "*shape"]) -> Base:
        """The input, and its two sigmoids with their complements."""
        return a, *both_sides(a), *both_sides(a - 2)

    def change(self, base: Base, d: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
        """By the product rule for differences; both sigmoids share one exponential."""
        a, *first = base
        u, v = first[:2], first[2:]
        half = (a + d) / 2
        moved = SigmoidChange.of(d)
        return d / 2 * (u[0] - v[0]) + half * moved.at(*u) + (1 - half) * moved.at(*v)


class SiLU(AbstractActivation):
    """z / (1 + exp(-z)), the sigmoid-weighted linear unit.

    Example:
        >>> float(SiLU()(jnp.array(0.0)))
        0.0
    """

    holomorphic: ClassVar[bool] = True

    def __call__(self, z: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
        """The activity for an input of any shape, elementwise."""
        return z * sigmoid(z)

    def base(self, a: Inexact[Array, "*shape"]) -> Base:
        """The input, its sigmoid and its complement."""
        return a, *both_sides(a)

    def change(self, base: Base, d: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
        """By the product rule for differences: d g(a) + (a + d) (g(a + d) - g(a))."""
        a, u, complement = base
        return d * u + (a + d) * SigmoidChange.of(d).at(u, complement)


class Tanh(AbstractActivation):
    """The hyperbolic tangent.

    Example:
        >>> float(Tanh()(jnp.array(0.0)))
        0.0
    """

    holomorphic: ClassVar[bool] = True

    def __call__(self, z: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
        """The activity for an input of any shape, elementwise."""
        return 2 * sigmoid(2 * z) - 1

    def primitive(self, z: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
        """log(cosh(z)) + log(2)."""
        return softplus(2 * z) - z

    def base(self, a: Inexact[Array, "*shape"]) -> Base:
        """The sigmoid of 2 a and its complement."""
        return both_sides(2 * a)

    def change(self, base: Base, d: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
        """By `SigmoidChange`, of twice the change."""
        return 2 * SigmoidChange.of(2 * d).at(*base)


class Identity(AbstractActivation):
    """The identity: a linear network.

    Example:
        >>> float(Identity()(jnp.array(2.0)))
        2.0
    """

    holomorphic: ClassVar[bool] = True

    def __call__(self, z: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
        """The activity for an input of any shape, elementwise."""
        return z

    def primitive(self, z: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
        """Half the square."""
        return z**2 / 2

    def base(self, a: Inexact[Array, "*shape"]) -> Base:
        """Nothing: the change does not depend on `a`."""
        return ()

    def change(self, base: Base, d: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
        """The change itself."""
        return d


class ReLU(AbstractActivation):
    """max(0, z). Not holomorphic: it serves real nudges only.

    Example:
        >>> float(ReLU()(jnp.array(-1.0)))
        0.0
    """

    holomorphic: ClassVar[bool] = False

    def __call__(self, z: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
        """The activity for an input of any shape; in the complex plane z where Re z > 0, else 0."""
        return jnp.where(jnp.real(z) > 0, z, 0)

    def primitive(self, z: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
        """Half the square of the positive part."""
        return self(z) ** 2 / 2

    def base(self, a: Inexact[Array, "*shape"]) -> Base:
        """The activity, and what the input lacks to it."""
        return self(a), a - self(a)

    def change(self, base: Base, d: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
        """The change, cut where the new input would be negative."""
        old, below = base
        moved = below + d
        return jnp.where(jnp.real(moved) > -old, moved, -old)


class ClippedReLU(AbstractActivation):
    """min(max(0, z/2), 1), the paper's non-holomorphic comparison: it serves real nudges only.

    Example:
        >>> float(ClippedReLU()(jnp.array(3.0)))
        1.0
    """

    holomorphic: ClassVar[bool] = False

    def __call__(self, z: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
        """The activity for an input of any shape; a complex input is clipped by its real part."""
        inside = jnp.where(jnp.real(z) > 0, z / 2, 0)
        return jnp.where(jnp.real(z) > 2, 1, inside)

    def primitive(self, z: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
        """z^2/4 between 0 and 2, 0 below, z - 1 above."""
        inside = jnp.where(jnp.real(z) > 0, z**2 / 4, 0)
        return jnp.where(jnp.real(z) > 2, z - 1, inside)

    def base(self, a: Inexact[Array, "*shape"]) -> Base:
        """The input cut to [0, 2], and what was cut off."""
        inside = 2 * self(a)
        return inside, a - inside

    def change(self, base: Base, d: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
        """Half the change, cut where the new input would leave [0, 2]."""
        inside, outside = base
        moved = outside + d
        moved = jnp.where(jnp.real(moved) > -inside, moved, -inside)
        return jnp.where(jnp.real(moved) > 2 - inside, 2 - inside, moved) / 2
