"""The Hopfield network against Eq. (6) written as a double loop, and its symmetry in training."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import holoprop as hp

KEY = jax.random.key(5)
# Clamped and output units neither at the front nor in ascending order.
CLAMPED, OUTPUTS, UNITS = [4, 1, 7], [6, 0], 9
FREE = [0, 2, 3, 5, 6, 8]


def network():
    made = hp.HopfieldNetwork(
        UNITS,
        clamped=CLAMPED,
        outputs=OUTPUTS,
        activation=hp.ShiftedSigmoid(),
        weight_std=0.3,
        key=KEY,
    )
    bias = 0.3 * jax.random.normal(jax.random.key(6), made.bias.shape)
    return eqx.tree_at(lambda n: n.bias, made, bias)


def placed(state, x):
    """All units' activities at their own indices."""
    s = np.zeros(UNITS, np.result_type(state, x))
    s[CLAMPED], s[FREE] = x, state
    return s


def f(s):
    return 1 / (1 + np.exp(-4 * s + 2))


def drawn(seed, *, kind=float):
    rng = np.random.default_rng(seed)
    state = rng.normal(size=len(FREE))
    return (state + 0.2j * rng.normal(size=6) if kind is complex else state), rng.uniform(size=3)


@pytest.mark.parametrize("kind", [float, complex])
def test_energy_by_a_double_loop(kind):
    net = network()
    state, x = drawn(0, kind=kind)
    s, w, b = placed(state, x), np.asarray(net.weight), np.asarray(net.bias)
    energy = sum(s[i] ** 2 / 2 - b[i] * f(s[i]) for i in range(UNITS))
    for i in range(UNITS):
        for j in range(UNITS):
            if i != j:
                energy -= w[i, j] * f(s[i]) * f(s[j]) / 2
    np.testing.assert_allclose(net.energy(jnp.asarray(state), jnp.asarray(x)), energy, rtol=1e-12)


@pytest.mark.parametrize("nudge", [0.0, 0.3, 0.2 + 0.2j])
@pytest.mark.quick("0.0", "(*")
def test_rests_where_the_energy_is_stationary(nudge):
    """s_i = f'(s_i) (sum_j w_ij f(s_j) + b_i) - beta (s_i - y_i) [i is an output]."""
    net, y = network(), np.array([0.2, 0.9])
    _, x = drawn(1)
    target = None if nudge == 0 else y[None]
    rest = hp.relax(net, x[None], nudge=nudge, target=target)
    assert rest.result[0] == hp.RelaxationResult.SETTLED
    s, w, b = placed(np.asarray(rest.state[0]), x), np.asarray(net.weight), np.asarray(net.bias)
    slope = s - 4 * f(s) * (1 - f(s)) * (w @ f(s) + b)
    slope[OUTPUTS] += nudge * (s[OUTPUTS] - y)
    np.testing.assert_allclose(slope[FREE], 0, atol=1e-11)


def test_weights_are_symmetric_with_zero_diagonal():
    net = hp.HopfieldNetwork(60, clamped=[0], outputs=[59], key=KEY)
    weight = np.asarray(net.weight)
    np.testing.assert_array_equal(weight, weight.T)
    np.testing.assert_array_equal(np.diagonal(weight), 0)
    off = weight[np.triu_indices(60, 1)] * np.sqrt(60)
    # The deviation of a normal cut at two is 0.88.
    np.testing.assert_allclose(off.std(), 0.88, rtol=0.05)
    assert np.abs(off).max() <= 2
    assert not np.any(net.bias)


