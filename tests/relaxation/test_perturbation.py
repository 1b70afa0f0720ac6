"""A start on a symmetry, at an unstable rest: left where the energy says that it may be there."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from users import frustrated
from zoo import error

import holoprop as hp
from holoprop.relaxation import Problem, default_tolerance

SIZE = 0.1
FLOW = hp.GradientFlow(0.2)
FLOWS = {
    "gradient flow": FLOW,
    "anderson": hp.Anderson(FLOW),
    "default": None,
}


def slopes(energy, x, state):
    return jax.vmap(jax.grad(energy.energy))(state, x)


def smallest_curvature(energy, x, state):
    """Of each example."""
    hessians = jax.vmap(jax.hessian(energy.energy))(state, x)
    return np.min(np.linalg.eigvalsh(np.asarray(hessians)), axis=1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.quick("float64")
def test_the_start_is_an_unstable_rest(dtype):
    """What the perturbation is for: without it everything says that all is well."""
    energy, x, _ = frustrated(dtype, displacement=0.0)
    found = hp.relax(energy, x, relaxation=FLOW)
    assert found.result.tolist() == [hp.RelaxationResult.SETTLED] * 2
    np.testing.assert_array_equal(found.state, x["start"])
    assert np.all(smallest_curvature(energy, x, found.state) < -0.5)


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.quick("float64-default")
def test_relax_finds_the_minimum(dtype, name):
    energy, x, _ = frustrated(dtype)
    found = hp.relax(energy, x, relaxation=FLOWS[name])
    assert not np.any(found.result)
    # A step of a tenth of the slope is below the tolerance, relative to angles of some radians.
    slope = float(jnp.max(jnp.abs(slopes(energy, x, found.state))))
    assert slope < 100 * default_tolerance(found.state.dtype)
    curvature = smallest_curvature(energy, x, found.state)
    # Mixing may come to a saddle, by a rounding: it says that it may, and the check finds it.
    if name == "anderson" and np.any(curvature < 0):
        stable = hp.check_stable(energy, x, found.state).stable
        np.testing.assert_array_equal(stable, curvature > 0)
        curvature = curvature[np.asarray(stable)]
        assert curvature.size
    assert np.all(curvature > 0.1)


def loss(theta, rebuild, x, y, state):
    """By Newton's method from a state nearby."""
    energy = rebuild(theta)

    def sharpen(x, s):
        slope = jax.grad(lambda s: energy.energy(s, x))
        for _ in range(6):
            s = s - jnp.linalg.solve(jax.jacfwd(slope)(s), slope(s))
        return s

    return jnp.mean(jax.vmap(energy.cost)(jax.vmap(sharpen)(x, state), y))


@pytest.mark.parametrize("estimator", [hp.Implicit(), hp.Holomorphic(0.03, 12), hp.Unrolled(600)])
@pytest.mark.quick("estimator1")
def test_gradient_at_the_minimum(estimator):
    energy, x, y = frustrated(np.float64)
    (_, aux), grads = hp.value_and_grad(energy, x, y, estimator=estimator, free=FLOW, nudged=FLOW)
    theta, rebuild = ravel_pytree(energy)
    at = jax.jit(lambda theta: loss(theta, rebuild, x, y, aux.state))
    steps = 1e-5 * np.eye(theta.size)
    differences = [(at(theta + d) - at(theta - d)) / 2e-5 for d in steps]
    assert error(ravel_pytree(grads)[0], np.array(differences)) < 1e-6


def test_equilibrium_finds_the_minimum():
    energy, x, _ = frustrated(np.float64)
    whole = hp.relax(energy, x, relaxation=FLOW).state
    for i, state in enumerate(whole):
        one = jax.tree.map(lambda a, i=i: a[i], x)
        found = hp.equilibrium(energy, one, estimator=hp.Implicit(), free=FLOW)
        np.testing.assert_allclose(found, state, rtol=1e-9)


class Nested(hp.AbstractEnergy):
    """Leaves of several shapes; only the start is looked at."""

    size: object = eqx.field(static=True)

    def energy(self, state, x):
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(state)) / 2

    def init_state(self, x):
        return {"a": x * jnp.ones((2, 3), x.dtype), "b": [x, x * jnp.ones(4, x.dtype)]}

    def perturbation(self):
        return self.size


def start(size, x):
    return Problem(Nested(size), x).init_state()


def moves(size, x):
    """What the start is displaced by, an array for each leaf."""
    return [
        np.asarray(leaf)
        for leaf in jax.tree.leaves(jax.tree.map(jnp.subtract, start(size, x), start(0, x)))
    ]


def test_the_displacement():
    """The same for all examples; a number of its own for each unit; in proportion to the size."""
    found = moves(SIZE, jnp.zeros(5))
    for leaf in found:
        np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:1], leaf.shape))
    units = np.concatenate([leaf[0].ravel() for leaf in found])
    assert len(set(units.tolist())) == 11
    # Eleven normal numbers have a root mean square between a third and twice one, almost surely.
    assert SIZE / 3 < np.sqrt(np.mean(units**2)) < 2 * SIZE
    for a, b in zip(found, moves(3 * SIZE, jnp.zeros(5)), strict=True):
        np.testing.assert_allclose(b, 3 * a, rtol=1e-14)


def test_the_displacement_knows_no_batch_and_no_precision():
    double, single = moves(SIZE, jnp.zeros(5)), moves(SIZE, jnp.zeros(1, np.float32))
    for a, b in zip(double, single, strict=True):
        assert b.dtype == np.float32
        np.testing.assert_allclose(b[0], a[3], rtol=1e-6)


@pytest.mark.parametrize("size", [0, 0.0])
def test_no_displacement_by_default(size):
    x = jnp.linspace(-1, 1, 3)
    for leaf, own in zip(
        *map(jax.tree.leaves, (start(size, x), jax.vmap(Nested(0.0).init_state)(x))), strict=True
    ):
        np.testing.assert_array_equal(leaf, own)


def test_a_given_start_stays():
    energy, x, _ = frustrated(np.float64)
    found = hp.relax(energy, x, init=x["start"], relaxation=hp.GradientFlow(0.2, steps=3))
    np.testing.assert_array_equal(found.state, x["start"])


@pytest.mark.parametrize("size", [-0.1, float("nan"), float("inf"), None, "0.1"])
def test_sizes_that_are_none(size):
    with pytest.raises(ValueError, match=r"Nested.perturbation\(\) is .*: return a Python number"):
        hp.relax(Nested(size), jnp.zeros(2))


def test_precisions_of_all_leaves_stay():
    class Wide(Nested):
        def perturbation(self):
            return np.float64(SIZE)

    x = jnp.zeros(2, np.float32)
    moved = Problem(Wide(0.0), x).init_state()
    assert {leaf.dtype for leaf in jax.tree.leaves(moved)} == {x.dtype}
    for a, b in zip(*map(jax.tree.leaves, (moved, start(SIZE, x))), strict=True):
        np.testing.assert_array_equal(a, b)
