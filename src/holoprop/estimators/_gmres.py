"""A linear solve by Jacobian-vector products that says whether it has solved."""

import functools
from collections.abc import Callable
from typing import TypeAlias

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from holoprop._tree import norm, scaled, unit
from holoprop._types import Array, Bool, Float, Int, RealScalar, State
from holoprop._varying import alike

# Largest residual of what is solved, in roundings of |b| + |A| |x|.
_RESIDUAL = 100.0
# Residual that a Krylov space grows for, in roundings of |b|: not the last digit, where rounding
# can have put a part of b outside of the range of a singular A.
_AIM = 10.0
# Largest part of x that may be wrong for want of digits.
_WRONG = 0.01
# What is this small beside the operator, in units of rounding, is zero.
_ZERO = 10.0

Vector: TypeAlias = Float[Array, " n"]
Apply: TypeAlias = Callable[[Vector], Vector]

# A graphics processor's own precision would be a tenth of float32's digits.
_product = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def gmres(
    operator: Callable[[State], State], right: State, *, restart: int, max_restarts: int
) -> tuple[State, RealScalar, Bool[Array, ""]]:
    """Solve the real linear system A x = b by GMRES, to the rounding of its arithmetic.

    It asks for no property of A. Where A is singular and b lies in its range, which a symmetric A
    has orthogonal to its null space, x is the solution that the powers of A make of b, without a
    part in the null space. Sizes and units of A and b do not matter as long as x has numbers.

    What comes out has solved the system if its residual |b - A x| is at most 100 roundings of |b| +
    |A| |x|, that is, if it solves exactly a system that is equal to the given one up to rounding;
    and if by that residual and the rounding of A x, both times |A^-1|, at most a hundredth of x is
    wrong. A nearly singular system fails the second: its solution would be made of rounding. |A|
    and |A^-1| are those that the Krylov spaces have seen, so a direction of which b has nothing
    does not count.

    It can be differentiated as a solution, once in either mode and more often.

    Arguments:
        operator: x to A x.
        right: b.
        restart: Size of the Krylov space, 1 or more.
        max_restarts: Largest number of restarts, 1 or more.

    Returns:
        x, the relative residual |b - A x| / |b| (zero where b is zero), and whether it has solved.
        Where it has not, x may be anything.

    Reference: Saad and Schultz (1986), doi 10.1137/0907058; Brown and Walker (1997), doi
    10.1137/S0895479894262339, for singular systems.
    """
    b, unflat = ravel_pytree(right)

    def apply(x: Vector) -> Vector:
        return ravel_pytree(operator(unflat(x)))[0]

    # What is known of x goes with it as two more unknowns: jacfwd cannot do with `has_aux`.
    def with_two(both: Vector) -> Vector:
        return jnp.concatenate([apply(both[:-2]), both[-2:]])

    def solve(map_of: Apply, right: Vector) -> Vector:
        # Of the transposed map where that system is solved.
        def first(x: Vector) -> Vector:
            return map_of(jnp.concatenate([x, right[-2:]]))[:-2]

        size = min(restart, b.size)
        return jnp.concatenate(_solve(first, right[:-2], restart=size, max_restarts=max_restarts))

    both = jax.lax.custom_linear_solve(
        with_two, jnp.concatenate([b, jnp.zeros(2, b.dtype)]), solve, transpose_solve=solve
    )
    residual, solved = jax.lax.stop_gradient(both[-2:])
    return unflat(both[:-2]), residual, solved > 0


class _Iterate(eqx.Module):
    """Where the restarts have come to.

    Attributes:
        count: Restarts so far.
        going: Whether it is worth while to go on.
        x: Solution so far, for b of length one.
        left: b - A x.
        size: Its length.
        stretch: |A|, as far as it has been seen.
        inverse: |A^-1|, the same.
    """

    count: Int[Array, ""]
    going: Bool[Array, ""]
    x: Vector
    left: Vector
    size: RealScalar
    stretch: RealScalar
    inverse: RealScalar

    def is_solved(self) -> Bool[Array, ""]:
        """Whether the residual is rounding, and has digits enough for this x."""
        length, eps = norm(self.x), _eps(self.x)
        near = self.size <= _RESIDUAL * eps * (1 + self.stretch * length)
        unknown = self.inverse * (self.size + eps * self.stretch * length)
        return near & (unknown <= _WRONG * length)


def _solve(
    apply: Apply, b: Vector, *, restart: int, max_restarts: int
) -> tuple[Vector, Float[Array, " 2"]]:
    """x, and in numbers its relative residual and whether it has solved."""
    b, *lengths = unit(b)

    def again(old: _Iterate) -> _Iterate:
        change, stretch, inverse = _best_change(apply, old, restart)
        x = old.x + change
        left = b - apply(x)
        size, inverse = norm(left), jnp.maximum(old.inverse, inverse)
        # Not where it is no number: what comes out of a step that failed is never taken.
        better = old.going & (size < old.size)
        new = x, left, size, stretch, inverse
        kept = old.x, old.left, old.size, old.stretch, old.inverse
        new = jax.tree.map(functools.partial(jnp.where, better), new, kept)
        end = _Iterate(old.count + 1, better, *new)
        return eqx.tree_at(lambda end: end.going, end, better & ~end.is_solved())

    size = norm(b)
    nothing = jnp.zeros_like(size)
    start = _Iterate(jnp.array(0), size > 0, jnp.zeros_like(b), b, size, nothing, nothing)
    # As in relaxation, a loop goes on until the last of a caller's vmap has come to its end: one
    # whose condition differs between those would select, in each step, over all that it carries.
    end = jax.lax.while_loop(
        lambda at: (at.count < max_restarts) & eqxi.unvmap_any(at.going), again, alike(start)
    )
    x = scaled(end.x, *lengths)
    solved = end.is_solved() & jnp.all(jnp.isfinite(x))
    return x, jnp.stack([end.size, solved.astype(x.dtype)])


