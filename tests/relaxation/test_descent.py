"""Descent finds its own step: any quadratic, any unit, any scale of a leaf, complex states."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zoo import cast, error

import holoprop as hp
from holoprop.relaxation import default_tolerance

SLOW = pytest.mark.slow
SETTLED, OUT_OF_STEPS = hp.RelaxationResult.SETTLED, hp.RelaxationResult.OUT_OF_STEPS


class Quadratic(hp.AbstractEnergy):
    """u (s^T A s / 2 - x^T s) in units of state and energy of one's own; it rests at A^-1 x."""

    matrix: jax.Array
    energy_unit: float = 1.0
    state_unit: float = 1.0

    def energy(self, state: Any, x: Any) -> Any:
        s = state / self.state_unit
        return self.energy_unit * (s @ (self.matrix @ s) / 2 - x @ s)

    def init_state(self, x: Any) -> Any:
        return jnp.zeros_like(x) * self.state_unit

    def cost(self, state: Any, y: Any) -> Any:
        return jnp.sum((state / self.state_unit - y) ** 2) / 2


def quadratic(size: int, condition: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A matrix of a condition number, curvatures spread evenly in their logarithm, and rests."""
    rng = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(rng.normal(size=(size, size)))
    curvatures = np.geomspace(1, 1 / condition, size)
    return axes * curvatures @ axes.T, rng.normal(size=(2, size)) + 1


def push(matrix: np.ndarray, rest: np.ndarray, dtype: Any = np.float64) -> jax.Array:
    """What holds a batch at its rests."""
    return jnp.asarray(rest @ matrix, dtype)


@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4])
@pytest.mark.parametrize("size", [2, pytest.param(3, marks=SLOW), pytest.param(20, marks=SLOW), 60])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.quick("*-2-1.0", "*-60-10000.0")
def test_any_quadratic_settles(size: int, condition: float, dtype: Any) -> None:
    for seed in range(4):
        matrix, rest = quadratic(size, condition, seed)
        energy = Quadratic(jnp.asarray(matrix, dtype))
        found = hp.relax(energy, push(matrix, rest, dtype))
        assert np.all(found.result == SETTLED)
        true = np.linalg.norm(found.state - rest, axis=1) / np.linalg.norm(rest, axis=1)
        # A slope within the tolerance is that much times softer along the softest mode.
        assert np.all(true <= (3 + condition) * default_tolerance(np.dtype(dtype)))
        # What it says is right, but for what the matrix lost to its precision.
        lost = 5 * np.sqrt(size) * condition * float(jnp.finfo(dtype).eps)
        assert np.all(true <= 3 * found.residual + lost)


@settings(deadline=None, max_examples=25)
@given(
    energy_unit=st.floats(-12, 12),
    state_unit=st.floats(-12, 12),
    seed=st.integers(0, 2),
)
def test_units_change_nothing(energy_unit: float, state_unit: float, seed: int) -> None:
    matrix, rest = quadratic(5, 100.0, seed)
    # Powers of two scale exactly.
    units = [2.0 ** round(u * np.log2(10)) for u in (energy_unit, state_unit)]
    one = hp.relax(Quadratic(jnp.asarray(matrix)), push(matrix, rest))
    other = hp.relax(Quadratic(jnp.asarray(matrix), *units), push(matrix, rest))
    assert other.steps == one.steps
    np.testing.assert_allclose(other.state / units[1], one.state, rtol=1e-12)
    np.testing.assert_allclose(other.residual, one.residual, rtol=1e-6)
    np.testing.assert_array_equal(other.result, one.result)


@pytest.mark.parametrize("unit", [1e-9, 1e-3, 1e6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.quick("float32-1e-09")
def test_a_gradient_in_other_units(unit: float, dtype: Any) -> None:
    matrix, rest = quadratic(4, 30.0, 0)
    x = push(matrix, rest, dtype)
    estimator = hp.Holomorphic(0.005 * unit, 12)
    energy = Quadratic(jnp.asarray(matrix, dtype), unit)
    y = jnp.ones((2, 4), dtype)
    _, found = hp.value_and_grad(energy, x, y, estimator=estimator)
    double = cast(energy, np.float64)
    _, exact = hp.value_and_grad(
        double, push(matrix, rest), np.ones((2, 4)), estimator=hp.Implicit()
    )
    assert error(found.matrix, exact.matrix) <= (1e-3 if dtype == np.float32 else 1e-8)


class TwoScales(hp.AbstractEnergy):
    """A leaf of large numbers that is stiff, and one of small ones that is soft."""

    soft: jax.Array

    def energy(self, state: Any, x: Any) -> Any:
        big, small = state["big"], state["small"]
        return jnp.sum((big - 1000 * x) ** 2) / 2 + self.soft * (small - 1) ** 2 / 2

    def init_state(self, x: Any) -> Any:
        return {"big": jnp.zeros(1000, x.dtype), "small": jnp.zeros((), x.dtype)}


@pytest.mark.parametrize("soft", [1e-6, 0.01, 1.0, 100.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.quick("*-1e-06", "*-100.0")
def test_every_leaf_comes_to_its_own_end(soft: float, dtype: Any) -> None:
    found = hp.relax(TwoScales(jnp.asarray(soft, dtype)), jnp.ones(2, dtype))
    assert np.all(found.result == SETTLED)
    tolerance = 30 * default_tolerance(np.dtype(dtype))
    np.testing.assert_allclose(found.state["small"], 1, rtol=tolerance)
    np.testing.assert_allclose(found.state["big"], 1000, rtol=tolerance)


@pytest.mark.parametrize("nudge", [0.3j, 0.2 - 0.4j])
def test_complex_states(nudge: complex) -> None:
    """Of a quadratic of condition 1e3 under a complex nudge, by a linear solve."""
    matrix, rest = quadratic(12, 1e3, 1)
    y = np.random.default_rng(5).normal(size=(2, 12))
    found = hp.relax(
        Quadratic(jnp.asarray(matrix)), push(matrix, rest), nudge=nudge, target=jnp.asarray(y)
    )
    assert np.all(found.result == SETTLED)
    total = matrix + nudge * np.eye(12)
    exact = np.linalg.solve(total, matrix @ rest.T + nudge * y.T).T
    np.testing.assert_allclose(found.state, exact, atol=1e-9)


class Wells(hp.AbstractEnergy):
    """Two minima, and a ridge where it starts."""

    a: jax.Array

    def energy(self, state: Any, x: Any) -> Any:
        return self.a * jnp.sum(state**4 / 4 - state**2 / 2)

    def init_state(self, x: Any) -> Any:
        return x


@pytest.mark.parametrize("start", [1e-6, -1e-3, 0.3, 2.0, -30.0])
def test_it_leaves_the_ridge(start: float) -> None:
    found = hp.relax(Wells(jnp.array(1.0)), jnp.full((1, 3), start))
    assert found.result[0] == SETTLED
    np.testing.assert_allclose(np.abs(found.state), 1, rtol=1e-9)


class Slope(hp.AbstractEnergy):
    """No minimum: down for ever, along a line or ever faster."""

    power: float

    def energy(self, state: Any, x: Any) -> Any:
        return -jnp.sum(x * state**self.power)

    def init_state(self, x: Any) -> Any:
        return jnp.ones_like(x)


@pytest.mark.parametrize("power", [1, 2, 3])
@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e12])
def test_what_has_no_equilibrium_never_settles(power: float, unit: float) -> None:
    found = hp.relax(Slope(power), jnp.full((2, 3), unit))
    assert not np.any(found.result == SETTLED)
    assert np.all(~(found.residual <= 1e-3))


def test_out_of_steps_says_how_far_it_is() -> None:
    matrix, rest = quadratic(30, 1e4, 0)
    relaxation = hp.Descent(max_steps=40)
    found = hp.relax(Quadratic(jnp.asarray(matrix)), push(matrix, rest), relaxation=relaxation)
    assert np.all(found.result == OUT_OF_STEPS)
    true = np.linalg.norm(found.state - rest, axis=1) / np.linalg.norm(rest, axis=1)
    assert np.all(found.residual > 0.1 * true)


def test_at_rest_from_the_start() -> None:
    matrix, rest = quadratic(5, 10.0, 0)
    energy, x = Quadratic(jnp.asarray(matrix)), push(matrix, rest)
    found = hp.relax(energy, x, init=jnp.asarray(rest))
    assert found.steps <= 3
    assert np.all(found.result == SETTLED)
    np.testing.assert_allclose(found.state, rest, rtol=1e-12)


def test_gradients_through_it() -> None:
    """BPTT goes through the steps as they are long."""
    matrix, rest = quadratic(4, 20.0, 0)
    energy, x, y = Quadratic(jnp.asarray(matrix)), push(matrix, rest), jnp.ones((2, 4))
    _, exact = hp.value_and_grad(energy, x, y, estimator=hp.Implicit())
    options = {"free": hp.Descent(), "nudged": hp.Descent()}
    _, found = hp.value_and_grad(energy, x, y, estimator=hp.Unrolled(200), **options)
    assert error(found.matrix, exact.matrix) <= 1e-6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": 0.0}, r"tolerance must be positive"),
        ({"max_steps": 0}, r"max_steps must be a whole number, 1 or more"),
    ],
)
def test_bad_settings(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hp.Descent(**options)
