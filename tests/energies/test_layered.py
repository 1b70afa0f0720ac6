"""Layered networks rest where Appendix B's equations, written once more in NumPy, say."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zoo import convolution

import holoprop as hp

NUDGES = [0.0, 0.3, -0.3, 0.2 + 0.25j]


def with_biases(network):
    """Biases drawn at random, where the builders' are zero."""
    leaves, structure = jax.tree.flatten(eqx.filter(network, eqx.is_inexact_array))
    keys = jax.random.split(jax.random.key(11), len(leaves))
    drawn = [
        0.3 * jax.random.normal(k, a.shape) if a.ndim == 1 else a
        for k, a in zip(keys, leaves, strict=True)
    ]
    _, static = eqx.partition(network, eqx.is_inexact_array)
    return eqx.combine(jax.tree.unflatten(structure, drawn), static)


def shifted_sigmoid(z):
    return 1 / (1 + np.exp(-4 * z + 2))


def dsilu(z):
    return (z / 2) / (1 + np.exp(-z)) + (1 - z / 2) / (1 + np.exp(2 - z))


def softmax(z):
    return np.exp(z) / np.exp(z).sum()


def arrays(coupling):
    return np.asarray(coupling.weight), np.asarray(coupling.bias)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    return rng.uniform(size=(3, 6)), np.array([2, 0, 3])


def classifier():
    return with_biases(hp.mlp([6, 5, 4, 3, 4], key=jax.random.key(0)))


def regressor():
    return with_biases(hp.mlp([6, 5, 4, 4], cost=hp.SquaredError(), key=jax.random.key(1)))


def settled(network, x, nudge, target):
    rest = hp.relax(network, x, nudge=nudge, target=None if nudge == 0 else target)
    assert not np.any(rest.result)
    return [np.asarray(layer) for layer in rest.state]


@pytest.mark.parametrize("nudge", NUDGES)
def test_mlp_with_cross_entropy(batch, nudge):
    """Appendix B.1, with s_4 = softmax(W_4 s_3 + b_4) outside the state."""
    network, (x, labels) = classifier(), batch
    states = settled(network, x, nudge, labels)
    (W1, b1), (W2, b2), (W3, b3) = map(arrays, network.couplings)
    W4, b4 = arrays(network.readout)
    for example, label in enumerate(labels):
        s0, (s1, s2, s3) = x[example], (layer[example] for layer in states)
        y = np.eye(4)[label]
        teach = nudge * W4.T @ (y - softmax(W4 @ s3 + b4))
        np.testing.assert_allclose(s1, shifted_sigmoid(W1 @ s0 + W2.T @ s2 + b1), atol=1e-12)
        np.testing.assert_allclose(s2, shifted_sigmoid(W2 @ s1 + W3.T @ s3 + b2), atol=1e-12)
        np.testing.assert_allclose(s3, shifted_sigmoid(W3 @ s2 + teach + b3), atol=1e-12)


@pytest.mark.parametrize("nudge", NUDGES)
def test_mlp_with_squared_error(batch, nudge):
    """The last layer is the prediction and is pulled to the target, as in classic EP."""
    network, (x, labels) = regressor(), batch
    states = settled(network, x, nudge, labels)
    (W1, b1), (W2, b2), (W3, b3) = map(arrays, network.couplings)
    for example, label in enumerate(labels):
        s0, (s1, s2, s3) = x[example], (layer[example] for layer in states)
        pull = nudge * (np.eye(4)[label] - s3)
        np.testing.assert_allclose(s1, shifted_sigmoid(W1 @ s0 + W2.T @ s2 + b1), atol=1e-12)
        np.testing.assert_allclose(s2, shifted_sigmoid(W2 @ s1 + W3.T @ s3 + b2), atol=1e-12)
        np.testing.assert_allclose(s3, shifted_sigmoid(W3 @ s2 + b3 + pull), atol=1e-12)


