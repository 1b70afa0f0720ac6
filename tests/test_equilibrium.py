"""`equilibrium` as a layer: cotangents of any size, and steps that are too few.

How exact its derivatives are is the matter of test_exactness.py.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import holoprop as hp

ESTIMATORS = {
    "holomorphic": hp.Holomorphic(0.1, 4),
    "full circle": hp.Holomorphic(0.1, 3, full_circle=True),
    "deviation": hp.Centred(0.1, form=hp.StateForm.DEVIATION),
    "fourier": hp.OneSided(0.1, rule=hp.GradientRule.FOURIER),
    "implicit": hp.Implicit(),
    "unrolled": hp.Unrolled(100),
    "online": hp.Online(0.1, 4, steps_per_point=60, periods=1),
}
STIFFNESS = np.array([4.0, 2.0, 1.0])


class Springs(hp.AbstractEnergy):
    """E = k s^2/2 - x s for each of three units: s = x / k."""

    k: jax.Array

    def energy(self, state: Any, x: Any) -> Any:
        return jnp.sum(self.k * state**2) / 2 - jnp.sum(x * state)

    def init_state(self, x: Any) -> Any:
        return jnp.zeros_like(x)


def pull(estimator: Any, dtype: Any = np.float32, **options: Any) -> Any:
    """The derivative by k and x at x = (1, 1, 1), as a function of the cotangent."""
    flow = hp.GradientFlow(0.3)
    options = {"free": flow, "nudged": flow} | options
    function = functools.partial(hp.equilibrium, estimator=estimator, **options)
    k, x = jnp.asarray(STIFFNESS, dtype), jnp.ones(3, dtype)
    _, pull = jax.vjp(lambda k, x: function(Springs(k), x), k, x)
    return pull


CASES = [(name, np.float32) for name in ESTIMATORS] + [
    ("holomorphic", np.float64),
    ("implicit", np.float64),
]


@pytest.mark.parametrize(("name", "dtype"), CASES)
@pytest.mark.quick("holomorphic-float32", "implicit-float64")
def test_cotangents_of_any_size(name: str, dtype: Any) -> None:
    back = pull(ESTIMATORS[name], dtype)
    cotangent = np.array([1.0, -0.3, 0.5], dtype)
    k, x = back(jnp.asarray(cotangent))
    # Roughly; then, to the last digits, the same in any unit.
    np.testing.assert_allclose(x, cotangent / STIFFNESS, rtol=1e-4)
    np.testing.assert_allclose(k, -cotangent / STIFFNESS**2, rtol=1e-2)
    largest = 110 if dtype == np.float32 else 1000
    for power in (-largest, -70, -3, 40, 70, largest):
        moved = back(jnp.asarray(np.ldexp(cotangent, power)))
        for found, wanted in zip(moved, (k, x), strict=True):
            np.testing.assert_allclose(
                found, np.ldexp(np.asarray(wanted), power), rtol=4 * np.finfo(dtype).eps
            )
    # Its length is beyond the largest number.
    huge = np.full(3, 0.9 * np.finfo(dtype).max, dtype)
    np.testing.assert_allclose(back(jnp.asarray(huge))[1], huge / STIFFNESS, rtol=1e-4)
    for found in back(jnp.zeros(3, dtype)):
        np.testing.assert_array_equal(found, 0)


@pytest.mark.parametrize("throw", [True, False])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["holomorphic", "fourier", "implicit"])
@pytest.mark.quick("holomorphic-nan-False", "implicit-inf-True")
def test_cotangents_that_are_no_numbers(name: str, bad: float, throw: bool) -> None:
    for found in pull(ESTIMATORS[name], throw=throw)(jnp.array([1.0, bad, 0.0], np.float32)):
        assert np.all(np.isnan(found))


# Too few steps -----------------------------------------------------------------------------------

FEW, MANY = hp.GradientFlow(0.3, steps=5), hp.GradientFlow(0.3, steps=200)
FLOW = hp.GradientFlow(0.3)


def slopes(estimator: Any, free: Any, nudged: Any, *, throw: bool = True) -> Any:
    options = {"estimator": estimator, "free": free, "nudged": nudged, "throw": throw}

    def total(k: Any) -> Any:
        return jnp.sum(hp.equilibrium(Springs(k), jnp.ones(3), **options))

    return jax.block_until_ready(jax.value_and_grad(total)(jnp.asarray(STIFFNESS)))


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit, jax.vmap], ids=["", "jit", "vmap"])
def test_a_state_that_still_moves_is_an_error(transform: Any) -> None:
    x = jnp.ones((2, 3))

    def state(x: Any, *, free: Any = FEW, throw: bool = True) -> Any:
        one = functools.partial(hp.equilibrium, free=free, throw=throw, estimator=hp.Implicit())
        return one(Springs(jnp.asarray(STIFFNESS)), x)

    x = x if transform is jax.vmap else x[0]
    with pytest.raises((RuntimeError, ValueError), match=r"free phase did not settle.*more steps"):
        jax.block_until_ready(transform(state)(x))
    settled = transform(functools.partial(state, free=MANY))(x)
    np.testing.assert_allclose(settled, x / STIFFNESS, rtol=1e-12)
    # Five steps of 0.3 to x / k, each leaving 1 - 0.3 k of the way.
    as_it_is = transform(functools.partial(state, throw=False))(x)
    passed = x / STIFFNESS * (1 - (1 - 0.3 * STIFFNESS) ** 5)
    np.testing.assert_allclose(as_it_is, passed, rtol=1e-12)


def test_an_oscillation_that_lags_far_behind_is_an_error() -> None:
    lags = hp.Online(0.4, 4, steps_per_point=1, periods=1, warmup_periods=0)
    with pytest.raises((RuntimeError, ValueError), match="the reverse rule did not settle"):
        slopes(lags, MANY, MANY)
    np.testing.assert_array_equal(slopes(lags, MANY, MANY, throw=False)[1], 0)
    follows = hp.Online(0.4, 4, steps_per_point=40, periods=1)
    np.testing.assert_allclose(slopes(follows, MANY, MANY)[1], -1 / STIFFNESS**2, rtol=0.1)


@pytest.mark.parametrize("name", ["holomorphic", "deviation", "fourier", "implicit", "unrolled"])
@pytest.mark.quick("holomorphic")
def test_a_reverse_rule_that_still_moves_is_an_error(name: str) -> None:
    estimator = ESTIMATORS[name]
    loss, found = slopes(estimator, MANY, MANY)
    assert float(loss) == pytest.approx(np.sum(1 / STIFFNESS), rel=1e-12)
    np.testing.assert_allclose(found, -1 / STIFFNESS**2, rtol=0.1)
    message = "a phase of the reverse rule did not settle"
    if name not in ("implicit", "unrolled"):
        with pytest.raises((RuntimeError, ValueError), match=message):
            slopes(estimator, FLOW, FEW)
    if name == "unrolled":
        with pytest.raises((RuntimeError, ValueError), match=message):
            slopes(hp.Unrolled(10), FLOW, FLOW)
        # The derivative of the ten steps themselves, where that is what is asked for.
        _, through = slopes(hp.Unrolled(10), FLOW, FLOW, throw=False)

        def passed(k: Any) -> Any:
            s = jnp.zeros(3)
            for _ in range(10):
                s = s - 0.3 * (k * s - 1)
            return jnp.sum(s)

        wanted = jax.grad(passed)(jnp.asarray(STIFFNESS))
        np.testing.assert_allclose(through, wanted, rtol=1e-12)


def test_schedules_of_value_and_grad_are_taken_as_they_are() -> None:
    # The paper's: a residual that one may look at, not an error.
    network = hp.mlp([5, 4, 4, 3], weight_std=0.3, key=jax.random.key(0))
    short = hp.Synchronous(steps=6)
    options = {"estimator": hp.Centred(0.1), "free": short, "nudged": short}
    (_, aux), _ = hp.value_and_grad(network, jnp.ones((2, 5)), jnp.array([0, 2]), **options)
    assert int(aux.unsettled) == 0
    assert float(jnp.min(aux.residuals["nudged"])) > 1e-6
