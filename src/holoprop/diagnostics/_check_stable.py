"""`check_stable`: would the physical system stay at its free equilibrium?"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from holoprop._checks import check_same_batch
from holoprop._types import Array, Bool, Float, Input, Int, PyTree, State
from holoprop.energies import AbstractEnergy
from holoprop.relaxation import Problem

# A linear map of the units of one example, as one vector.
_Map = Callable[[Float[Array, " units"]], Float[Array, " units"]]

# In units of the precision's eps: what products with derivatives leave of an eigenvalue, relative
# to the largest.
_ROUNDING = 64


class Stability(eqx.Module):
    """What `check_stable` found of each example's equilibrium.

    Attributes:
        stable: Boolean [batch]: whether the margin is larger than its error.
        margin: Real [batch]: how far from instability. Where the energy's numerics are a
            fixed-point map, 1 less the spectral radius of the synchronous step; for any other
            energy its smallest curvature as a part of the largest. Negative where unstable, zero
            along a direction without any slope, not a number where the state is not finite.
        error: Real [batch], positive: how far the margin may be off; rounding alone where the whole
            matrix was looked at.
    """

    stable: Bool[Array, " batch"]
    margin: Float[Array, " batch"]
    error: Float[Array, " batch"]


def check_stable(
    energy: AbstractEnergy, x: PyTree[Any], state: State, *, vectors: int = 64
) -> Stability:
    """Whether free equilibria are stable under the plain dynamics, those of Eq. (1).

    Mixing (`Anderson`) and starts on a symmetry can come to rest where the physical system would
    not stay. There the equations of an equilibrium hold and residuals are small; only the
    linearised dynamics tell. Of a fixed-point map s <- T(s), as a `LayeredNetwork`'s is, an
    equilibrium is stable if the eigenvalues of dT/ds lie inside the unit circle; of ds/dt = -dE/ds
    if the Hessian of E is positive definite. The margin depends on the units of neither the energy
    nor any leaf of the state.

    Up to `vectors` units the matrix is computed, and the answer is exact to rounding. Of more units
    it is projected on a Krylov space of so many vectors. The Hessian's smallest curvature is then
    never found too small, and some curvature lies within the error; a direction of instability that
    is much weaker than the stiffest mode can be missed. Of a map the error is an estimate, by half
    as many vectors. Where the margin lies within the error either way, nothing is known: use more
    vectors. What is stable to small displacements need not be to large ones, nor under other
    orders of update such as `Sequential`'s.

    Arguments:
        energy: An `AbstractEnergy` or one of the networks, real on real states.
        x: Inputs with a leading batch axis on every leaf.
        state: The free equilibria, real, [batch, ...]: the state of `relax`, or `aux.state`.
        vectors: Largest number of products with the matrix for each example, 2 or more; default 64.

    Returns:
        A `Stability`.

    Raises:
        ValueError: If shapes or types do not fit, or vectors is out of range.

    Example:
        >>> import holoprop as hp
        >>> network, x = hp.mlp([6, 4, 4, 4], key=jax.random.key(0)), jnp.ones((2, 6))
        >>> check_stable(network, x, hp.relax(network, x).state).stable.tolist()
        [True, True]

    Reference: Laborieux and Zenke (2022), Eq. (1); Saad (2011), Numerical Methods for Large
    Eigenvalue Problems, chapter 6.
    """
    if not isinstance(vectors, int) or vectors < 2:
        raise ValueError(f"vectors must be a whole number, 2 or more; got {vectors!r}.")
    energy.check(x, None)
    check_same_batch(x=x, state=state)
    problem = Problem(energy, x)
    if not problem.is_real:
        raise ValueError(
            f"{type(energy).__name__} is complex on real states, and stability is of real ones: "
            "give an energy that is real on real states."
        )
    found, own = _described(state), _described(problem.states)
    if found != own:
        raise ValueError(
            f"state has arrays {', '.join(found[1])}, but the energy's states have "
            f"{', '.join(own[1])}: give a free equilibrium of the same energy and batch."
        )
    return _check_stable(energy, x, state, vectors)


def _described(state: PyTree[Any]) -> tuple[Any, list[str]]:
    """Structure, shapes and dtypes."""
    leaves, structure = jax.tree.flatten(state)
    return structure, [f"{jnp.result_type(leaf)}{list(jnp.shape(leaf))}" for leaf in leaves]


@eqx.filter_jit
def _check_stable(energy: AbstractEnergy, x: PyTree[Any], state: State, vectors: int) -> Stability:
    one = _of_map if energy.numerics().fixed_point_map else _of_flow
    margin, error = jax.vmap(lambda x, s: one(energy, x, s, vectors))(x, state)
    return Stability(margin > error, margin, error)


def _of_map(
    energy: AbstractEnergy, x: Input, state: State, vectors: int
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """1 less the spectral radius of the step's Jacobian, and how far that may be off."""
    flat, unravel = ravel_pytree(state)
    numerics = energy.numerics()
    dynamics = numerics.dynamics(numerics.prepare(x), None, numerics.maps())

    def step(s: Array) -> Array:
        new, _ = dynamics.synchronous(dynamics.extend(unravel(s)), None)
        return ravel_pytree(dynamics.state(new))[0]

    _, jacobian = jax.linearize(step, flat)
    matrix, _ = _projected(jacobian, flat, vectors)
    radius = _spectral_radius(matrix)
    error = jnp.asarray(_ROUNDING * jnp.finfo(flat.dtype).eps)
    if flat.size > vectors:
        half = matrix[: vectors // 2, : vectors // 2]
        error = error + jnp.abs(radius - _spectral_radius(half))
    return 1 - radius, jnp.maximum(radius, 1) * error


def _of_flow(
    energy: AbstractEnergy, x: Input, state: State, vectors: int
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The Hessian's smallest eigenvalue over its largest, and how far that may be off.

    Every leaf is measured in a unit in which its own curvature is about one. That changes no sign
    of an eigenvalue (Sylvester's law of inertia), and takes the user's units out of the question.
    """
    flat, unravel = ravel_pytree(state)
    _, hessian = jax.linearize(jax.grad(lambda s: energy.energy(unravel(s), x)), flat)
    sizes = [leaf.size for leaf in jax.tree.leaves(state)]
    leaves = jnp.asarray(np.repeat(np.arange(len(sizes)), sizes))
    unit = _units(hessian, flat, leaves, len(sizes))[leaves]
    matrix, outside = _projected(lambda v: unit * hessian(unit * v), flat, vectors)
    curvatures, ways = jnp.linalg.eigh((matrix + matrix.T) / 2)
    # A curvature of the whole lies as near to each of the projection as this.
    away = jnp.abs(outside * ways[-1])
    stiffest = jnp.argmax(jnp.abs(curvatures))
    largest = jnp.abs(curvatures[stiffest])
    scale = jnp.where(largest > 0, largest, 1)
    margin = curvatures[0] / scale
    error = (away[0] + jnp.abs(margin) * away[stiffest]) / scale
    return margin, error + _ROUNDING * jnp.finfo(flat.dtype).eps


def _units(
    hessian: _Map, like: Float[Array, " units"], leaves: Int[Array, " units"], count: int
) -> Float[Array, " leaves"]:
    """For each leaf, one over the square root of its own curvature along a random direction."""
    probe = jax.random.normal(jax.random.key(0), like.shape, like.dtype)

    def unit(leaf: Int[Array, ""]) -> Float[Array, ""]:
        along = jnp.where(leaves == leaf, probe, 0)
        # Largest entries and not squares, which small units would bring to zero.
        slope = jnp.max(jnp.where(leaves == leaf, jnp.abs(hessian(along)), 0))
        curvature = slope / jnp.max(jnp.abs(along))
        return jnp.where(curvature > 0, 1 / jnp.sqrt(curvature), 1)

    return jax.lax.map(unit, jnp.arange(count))


def _projected(
    apply: _Map, like: Float[Array, " units"], vectors: int
) -> tuple[Float[Array, "kept kept"], Float[Array, ""]]:
    """The matrix of a linear map; of many units that of its projection on a Krylov space.

    Arnoldi's method with orthogonalisation done twice. Where the space is exhausted early, a fresh
    random vector goes on.

    Arguments:
        apply: The map.
        like: A vector of all units.
        vectors: Dimension of the Krylov space.

    Returns:
        The matrix, and the size of the part of the last vector's image that lies outside of it.
    """
    units, dtype = like.size, like.dtype
    if units <= vectors:
        return jax.vmap(apply)(jnp.eye(units, dtype=dtype)).T, jnp.zeros((), dtype)
    fresh = jax.random.normal(jax.random.key(1), (vectors + 1, units), dtype)

    def length(v: Array) -> Array:
        return jnp.sqrt(jnp.sum(v * v))

    def without(basis: Array, v: Array) -> tuple[Array, Array]:
        # In full precision, which accelerators do not give products unasked.
        along = jnp.matmul(basis, v, precision="highest")
        return v - jnp.matmul(along, basis, precision="highest"), along

    def grow(k: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        basis, matrix = carry
        image = apply(basis[k])
        rest, along = without(basis, image)
        exhausted = length(rest) <= 10 * jnp.finfo(dtype).eps * length(image)
        rest, more = without(basis, jnp.where(exhausted, fresh[k + 1], rest))
        size = length(rest)
        column = jnp.where(exhausted, along, along + more)
        column = column.at[k + 1].set(jnp.where(exhausted, 0, size))
        return basis.at[k + 1].set(rest / size), matrix.at[:, k].set(column)

    basis = jnp.zeros((vectors + 1, units), dtype).at[0].set(fresh[0] / length(fresh[0]))
    matrix = jnp.zeros((vectors + 1, vectors), dtype)
    _, matrix = jax.lax.fori_loop(0, vectors, grow, (basis, matrix))
    return matrix[:vectors], matrix[vectors, vectors - 1]


def _spectral_radius(matrix: Float[Array, "kept kept"]) -> Float[Array, ""]:
    """The largest absolute eigenvalue, as the limit of |M^k|^(1/k) along powers of two.

    By products alone: accelerators lack the eigenvalues of matrices that are not symmetric, and a
    complex pair of them needs no care.
    """

    def square(k: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        power, logarithm = carry
        size = jnp.sqrt(jnp.sum(power * power))
        power = power / jnp.where(size > 0, size, 1)
        logarithm = logarithm + jnp.log(size) * 0.5**k
        return jnp.matmul(power, power, precision="highest"), logarithm

    start = (matrix, jnp.zeros((), matrix.dtype))
    # After so many squarings, the root of any norm differs from one by less than rounding.
    count = jnp.finfo(matrix.dtype).nmant + 6
    return jnp.exp(jax.lax.fori_loop(0, count, square, start)[1])
