"""Stability of free equilibria, against eigenvalues of dense matrices."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree
from zoo import cast, five_points

import holoprop as hp

precisions = pytest.mark.parametrize("dtype", [np.float32, np.float64])


class Bowl(hp.AbstractEnergy):
    """c s . H s / 2 of leaves "a" and "b", measured in units of their own; H may have any sign."""

    hessian: jax.Array
    scale: jax.Array
    units: jax.Array

    def energy(self, state, x):
        split = self.hessian.shape[0] // 2
        s = jnp.concatenate([state["a"] / self.units[0], state["b"] / self.units[1]])
        assert state["a"].shape == (split,)
        return self.scale * (s @ (x * (self.hessian @ s))) / 2

    def init_state(self, x):
        split = self.hessian.shape[0] // 2
        zeros = jnp.zeros(self.hessian.shape[0], self.hessian.dtype)
        return {"a": zeros[:split], "b": zeros[split:]}


class Plain(hp.AbstractEnergy):
    """s . H s / 2 of one leaf, whose margin is the smallest eigenvalue over the largest."""

    hessian: jax.Array

    def energy(self, state, x):
        return x * (state @ (self.hessian @ state)) / 2

    def init_state(self, x):
        return jnp.zeros(self.hessian.shape[0], self.hessian.dtype)


def with_spectrum(values, seed=0):
    """A symmetric matrix of given eigenvalues."""
    drawn = np.random.default_rng(seed).normal(size=(len(values), len(values)))
    ways, _ = np.linalg.qr(drawn)
    return (ways * np.asarray(values)) @ ways.T


def check(energy, x, **options):
    return hp.check_stable(energy, x, jax.vmap(energy.init_state)(x), **options)


def rounding(dtype):
    return 200 * float(np.finfo(dtype).eps)


# An energy of one's own ---------------------------------------------------------------------------

SPECTRA = {
    "stable": [1e-2, 0.3, 0.5, 1.0],
    "saddle": [-1e-2, 0.3, 0.5, 1.0],
    "maximum": [-2.0, -1.0, -0.5, -0.1],
    "neutral": [0.0, 0.3, 0.5, 1.0],
}


@precisions
@pytest.mark.parametrize("name", SPECTRA)
def test_few_units(name, dtype):
    values = SPECTRA[name]
    found = check(Plain(jnp.asarray(with_spectrum(values), dtype)), jnp.ones(3, dtype))
    margin = min(values) / max(map(abs, values))
    assert found.stable.tolist() == [name == "stable"] * 3
    assert found.margin.dtype == dtype
    np.testing.assert_allclose(found.margin, margin, atol=rounding(dtype))
    assert np.all(np.abs(found.margin - margin) <= found.error)
    assert np.all(found.error <= rounding(dtype))


@precisions
@pytest.mark.parametrize("lowest", [-0.3, 0.05])
def test_many_units(lowest, dtype):
    """A spectrum with one outlier below, which twenty vectors of two hundred find."""
    values = [lowest, *np.linspace(0.5, 1.0, 199)]
    energy = Plain(jnp.asarray(with_spectrum(values), dtype))
    found = check(energy, jnp.ones(2, dtype), vectors=20)
    assert np.all(np.abs(found.margin - lowest) <= 2 * found.error)
    assert np.all(found.error < 0.01)
    assert np.all(found.stable == (lowest > 0))


def test_what_is_not_known_is_not_stable():
    """A slow mode that few vectors do not resolve: the error says so, and more vectors help."""
    values = np.geomspace(1e-4, 1.0, 150)
    energy = Plain(jnp.asarray(with_spectrum(values)))
    few, all_of_them = (check(energy, jnp.ones(1), vectors=n) for n in (10, 150))
    assert few.error[0] > abs(few.margin[0] - 1e-4)
    assert few.margin[0] > 0
    assert not few.stable[0]
    np.testing.assert_allclose(all_of_them.margin, 1e-4, rtol=1e-9)
    assert all_of_them.stable[0]


def test_a_krylov_space_that_is_exhausted():
    """Few different eigenvalues: the space of one vector holds one of each kind and no more."""
    values = np.repeat([0.5, 1.0], 60)
    found = check(Plain(jnp.asarray(with_spectrum(values))), jnp.ones(1), vectors=30)
    np.testing.assert_allclose(found.margin, 0.5, atol=1e-12)
    assert found.stable[0]
    alike = check(Plain(jnp.eye(120)), jnp.ones(1), vectors=30)
    np.testing.assert_allclose(alike.margin, 1.0, atol=1e-12)


@precisions
@settings(max_examples=25, deadline=None)
@given(
    powers=st.tuples(*[st.integers(-12, 12)] * 3),
    lowest=st.sampled_from([-0.02, 0.0, 0.02]),
)
def test_no_unit_matters(dtype, powers, lowest):
    """Of the energy, or of either leaf: from 1e-12 to 1e12, in float32 1e-6 to 1e6."""
    reach = 12 if dtype == np.float64 else 6
    scale, *units = (10.0 ** (power * reach / 12) for power in powers)
    values = [lowest, 0.4, 0.6, 0.7, 0.9, 1.0]
    hessian = jnp.asarray(with_spectrum(values), dtype)

    def found(scale, units):
        energy = Bowl(hessian, jnp.asarray(scale, dtype), jnp.asarray(units, dtype))
        return check(energy, jnp.ones(1, dtype))

    here, there = found(1.0, [1.0, 1.0]), found(scale, units)
    assert here.stable[0] == there.stable[0] == (lowest > 0)
    np.testing.assert_allclose(there.margin, here.margin, atol=rounding(dtype))
    assert (here.margin[0] > 0.005) == (lowest > 0)


def test_example_by_example():
    """Each by its own input, and what is not finite is not stable."""
    energy = Plain(jnp.asarray(with_spectrum(SPECTRA["stable"])))
    x = jnp.array([1.0, -1.0, 2.0])
    state = jax.vmap(energy.init_state)(x).at[2, 1].set(jnp.inf)

    class Quartic(Plain):
        def energy(self, state, x):
            return super().energy(state, x) + jnp.sum(state**4)

    found = hp.check_stable(Quartic(energy.hessian), x, state)
    assert found.stable.tolist() == [True, False, False]
    np.testing.assert_allclose(found.margin[:2], [0.01, -1.0], rtol=1e-10)
    assert np.isnan(found.margin[2])


def test_free_phase_of_oscillators():
    """All may turn together: a direction without a slope, which nothing holds."""

    class Phases(hp.AbstractEnergy):
        def energy(self, state, x):
            return -jnp.sum(jnp.cos(state[:, None] - state) * x)

        def init_state(self, x):
            return jnp.zeros(5)

    found = check(Phases(), jnp.array([0.3, 1.0]))
    assert not np.any(found.stable)
    np.testing.assert_allclose(found.margin, 0, atol=1e-14)


# Fixed-point maps ---------------------------------------------------------------------------------


def radii(network, x, state):
    """Spectral radii of the synchronous step's dense Jacobians, by NumPy's eigenvalues."""

    def one(x, state):
        flat, unravel = ravel_pytree(state)

        def step(s):
            s = unravel(s)
            below = (x, *s[:-1])
            inputs = [c.drive(c.linear(b)) for c, b in zip(network.couplings, below, strict=True)]
            for layer, upper in enumerate(network.couplings[1:]):
                feedback = upper.feedback(upper.linear(s[layer]), s[layer + 1])
                inputs[layer] = inputs[layer] + feedback
            return ravel_pytree(tuple(network.activation(u) for u in inputs))[0]

        return jax.jacfwd(step)(flat)

    jacobians = np.asarray(jax.vmap(one)(x, state))
    return np.max(np.abs(np.linalg.eigvals(jacobians)), axis=1)


@precisions
def test_layered_network(dtype):
    network, x, _ = cast(five_points(), dtype)
    rest = hp.relax(network, x)
    found = hp.check_stable(network, x, rest.state)
    expected = 1 - radii(*cast((network, x, rest.state), np.float64))
    np.testing.assert_allclose(found.margin, expected, atol=rounding(dtype))
    assert np.all(found.stable)


@pytest.mark.parametrize("std", [0.1, 0.4])
@pytest.mark.slow
def test_large_layered_network(std):
    """More units than vectors; the slope of the activation has both signs."""
    network = hp.mlp(
        [6, 40, 40, 30, 4], activation=hp.DSiLU(), weight_std=std, key=jax.random.key(0)
    )
    x = jax.random.normal(jax.random.key(1), (4, 6))
    # Any state has a Jacobian; this network has no rest where the weights are large.
    state = hp.relax(network, x, relaxation=hp.Synchronous(steps=30)).state
    found = hp.check_stable(network, x, state, vectors=40)
    expected = 1 - radii(network, x, state)
    assert np.all(np.abs(found.margin - expected) <= 2 * found.error)
    assert np.all(found.error < 0.1)
    known = np.abs(expected) > found.error
    np.testing.assert_array_equal(found.stable[known], (expected > 0)[known])


def pair(w, activation):
    """Two units that drive each other by weights w, the first with the input as well."""
    network = hp.mlp(
        [1, 1, 1], activation=activation, cost=hp.SquaredError(), key=jax.random.key(0)
    )
    return eqx.tree_at(
        lambda n: [c.weight for c in n.couplings], network, [jnp.ones((1, 1)), w * jnp.ones((1, 1))]
    )


def test_imaginary_pair():
    """Slopes of opposite sign turn the state by a right angle: eigenvalues +-i sqrt|f' g'| w."""
    network, x = pair(1.5, hp.DSiLU()), jnp.zeros((1, 1))
    # Where DSiLU rises, and beyond its maximum, where it falls.
    state = (jnp.array([[4.0]]), jnp.array([[0.0]]))
    slope = jax.grad(hp.DSiLU())
    # The first unit's input is w s_2 = 0, the second's w s_1 = 6.
    product = float(slope(0.0) * slope(6.0))
    assert product < 0
    found = hp.check_stable(network, x, state)
    np.testing.assert_allclose(found.margin, 1 - 1.5 * np.sqrt(-product), rtol=1e-12)


def test_mixing_rests_where_the_dynamics_would_not():
    """Two units that switch each other off: at input 2 they swing, at input -3 they rest."""
    network = pair(-4.0, hp.ShiftedSigmoid())
    network = eqx.tree_at(lambda n: n.couplings[1].bias, network, 2 * jnp.ones(1))
    x = jnp.array([[2.0], [-3.0]])
    rest = hp.relax(network, x, relaxation=hp.Anderson(hp.Synchronous(), depth=2))
    # The middle ground solves s = f(2 - 4 s) for both.
    middle = 0.5
    for _ in range(50):
        value = 1 / (1 + np.exp(-4 * (2 - 4 * middle) + 2))
        middle -= (middle - value) / (1 + 16 * value * (1 - value))
    init = tuple(s.at[0].set(middle) for s in rest.state)
    assert hp.relax(network, x, init=init, relaxation=hp.Synchronous(steps=1)).residual[0] < 1e-14
    found = hp.check_stable(network, x, init)
    assert found.stable.tolist() == [False, True]
    np.testing.assert_allclose(found.margin[0], 1 - 16 * middle * (1 - middle), rtol=1e-10)


# Use ----------------------------------------------------------------------------------------------


def test_under_jit_without_a_second_trace():
    traced = []
    network, x, _ = five_points()
    state = hp.relax(network, x).state

    @jax.jit
    def margin(x, state):
        traced.append(1)
        return hp.check_stable(network, x, state).margin

    first, second = margin(x, state), margin(x, state)
    assert traced == [1]
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, hp.check_stable(network, x, state).margin, atol=1e-14)


def test_bad_arguments():
    network, x, _ = five_points()
    state = hp.relax(network, x).state
    with pytest.raises(ValueError, match="vectors must be a whole number, 2 or more; got 1"):
        hp.check_stable(network, x, state, vectors=1)
    with pytest.raises(ValueError, match="the batch sizes differ: x 5, state 4"):
        hp.check_stable(network, x, jax.tree.map(lambda s: s[:4], state))
    with pytest.raises(
        ValueError,
        match=r"state has arrays float64\[5, 4\], but .* float64\[5, 4\], float64\[5, 4\]:",
    ):
        hp.check_stable(network, x, state[:1])
    with pytest.raises(ValueError, match=r"state has arrays complex128\[5, 4\], .*, but"):
        hp.check_stable(network, x, jax.tree.map(lambda s: s + 0j, state))


def test_energies_that_are_complex():
    class Turned(hp.AbstractEnergy):
        def energy(self, state, x):
            return (1 + 1j) * jnp.sum(state**2)

        def init_state(self, x):
            return jnp.zeros(2)

    with pytest.raises(ValueError, match="Turned is complex on real states"):
        check(Turned(), jnp.ones(2))
