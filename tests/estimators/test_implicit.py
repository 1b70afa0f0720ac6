"""The implicit reference where the linear equation has no solution, many, or too little time.

Against dense Newton solves in NumPy of what is left of a degenerate equilibrium.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import holoprop as hp
from holoprop.estimators import Implicit
from holoprop.relaxation import TargetObjective

UNITS, PAIRS = 5, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0), (0, 2)]
FIRST, SECOND = (np.array(ends) for ends in zip(*PAIRS, strict=True))
DTYPES = ["float32", "float64"]
FLOW = hp.GradientFlow(0.2)


class Rotors(hp.AbstractEnergy):
    """E = -sum over pairs of J cos(s_i - s_j - x): of phase differences alone.

    The cost is of a difference as well, but for a pull at one phase of weight w.
    """

    coupling: jax.Array

    def energy(self, state: Any, x: Any) -> Any:
        turns = state[FIRST] - state[SECOND] - x
        return -jnp.sum(self.coupling * jnp.cos(turns))

    def init_state(self, x: Any) -> Any:
        return jnp.linspace(0, 0.5, UNITS, dtype=self.coupling.dtype)

    def cost(self, state: Any, y: Any) -> Any:
        return (state[0] - state[3] - y["t"]) ** 2 / 2 + y["w"] * state[1]


def case(dtype: str, *, weights: Any = (0, 0, 0)) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(0)
    coupling, x = rng.uniform(0.8, 1.5, len(PAIRS)), rng.uniform(-0.4, 0.4, (3, len(PAIRS)))
    y = {"t": rng.normal(size=3), "w": np.array(weights, float)}
    x, y = jax.tree.map(lambda a: jnp.asarray(a, dtype), (x, y))
    return Rotors(jnp.asarray(coupling, dtype)), x, y


def rest(coupling: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Phases relative to the last one, by Newton's method."""
    incidence = np.zeros((len(PAIRS), UNITS))
    incidence[np.arange(len(PAIRS)), FIRST], incidence[np.arange(len(PAIRS)), SECOND] = 1, -1
    incidence = incidence[:, :-1]
    s = np.zeros(UNITS - 1)
    for _ in range(30):
        turns = incidence @ s - x
        slope = incidence.T @ (coupling * np.sin(turns))
        s = s - np.linalg.solve(incidence.T * (coupling * np.cos(turns)) @ incidence, slope)
    return np.append(s, 0.0)


def loss_of(coupling: np.ndarray, x: np.ndarray, t: float) -> float:
    s = rest(coupling, x)
    return (s[0] - s[3] - t) ** 2 / 2


def slopes(network: Any, x: Any, y: Any, keep: Any) -> np.ndarray:
    """Of the kept examples' mean loss by the couplings, by central differences."""
    coupling = np.asarray(network.coupling, float)
    x, t = np.asarray(x, float), np.asarray(y["t"], float)

    def loss(coupling: np.ndarray) -> float:
        return float(np.mean([loss_of(coupling, x[i], t[i]) for i in keep]))

    return np.array(
        [
            (loss(coupling + step) - loss(coupling - step)) / 2e-5
            for step in 1e-5 * np.eye(len(coupling))
        ]
    )


def value_and_grad(network: Any, x: Any, y: Any, **options: Any) -> Any:
    defaults = {"estimator": hp.Implicit(), "free": FLOW, "nudged": FLOW}
    return hp.value_and_grad(network, x, y, **(defaults | options))


