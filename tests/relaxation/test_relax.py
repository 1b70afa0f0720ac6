"""Relaxation: every way to settle, on every network, in both precisions, from one table.

And what it reports of examples that do not settle.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from table import RELAXATIONS
from zoo import Circuit, cast

import holoprop as hp

KEY = jax.random.key(0)

NETWORKS = ["mlp", "vgg", "hopfield", "circuit"]
relaxations = pytest.mark.parametrize("relaxation", RELAXATIONS)
networks = pytest.mark.parametrize("name", NETWORKS)
makers = pytest.mark.parametrize(
    "make",
    [hp.Synchronous, hp.Sequential, functools.partial(hp.GradientFlow, 0.1)],
    ids=["synchronous", "sequential", "gradient flow"],
)
NUDGE = 0.2 + 0.15j


@functools.cache
def case(name):
    """A network with two inputs and two targets."""
    rng = np.random.default_rng(0)
    if name == "mlp":
        return (
            hp.mlp([6, 4, 4, 4], key=KEY),
            jnp.asarray(rng.uniform(size=(2, 6))),
            jnp.array([1, 3]),
        )
    if name == "vgg":
        shape = {"input_shape": (4, 4, 2), "classes": 3}
        network = hp.vgg([3, 4], activation=hp.ShiftedSigmoid(), key=KEY, **shape)
        return network, jnp.asarray(rng.normal(size=(2, 4, 4, 2))), jnp.array([0, 2])
    if name == "hopfield":
        parts = {"clamped": [0, 4, 2], "outputs": [8, 1], "activation": hp.Tanh()}
        network = hp.HopfieldNetwork(9, weight_std=0.15, key=KEY, **parts)
        return network, jnp.asarray(rng.uniform(size=(2, 3))), jnp.array([1, 0])
    # Of half the strength its energy has one rest, and a curvature below two.
    circuit = jax.tree.map(lambda p: p / 2, Circuit.init(KEY))
    drive, y = rng.normal(size=(2, 3)), rng.normal(size=(2, 2, 2))
    return circuit, {"drive": jnp.asarray(drive)}, jnp.asarray(y)


def first(tree):
    return jax.tree.map(lambda a: a[0], tree)


def flat(state):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state)])


@functools.cache
def settled(name, relaxation, *, nudge=NUDGE, dtype=np.float64):
    network, x, y = cast(case(name), dtype)
    init = cast(jax.vmap(network.init_state)(x), dtype)
    relaxation = RELAXATIONS[relaxation]
    return hp.relax(network, x, nudge=nudge, target=y, init=init, relaxation=relaxation)


@functools.cache
def newton_step(name):
    """A step of Newton's method for the first example, with a dense complex Jacobian.

    It looks for the rest of a map that is put together from public parts alone.
    """
    network, x, y = case(name)
    x, y = first(x), first(y)
    start = jax.tree.map(lambda s: s.astype(complex), network.init_state(x))
    _, unravel = ravel_pytree(start)

    def layered(state, slopes):
        below = (x, *state[:-1])
        inputs = [c.drive(c.linear(s)) for c, s in zip(network.couplings, below, strict=True)]
        for layer, upper in enumerate(network.couplings[1:]):
            feedback = upper.feedback(upper.linear(state[layer]), state[layer + 1])
            inputs[layer] = inputs[layer] + feedback
        return tuple(network.activation(u - g) for u, g in zip(inputs, slopes, strict=True))

    def descent(state, slopes):
        of_energy = jax.grad(network.energy, holomorphic=True)(state, x)
        return jax.tree.map(lambda s, e, g: s - e - g, state, of_energy, slopes)

    rule = layered if isinstance(network, hp.LayeredNetwork) else descent

    @jax.jit
    def step(z, nudge):
        def change(z):
            state = unravel(z)
            slopes = jax.grad(network.cost, holomorphic=True)(state, y)
            slopes = jax.tree.map(lambda g: nudge * g, slopes)
            return ravel_pytree(rule(state, slopes))[0] - z

        jacobian = jax.jacfwd(change, holomorphic=True)(z)
        return z - jnp.linalg.solve(jacobian, change(z)), jnp.linalg.norm(change(z))

    return step


@functools.cache
def newton(name, nudge):
    network, x, _ = case(name)
    z = ravel_pytree(network.init_state(first(x)))[0].astype(complex)
    for _ in range(30):
        z, error = newton_step(name)(z, complex(nudge))
    assert error < 1e-13
    return np.asarray(z)


# Real arithmetic in either precision; complex arithmetic, whose programs take longer to compile,
# for one network.
TABLE = [(name, dtype, 0.3) for name in NETWORKS for dtype in (np.float64, np.float32)]
TABLE += [("mlp", np.float64, NUDGE)]


@relaxations
@pytest.mark.parametrize(("name", "dtype", "nudge"), TABLE)
@pytest.mark.quick(
    *("mlp-float64-(*", "mlp-float32-*-synchronous", "mlp-float32-*-gradient flow"),
    *("mlp-float32-*-anderson sequential", "circuit-float64-*gradient flow"),
    "hopfield-float32-*-gradient flow",
)
def test_equilibrium(relaxation, name, dtype, nudge):
    rest, exact = settled(name, relaxation, nudge=nudge, dtype=dtype), newton(name, nudge)
    wanted = np.result_type(dtype, np.complex64) if isinstance(nudge, complex) else dtype
    assert not np.any(rest.result)
    assert all(leaf.dtype == wanted for leaf in jax.tree.leaves(rest.state))
    # The residual is 1e-6 in float32 and 1e-13 in float64; the distance to rest is larger by the
    # reciprocal of what one step takes off it, here ten at most.
    tolerance = 1e-6 if dtype == np.float32 else 1e-13
    assert np.all(rest.residual <= tolerance)
    distance = np.linalg.norm(flat(first(rest.state)) - exact) / np.linalg.norm(exact)
    assert distance < 10 * tolerance


@networks
@pytest.mark.quick("mlp", "circuit")
def test_free_equilibrium(name):
    """By default from the network's own start, in real arithmetic."""
    network, x, _ = case(name)
    rest = hp.relax(network, x)
    assert not np.any(rest.result)
    assert all(leaf.dtype == np.float64 for leaf in jax.tree.leaves(rest.state))
    # The default flow's steps are a tenth, so the same residual lies ten times further from rest.
    np.testing.assert_allclose(flat(first(rest.state)), newton(name, 0.0), atol=1e-11)


