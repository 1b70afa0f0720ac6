"""Energies as users write them: every estimator on them, and the default relaxation.

The oracle knows nothing of holoprop: gradient descent in small steps finds the basin, Newton's
method with a dense Hessian the rest in it, and differences of rests the gradient.
"""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from users import USERS, frustrated
from zoo import cast, error

import holoprop as hp
from holoprop.relaxation import Problem, default_tolerance

users = pytest.mark.parametrize("name", USERS)
# Programs of all estimators take long to compile; the others are left to the slow tests.
QUICK = ("diode circuit", "xy network", "graph")
# From the same start a longer first step may lead to another of several minima.
SEVERAL = ("xy network", "frustrated")


def sharpen(energy: Any, x: Any, state: Any) -> Any:
    """A batch's equilibria near a state, by Newton's method."""

    def one(x: Any, state: Any) -> Any:
        flat, unravel = ravel_pytree(state)
        slope = jax.grad(lambda s: energy.energy(unravel(s), x))
        hessian = jax.jacfwd(slope)
        return unravel(
            jax.lax.fori_loop(0, 8, lambda _, s: s - jnp.linalg.solve(hessian(s), slope(s)), flat)
        )

    return jax.vmap(one)(x, state)


@eqx.filter_jit
def rest(energy: Any, x: Any, start: Any, dt: float) -> Any:
    """The equilibria to which the slope leads: descent for 4000 steps, then Newton's method."""

    def one(x: Any, state: Any) -> Any:
        slope = jax.grad(lambda s: energy.energy(s, x))

        def step(_: Any, s: Any) -> Any:
            return jax.tree.map(lambda s, g: s - dt * g, s, slope(s))

        return jax.lax.fori_loop(0, 4000, step, state)

    return sharpen(energy, x, jax.vmap(one)(x, start))


@eqx.filter_jit
def hessians(energy: Any, x: Any, state: Any) -> Any:
    """[batch, units, units]."""

    def one(x: Any, state: Any) -> Any:
        flat, unravel = ravel_pytree(state)
        return jax.hessian(lambda s: energy.energy(unravel(s), x))(flat)

    return jax.vmap(one)(x, state)


@functools.cache
def exact(name: str, precision: str = "float64") -> tuple[Any, Any, Any, Any]:
    """Energy, inputs and targets of an example in one precision; its equilibria in float64."""
    energy, x, y = USERS[name].example(np.dtype(precision))
    double, wide = cast((energy, x), np.float64)
    start = Problem(double, wide).init_state()
    return energy, x, y, rest(double, wide, start, USERS[name].dt)


def largest(tree: Any) -> float:
    return max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(tree))


@users
@pytest.mark.quick("diode circuit")
def test_the_oracle_is_at_a_minimum(name: str) -> None:
    energy, x, _, state = exact(name)
    slope = jax.vmap(jax.grad(energy.energy))(state, x)
    curvatures = np.linalg.eigvalsh(hessians(energy, x, state))
    assert np.all(curvatures > 0)
    # The slope of a state that is a few roundings from the minimum.
    assert largest(slope) < 1e-13 * np.max(curvatures) * largest(state)
    if name == "chain":
        assert np.max(curvatures) / np.min(curvatures) > 9e3


@users
@pytest.mark.quick("conv hopfield", "retrieval")
def test_holomorphic(name: str) -> None:
    energy, x, y, state = exact(name)
    example, target, init = (jax.tree.map(lambda a: a[0], tree) for tree in (x, y, state))
    size = largest(init)
    # A tenth of a volt is many times what a diode can bear.
    radius = 0.01 if name == "diode circuit" else 0.2 * max(1.0, size / 10)
    found = hp.check_holomorphic(energy, example, target=target, init=init, radius=radius)
    assert found.failures == ()