def _eps(a: Array) -> float:
    return float(jnp.finfo(a.dtype).eps)


class _Krylov(eqx.Module):
    """A Krylov space as it grows.

    With V the basis and H the Hessenberg matrix, A V_k = V_{k+1} H_k, and Q H_k is triangular for
    an orthogonal Q.

    Attributes:
        count: Vectors of all systems that are solved together.
        depth: Vectors of this one that are of use.
        going: Whether it grows.
        basis: V, a vector in each row; zero where there is none.
        turn: Q.
        triangle: Q H_k, without its last row of zeros; the identity where there is nothing yet.
        stretch: |A|, as far as it has been seen.
    """

    count: Int[Array, ""]
    depth: Int[Array, ""]
    going: Bool[Array, ""]
    basis: Float[Array, "vectors n"]
    turn: Float[Array, "vectors vectors"]
    triangle: Float[Array, "restart restart"]
    stretch: RealScalar


def _best_change(apply: Apply, at: _Iterate, restart: int) -> tuple[Vector, RealScalar, RealScalar]:
    """The change of x in a Krylov space that leaves the least residual; |A| and |A^-1| as seen.

    Arguments:
        apply: x to A x.
        at: Where it starts.
        restart: Largest size of the space.
    """
    dtype = at.x.dtype
    zero = _ZERO * _eps(at.x)
    # Where it has come so near that is not enough for an x that is made of the smallest directions.
    aim = jnp.minimum(_AIM * _eps(at.x), at.size / 10)

    def grow(old: _Krylov) -> _Krylov:
        k = old.count
        image = apply(old.basis[k])
        length = norm(image)
        stretch = jnp.maximum(old.stretch, length)
        new = image / jnp.where(length > 0, length, 1)
        # Twice, because the first leaves rounding of what it takes away.
        parts = jnp.zeros(restart + 1, dtype)
        for _ in range(2):
            part = _product(old.basis, new)
            new, parts = new - _product(part, old.basis), parts + part
        rest = jnp.sqrt(jnp.sum(new**2))
        # The space holds its own image, and so the solution, if there is one.
        closed = rest * length <= zero * stretch
        column = _product(old.turn, length * parts.at[k + 1].set(jnp.where(closed, 0, rest)))
        here, below = column[k], column[k + 1]
        diagonal = jnp.hypot(here, below)
        # A direction whose image is made of others' would enter with a weight made of rounding.
        useful = old.going & ~(closed & (diagonal <= zero * stretch))
        safe = jnp.where(diagonal > 0, diagonal, 1)
        cosine, sine = jnp.where(diagonal > 0, here / safe, 1), below / safe
        first, second = old.turn[k], old.turn[k + 1]
        turn = old.turn.at[k].set(cosine * first + sine * second)
        turn = turn.at[k + 1].set(cosine * second - sine * first)
        row = jnp.arange(restart)
        column = jnp.where(row < k, column[:restart], jnp.where(row == k, diagonal, 0))
        column = jnp.where(useful, column, row == k)
        going = useful & ~closed & (at.size * jnp.abs(turn[k + 1, 0]) > aim)
        new = jnp.where(going, new / jnp.where(rest > 0, rest, 1), 0)
        return _Krylov(
            count=k + 1,
            depth=old.depth + useful,
            going=going,
            basis=old.basis.at[k + 1].set(new),
            turn=turn,
            triangle=old.triangle.at[:, k].set(column),
            stretch=stretch,
        )

    first = at.left / jnp.where(at.size > 0, at.size, 1)
    space = _Krylov(
        count=jnp.array(0),
        depth=jnp.array(0),
        going=at.going,
        basis=jnp.zeros((restart + 1, first.size), dtype).at[0].set(first),
        turn=jnp.eye(restart + 1, dtype=dtype),
        triangle=jnp.eye(restart, dtype=dtype),
        stretch=at.stretch,
    )
    space = jax.lax.while_loop(
        lambda old: (old.count < restart) & eqxi.unvmap_any(old.going), grow, alike(space)
    )
    target = jnp.where(jnp.arange(restart) < space.depth, at.size * space.turn[:restart, 0], 0)
    weights = jax.scipy.linalg.solve_triangular(space.triangle, target)
    # One step of inverse iteration, from where the inverse has led already.
    turned, *_ = unit(weights)
    turned = jax.scipy.linalg.solve_triangular(space.triangle, turned, trans="T")
    turned, *_ = unit(turned)
    inverse = norm(jax.scipy.linalg.solve_triangular(space.triangle, turned))
    return _product(weights, space.basis[:restart]), space.stretch, inverse