def circuit_slope(circuit, state, x):
    """dE/ds of `Circuit` by hand."""
    a, b, c = map(np.asarray, (circuit.a, circuit.b, circuit.c))
    u, v = np.asarray(state["low"]["u"]), np.asarray(state["high"][0])
    t = np.tanh(a @ u)
    low = u - a.T @ ((1 - t**2) * v.ravel()) - x @ b - c * np.cos(c * u) / 4
    return low, v - t.reshape(2, 2)


def test_gradient_flow_follows_equation_1():
    """Explicit Euler steps of ds/dt = -dF/ds, by hand."""
    circuit, x, y = case("circuit")
    u, v, dt = np.full(5, 0.3), np.full((2, 2), -0.2), 0.07
    init = {"low": {"u": jnp.asarray(u)[None]}, "high": [jnp.asarray(v)[None]]}
    one, target = jax.tree.map(lambda a: a[:1], x), y[:1]
    found = hp.relax(
        circuit, one, nudge=0.4, target=target, init=init, relaxation=hp.GradientFlow(dt, steps=5)
    )
    for _ in range(5):
        low, high = circuit_slope(
            circuit, {"low": {"u": u}, "high": [v]}, np.asarray(one["drive"][0])
        )
        u, v = u - dt * low, v - dt * (high + 0.4 * (v - np.asarray(target[0])))
    np.testing.assert_allclose(found.state["low"]["u"][0], u, rtol=1e-12)
    np.testing.assert_allclose(found.state["high"][0][0], v, rtol=1e-12)
    assert found.steps == 5