# Relative errors, each parameter's derivative times the parameter, so that units do not count. With
# the nearest branch point four times as far as the radius, Eq. (9) has (1/4)^12 = 6e-8 left at
# twelve points; a tenth of the radius, (1/40)^2 = 6e-4 by two points; a hundredth, 1/400 by one.
ESTIMATORS = {
    "holomorphic": (lambda radius: hp.Holomorphic(radius, 12), 1e-6),
    "centred": (lambda radius: hp.Centred(radius / 10), 2e-3),
    "one-sided": (lambda radius: hp.OneSided(radius / 100), 1e-2),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.slow]) for n in USERS]
)
@pytest.mark.slow
def test_gradients(name: str) -> None:
    energy, x, y, state = exact(name)
    user = USERS[name]
    relaxation = hp.Anderson(hp.GradientFlow(user.dt, tolerance=1e-13), depth=10)
    named = {key: make(user.radius) for key, (make, _) in ESTIMATORS.items()}
    theta, rebuild = ravel_pytree(energy)

    @jax.jit
    def gradients(theta: Any, init: Any) -> Any:
        found = {}
        for key, estimator in {"implicit": hp.Implicit(), **named}.items():
            (_, aux), grads = hp.value_and_grad(
                rebuild(theta),
                x,
                y,
                estimator=estimator,
                free=relaxation,
                nudged=relaxation,
                init=init,
                throw=False,
            )
            found[key] = aux.unsettled, theta * ravel_pytree(grads)[0]
        return found

    @jax.jit
    def losses(theta: Any) -> Any:
        energy = rebuild(theta)
        return jnp.mean(jax.vmap(energy.cost)(sharpen(energy, x, state), y))

    found = gradients(theta, state)
    assert {key: int(unsettled) for key, (unsettled, _) in found.items() if unsettled} == {}
    # Along relative changes of all parameters. Differences err by h^2 and by rounding over h, which
    # a soft mode enlarges by the condition number.
    ways = np.random.default_rng(0).normal(size=(6, theta.size))
    h = 1e-4
    differences = [
        (losses(theta * (1 + h * way)) - losses(theta * (1 - h * way))) / (2 * h) for way in ways
    ]
    assert error(ways @ found["implicit"][1], np.array(differences)) < 1e-6
    errors = {key: error(found[key][1], found["implicit"][1]) for key in named}
    assert {key: e for key, e in errors.items() if not e <= ESTIMATORS[key][1]} == {}


def distances(state: Any, reference: Any) -> np.ndarray:
    """[batch]: the largest relative distance of a leaf."""
    each = [
        np.linalg.norm(np.reshape(a - b, (len(b), -1)), axis=1)
        / np.linalg.norm(np.reshape(b, (len(b), -1)), axis=1)
        for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(reference), strict=True)
    ]
    return np.max(each, axis=0)


def attainable(energy: Any, x: Any, state: Any, precision: Any) -> np.ndarray:
    """[batch]: as near as rounding of a slope lets anything come, |H^-1| |H| |s| eps by leaf."""

    def moved(hessian: np.ndarray, one: Any) -> Any:
        flat, unravel = ravel_pytree(one)
        slope = np.abs(hessian) @ np.abs(flat)
        return unravel(jnp.asarray(np.abs(np.linalg.inv(hessian)) @ slope))

    all_hessians = np.asarray(hessians(energy, x, state))
    examples = [jax.tree.map(lambda s, i=i: s[i], state) for i in range(len(all_hessians))]
    bounds = [moved(h, s) for h, s in zip(all_hessians, examples, strict=True)]
    batch = jax.tree.map(lambda *leaves: np.stack(leaves), *bounds)
    shifted = jax.tree.map(lambda s, b: s + b, state, batch)
    return float(jnp.finfo(precision).eps) * distances(shifted, state)


@users
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.quick(
    "float32-diode circuit", "float32-conv hopfield", "float32-retrieval", "float32-rod"
)
def test_default_relaxation(name: str, precision: str) -> None:
    """At rest within the tolerance, or out of steps with a residual that says how far it is."""
    energy, x, _, reference = exact(name, precision)
    found = hp.relax(energy, x)
    assert all(leaf.dtype == precision for leaf in jax.tree.leaves(found.state))
    double, wide, state = cast((energy, x, found.state), np.float64)
    if name in SEVERAL:
        reference = sharpen(double, wide, state)
        assert np.all(np.linalg.eigvalsh(hessians(double, wide, reference)) > 0)
    distance = distances(state, reference)
    floor = attainable(double, wide, reference, precision)
    result, residual = np.asarray(found.result), np.asarray(found.residual)
    assert np.all(result != hp.RelaxationResult.DIVERGED)
    settled = result == hp.RelaxationResult.SETTLED
    # Ten times the tolerance, and what rounding leaves.
    tolerance = default_tolerance(np.dtype(precision))
    assert np.all(distance[settled] <= 10 * tolerance + 4 * floor[settled])
    assert np.all(10 * residual[~settled] >= distance[~settled])


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_stable_at_the_minimum_and_not_on_the_symmetry(precision: str) -> None:
    energy, x, _ = frustrated(np.dtype(precision), displacement=0.0)
    assert not np.any(hp.check_stable(energy, x, x["start"]).stable)
    energy, x, _, state = exact("frustrated", precision)
    state = cast(state, np.dtype(precision))
    assert np.all(hp.check_stable(energy, x, state).stable)
