"""A small step is not nearness: what settles is near, leaf by leaf, in any unit and precision."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import holoprop as hp

SLOW = pytest.mark.slow
SETTLED, OUT_OF_STEPS = hp.RelaxationResult.SETTLED, hp.RelaxationResult.OUT_OF_STEPS


class Springs(hp.AbstractEnergy):
    """Springs of several stiffnesses, a leaf each; s = rest in the end."""

    stiffness: tuple[float, ...]
    rest: tuple[float, ...]

    def energy(self, state: Any, x: Any) -> Any:
        terms = zip(self.stiffness, self.rest, state, strict=True)
        return sum(k * jnp.sum((s - r) ** 2) / 2 for k, r, s in terms)

    def init_state(self, x: Any) -> Any:
        return tuple(jnp.zeros(3, x.dtype) for _ in self.rest)

    def cost(self, state: Any, y: Any) -> Any:
        return y * jnp.sum(state[-1])


FLOWS = {
    "flow": hp.GradientFlow(0.5),
    "synchronous": hp.Synchronous(max_steps=20000),
    "sequential": hp.Sequential(max_steps=20000),
    "mixed": hp.Anderson(hp.GradientFlow(0.5), depth=3),
    "descent": hp.Descent(),
}


# Fixed-point maps, which these energies' steps are too.
MAPS = ("synchronous", "sequential")


def with_tolerance(name: str, tolerance: float) -> Any:
    steps = {"tolerance": tolerance, "max_steps": 20000}
    return {
        "flow": hp.GradientFlow(0.5, **steps),
        "synchronous": hp.Synchronous(**steps),
        "sequential": hp.Sequential(**steps),
        "mixed": hp.Anderson(hp.GradientFlow(0.5, **steps), depth=3),
        "descent": hp.Descent(**steps),
    }[name]


def distance(found: Any, rest: Any) -> float:
    """Largest relative distance of a leaf."""
    return max(
        float(np.max(np.abs(np.asarray(s, np.float64) / r - 1)))
        for s, r in zip(found.state, rest, strict=True)
    )


@pytest.mark.parametrize(
    "name", ["flow", "mixed", "descent", *(pytest.param(n, marks=SLOW) for n in MAPS)]
)
@pytest.mark.parametrize("soft", [pytest.param(1.0, marks=SLOW), 0.1, 1e-2, 1e-3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.quick("*-0.001-*")
def test_slow_modes(name: str, soft: float, dtype: Any) -> None:
    """One stiff leaf of thousands beside a soft one of ones: each within the tolerance."""
    energy = Springs((1.0, soft), (1000.0, 1.0))
    found = hp.relax(energy, jnp.ones(1, dtype), relaxation=with_tolerance(name, 1e-4))
    true = distance(found, energy.rest)
    assert found.result[0] == SETTLED
    assert true <= 1.5e-4
    # And not far better than was asked for.
    if name in ("flow", "synchronous") and soft < 1:
        assert distance(found, energy.rest) >= 1e-5


@pytest.mark.parametrize("name", ["flow", "synchronous", "sequential", "mixed"])
def test_a_slow_mode_that_is_out_of_steps_says_how_far_it_is(name: str) -> None:
    energy = Springs((1.0, 1e-5), (1.0, 1.0))
    relaxation = {
        "flow": hp.GradientFlow(0.5, steps=100),
        "synchronous": hp.Synchronous(steps=100),
        "sequential": hp.Sequential(steps=100),
        "mixed": hp.Anderson(hp.GradientFlow(0.5, steps=2), depth=3),
    }[name]
    found = hp.relax(energy, jnp.ones(1), relaxation=relaxation)
    assert found.result[0] == OUT_OF_STEPS
    true = float(np.max(np.abs(found.state[1] - 1)) / np.max(np.abs(found.state[1])))
    assert 0.3 * true <= float(found.residual[0]) <= 3 * true


@settings(deadline=None, max_examples=20)
@given(unit=st.floats(-12, 12), seed=st.integers(0, 3))
def test_the_unit_of_the_state_changes_nothing(unit: float, seed: int) -> None:
    unit = 2.0 ** round(unit * np.log2(10))
    soft = float(np.random.default_rng(seed).uniform(0.01, 1))
    one, other = (
        hp.relax(
            Springs((1.0, soft), (3.0 * u, 0.1 * u)),
            jnp.ones(1),
            relaxation=hp.GradientFlow(0.5, tolerance=1e-6),
        )
        for u in (1.0, unit)
    )
    assert one.steps == other.steps
    np.testing.assert_allclose(other.residual, one.residual, rtol=1e-9)
    for a, b in zip(one.state, other.state, strict=True):
        np.testing.assert_allclose(a, b / unit, rtol=1e-12)


@pytest.mark.parametrize("stiffness", [1e-12, 1e-9, 1e-6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_energy_too_soft_for_its_step_is_not_at_rest(stiffness: float, dtype: Any) -> None:
    """Steps of a fixed length in other units go nowhere, and say so."""
    energy = Springs((stiffness,), (1.0,))
    for relaxation in (hp.GradientFlow(0.1, max_steps=200), hp.Synchronous(max_steps=200)):
        found = hp.relax(energy, jnp.ones(1, dtype), relaxation=relaxation)
        assert found.result[0] == OUT_OF_STEPS
        assert found.residual[0] > 0.1


@pytest.mark.parametrize("name", ["flow", "synchronous", "mixed", "descent"])
@pytest.mark.parametrize("start", [1e4, 3e6])
def test_a_move_lost_to_rounding_is_no_rest(name: str, start: float) -> None:
    """From far away, float32 cannot hold the steps of a soft mode at all."""

    class Far(hp.AbstractEnergy):
        k: float

        def energy(self, state: Any, x: Any) -> Any:
            return self.k * jnp.sum((state - 1) ** 2) / 2

        def init_state(self, x: Any) -> Any:
            return start * x

    found = hp.relax(
        Far(1e-9), jnp.ones((1, 3), jnp.float32), relaxation=with_tolerance(name, 1e-4)
    )
    if found.result[0] == SETTLED:
        np.testing.assert_allclose(found.state, 1, rtol=1e-3)
    else:
        assert found.residual[0] > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.bfloat16, pytest.param(jnp.float16, marks=SLOW)])
@pytest.mark.parametrize("name", FLOWS)
def test_half_precision(name: str, dtype: Any) -> None:
    class Half(hp.AbstractEnergy):
        k: Any

        def energy(self, state: Any, x: Any) -> Any:
            return jnp.sum(self.k * (state - x) ** 2) / 2

        def init_state(self, x: Any) -> Any:
            return jnp.zeros_like(x)

    found = hp.relax(Half(jnp.asarray(0.1, dtype)), jnp.ones((1, 3), dtype), relaxation=FLOWS[name])
    assert found.result[0] == SETTLED
    np.testing.assert_allclose(np.asarray(found.state, np.float64), 1, rtol=1e-5)


@pytest.mark.parametrize("name", ["flow", "sequential", "mixed", "descent"])
@pytest.mark.parametrize("nudge", [1e-1, 1e-3, 1e-5])
@pytest.mark.quick("0.001-flow", "1e-05-mixed")
def test_a_nudged_phase_is_measured_by_its_response(name: str, nudge: float) -> None:
    """The plain form's response is within the tolerance of what it should be, however small."""
    energy = Springs((1.0, 0.05), (1.0, 1.0))
    relaxation = with_tolerance(name, 1e-3)
    free = hp.Descent(tolerance=1e-12)
    estimator = hp.Centred(nudge, form=hp.StateForm.PLAIN)
    x, y = jnp.ones(2), jnp.array([1.0, -0.7])

    class Trained(Springs):
        bias: Any = 0.0

        def energy(self, state: Any, x: Any) -> Any:
            return super().energy(state, x) - self.bias * jnp.sum(state[-1])

    network = Trained(energy.stiffness, energy.rest, jnp.array(0.0))
    (_, aux), grads = hp.value_and_grad(
        network, x, y, estimator=estimator, free=free, nudged=relaxation
    )
    assert int(aux.unsettled) == 0
    # The response of three springs to a push is y / k each.
    np.testing.assert_allclose(grads.bias, 3 * np.mean([1.0, -0.7]) / 0.05, rtol=3e-3)