def sigmoid(z):
    return 1 / (1 + np.exp(-4 * z + 2))


@pytest.mark.parametrize("order", ["synchronous", "front to back", "back to front", "flow"])
def test_steps_of_a_layered_network(order):
    """Three steps by hand: all at once; or the newest state at once, forwards when free."""
    network = hp.mlp([6, 5, 4, 3], cost=hp.SquaredError(), key=KEY)
    W1, W2, W3 = (np.asarray(c.weight) for c in network.couplings)
    rng = np.random.default_rng(1)
    x, y, nudge = rng.uniform(size=6), np.array([1.0, 0.0, 0.5]), 0.3
    free = order == "front to back"
    s = [rng.uniform(size=n) for n in (5, 4, 3)]

    def new(layer, s):
        pull = 0.0 if free else nudge * (y - s[2])
        inputs = [
            lambda: W1 @ x + W2.T @ s[1],
            lambda: W2 @ s[0] + W3.T @ s[2],
            lambda: W3 @ s[1] + pull,
        ]
        return sigmoid(inputs[layer]())

    relaxation = {
        "synchronous": hp.Synchronous(steps=3),
        "flow": hp.GradientFlow(0.2, steps=3),
    }.get(order, hp.Sequential(steps=3))
    found = hp.relax(
        network,
        x[None],
        nudge=0.0 if free else nudge,
        target=y[None],
        init=tuple(jnp.asarray(layer)[None] for layer in s),
        relaxation=relaxation,
    )
    for _ in range(3):
        if order == "synchronous":
            s = [new(layer, s) for layer in range(3)]
        elif order == "flow":
            s = [old + 0.2 * (new(layer, s) - old) for layer, old in enumerate(s)]
        else:
            for layer in range(3) if free else reversed(range(3)):
                s[layer] = new(layer, s)
    for layer, expected in zip(found.state, s, strict=True):
        np.testing.assert_allclose(layer[0], expected, rtol=1e-12)


def test_sequential_takes_leaves_in_turn():
    """For an energy of one's own; leaves in the order of the tree, which sorts names."""
    circuit, x, _ = case("circuit")
    one = jax.tree.map(lambda a: a[:1], x)
    found = hp.relax(circuit, one, relaxation=hp.Sequential(steps=2))
    u, v, drive = np.zeros(5), np.zeros((2, 2)), np.asarray(one["drive"][0])
    for _ in range(2):
        v = v - circuit_slope(circuit, {"low": {"u": u}, "high": [v]}, drive)[1]
        u = u - circuit_slope(circuit, {"low": {"u": u}, "high": [v]}, drive)[0]
    np.testing.assert_allclose(found.state["low"]["u"][0], u, rtol=1e-12)
    np.testing.assert_allclose(found.state["high"][0][0], v, rtol=1e-12)


def leafwise(state, exact):
    """The largest distance of a leaf, relative to its size, of every example."""
    return np.max(
        [
            np.linalg.norm((np.asarray(s) - e).reshape(2, -1), axis=1)
            / np.linalg.norm(e.reshape(2, -1), axis=1)
            for s, e in zip(jax.tree.leaves(state), map(np.asarray, exact), strict=True)
        ],
        axis=0,
    )


def at_equilibrium(network, x, y):
    tight = hp.relax(network, x, nudge=0.3, target=y, relaxation=hp.Synchronous(steps=400))
    return jax.tree.leaves(tight.state)


@pytest.mark.parametrize(
    "relaxation",
    [
        hp.Synchronous(steps=4),
        hp.Sequential(steps=4),
        hp.GradientFlow(0.2, steps=12),
        hp.Anderson(hp.Sequential(steps=4), depth=3),
    ],
)
def test_residual_after_fixed_steps(relaxation):
    """The distance from equilibrium, as far as two steps tell it."""
    network, x, y = case("mlp")
    found = hp.relax(network, x, nudge=0.3, target=y, relaxation=relaxation)
    assert found.steps == relaxation.steps
    assert np.all(found.result == hp.RelaxationResult.OUT_OF_STEPS)
    ratio = found.residual / leafwise(found.state, at_equilibrium(network, x, y))
    assert np.all((ratio > 0.3) & (ratio < 3))


