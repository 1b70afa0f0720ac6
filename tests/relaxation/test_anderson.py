"""Anderson mixing: the fixed points of what it mixes, sooner, for complex states too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import holoprop as hp


class Quadratic(hp.AbstractEnergy):
    """E = s . A s/2 - x . s and l = s . C s/2: linear in the state, so a step is s <- x + M s."""

    a: jax.Array
    c: jax.Array

    def energy(self, state, x):
        return state @ self.a @ state / 2 - x @ state

    def init_state(self, x):
        return jnp.zeros_like(x)

    def cost(self, state, y):
        return state @ self.c @ state / 2


def symmetric(rng, spectrum):
    q, _ = np.linalg.qr(rng.normal(size=(len(spectrum), len(spectrum))))
    return q @ np.diag(spectrum) @ q.T


def problem(seed, units):
    """An ill-conditioned well, and a nudge that turns it by a complex amount."""
    rng = np.random.default_rng(seed)
    a = symmetric(rng, np.linspace(0.05, 1.6, units))
    c = symmetric(rng, rng.uniform(-1, 1, size=units))
    return Quadratic(jnp.asarray(a), jnp.asarray(c)), rng.normal(size=(1, units))


def solve(energy, x, nudge):
    return np.linalg.solve(np.asarray(energy.a) + nudge * np.asarray(energy.c), x[0])


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 1000), st.sampled_from([0.3, -0.2, 0.4j, 0.2 - 0.5j]))
def test_linear_problem_in_as_many_steps_as_units(seed, nudge):
    """Mixing all steps solves n linear equations in n + 1 of them, complex or not."""
    units = 5
    energy, x = problem(seed, units)
    relaxation = hp.Anderson(hp.Synchronous(steps=units + 1), depth=units + 1)
    found = hp.relax(energy, x, nudge=nudge, target=jnp.zeros(1), relaxation=relaxation)
    expected = solve(energy, x, nudge)
    error = np.linalg.norm(found.state[0] - expected) / np.linalg.norm(expected)
    # The weights' equations are solved to a ridge of 100 roundings in their squares, so changes are
    # cancelled to its root, and the state is off by that over the weakest curvature.
    curvature = np.linalg.svd(np.asarray(energy.a) + nudge * np.asarray(energy.c), compute_uv=False)
    assert error < np.sqrt(100 * np.finfo(float).eps) / curvature.min()
    plain = hp.relax(
        energy, x, nudge=nudge, target=jnp.zeros(1), relaxation=hp.Synchronous(steps=units + 1)
    )
    assert error < 1e-3 * np.linalg.norm(plain.state[0] - expected) / np.linalg.norm(expected)


def test_changes_whose_squares_add_up_to_nothing():
    """A first change (1, i) has a product of zero with itself, but a length of its own."""
    energy = Quadratic(jnp.diag(jnp.array([0.2, 0.2])), jnp.diag(jnp.array([0.6, -0.1])))
    relaxation = hp.Anderson(hp.Synchronous(tolerance=1e-12, max_steps=20), depth=3)
    nudge = 0.5j
    h = np.diag(np.asarray(energy.a) + nudge * np.asarray(energy.c))
    x = np.array([[1.0, 0.5]])
    # Start where x - h s = (1, i).
    init = (x - np.array([[1.0, 1j]])) / h
    found = hp.relax(
        energy, x, nudge=nudge, target=jnp.zeros(1), init=jnp.asarray(init), relaxation=relaxation
    )
    assert found.result[0] == hp.RelaxationResult.SETTLED
    assert found.steps <= 6
    np.testing.assert_allclose(found.state[0], x[0] / h, rtol=1e-10)


INNERS = [hp.Synchronous(max_steps=3000), hp.Sequential(max_steps=3000), hp.GradientFlow(0.9)]


@pytest.mark.parametrize(("inner", "nudge"), list(zip(INNERS, [0.1j, 0.0, 0.0], strict=True)))
def test_fewer_steps_on_a_slow_network(inner, nudge):
    """A linear pair of layers with gain 0.97: the same equilibrium, several times sooner."""
    network = hp.mlp(
        [3, 2, 2], activation=hp.Identity(), cost=hp.SquaredError(), key=jax.random.key(0)
    )
    angle = 0.4
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    weights = [network.couplings[0].weight, jnp.asarray(0.97 * turn @ np.diag([1.0, 0.6]))]
    couplings = tuple(
        hp.Dense(w, c.bias, c.in_shape) for w, c in zip(weights, network.couplings, strict=True)
    )
    network = hp.LayeredNetwork(couplings, activation=hp.Identity(), cost=hp.SquaredError())
    x, y = jnp.array([[1.0, -0.5, 0.2]]), jnp.array([[0.3, 0.1]])

    def settle(relaxation):
        return hp.relax(network, x, nudge=nudge, target=y, relaxation=relaxation)

    plain, mixed = settle(inner), settle(hp.Anderson(inner))
    assert plain.result[0] == mixed.result[0] == hp.RelaxationResult.SETTLED
    assert 4 * mixed.steps < plain.steps
    for a, b in zip(plain.state, mixed.state, strict=True):
        # The slow one stops at a residual of 1e-13, a hundred times that from its rest.
        np.testing.assert_allclose(a, b, atol=1e-9)


@pytest.mark.parametrize("inner", INNERS[::2])
def test_rests_where_the_inner_relaxation_diverges(inner):
    """Curvature 3 throws a plain step out; the mixture is a solver and finds the rest."""
    energy = Quadratic(jnp.diag(jnp.array([3.0, 0.4])), jnp.zeros((2, 2)))
    x = np.array([[1.0, 1.0]])
    assert hp.relax(energy, x, relaxation=inner).result[0] == hp.RelaxationResult.DIVERGED
    found = hp.relax(energy, x, relaxation=hp.Anderson(inner))
    assert found.result[0] == hp.RelaxationResult.SETTLED
    np.testing.assert_allclose(found.state[0], [1 / 3, 2.5], rtol=1e-10)


def test_stays_at_rest_once_there():
    """Fixed steps far beyond rest: changes of nothing but rounding do not upset the mixture."""
    energy, x = problem(0, 4)
    relaxation = hp.Anderson(hp.Synchronous(steps=300))
    found = hp.relax(energy, x, nudge=0.2j, target=jnp.zeros(1), relaxation=relaxation)
    expected = solve(energy, x, 0.2j)
    np.testing.assert_allclose(found.state[0], expected, atol=1e-11 * np.linalg.norm(expected))


def test_at_rest_at_nothing():
    energy, x = problem(0, 4)
    found = hp.relax(energy, 0 * x, relaxation=hp.Anderson(hp.Synchronous(steps=20)))
    assert found.result[0] == hp.RelaxationResult.SETTLED
    np.testing.assert_array_equal(found.state, 0)


def test_float32():
    """Gram matrices of small changes neither vanish nor overflow."""
    energy, x = problem(1, 4)
    energy = jax.tree.map(lambda a: a.astype(jnp.float32), energy)
    found = hp.relax(energy, jnp.asarray(x, jnp.float32), relaxation=hp.Anderson(hp.Synchronous()))
    assert found.state.dtype == np.float32
    assert found.result[0] == hp.RelaxationResult.SETTLED
    # A residual of 1e-6 over the least curvature of 0.05.
    expected = solve(energy, x, 0)
    np.testing.assert_allclose(found.state[0], expected, atol=3e-5 * np.linalg.norm(expected))


def test_stops_as_the_inner_relaxation():
    inner = hp.Sequential(tolerance=1e-5, max_steps=77)
    mixed = hp.Anderson(inner)
    assert (mixed.steps, mixed.tolerance, mixed.max_steps) == (None, 1e-5, 77)
    noisy = hp.Anderson(hp.Sequential(steps=3, noise=0.2))
    assert (noisy.steps, noisy.noise) == (3, 0.2)
    assert hp.Anderson() == hp.Anderson(hp.Sequential(), depth=5)


@pytest.mark.parametrize("depth", [1, 0, -2])
def test_bad_depth(depth):
    with pytest.raises(ValueError, match=f"depth must be a whole number, 2 or more; got {depth}"):
        hp.Anderson(hp.Synchronous(), depth=depth)


def test_mixing_is_not_mixed_again():
    with pytest.raises(ValueError, match="more than one update of the state: give Sequential"):
        hp.Anderson(hp.Anderson())


class TwoPrecisions(hp.AbstractEnergy):
    """A starting state whose leaves have different precisions; it settles in the wider one."""

    def energy(self, state, x):
        a, b = state
        return a**2 / 2 + b**2 / 2 - 0.3 * a * b - x * (a + b)

    def init_state(self, x):
        return jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float64)


def test_leaves_of_different_precisions():
    found = hp.relax(TwoPrecisions(), np.ones(2), relaxation=hp.Anderson(hp.GradientFlow(0.5)))
    assert [leaf.dtype for leaf in found.state] == [jnp.float64, jnp.float64]
    np.testing.assert_allclose(found.state, np.full((2, 2), 1 / 0.7), rtol=1e-11)


def test_slope_at_nothing():
    """Where the state is zero and stays so, reverse mode has a slope all the same."""
    network = hp.mlp([3, 2, 2], activation=hp.Tanh(), cost=hp.SquaredError(), key=jax.random.key(0))
    _, grads = hp.value_and_grad(
        network, np.zeros((1, 3)), np.array([1]), estimator=hp.Unrolled(5), free=hp.Anderson()
    )
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(grads))


class Bottleneck(hp.AbstractEnergy):
    """-dE/ds = 0.1 (s^2 + width) (3 - s): all but rests at 0, and only rests at 3."""

    width: float

    def energy(self, state, x):
        s, w = state[0], self.width
        return -0.1 * (s**3 - s**4 / 4 + 3 * w * s - w * s**2 / 2) + 0 * x[0]

    def init_state(self, x):
        return -jnp.ones(1)


@pytest.mark.parametrize("width", [1e-2, 3e-3, 1e-3])
def test_passes_a_place_where_it_all_but_rests(width):
    """Where the residual has a minimum that is no zero, mixing must not circle round it."""
    inner = hp.Synchronous(max_steps=5000)
    x = np.zeros((1, 1))
    plain = hp.relax(Bottleneck(width), x, relaxation=inner)
    found = hp.relax(Bottleneck(width), x, relaxation=hp.Anderson(inner))
    assert plain.result[0] == found.result[0] == hp.RelaxationResult.SETTLED
    np.testing.assert_allclose(found.state, [[3.0]], rtol=1e-10)
    # Plain steps are sentenced in doubling numbers: at worst twice as many as the plain way needs,
    # and as many mixed ones.
    assert found.steps < 4 * plain.steps


class Saddle(hp.AbstractEnergy):
    """Two wells at -1 and 1, and a saddle at 0 to which a valley leads."""

    def energy(self, state, x):
        a, b = state
        return 0.15 * (a**4 / 2 - a**2) + 0.25 * (b - 1) ** 2 + 0 * x[0]

    def init_state(self, x):
        return jnp.stack([x[0], jnp.zeros(())])


@pytest.mark.parametrize("start", [0.3, 0.1, -0.1])
@pytest.mark.quick("0.3", "-0.1")
def test_passes_a_saddle_as_the_inner_relaxation_does(start):
    """Newton's method would go to the saddle, where a plain step only passes."""
    inner = hp.Synchronous(max_steps=2000)
    x = np.array([[start]])
    # Five changes of two units are dependent, and how soon mixing ends hangs on rounding: that of a
    # program compiled as for use.
    plain, found = (
        jax.jit(
            lambda x, r=relaxation: hp.relax(Saddle(), x, relaxation=r),
            compiler_options={"xla_backend_optimization_level": 3},
        )(x)
        for relaxation in (inner, hp.Anderson(inner))
    )
    assert plain.result[0] == found.result[0] == hp.RelaxationResult.SETTLED
    np.testing.assert_allclose(plain.state, [[np.sign(start), 1.0]], rtol=1e-10)
    np.testing.assert_allclose(found.state, plain.state, rtol=1e-10)
    assert found.steps < plain.steps


@pytest.mark.parametrize("start", [0.05, 0.03, 1e-3])
def test_close_to_a_saddle_it_may_step_over_it(start):
    """A known limit: it rests in a well and not on the saddle, but in the other one."""
    inner = hp.Synchronous(max_steps=2000)
    found = hp.relax(Saddle(), np.array([[start]]), relaxation=hp.Anderson(inner))
    assert found.result[0] == hp.RelaxationResult.SETTLED
    np.testing.assert_allclose(found.state, [[-1.0, 1.0]], rtol=1e-10)