def limit(dtype: str) -> float:
    # In float32 the equilibrium is known to some 1e-6, in float64 the differences to some 1e-9.
    return {"float32": 1e-4, "float64": 1e-7}[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.quick("True-float64")
def test_a_free_global_phase_that_the_cost_does_not_see(dtype: str, jit: bool) -> None:
    args = case(dtype)
    gradient = jax.jit(value_and_grad) if jit else value_and_grad
    (loss, aux), grads = gradient(*args)
    assert aux.settled.tolist() == aux.free_settled.tolist() == [True] * 3
    assert (int(aux.unsettled), int(aux.count)) == (0, 3)
    wanted = slopes(*args, range(3))
    np.testing.assert_allclose(
        grads.coupling, wanted, atol=limit(dtype) * np.abs(wanted).max(), rtol=0
    )
    coupling, x, t = (np.asarray(a, float) for a in (args[0].coupling, args[1], args[2]["t"]))
    assert float(loss) == pytest.approx(
        np.mean([loss_of(coupling, x[i], t[i]) for i in range(3)]), rel=limit(dtype)
    )
    assert float(jnp.max(aux.residuals["adjoint"])) < 1e3 * jnp.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.quick("float32")
def test_a_degenerate_example_is_left_out_of_the_gradient_alone(dtype: str) -> None:
    args = case(dtype, weights=(0, 0.3, 0))
    (loss, aux), grads = value_and_grad(*args)
    assert aux.settled.tolist() == [True, False, True]
    assert aux.free_settled.tolist() == [True] * 3
    assert (int(aux.unsettled), int(aux.count)) == (1, 2)
    wanted = slopes(*args, (0, 2))
    np.testing.assert_allclose(
        grads.coupling, wanted, atol=limit(dtype) * np.abs(wanted).max(), rtol=0
    )
    costs = jax.vmap(args[0].cost)(aux.state, args[2])
    assert float(loss) == pytest.approx(float(jnp.mean(costs)), rel=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.quick("float64")
def test_nobody_left_is_an_error_that_names_the_solve(dtype: str) -> None:
    args = case(dtype, weights=(0.3, 0.3, -0.2))
    message = r"no example's linear equation was solved.*restart or max_restarts.*degenerate"
    with pytest.raises(RuntimeError, match=message):
        jax.block_until_ready(value_and_grad(*args))
    (_, aux), grads = value_and_grad(*args, throw=False)
    assert int(aux.unsettled) == 3
    np.testing.assert_array_equal(grads.coupling, 0)


@functools.partial(jax.jit, static_argnames=("throw", "estimator"))
def slope_of_equilibrium(
    network: Any, x: Any, y: Any, *, weight: float, throw: bool = True, estimator: Any
) -> Any:
    def loss(network: Any) -> Any:
        options = {"estimator": estimator, "free": FLOW, "nudged": FLOW, "throw": throw}
        s = hp.equilibrium(network, x[0], **options)
        return (s[0] - s[3] - y["t"][0]) ** 2 / 2 + weight * s[1]

    return jax.grad(loss)(network).coupling


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.quick("float64")
def test_equilibrium_with_a_free_global_phase(dtype: str) -> None:
    args = case(dtype)
    found = slope_of_equilibrium(*args, weight=0.0, estimator=hp.Implicit())
    wanted = slopes(*args, (0,))
    np.testing.assert_allclose(found, wanted, atol=limit(dtype) * np.abs(wanted).max(), rtol=0)
    message = r"the linear solve of Implicit did not reach its tolerance.*restart.*degenerate"
    with pytest.raises((RuntimeError, ValueError), match=message):
        jax.block_until_ready(slope_of_equilibrium(*args, weight=0.3, estimator=hp.Implicit()))
    silent = slope_of_equilibrium(*args, weight=0.3, throw=False, estimator=hp.Implicit())
    np.testing.assert_array_equal(silent, 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.quick("float64")
def test_too_few_restarts(dtype: str) -> None:
    short = hp.Implicit(restart=1, max_restarts=2)
    with pytest.raises((RuntimeError, ValueError), match="larger restart or max_restarts"):
        jax.block_until_ready(slope_of_equilibrium(*case(dtype), weight=0.0, estimator=short))
    with pytest.raises(RuntimeError, match="larger restart or max_restarts"):
        jax.block_until_ready(value_and_grad(*case(dtype), estimator=short))
    # As many as it takes, in Krylov spaces that are smaller than the state.
    args = case(dtype)
    _, grads = value_and_grad(*args, estimator=hp.Implicit(restart=2, max_restarts=200))
    wanted = slopes(*args, range(3))
    np.testing.assert_allclose(
        grads.coupling, wanted, atol=limit(dtype) * np.abs(wanted).max(), rtol=0
    )


class Springs(hp.AbstractEnergy):
    """E = scale K (s / unit)^2 / 2, energies and lengths in any unit."""

    stiffness: jax.Array
    scale: jax.Array
    unit: jax.Array

    def energy(self, state: Any, x: Any) -> Any:
        s = state / self.unit
        return self.scale * s @ self.stiffness @ s / 2

    def init_state(self, x: Any) -> Any:
        return x

    def cost(self, state: Any, y: Any) -> Any:
        return y @ state / self.unit


# One at a time, or both: curvatures from 1e-36 to 1e36 are numbers in float32, but no others.
UNITS_OF = [(10.0**i, 1.0) for i in (-12, -6, 6, 12)] + [(1.0, 10.0**i) for i in (-12, -6, 6, 12)]
UNITS_OF += [(1e-12, 1e-12), (1e12, 1e12)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("scale", "unit"), UNITS_OF)
@pytest.mark.quick("*1e-12-1.0-float32")
def test_units_of_energy_and_state_do_not_matter(dtype: str, scale: float, unit: float) -> None:
    # The solve alone, at a state that any relaxation may have found.
    stiffness, pull = np.array([[2.0, 0.7], [0.7, 0.5]]), np.array([1.0, -2.0])
    numbers = [jnp.asarray(a, dtype) for a in (stiffness, scale, unit)]
    state, y = jnp.zeros(2, dtype), jnp.asarray(pull, dtype)
    adjoint, residual, solved = Implicit()._solve(
        Springs(*numbers), state, TargetObjective(y), state, jnp.array(True)
    )
    assert bool(solved)
    assert float(residual) <= 20 * jnp.finfo(dtype).eps
    exact = np.linalg.solve(stiffness, pull) / scale * unit
    np.testing.assert_allclose(adjoint, exact, rtol=1e3 * jnp.finfo(dtype).eps)


class Kink(hp.AbstractEnergy):
    """|s|^1.5, whose curvature at zero is infinite, beside a spring."""

    stiffness: jax.Array

    def energy(self, state: Any, x: Any) -> Any:
        return self.stiffness * state**2 / 2 + x["k"] * jnp.abs(state) ** 1.5 - x["a"] * state

    def init_state(self, x: Any) -> Any:
        return jnp.zeros((), self.stiffness.dtype)

    def cost(self, state: Any, y: Any) -> Any:
        return state + y


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.quick("float32")
def test_an_equation_that_is_no_number_is_left_out(dtype: str) -> None:
    x = {"k": jnp.array([0, 1.0], dtype), "a": jnp.array([1.0, 0], dtype)}
    (loss, aux), grads = value_and_grad(Kink(jnp.asarray(2.0, dtype)), x, jnp.zeros(2, dtype))
    assert aux.settled.tolist() == [True, False]
    assert aux.free_settled.tolist() == [True, True]
    # s = a / stiffness.
    assert float(loss) == pytest.approx(0.25, rel=1e-5)
    assert float(grads.stiffness) == pytest.approx(-0.25, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("derivative", [jax.grad, jax.jacfwd])
def test_a_derivative_of_the_gradient(derivative: Any) -> None:
    network = hp.mlp([4, 3, 3, 2], weight_std=0.4, key=jax.random.key(0))
    x = jax.random.uniform(jax.random.key(1), (2, 4))
    steps = hp.Synchronous(steps=100)

    def size(shift: Any) -> Any:
        bias = network.couplings[0].bias + shift
        moved = jax.tree.map(lambda a: bias if a is network.couplings[0].bias else a, network)
        options = {"estimator": hp.Implicit(), "free": steps, "nudged": steps, "throw": False}
        _, grads = hp.value_and_grad(moved, x, jnp.array([0, 1]), **options)
        return sum(jnp.sum(g**2) for g in jax.tree.leaves(grads))

    difference = (size(1e-5) - size(-1e-5)) / 2e-5
    assert float(jax.jit(derivative(size))(0.0)) == pytest.approx(float(difference), rel=1e-6)