@pytest.mark.parametrize(
    "optimiser",
    [
        optax.sgd(0.1),
        optax.sgd(0.1, momentum=0.9, nesterov=True),
        optax.adam(0.05),
        optax.adamw(0.05, weight_decay=0.1),
    ],
    ids=["sgd", "momentum", "adam", "adamw"],
)
def test_symmetry_is_kept_in_training(optimiser):
    net = network()
    x, labels = jnp.asarray([drawn(2)[1], drawn(3)[1]]), jnp.array([0, 1])
    estimator = hp.Holomorphic(radius=0.3, points=3)
    relaxation = hp.Synchronous(steps=40)
    state = optimiser.init(eqx.filter(net, eqx.is_inexact_array))
    before = net.weight
    for _ in range(3):
        _, grads = hp.value_and_grad(
            net, x, labels, estimator=estimator, free=relaxation, nudged=relaxation
        )
        # To rounding: compiled sums of two numbers may round differently in either order.
        np.testing.assert_allclose(grads.weight, grads.weight.T, rtol=1e-14)
        np.testing.assert_array_equal(np.diagonal(grads.weight), 0)
        updates, state = optimiser.update(grads, state, eqx.filter(net, eqx.is_inexact_array))
        net = eqx.apply_updates(net, updates)
    np.testing.assert_allclose(net.weight, net.weight.T, rtol=1e-14)
    np.testing.assert_array_equal(np.diagonal(net.weight), 0)
    assert np.abs(net.weight - before).max() > 1e-4


def test_reads_the_symmetric_part_alone():
    """Weights that someone has made unsymmetric are read through their symmetric part."""
    net = network()
    state, x = map(jnp.asarray, drawn(0))
    skew = jax.random.normal(KEY, (UNITS, UNITS))
    other = eqx.tree_at(lambda n: n.weight, net, net.weight + skew - skew.T + jnp.eye(UNITS))
    np.testing.assert_allclose(other.energy(state, x), net.energy(state, x), rtol=1e-12)


def test_clamped_units_hold_the_input():
    """The energy moves with each input by that unit's own index."""
    net = network()
    state, x = drawn(0)
    slope = jax.jit(jax.grad(net.energy, argnums=1))(jnp.asarray(state), jnp.asarray(x))
    s, w, b = placed(state, x), np.asarray(net.weight), np.asarray(net.bias)
    expected = s - 4 * f(s) * (1 - f(s)) * (w @ f(s) + b)
    np.testing.assert_allclose(slope, expected[CLAMPED], rtol=1e-12)


def test_outputs_are_read_in_the_targets_order():
    net = network()
    state, x = drawn(0)
    s = placed(state, x)
    np.testing.assert_array_equal(net.logits(jnp.asarray(state)), s[OUTPUTS])
    cost = np.sum((s[OUTPUTS] - np.array([0.0, 1.0])) ** 2) / 2
    np.testing.assert_allclose(net.cost(jnp.asarray(state), jnp.array(1)), cost, rtol=1e-13)


def test_its_activation():
    assert hp.HopfieldNetwork(4, clamped=[0], outputs=[3], key=KEY).activation == hp.DSiLU()


def test_starts_at_zero():
    np.testing.assert_array_equal(network().init_state(jnp.zeros(3)), np.zeros(6))


@pytest.mark.parametrize(
    ("clamped", "outputs"), [([0], [9]), ([-1], [3]), ([0, 0], [3]), ([0, 1], [1]), ([0], [3, 3])]
)
def test_bad_indices(clamped, outputs):
    message = rf"clamped \[{str(clamped)[1:-1]}\] and outputs \[.*different units.* from 0 to 8"
    with pytest.raises(ValueError, match=message):
        hp.HopfieldNetwork(9, clamped=clamped, outputs=outputs, key=KEY)


def test_bad_batches():
    net = network()
    with pytest.raises(ValueError, match=r"images have shape \(2, 4\).*takes \(batch, 3\)"):
        hp.relax(net, np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"labels have shape \(2, 3\).*\(batch, 2\)"):
        hp.relax(net, np.ones((2, 3)), nudge=0.1, target=np.ones((2, 3)))
    with pytest.raises(ValueError, match="labels contain 2, but the network has 2 classes"):
        hp.relax(net, np.ones((2, 3)), nudge=0.1, target=np.array([0, 2]))