def test_oscillation_is_no_rest() -> None:
    """Moves that turn round by half a turn do not add up, and do not shrink either."""

    class Swing(hp.AbstractEnergy):
        def energy(self, state: Any, x: Any) -> Any:
            return jnp.sum((state - 1) ** 2)

        def init_state(self, x: Any) -> Any:
            return 0.5 * x

    found = hp.relax(Swing(), jnp.ones((1, 2)), relaxation=hp.Synchronous(max_steps=50))
    assert found.result[0] == OUT_OF_STEPS
    assert found.residual[0] > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("offset", [300.0, 1e5])
@pytest.mark.parametrize("name", ["flow", "sequential", "descent"])
def test_an_offset_hides_no_profile(offset: float, name: str) -> None:
    """Heat along a rod at some temperature: the ends are held, the middle has to follow."""

    class Rod(hp.AbstractEnergy):
        scale: float

        def energy(self, state: Any, x: Any) -> Any:
            whole = jnp.concatenate([x[:1], state, x[1:]])
            return self.scale * jnp.sum((whole[1:] - whole[:-1]) ** 2) / 2

        def init_state(self, x: Any) -> Any:
            return jnp.full(10, x[0])

    x = jnp.array([[offset, offset + 10.0]])
    found = hp.relax(Rod(0.25), x, relaxation=with_tolerance(name, 1e-9))
    assert found.result[0] == SETTLED
    exact = np.linspace(offset, offset + 10, 12)[1:-1]
    # Within the tolerance relative to the state, offset and all.
    assert np.max(np.abs(found.state[0] - exact)) <= 3e-9 * offset * np.sqrt(10)