@makers
def test_residual_at_a_tolerance(make):
    """It is reached with the last step, and not before; the state is as near as it says."""
    network, x, y = case("circuit")
    found = hp.relax(network, x, nudge=0.3, target=y, relaxation=make(tolerance=1e-3))
    assert np.all(found.residual <= 1e-3)
    assert np.all(found.result == hp.RelaxationResult.SETTLED)
    assert np.all(leafwise(found.state, at_equilibrium(network, x, y)) < 2e-3)
    fewer = make(tolerance=1e-3, max_steps=int(found.steps) - 1)
    before = hp.relax(network, x, nudge=0.3, target=y, relaxation=fewer)
    assert np.any(before.result == hp.RelaxationResult.OUT_OF_STEPS)


def test_at_rest_from_the_start():
    network, x, _ = case("mlp")
    rest = hp.relax(network, x)
    again = hp.relax(network, x, init=rest.state, relaxation=hp.Sequential(tolerance=1e-9))
    # One move tells nothing of those that follow.
    assert again.steps == 2
    np.testing.assert_allclose(again.state[0], rest.state[0], rtol=1e-12)


class Spring(hp.AbstractEnergy):
    """E = k s^2/2 - b s - g exp(s), which for g = 0 rests at b/k and for k = 0 < g nowhere."""

    def energy(self, state, x):
        return x["k"] * state**2 / 2 - x["b"] * state - x["g"] * jnp.exp(state)

    def init_state(self, x):
        return 0.3 * jnp.ones_like(x["b"])

    def cost(self, state, y):
        return (state - y) ** 2 / 2


def springs(k, b, g=None):
    k = jnp.asarray(k, float)
    return {
        "k": k,
        "b": jnp.asarray(b, float),
        "g": jnp.zeros_like(k) if g is None else jnp.asarray(g),
    }


STOPS = {"steps": {"steps": 300}, "tolerance": {"max_steps": 300}}
stops = pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS)


@stops
@pytest.mark.parametrize(
    "make", [hp.Synchronous, hp.Sequential, functools.partial(hp.GradientFlow, 1.0)]
)
def test_oscillating_and_diverging_examples(make, stop):
    """Steps multiply the distance from b/k by 1 - k: for k = 2 it swings, for k = 3.5 it grows."""
    k, b = np.array([0.5, 2.0, 1.2, 3.5, 1.0]), np.array([1.0, 1.0, -2.0, 1.0, 0.5])
    rest = hp.relax(Spring(), springs(k, b), relaxation=make(**stop))
    settled, oscillating, diverged = [0, 2, 4], 1, 3
    assert np.all(rest.result[jnp.array(settled)] == hp.RelaxationResult.SETTLED)
    assert rest.result[oscillating] == hp.RelaxationResult.OUT_OF_STEPS
    assert rest.result[diverged] == hp.RelaxationResult.DIVERGED
    np.testing.assert_allclose(rest.state[jnp.array(settled)], (b / k)[settled], rtol=1e-12)
    # From 0.3 it swings between 0.3 and 0.7, and the residual says so.
    size = rest.state[oscillating]
    assert size in (pytest.approx(0.3), pytest.approx(0.7))
    np.testing.assert_allclose(rest.residual[oscillating], 0.4 / size, rtol=1e-10)
    assert not np.isfinite(rest.residual[diverged])
    assert rest.steps == 300


