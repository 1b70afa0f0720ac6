"""Stability maps: which nudges come to rest, against equilibria in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import holoprop as hp

KEY = jax.random.key(0)


class Spring(hp.AbstractEnergy):
    """E = s^2/2 - x s and cost s^2/2: under a nudge s <- x - beta s, stable where |beta| < 1."""

    def energy(self, state, x):
        return state**2 / 2 - x * state

    def init_state(self, x):
        return jnp.zeros_like(x)

    def cost(self, state, y):
        return state**2 / 2


@pytest.fixture(scope="module")
def spring_map():
    x = jnp.array([0.5, 1.0])
    relaxation = hp.Synchronous(steps=400)
    return hp.stability_map(Spring(), x, jnp.zeros(2), width=2.4, points=9, relaxation=relaxation)


def test_grid(spring_map):
    """Real part along the columns, imaginary part along the rows, round zero."""
    axis = np.linspace(-1.2, 1.2, 9)
    np.testing.assert_allclose(spring_map.nudges, axis[None, :] + 1j * axis[:, None], atol=1e-14)
    assert spring_map.residual.shape == spring_map.result.shape == (9, 9)


def test_stable_within_the_unit_circle_alone(spring_map):
    size = np.abs(spring_map.nudges)
    result = np.asarray(spring_map.result)
    assert np.all(result[size < 0.9] == hp.RelaxationResult.SETTLED)
    assert np.all(result[size > 1.1] != hp.RelaxationResult.SETTLED)
    assert np.all(np.asarray(spring_map.residual)[size < 0.9] <= 1e-13)


def test_residual_by_closed_form(spring_map):
    """From s0 = x the n-th step is x (-beta)^n; as many more as shrink by Re(-beta) are ahead."""
    nudges = np.asarray(spring_map.nudges)
    ring = (np.abs(nudges) > 0.94) & (np.abs(nudges) < 1.03)
    assert ring.any()
    b = -nudges[ring]
    rest = 1 / (1 - b)
    state = rest + (1 - rest) * b**400
    expected = np.abs((b - 1) * (1 - rest) * b**400) / np.abs(state)
    expected = expected / (1 - np.maximum(b.real, 0))
    np.testing.assert_allclose(np.asarray(spring_map.residual)[ring], expected, atol=1e-14)


def test_worst_of_the_batch():
    """One example alone, the other alone, both."""

    class Stiff(Spring):
        def energy(self, state, x):
            return x * state**2 / 2 - state

    relaxation = hp.Synchronous(steps=60)

    def at(x):
        x = jnp.array(x)
        target = jnp.zeros(x.shape)
        return hp.stability_map(Stiff(), x, target, width=1.0, points=3, relaxation=relaxation)

    soft, stiff, both = at([1.0]), at([1.6]), at([1.0, 1.6])
    np.testing.assert_array_equal(both.residual, np.maximum(soft.residual, stiff.residual))
    np.testing.assert_array_equal(both.result, np.maximum(soft.result, stiff.result))


def test_mlp():
    """A small square is stable everywhere, a large one is not, and both mirror at the real axis."""
    network, x, labels = hp.mlp([6, 4, 4, 4], key=KEY), jnp.ones((1, 6)), jnp.array([0])
    small = hp.stability_map(network, x, labels, width=0.4, points=5)
    assert not np.any(small.result)
    large = hp.stability_map(network, x, labels, width=40.0, points=5)
    assert large.result[2, 2] == hp.RelaxationResult.SETTLED
    assert np.any(large.result)
    np.testing.assert_array_equal(large.result, large.result[::-1])


def test_any_energy_by_its_default():
    """ds/dt = x - (1 + beta) s is stable right of -1, further out than the fixed-point map."""
    found = hp.stability_map(Spring(), jnp.ones(1), jnp.zeros(1), width=2.0, points=3)
    assert not np.any(found.result[:, 1:])
    assert np.all(found.result[:, 0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0.0}, "width must be positive; got 0.0"),
        ({"width": -3.0}, "width must be positive; got -3.0"),
        ({"points": 1}, "points must be a whole number, 2 or more; got 1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        hp.stability_map(Spring(), jnp.ones(1), jnp.zeros(1), **options)


def test_energies_without_a_complex_derivative_are_refused():
    network = hp.mlp([6, 4, 4, 4], activation=hp.ReLU(), key=KEY)
    with pytest.raises(ValueError, match="activation ReLU is not"):
        hp.stability_map(network, jnp.ones((1, 6)), jnp.array([0]), points=3)