def pooled(z):
    """2 x 2 softmax pooling with temperature 1, and its derivative by every entry, by windows."""
    value = np.zeros((z.shape[0] // 2, z.shape[1] // 2, z.shape[2]), z.dtype)
    slope = np.zeros_like(z)
    for i, j, c in np.ndindex(value.shape):
        place = np.s_[2 * i : 2 * i + 2, 2 * j : 2 * j + 2, c]
        p = softmax(z[place].ravel()).reshape(2, 2)
        value[i, j, c] = np.sum(p * z[place])
        slope[place] = p * (1 + z[place] - value[i, j, c])
    return value, slope


@pytest.mark.parametrize("nudge", [0.0, 0.3 + 0.2j])
def test_vgg(nudge):
    """Appendix B.2: convolutions by loops, and as matrices where they are transposed."""
    network = hp.vgg(
        [3, 4], input_shape=(6, 6, 2), classes=3, padding=(1, 1), key=jax.random.key(2)
    )
    network = with_biases(network)
    rng = np.random.default_rng(3)
    x, labels = rng.normal(size=(2, 6, 6, 2)), np.array([1, 2])
    states = settled(network, x, nudge, labels)
    (W1, b1), (W2, b2) = map(arrays, network.couplings)
    W3, b3 = arrays(network.readout)
    units = np.eye(27).reshape(27, 3, 3, 3)
    matrix = np.stack([convolution(unit, W2, 1).ravel() for unit in units], axis=1)
    for example, label in enumerate(labels):
        s1, s2 = (layer[example] for layer in states)
        z2 = convolution(s1, W2, 1)
        value, slope = pooled(z2)
        above = np.zeros_like(z2)
        above[:2, :2] = np.broadcast_to(s2, (2, 2, 4))
        feedback = (matrix.T @ (slope * above).ravel()).reshape(3, 3, 3)
        first, _ = pooled(convolution(x[example], W1, 1))
        teach = nudge * (W3.T @ (np.eye(3)[label] - softmax(W3 @ s2.ravel() + b3))).reshape(1, 1, 4)
        np.testing.assert_allclose(s1, dsilu(first + feedback + b1), atol=1e-12)
        np.testing.assert_allclose(s2, dsilu(value + b2 + teach), atol=1e-12)


NETWORKS = {
    "classifier": classifier,
    "regressor": regressor,
    "vgg": lambda: with_biases(
        hp.vgg([3, 4], input_shape=(4, 4, 2), classes=3, key=jax.random.key(5))
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_energy_at_rest(name):
    """It is stationary there, and dE/dtheta = -dPhi/dtheta, for parameters and for the input."""
    network = NETWORKS[name]()
    x = jnp.asarray(np.random.default_rng(0).uniform(size=network.input_shape))
    state = jax.tree.map(lambda s: s[0], hp.relax(network, x[None]).state)

    def negative_phi(network, state, x):
        """Coupling by coupling."""
        below, total = x, 0.0
        for coupling, layer in zip(network.couplings, state, strict=True):
            total = total - coupling.phi(below, layer)
            below = layer
        return total

    @jax.jit
    def look(arrays, state, x):
        def energy(arrays, state, x):
            return eqx.combine(arrays, static).energy(state, x)

        def phi(arrays, state, x):
            return negative_phi(eqx.combine(arrays, static), state, x)

        interaction = eqx.combine(arrays, static).numerics().interaction(state, x)
        by_all = jax.grad(energy, argnums=(0, 1, 2))(arrays, state, x)
        return (
            interaction,
            phi(arrays, state, x),
            by_all,
            jax.grad(phi, argnums=(0, 2))(arrays, state, x),
        )

    arrays, static = eqx.partition(network, eqx.is_inexact_array)
    interaction, phi, (by_theta, by_state, by_x), of_phi = look(arrays, state, x)
    np.testing.assert_allclose(interaction, phi, rtol=1e-12)
    assert all(np.abs(g).max() < 1e-11 for g in by_state)
    for a, b in zip(jax.tree.leaves((by_theta, by_x)), jax.tree.leaves(of_phi), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-11)
    elsewhere = look(arrays, jax.tree.map(lambda s: s + 0.1, state), x)[2][1]
    assert any(np.abs(g).max() > 1e-3 for g in elsewhere)


@pytest.mark.parametrize("name", ["regressor", "vgg"])
def test_change_of_the_interaction(name):
    """Between two states: a plain difference, or the slope where that would lose its digits."""
    network = NETWORKS[name]()
    x = jnp.asarray(np.random.default_rng(0).uniform(size=network.input_shape))
    centre = jax.tree.map(lambda s: s + 0.3, network.init_state(x))
    shapes = [layer.shape for layer in centre]
    move = tuple(jnp.asarray(np.random.default_rng(1).normal(size=shape)) for shape in shapes)

    @jax.jit
    def look(delta):
        def interaction(state):
            return network.numerics().interaction(state, x)

        new = jax.tree.map(lambda s, d: s + d, centre, delta)
        return (
            network.numerics().interaction_change(centre, delta, x),
            interaction(new) - interaction(centre),
            jax.jvp(interaction, (centre,), (delta,))[1],
        )

    change, difference, _ = look(jax.tree.map(lambda m: 0.3 * m, move))
    np.testing.assert_allclose(change, difference, rtol=1e-11)
    change, _, slope = look(jax.tree.map(lambda m: 1e-25 * m, move))
    np.testing.assert_allclose(change, slope, rtol=1e-11)


@pytest.mark.parametrize("name", ["regressor", "vgg"])
def test_slopes_of_the_interactions_changes(name):
    """By parameters and input: those of the interaction itself, through its poolings too."""
    network = NETWORKS[name]()
    x = jnp.asarray(np.random.default_rng(0).uniform(size=network.input_shape))
    centre = jax.tree.map(lambda s: s + 0.3, network.init_state(x))
    rng = np.random.default_rng(1)
    delta = tuple(jnp.asarray(0.3 * rng.normal(size=layer.shape)) for layer in centre)

    def at(network, x, sign):
        return network.numerics().interaction(
            jax.tree.map(lambda s, d: s + sign * d, centre, delta), x
        )

    def slopes(function):
        trainable, fixed = eqx.partition(network, eqx.is_inexact_array)
        grad = jax.jit(jax.grad(lambda n, x: function(eqx.combine(n, fixed), x), argnums=(0, 1)))
        return jax.tree.leaves(grad(trainable, x))

    changes = slopes(lambda n, x: n.numerics().interaction_change(centre, delta, x))
    for found, wanted in zip(changes, slopes(lambda n, x: at(n, x, 1) - at(n, x, 0)), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)
    differences = slopes(lambda n, x: n.numerics().interaction_difference(centre, delta, x))
    for found, wanted in zip(
        differences, slopes(lambda n, x: at(n, x, 1) - at(n, x, -1)), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", [float, complex])
@pytest.mark.parametrize("name", ["regressor", "vgg"])
@pytest.mark.quick("vgg-float")
def test_slopes_of_the_slopes_of_the_interactions_changes(name, kind):
    """By parameters, input and states: all that a derivative of a gradient is made of."""
    network = NETWORKS[name]()
    rng = np.random.default_rng(0)

    def drawn(shape, kind=float):
        value = 0.3 * rng.normal(size=shape)
        return jnp.asarray(value + 0.3j * rng.normal(size=shape) if kind is complex else value)

    x, shapes = drawn(network.input_shape), [c.out_shape for c in network.couplings]
    centre = tuple(drawn(shape) + 0.3 for shape in shapes)
    trainable, fixed = eqx.partition(network, eqx.is_inexact_array)
    # Deviations as real numbers: their real parts and their imaginary ones.
    parts = tuple(tuple(drawn(shape) for shape in shapes) for _ in range(1 + (kind is complex)))
    arguments = (trainable, centre, parts, x)
    along = jax.tree.map(lambda a: drawn(a.shape), arguments)

    def second(function):
        def scalar(arguments):
            trainable, centre, parts, x = arguments
            delta = jax.tree.map(lambda *p: jax.lax.complex(*p) if p[1:] else p[0], *parts)
            value = function(eqx.combine(trainable, fixed).numerics(), centre, delta, x)
            return jnp.real(value) + 0.7 * jnp.imag(value)

        def slope(arguments):
            return jax.jvp(scalar, (arguments,), (along,))[1]

        slopes = jax.grad(scalar)
        look = jax.jit(
            lambda a: (scalar(a), slopes(a), jax.jvp(slopes, (a,), (along,))[1], jax.grad(slope)(a))
        )
        return jax.tree.leaves(look(arguments))

    def between(n, x, centre, one, other):
        one, other = (jax.tree.map(lambda c, d: c + d, centre, delta) for delta in (one, other))
        return n.interaction(one, x) - n.interaction(other, x)

    def change(n, centre, delta, x):
        return between(n, x, centre, delta, jax.tree.map(jnp.zeros_like, delta))

    def difference(n, centre, delta, x):
        return between(n, x, centre, delta, jax.tree.map(lambda d: -d, delta))

    for ours, plain in (
        (lambda n, *a: n.interaction_change(*a), change),
        (lambda n, *a: n.interaction_difference(*a), difference),
    ):
        for found, wanted in zip(second(ours), second(plain), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-11)


def test_energy_of_a_linear_network_at_rest():
    """|s|^2/2 - Phi, and the state solves a linear system."""
    sizes = [6, 5, 4, 3]
    network = hp.mlp(sizes, activation=hp.Identity(), cost=hp.SquaredError(), key=jax.random.key(6))
    network = with_biases(
        eqx.tree_at(
            lambda n: [c.weight for c in n.couplings], network, replace_fn=lambda w: 0.5 * w
        )
    )
    x = np.random.default_rng(0).normal(size=6)
    state = [np.asarray(s[0]) for s in hp.relax(network, x[None]).state]
    (W1, b1), (W2, b2), (W3, b3) = map(arrays, network.couplings)
    matrix = np.eye(12)
    matrix[:5, 5:9], matrix[5:9, :5] = -W2.T, -W2
    matrix[5:9, 9:], matrix[9:, 5:9] = -W3.T, -W3
    expected = np.linalg.solve(matrix, np.concatenate([W1 @ x + b1, b2, b3]))
    np.testing.assert_allclose(np.concatenate(state), expected, atol=1e-12)
    drive = np.concatenate([W1 @ x + b1, b2, b3])
    s = np.concatenate(state)
    energy = s @ matrix @ s / 2 - s @ drive
    found = network.energy(tuple(map(jnp.asarray, state)), jnp.asarray(x))
    np.testing.assert_allclose(found, energy, rtol=1e-12)


def test_prediction_and_cost(batch):
    x, _ = batch
    for network in (classifier(), regressor()):
        state = jax.tree.map(lambda s: s[0], hp.relax(network, x).state)
        logits = np.asarray(state[-1])
        if network.readout is not None:
            W, b = arrays(network.readout)
            logits = W @ logits + b
            cost = -np.log(softmax(logits)[2])
        else:
            cost = np.sum((logits - np.eye(4)[2]) ** 2) / 2
        np.testing.assert_allclose(network.logits(state), logits, rtol=1e-13)
        np.testing.assert_allclose(network.cost(state, jnp.array(2)), cost, rtol=1e-12)
        assert network.classes == 4
        assert network.input_shape == (6,)


def test_targets_may_be_vectors(batch):
    x, labels = batch
    for network in (classifier(), regressor()):
        by_index = hp.relax(network, x, nudge=0.3, target=labels)
        by_vector = hp.relax(network, x, nudge=0.3, target=np.eye(4)[labels])
        for a, b in zip(by_index.state, by_vector.state, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-13)


def test_starts_at_zero():
    state = classifier().init_state(jnp.ones(6))
    assert [layer.shape for layer in state] == [(5,), (4,), (3,)]
    assert not any(np.any(layer) for layer in state)


def test_dense_network_takes_pictures():
    network = classifier()
    x = np.random.default_rng(0).uniform(size=(2, 3, 2, 1))
    flat, shaped = hp.relax(network, x.reshape(2, 6)), hp.relax(network, x)
    np.testing.assert_array_equal(flat.state[0], shaped.state[0])


KEY = jax.random.key(0)
PARTS = {"activation": hp.Tanh(), "cost": hp.SquaredError()}


def test_no_couplings():
    with pytest.raises(ValueError, match="couplings is empty: a network needs one layer or more"):
        hp.LayeredNetwork((), **PARTS)


def test_neighbours_that_do_not_fit():
    couplings = (hp.Dense.init((6,), 5, key=KEY), hp.Dense.init((4,), 3, key=KEY))
    with pytest.raises(
        ValueError, match=r"coupling 2 expects.*\(4,\), but coupling 1 makes \(5,\)"
    ):
        hp.LayeredNetwork(couplings, **PARTS)


def test_cost_and_readout_that_do_not_fit():
    below, above = hp.Dense.init((6,), 5, key=KEY), hp.Dense.init((5,), 3, key=KEY)
    with pytest.raises(ValueError, match="cost CrossEntropy needs a readout; got readout None"):
        hp.LayeredNetwork((below, above), activation=hp.Tanh(), cost=hp.CrossEntropy())
    with pytest.raises(ValueError, match="cost SquaredError takes no readout; got readout Dense"):
        hp.LayeredNetwork((below,), **PARTS, readout=above)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (
            np.ones((2, 7)),
            r"images have shape \(2, 7\), but the network takes \(batch, 6\): reshape",
        ),
        (np.ones(6), r"images have shape \(6,\)"),
        (np.ones((0, 6)), r"images have shape \(0, 6\): the batch is empty"),
        (np.ones((2, 6), np.uint8), r"dtype uint8, but must be real floating point: scale them"),
        (np.ones((2, 6), complex), r"dtype complex128, but must be real floating point"),
    ],
)
def test_bad_images(x, message):
    with pytest.raises(ValueError, match=message):
        hp.relax(classifier(), x)


def test_convolutions_take_their_own_shape_alone():
    network = NETWORKS["vgg"]()
    with pytest.raises(ValueError, match=r"the network takes \(batch, 4, 4, 2\)"):
        hp.relax(network, np.ones((2, 32)))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            np.array([1.0, 2.0]),
            "labels have dtype float64, but class indices must be integers: conv",
        ),
        (np.ones((2, 3)), r"labels have shape \(2, 3\), but must be .*\(batch, 4\)"),
        (np.ones((2, 4), int), "target vectors have dtype int64, but must be real floating point"),
        (np.array([1, 4]), "labels contain 4, but the network has 4 classes: .* from 0 to 3"),
        (np.array([-1, 2]), "labels contain -1"),
        (np.array([1, 2, 3]), "batch sizes differ: x 2, target 3"),
        (np.array([[0.0, 1.0, np.nan, 0.0]] * 2), "target has 2 values that are not finite"),
    ],
)
def test_bad_labels(labels, message):
    with pytest.raises(ValueError, match=message):
        hp.relax(classifier(), np.ones((2, 6)), nudge=0.1, target=labels)


@pytest.mark.parametrize("cost", [hp.CrossEntropy(), hp.SquaredError()])
@pytest.mark.parametrize("nudge", [0.2j])
def test_float32_stays_float32(cost, nudge):
    """Whatever precision JAX's default, the input and the target have."""
    network = hp.mlp([6, 4, 4, 3], cost=cost, key=KEY)
    network = jax.tree.map(lambda a: a.astype(jnp.float32) if eqx.is_array(a) else a, network)
    x, y = np.ones((2, 6)), np.eye(3)[[0, 1]]
    rest = hp.relax(network, x, nudge=nudge, target=y)
    wanted = np.complex64 if np.iscomplexobj(nudge) else np.float32
    assert all(layer.dtype == wanted for layer in rest.state)
    assert rest.residual.dtype == np.float32