@relaxations
def test_settled_examples_do_not_feel_the_others(relaxation):
    """One without any rest among others, which settle as they do with one more of their kind."""
    k, b = [0.7, 0.0, 1.1], [1.0, 1.0, -1.0]

    def settle(k, g):
        x = springs(k, b, [0.0, g, 0.0])
        return hp.relax(Spring(), x, relaxation=RELAXATIONS[relaxation])

    rest, calm = settle(k, 1.0), settle([0.7, 0.9, 1.1], 0.0)
    assert rest.result[0] == rest.result[2] == hp.RelaxationResult.SETTLED
    # Mixing may hold the one without a rest back from infinity, but not bring it to rest.
    mixed = isinstance(RELAXATIONS[relaxation], hp.Anderson)
    assert rest.result[1] in ([1, 2] if mixed else [hp.RelaxationResult.DIVERGED])
    assert calm.result.tolist() == [hp.RelaxationResult.SETTLED] * 3
    for example in (0, 2):
        np.testing.assert_allclose(rest.state[example], b[example] / k[example], rtol=1e-12)
        np.testing.assert_allclose(rest.state[example], calm.state[example], rtol=1e-12)


def inhibition():
    """Two units that switch each other off: updated at once both, or neither, are on."""
    network = hp.mlp([1, 1, 1], cost=hp.SquaredError(), key=KEY)
    return eqx.tree_at(
        lambda n: [c.weight for c in n.couplings] + [n.couplings[1].bias],
        network,
        [jnp.ones((1, 1)), -4 * jnp.ones((1, 1)), 2 * jnp.ones(1)],
    )


@pytest.mark.parametrize(
    ("relaxation", "nudge"),
    [
        (hp.Synchronous(), 0.0),
        (hp.Synchronous(), 0.001j),
        (hp.Anderson(hp.Synchronous(), depth=2), 0.0),
    ],
)
def test_layered_network_that_oscillates(relaxation, nudge):
    """At input 2 two symmetric units swing; at input -3 the first stays off, and all is at rest.

    Mixing may calm the pair, on its unstable middle ground, but must not disturb the other.
    """
    x, y = jnp.array([[2.0], [-3.0]]), jnp.array([[0.0], [1.0]])
    rest = hp.relax(inhibition(), x, nudge=nudge, target=y, relaxation=relaxation)
    if isinstance(relaxation, hp.Synchronous):
        assert rest.result[0] == hp.RelaxationResult.OUT_OF_STEPS
        assert rest.residual[0] > 0.5
        assert rest.steps == 1000
    assert rest.result[1] == hp.RelaxationResult.SETTLED
    assert rest.residual[1] <= 1e-13
    assert abs(rest.state[0][1, 0]) < 1e-5
    assert abs(rest.state[1][1, 0] - 1) < 1e-2


def test_sequential_updates_end_that_oscillation():
    rest = hp.relax(inhibition(), jnp.array([[2.0]]), relaxation=hp.Sequential())
    assert rest.result[0] == hp.RelaxationResult.SETTLED
    np.testing.assert_allclose([rest.state[0][0, 0], rest.state[1][0, 0]], [1, 0], atol=1e-2)


def test_layered_network_that_diverges():
    """A linear pair with gain 1.5 leaves every bound, unless it starts and stays at nothing."""
    network = hp.mlp([1, 1, 1], activation=hp.Identity(), cost=hp.SquaredError(), key=KEY)
    network = eqx.tree_at(
        lambda n: [c.weight for c in n.couplings],
        network,
        [jnp.ones((1, 1)), 1.5 * jnp.ones((1, 1))],
    )
    rest = hp.relax(network, jnp.array([[1.0], [0.0]]))
    assert rest.result.tolist() == [hp.RelaxationResult.DIVERGED, hp.RelaxationResult.SETTLED]
    assert not np.any(rest.state[0][1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_divergence_without_overflow_is_seen(dtype):
    """A growth that a hundred steps do not carry to infinity."""
    x = cast(springs([2.5, 1.0], [1.0, 1.0]), dtype)
    rest = hp.relax(Spring(), x, init=jnp.full(2, 0.3, dtype), relaxation=hp.Synchronous(steps=100))
    assert rest.result.tolist() == [hp.RelaxationResult.DIVERGED, hp.RelaxationResult.SETTLED]


@pytest.mark.parametrize("name", ["mlp", "circuit"])
def test_several_nudges_at_once(name):
    network, x, y = case(name)
    nudges = jnp.array([0.1, -0.2, 0.1 + 0.1j])
    together = hp.relax(network, x, nudge=nudges, target=y, relaxation=hp.Sequential())
    assert together.residual.shape == together.result.shape == (3, 2)
    assert not np.any(together.result)
    alone = [
        hp.relax(network, x, nudge=n, target=y, relaxation=hp.Sequential()).state for n in nudges
    ]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone)
    np.testing.assert_allclose(flat(together.state), flat(stacked), atol=1e-11)


@pytest.mark.parametrize("name", ["mlp", "circuit"])
def test_conjugate_nudges_have_conjugate_equilibria(name):
    up, down = (settled(name, "sequential", nudge=n).state for n in (NUDGE, NUDGE.conjugate()))
    np.testing.assert_allclose(flat(up), flat(down).conj(), atol=1e-13)
    assert np.abs(flat(up).imag).max() > 1e-3


@pytest.mark.parametrize(
    ("nudge", "dtype"),
    [
        (0.3, np.float64),
        (0.3 + 0j, np.float64),
        (np.complex128(0.3), np.float64),
        (np.complex64(0.3), np.float64),
        (np.array([0.3 + 0j]), np.float64),
        (jnp.array(0.3), np.float64),
        (jnp.array(0.3 + 0j), np.complex128),
        (0.3 + 1e-9j, np.complex128),
    ],
)
def test_arithmetic(nudge, dtype):
    """Real wherever the nudge is; an array of JAX's keeps its type, whatever its values."""
    network, x, y = case("mlp")
    steps = hp.Sequential(steps=100)
    found = hp.relax(network, x, nudge=nudge, target=y, relaxation=steps)
    assert all(layer.dtype == dtype for layer in found.state)
    assert found.residual.dtype == np.float64
    real = hp.relax(network, x, nudge=0.3, target=y, relaxation=steps)
    np.testing.assert_allclose(flat(found.state), flat(real.state), atol=1e-7)


def test_free_phase_ignores_the_target():
    network, x, y = case("mlp")
    np.testing.assert_array_equal(
        hp.relax(network, x, target=y).state[0], hp.relax(network, x).state[0]
    )


def test_under_jit():
    """Also where nudge and input are traced."""
    network, x, y = case("mlp")

    @jax.jit
    def settle(x, nudge):
        return hp.relax(network, x, nudge=nudge, target=y)

    np.testing.assert_allclose(
        settle(x, 0.3).state[1], hp.relax(network, x, nudge=0.3, target=y).state[1], atol=1e-13
    )


def program(relaxation, nudge):
    network, x, y = case("mlp")
    traced = jax.make_jaxpr(
        lambda x: hp.relax(network, x, nudge=nudge, target=y, relaxation=relaxation)
    )(x)
    return str(traced).splitlines()


@makers
def test_program_does_not_grow_with_the_steps(make):
    assert len(program(make(steps=10), 0.2j)) == len(program(make(steps=1000), 0.2j))
    short, long = (hp.Anderson(make(max_steps=n)) for n in (10, 1000))
    assert len(program(short, 0.0)) == len(program(long, 0.0))


def test_no_retrace_on_a_second_call():
    traces = []

    class Counted(Spring):
        def energy(self, state, x):
            traces.append(None)
            return super().energy(state, x)

    def settle(nudge, b):
        return hp.relax(
            Counted(), springs([1.0, 0.5], b), nudge=nudge, target=jnp.zeros(2), relaxation=steps
        )

    steps = hp.Synchronous(steps=3)
    settle(0.1, [1.0, 2.0])
    seen = len(traces)
    settle(0.25, [3.0, 4.0])
    assert len(traces) == seen


@pytest.mark.parametrize("nudge", [0.0, 0.2, 0.2j])
def test_no_compilation_on_a_second_call(nudge):
    network, x, y = case("mlp")
    compiled = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    steps, other = hp.Sequential(steps=3), x + 0.1
    hp.relax(network, x, nudge=nudge, target=y, relaxation=steps)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        hp.relax(network, other, nudge=1.1 * nudge, target=y, relaxation=steps)
        assert not compiled
        jax.jit(lambda x: x + 17)(1.0)
        assert compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def silent(activation=None, units=40):
    """A network without weights: after one step each unit's input is its noise alone."""
    activation = hp.Identity() if activation is None else activation
    sizes = [1, units, units]
    network = hp.mlp(sizes, activation=activation, cost=hp.SquaredError(), key=KEY)
    return jax.tree.map(jnp.zeros_like, network), jnp.zeros((150, 1))


def noisy(make, *, steps=1, key=KEY, activation=None, **nudged):
    network, x = silent(activation)
    relaxation = make(steps=steps, noise=0.2)
    return hp.relax(network, x, relaxation=relaxation, key=key, **nudged)


def drawn(equilibrium):
    """[150 examples, 80 units]."""
    return np.concatenate([np.asarray(layer) for layer in equilibrium.state], axis=-1)


def correlation(a, b):
    return np.mean(a * b) / np.sqrt(np.mean(a**2) * np.mean(b**2))


@pytest.mark.parametrize("make", [hp.Synchronous, hp.Sequential])
def test_noise_is_gaussian_of_the_deviation_asked_for(make):
    noise = drawn(noisy(make))
    # 12000 draws: the deviation's own is 0.65 %, the mean's 0.9 % of the deviation.
    np.testing.assert_allclose(noise.std(), 0.2, rtol=0.03)
    assert abs(noise.mean()) < 0.008
    np.testing.assert_allclose(np.mean(noise**4), 3 * 0.2**4, rtol=0.15)
    np.testing.assert_allclose(noise[:, :40].std(), 0.2, rtol=0.04)


def test_noise_is_independent():
    """Across units and examples, steps, points, and keys."""
    noise = drawn(noisy(hp.Synchronous))
    # Correlations over 150 examples deviate by 0.08, over 80 units by 0.11; the largest of a few
    # thousand stays below five times that, where a shared draw would give one.
    assert np.abs(np.corrcoef(noise.T) - np.eye(80)).max() < 0.45
    assert np.abs(np.corrcoef(noise) - np.eye(150)).max() < 0.6
    second = drawn(noisy(hp.Synchronous, steps=2))
    other = drawn(noisy(hp.Synchronous, key=jax.random.key(1)))
    points = noisy(hp.Synchronous, nudge=jnp.zeros(2), target=jnp.zeros((150, 40)))
    # Over 12000 pairs a chance correlation deviates by 0.01.
    assert abs(correlation(noise, second)) < 0.05
    assert abs(correlation(noise, other)) < 0.05
    assert abs(correlation(*drawn(points))) < 0.05


def test_noise_repeats_with_the_key():
    np.testing.assert_array_equal(drawn(noisy(hp.Synchronous)), drawn(noisy(hp.Synchronous)))


def test_noise_is_on_the_input():
    """Inside the activation; in a flow it is multiplied by the step; real for complex states."""
    squashed = drawn(noisy(hp.Synchronous, activation=hp.Tanh()))
    np.testing.assert_allclose(np.arctanh(squashed).std(), 0.2, rtol=0.03)
    flow = drawn(noisy(functools.partial(hp.GradientFlow, 0.1)))
    np.testing.assert_allclose(flow.std(), 0.02, rtol=0.03)
    turned = drawn(noisy(hp.Synchronous, nudge=0.5j, target=jnp.zeros((150, 40))))
    np.testing.assert_array_equal(turned.imag, 0)
    np.testing.assert_allclose(turned.real.std(), 0.2, rtol=0.03)


@makers
def test_noise_needs_a_key(make):
    for relaxation in (make(steps=3, noise=0.1), hp.Anderson(make(steps=3, noise=0.1))):
        with pytest.raises(ValueError, match=r"noise 0.1 needs a key.*give key=jax.random.key"):
            hp.relax(*case("mlp")[:2], relaxation=relaxation)


def test_throw():
    network, x, _ = case("mlp")
    assert not np.any(hp.relax(network, x, throw=True).result)
    with pytest.raises(RuntimeError, match="an example did not settle"):
        jax.block_until_ready(
            hp.relax(network, x, relaxation=hp.Synchronous(max_steps=2), throw=True).state
        )


@makers
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 5, "tolerance": 1e-3}, r"steps=5 and tolerance=0.001 exclude each other: give"),
        ({"steps": 0}, "steps must be a whole number, 1 or more; got 0"),
        ({"steps": -3}, "steps must be a whole number, 1 or more; got -3"),
        ({"tolerance": 0.0}, "tolerance must be positive; got 0.0"),
        ({"tolerance": float("nan")}, "tolerance must be positive; got nan"),
        ({"max_steps": 0}, "max_steps must be a whole number, 1 or more; got 0"),
        ({"steps": 5, "noise": -0.1}, "noise must be a standard deviation, 0 or more; got -0.1"),
        ({"steps": 5, "noise": float("inf")}, "noise must be a standard deviation.*got inf"),
        ({"noise": 0.1}, "noise=0.1 never lets the residual fall.*give a fixed number of steps"),
    ],
)
def test_bad_relaxations(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


@pytest.mark.parametrize("dt", [0.0, -0.1, float("nan"), float("inf")])
def test_bad_dt(dt):
    with pytest.raises(ValueError, match=f"dt must be positive; got {dt}"):
        hp.GradientFlow(dt)


def state_of(*shapes):
    return tuple(jnp.zeros(shape) for shape in shapes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nudge": 0.1}, "nudge 0.1 needs a target to nudge towards: give target=labels"),
        ({"nudge": jnp.array([0.0, 0.1])}, "needs a target"),
        ({"nudge": jnp.ones((2, 2)), "target": np.array([0, 1])}, r"nudge has shape \(2, 2\)"),
        ({"nudge": float("nan"), "target": np.array([0, 1])}, "nudge has 1 values.* not finite"),
        ({"x": np.full((2, 6), np.inf)}, "x has 12 values that are not finite: mend or drop"),
        ({"init": state_of((3, 4), (3, 4))}, "the batch sizes differ: x 2, init 3"),
        ({"init": state_of((2, 4), (2, 5))}, "init"),
        ({"init": state_of((2, 4))}, "init"),
    ],
)
def test_bad_arguments(options, message):
    network, x, _ = case("mlp")
    with pytest.raises(ValueError, match=message):
        hp.relax(network, **{"x": x, **options})


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ({"drive": np.zeros(())}, r"x has no batch axis: add one, for instance x\[None\]"),
        ({"drive": np.zeros((0, 3))}, "x is empty: give one example or more"),
        ({}, "the input has no arrays: give x with a leading batch axis"),
        ({"drive": np.full((2, 3), np.nan)}, "x has 6 values that are not finite"),
    ],
)
def test_bad_inputs_of_an_energy_of_ones_own(x, message):
    with pytest.raises(ValueError, match=message):
        hp.relax(case("circuit")[0], x)


def test_nudging_an_energy_without_a_cost():
    class Costless(hp.AbstractEnergy):
        def energy(self, state, x):
            return jnp.sum(state**2) / 2 - jnp.sum(x * state)

        def init_state(self, x):
            return jnp.zeros_like(x)

    np.testing.assert_allclose(hp.relax(Costless(), jnp.ones((1, 2))).state, 1, rtol=1e-11)
    with pytest.raises(TypeError, match=r"Costless has no cost.*define cost\(self, state, y\)"):
        hp.relax(Costless(), jnp.ones((1, 2)), nudge=0.1, target=jnp.ones((1, 2)))
