"""`value_and_grad`: what goes in, what comes out, what is left out and what is refused.

How exact the gradients are is the matter of test_exactness.py.
"""

import functools
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from zoo import Circuit, cast, circuit

import holoprop as hp

# Plain sweeps: the default relaxation takes three times as long to compile, and serves one test.
SWEEPS = {"free": hp.Sequential(), "nudged": hp.Sequential()}
FOUR = hp.Holomorphic(0.3, 4)
NETWORK = hp.mlp([5, 4, 4, 3], weight_std=0.3, key=jax.random.key(0))
X = jax.random.uniform(jax.random.key(1), (3, 5))
LABELS = jnp.array([0, 2, 1])


def evaluate(network=NETWORK, x=X, labels=LABELS, **options):
    return hp.value_and_grad(network, x, labels, **{"estimator": FOUR, **SWEEPS, **options})


jitted = jax.jit(evaluate)


@functools.cache
def whole():
    """The result that others are compared with."""
    return evaluate()


def assert_close(found, wanted, rtol=1e-11):
    """All arrays of two trees of one structure, each relative to its largest entry."""
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * np.abs(b).max(initial=1e-3))


def numpy_rest(network, x):
    """Free equilibrium and logits by Appendix B.1 written in NumPy, synchronously."""
    (w1, b1), (w2, b2), (w3, b3) = (
        (np.asarray(layer.weight), np.asarray(layer.bias))
        for layer in (*network.couplings, network.readout)
    )
    x = np.asarray(x)
    s1, s2 = np.zeros((len(x), len(b1))), np.zeros((len(x), len(b2)))
    for _ in range(200):
        u1, u2 = x @ w1.T + b1 + s2 @ w2, s1 @ w2.T + b2
        s1, s2 = 1 / (1 + np.exp(2 - 4 * u1)), 1 / (1 + np.exp(2 - 4 * u2))
    return (s1, s2), s2 @ w3.T + b3


def numpy_loss(network, x, y):
    """Mean cross-entropy at the free equilibrium, `y` a vector for each example."""
    _, logits = numpy_rest(network, x)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -np.mean(np.sum(y * log_p, axis=1))


# What comes out ----------------------------------------------------------------------------------


def test_gradient_has_the_structure_of_the_networks_arrays():
    _, grads = whole()
    arrays = eqx.filter(NETWORK, eqx.is_inexact_array)
    assert jax.tree.structure(grads) == jax.tree.structure(arrays)
    for g, a in zip(jax.tree.leaves(grads), jax.tree.leaves(arrays), strict=True):
        assert (g.shape, g.dtype) == (a.shape, a.dtype)


def test_optax_applies_and_the_loss_falls():
    (before, _), grads = whole()
    optimiser = optax.sgd(0.1)
    updates, _ = optimiser.update(grads, optimiser.init(NETWORK), NETWORK)
    network = optax.apply_updates(NETWORK, updates)
    assert_close(network.readout.bias, NETWORK.readout.bias - 0.1 * grads.readout.bias)
    (after, _), _ = evaluate(network)
    # Along its gradient the loss falls by the step times its square, to first order.
    fall = 0.1 * sum(float(jnp.sum(g**2)) for g in jax.tree.leaves(grads))
    assert float(before - after) == pytest.approx(fall, rel=0.1)


def test_loss_and_logits_are_those_of_the_free_equilibrium():
    (loss, aux), _ = whole()
    state, logits = numpy_rest(NETWORK, X)
    assert loss.shape == ()
    assert_close(loss, numpy_loss(NETWORK, X, np.eye(3)[LABELS]))
    assert_close(aux.logits, logits)
    assert_close(aux.state, state)


def test_aux_after_settling():
    (_, aux), _ = whole()
    # Four points are half a circle of three.
    assert {k: v.shape for k, v in aux.residuals.items()} == {"free": (3,), "nudged": (3, 3)}
    assert all(bool((r <= 1e-13).all()) for r in aux.residuals.values())
    assert {k: v.shape for k, v in aux.steps.items()} == {"free": (), "nudged": ()}
    assert all(1 < int(steps) < 100 for steps in aux.steps.values())
    assert aux.settled.tolist() == [True] * 3
    assert aux.free_settled.tolist() == [True] * 3
    assert (int(aux.unsettled), int(aux.count)) == (0, 3)
    assert float(aux.imaginary) == 0


@pytest.mark.parametrize(
    ("estimator", "shapes"),
    [
        (hp.OneSided(0.1), {"free": (3,), "nudged": (1, 3)}),
        (hp.Centred(0.1), {"free": (3,), "nudged": (2, 3)}),
        (hp.Holomorphic(0.1, 3, full_circle=True), {"free": (3,), "nudged": (3, 3)}),
        (hp.Online(0.1, 3, steps_per_point=5, periods=2), {"online": (6, 3)}),
        (hp.Implicit(), {"free": (3,), "adjoint": (3,)}),
        (hp.Unrolled(50), {"free": (3,)}),
    ],
)
def test_aux_by_estimator(estimator, shapes):
    found = jax.eval_shape(lambda: evaluate(estimator=estimator))
    (loss, aux), grads = found
    assert {k: v.shape for k, v in aux.residuals.items()} == shapes
    assert set(aux.steps) == set(shapes) - {"adjoint"}
    assert (aux.logits.shape, aux.settled.shape, loss.shape) == ((3, 3), (3,), ())
    assert (aux.free_settled.shape, aux.count.shape, aux.unsettled.shape) == ((3,), (), ())
    assert jax.tree.structure(grads) == jax.tree.structure(NETWORK)


def test_defaults_reach_the_same():
    # Anderson mixing of the sweeps, to the same rests; as far as four points at 0.3 are worth it.
    mixed = {"free": hp.Anderson(), "nudged": hp.Anderson()}
    assert_close(evaluate(**mixed)[1], whole()[1], rtol=1e-10)
    assert_close(hp.value_and_grad(NETWORK, X, LABELS, estimator=FOUR)[1], whole()[1], rtol=1e-5)


def test_restart_from_the_state_of_an_earlier_call():
    (loss, aux), grads = whole()
    (again, later), same = evaluate(init=aux.state)
    assert_close((again, same), (loss, grads))
    assert int(later.steps["free"]) < int(aux.steps["free"]) // 2
    # Weights that moved a little need a few steps more.
    moved = jax.tree.map(lambda a: 1.001 * a, NETWORK)
    (_, near), _ = evaluate(moved, init=aux.state)
    (_, far), _ = evaluate(moved)
    assert int(near.steps["free"]) < int(far.steps["free"])


# Transformations ---------------------------------------------------------------------------------


def test_under_jit():
    assert_close(jitted(NETWORK, X, LABELS), whole())


@pytest.mark.parametrize("transform", [jax.vmap, eqx.filter_vmap])
@pytest.mark.quick("filter_vmap")
def test_map_over_networks(transform):
    def make(key):
        return hp.mlp([5, 4, 4, 3], weight_std=0.3, key=key)

    keys = jax.random.split(jax.random.key(4), 3)
    found = transform(evaluate)(jax.vmap(make)(keys))
    one_by_one = [evaluate(make(key)) for key in keys]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *one_by_one)
    # In company a network takes as many steps as the slowest, and so has another residual.
    for name, tree in (("loss", lambda r: r[0][0]), ("grads", lambda r: r[1])):
        assert_close((name, tree(found))[1:], (name, tree(stacked))[1:])
    assert_close(found[0][1].logits, stacked[0][1].logits)
    assert found[0][1].unsettled.tolist() == [0, 0, 0]
    assert np.ptp(found[0][0]) > 1e-4


def test_no_retrace_under_jit():
    traces = []

    class Counted(Circuit):
        def energy(self, state, x):
            traces.append(None)
            return super().energy(state, x)

    @jax.jit
    def gradient(energy, x, y):
        return hp.value_and_grad(energy, x, y, estimator=hp.Centred(0.1), free=SHORT, nudged=SHORT)

    energy, x, y = circuit()
    energy = Counted(energy.a, energy.b, energy.c)
    gradient(energy, x, y)
    seen = len(traces)
    assert seen
    gradient(jax.tree.map(lambda a: 0.9 * a, energy), x, y + 1)
    assert len(traces) == seen


def test_no_compilation_on_a_second_call():
    compiled = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    whole()
    # The radius is a number of the estimator, not of the program; labels may come from NumPy.
    other = jax.tree.map(lambda a: 0.9 * a, NETWORK)
    numbers = X + 0.1, np.array([1, 1, 0])
    estimators = [hp.Holomorphic(jnp.asarray(r), 4) for r in (0.2, 0.25)]
    evaluate(other, *numbers, estimator=estimators[0])
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        evaluate(other, *numbers)
        evaluate(other, *numbers, estimator=estimators[1])
        assert not compiled
        jax.jit(lambda x: x + 19)(1.0)
        assert compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


# Examples that do not settle ---------------------------------------------------------------------


class Spring(hp.AbstractEnergy):
    """E = k u^2/2 - theta a u with the cost w (u - t)^2/2, whose equilibria are fractions.

    Each example has its own stiffness k, load a, weight w and target t.
    """

    theta: jax.Array

    def energy(self, state, x):
        return x["k"] * state["u"] ** 2 / 2 - self.theta * x["a"] * state["u"]

    def init_state(self, x):
        return {"u": jnp.zeros_like(self.theta)}

    def cost(self, state, y):
        return y["w"] * (state["u"] - y["t"]) ** 2 / 2


THETA, SHORT = 0.8, hp.GradientFlow(0.4, max_steps=400)
# A flow in steps of 0.4 contracts by 1 - 0.4 (k + beta w): too stiff a spring diverges, too soft a
# one takes more than 400 steps.
BAD = {
    "free phase out of steps": {"k": 1e-3},
    "free phase diverges": {"k": 10.0},
    "nudged phase out of steps": {"w": 9.99},
    "nudged phase diverges": {"w": 200.0},
}
FREE_ONLY = [name for name in BAD if name.startswith("free")]


def springs(batch):
    rng = np.random.default_rng(5)
    k, w = rng.uniform(0.9, 1.5, batch), rng.uniform(0.5, 1.5, batch)
    return {"k": k, "a": rng.normal(size=batch)}, {"w": w, "t": rng.normal(size=batch)}


def fractions(x, y, keep, nudges, weights, *, free=None):
    """Loss, and the sum over points of weights times dE/dtheta, in closed form.

    The gradient is the mean over the examples of `keep`, the loss over those of `free`, default the
    same.
    """
    k, a, w, t = (np.asarray(v) for v in (x["k"], x["a"], y["w"], y["t"]))
    losses = w * (THETA * a / k - t) ** 2 / 2
    gradient = sum(
        -weight * a * (THETA * a + beta * w * t) / (k + beta * w)
        for beta, weight in zip(nudges, weights, strict=True)
    )
    return np.mean(losses[keep if free is None else free]), np.mean(gradient[keep].real)


def circle(radius, points):
    beta = radius * np.exp(2j * np.pi * np.arange(points) / points)
    return beta, radius / beta / radius / points


SPRING_ESTIMATORS = {
    "one-sided": (hp.OneSided(0.1), ((0.1, 0.0), (10.0, -10.0))),
    "centred": (hp.Centred(0.1), ((0.1, -0.1), (5.0, -5.0))),
    "holomorphic": (hp.Holomorphic(0.1, 5), circle(0.1, 5)),
    "deviation": (hp.Holomorphic(0.1, 4, form=hp.StateForm.DEVIATION), circle(0.1, 4)),
    # The first coefficient alone has a limit in closed form, that of a small circle.
    "implicit": (hp.Implicit(), circle(1e-3, 8)),
    "unrolled": (hp.Unrolled(400), circle(1e-3, 8)),
}


@functools.cache
def of_springs(name):
    def gradient(x, y):
        return hp.value_and_grad(
            Spring(jnp.array(THETA)),
            x,
            y,
            estimator=SPRING_ESTIMATORS[name][0],
            free=SHORT,
            nudged=SHORT,
        )

    return gradient


# With sixteen examples the settled ones leave the loop early; the unsettled must not get lost.
@pytest.mark.parametrize("batch", [3, 16])
@pytest.mark.parametrize("name", ["one-sided", "centred", "holomorphic", "deviation", "implicit"])
@pytest.mark.quick("centred-3", "deviation-16", "implicit-3")
def test_an_example_that_does_not_settle_is_left_out(name, batch):
    x, y = springs(batch)
    gradient, circle = of_springs(name), SPRING_ESTIMATORS[name][1]
    (loss, aux), grads = gradient(x, y)
    assert (int(aux.unsettled), int(aux.count)) == (0, batch)
    wanted = fractions(x, y, np.full(batch, True), *circle)
    np.testing.assert_allclose((loss, grads.theta), wanted, rtol=1e-9)
    # Real nudges of one sign never meet the soft spot that -0.1 makes.
    cases = FREE_ONLY if name == "implicit" else BAD
    for what in cases:
        if name == "one-sided" and what == "nudged phase out of steps":
            continue
        worse_x, worse_y = ({k: v.copy() for k, v in tree.items()} for tree in (x, y))
        for key, value in BAD[what].items():
            (worse_x if key == "k" else worse_y)[key][1] = value
        if "w" in BAD[what]:
            worse_x["k"][1] = 1.0
        (loss, aux), grads = gradient(worse_x, worse_y)
        # What fails under a nudge has a loss all the same.
        keep = np.arange(batch) != 1
        free = keep | what.startswith("nudged")
        np.testing.assert_array_equal(aux.settled, keep, err_msg=what)
        np.testing.assert_array_equal(aux.free_settled, free, err_msg=what)
        assert (int(aux.unsettled), int(aux.count)) == (1, batch - 1)
        wanted = fractions(worse_x, worse_y, keep, *circle, free=free)
        np.testing.assert_allclose((loss, grads.theta), wanted, rtol=1e-9, err_msg=what)
        assert np.all(np.isfinite(np.asarray(aux.state["u"])[keep]))


def test_after_fixed_steps_only_what_still_moves_is_left_out():
    x, y = springs(3)
    (loss, _), grads = of_springs("unrolled")(x, y)
    np.testing.assert_allclose(
        (loss, grads.theta),
        fractions(x, y, np.full(3, True), *SPRING_ESTIMATORS["unrolled"][1]),
        rtol=1e-9,
    )
    x["k"][1] = 10.0
    with pytest.raises(RuntimeError, match=r"Unrolled: an example diverged.*take it out"):
        jax.block_until_ready(of_springs("unrolled")(x, y))


def test_a_network_learns_from_the_others_alone():
    # A target of a hundred times the weight is a nudge of a hundred times the radius.
    y = np.eye(3)[np.asarray(LABELS)]
    y[1] *= 100
    (loss, aux), grads = evaluate(labels=y)
    assert aux.settled.tolist() == [True, False, True]
    assert int(aux.unsettled) == 1
    others = np.array([0, 2])
    (wanted, rest), without = evaluate(x=X[others], labels=y[others])
    assert int(rest.unsettled) == 0
    assert_close(grads, without)
    assert_close(wanted, numpy_loss(NETWORK, X[others], y[others]))
    # Its equilibrium without a nudge is as good as theirs.
    assert aux.free_settled.tolist() == [True, True, True]
    assert_close(loss, numpy_loss(NETWORK, X, y))
    assert_close(aux.state, tuple(numpy_rest(NETWORK, X)[0]))


def test_all_left_out_is_an_error():
    with pytest.raises(RuntimeError, match=r"no example settled in every phase.*smaller radius"):
        jax.block_until_ready(evaluate(free=hp.Sequential(max_steps=2)))
    x, y = springs(3)
    with pytest.raises(RuntimeError, match="no example settled in every phase"):
        jax.block_until_ready(of_springs("centred")(x | {"k": np.full(3, 10.0)}, y))


# Shards ------------------------------------------------------------------------------------------


def cut(tree, *sizes):
    """A batch in parts of so many examples."""
    ends = np.cumsum((0, *sizes))
    return [jax.tree.map(lambda a, i=i, j=j: a[i:j], tree) for i, j in itertools.pairwise(ends)]


def six_springs():
    """Of which one fails in its free phase and two, of another part, under a nudge."""
    x, y = springs(6)
    x["k"][0] = 10.0
    y["w"][[3, 4]] = 200.0
    x["k"][[3, 4]] = 1.0
    return x, y


def of_shard(x, y, estimator):
    options = {"estimator": estimator, "free": SHORT, "nudged": SHORT, "throw": False}
    return hp.value_and_grad(Spring(jnp.array(THETA)), x, y, **options)


@pytest.mark.parametrize("sizes", [(3, 3), (1, 2, 3), (3, 2, 1), (6,)])
@pytest.mark.parametrize("estimator", [hp.Centred(0.1), hp.Implicit()], ids=["centred", "implicit"])
@pytest.mark.quick("centred-sizes0", "implicit-sizes0")
def test_shards_make_the_whole_with_their_counts(sizes, estimator):
    x, y = six_springs()
    (loss, aux), grads = of_shard(x, y, estimator)
    # The implicit gradient has no nudge to fail under.
    nudged = isinstance(estimator, hp.Centred)
    assert (int(aux.count), int(aux.free_settled.sum())) == (3 if nudged else 5, 5)
    parts = [
        of_shard(*part, estimator) for part in zip(cut(x, *sizes), cut(y, *sizes), strict=True)
    ]
    counts = [int(part.count) for (_, part), _ in parts]
    weights = [int(part.free_settled.sum()) for (_, part), _ in parts]
    together = sum(c * float(g.theta) for c, (_, g) in zip(counts, parts, strict=True))
    assert together / sum(counts) == pytest.approx(float(grads.theta), rel=1e-12)
    losses = sum(w * float(part) for w, ((part, _), _) in zip(weights, parts, strict=True))
    assert losses / sum(weights) == pytest.approx(float(loss), rel=1e-12)
    if nudged:
        circle = SPRING_ESTIMATORS["centred"][1]
        keep, free = np.isin(np.arange(6), [1, 2, 5]), np.arange(6) != 0
        wanted = fractions(x, y, keep, *circle, free=free)
        np.testing.assert_allclose((loss, grads.theta), wanted, rtol=1e-9)


def weighted_by_count(x, y):
    """As `value_and_grad` says it."""
    (loss, aux), grads = of_shard(x, y, hp.Centred(0.1))
    count = jax.lax.psum(aux.count, "shards")
    grads = jax.tree.map(lambda g: jax.lax.psum(aux.count * g, "shards") / count, grads)
    weight = aux.free_settled.sum()
    loss = jax.lax.psum(weight * loss, "shards") / jax.lax.psum(weight, "shards")
    return loss, grads


def test_shards_on_a_named_axis():
    x, y = six_springs()
    (loss, _), grads = of_shard(x, y, hp.Centred(0.1))
    two = jax.tree.map(lambda a: jnp.reshape(a, (2, 3)), (x, y))
    found = jax.vmap(weighted_by_count, axis_name="shards")(*two)
    np.testing.assert_allclose(found[0], [loss] * 2, rtol=1e-12)
    np.testing.assert_allclose(found[1].theta, [grads.theta] * 2, rtol=1e-12)


# Noise -------------------------------------------------------------------------------------------


def test_map_over_noise_keys():
    noisy, (x, y) = hp.GradientFlow(0.4, steps=8, noise=0.05), springs(3)

    def by_key(key):
        return hp.value_and_grad(
            Spring(jnp.array(THETA)),
            x,
            y,
            estimator=hp.Holomorphic(0.5, 3),
            free=noisy,
            nudged=noisy,
            key=key,
        )

    keys = jax.random.split(jax.random.key(3), 3)
    found = jax.vmap(by_key)(keys)
    one_by_one = [by_key(key) for key in keys]
    assert_close(found, jax.tree.map(lambda *leaves: jnp.stack(leaves), *one_by_one))
    # Different keys, different noise; the same key, the same noise.
    assert np.ptp(found[0][0]) > 1e-3
    assert_close(by_key(keys[0]), one_by_one[0], rtol=0)


# Inputs and targets of other kinds ---------------------------------------------------------------


def test_class_indices_are_one_hot_vectors():
    found = evaluate(labels=np.eye(3)[np.asarray(LABELS)])
    assert_close((found[0][0], found[1]), (whole()[0][0], whole()[1]), rtol=1e-13)


@pytest.mark.slow
def test_labels_of_a_small_integer_type():
    # As they lie on disk.
    assert_close(evaluate(labels=np.asarray(LABELS, np.uint8)), whole())


def test_soft_targets():
    y = np.array([[0.7, 0.2, 0.1], [0.0, 0.5, 0.5], [0.3, 0.3, 0.4]])
    (loss, _), grads = evaluate(labels=y)
    assert_close(loss, numpy_loss(NETWORK, X, y))
    # The cost's slope by the readout's bias is softmax - y, exactly, at any equilibrium.
    odds = np.exp(numpy_rest(NETWORK, X)[1])
    slope = np.mean(odds / odds.sum(axis=1, keepdims=True) - y, axis=0)
    exact = evaluate(labels=y, estimator=hp.Implicit())[1]
    assert_close(exact.readout.bias, slope)
    # To the order of radius^4 the circle's is the same.
    np.testing.assert_allclose(grads.readout.bias, slope, atol=0.3**4)


def test_images_of_any_shape_of_the_same_size():
    network = hp.mlp([6, 4, 3], key=jax.random.key(0))
    x = np.random.default_rng(0).uniform(size=(3, 2, 3))
    one_sided = hp.OneSided(0.1)
    (_, flat), (_, grads) = (
        evaluate(network, a, estimator=one_sided) for a in (x.reshape(3, 6), x)
    )
    assert_close(grads, flat)


def test_float32_network_on_float64_input_stays_float32():
    (loss, aux), grads = evaluate(cast(NETWORK, jnp.float32), np.asarray(X, np.float64))
    arrays = [*jax.tree.leaves((loss, grads, aux.logits, aux.residuals, aux.state, aux.imaginary))]
    assert {a.dtype for a in arrays} == {jnp.dtype("float32")}
    # Rests are known to some 1e-6 in float32.
    assert_close((loss, grads), (whole()[0][0], whole()[1]), rtol=1e-4)


def test_an_energy_of_ones_own_with_a_nested_state():
    energy, x, y = circuit()
    (loss, aux), grads = hp.value_and_grad(energy, x, y, estimator=hp.Centred(1e-3))
    assert aux.logits is None
    shapes = jax.tree.map(jnp.shape, aux.state, is_leaf=eqx.is_array)
    assert shapes == {"low": {"u": (3, 5)}, "high": [(3, 2, 2)]}
    # At rest v = tanh(A u), and u solves what is left; found here by plain descent in NumPy.
    a, b, c = (np.asarray(p) for p in (energy.a, energy.b, energy.c))

    def rest_loss(a, b, c):
        u, pull = np.zeros((3, 5)), np.asarray(x["drive"]) @ b
        for _ in range(400):
            v = np.tanh(u @ a.T)
            u = u - 0.3 * (u - (v * (1 - v**2)) @ a - pull - c * np.cos(c * u) / 4)
        return np.mean(np.sum((np.tanh(u @ a.T) - np.asarray(y).reshape(3, 4)) ** 2, axis=1) / 2)

    assert_close(loss, rest_loss(a, b, c))
    # Along random directions; the bias of a centred nudge is of the order of its square.
    rng = np.random.default_rng(0)
    for _ in range(3):
        da, db, dc = (rng.normal(size=p.shape) for p in (a, b, c))
        up, down = (rest_loss(a + h * da, b + h * db, c + h * dc) for h in (1e-5, -1e-5))
        slope = sum(
            np.sum(g * d) for g, d in zip((grads.a, grads.b, grads.c), (da, db, dc), strict=True)
        )
        assert slope == pytest.approx((up - down) / 2e-5, rel=1e-4)


# What is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"labels": np.array([0, 3, 1])},
            "labels contain 3, but the network has 3 classes: labels must be from 0 to 2",
        ),
        ({"labels": jnp.array([0, -1, 1])}, "labels contain -1, but the network has 3 classes"),
        (
            {"labels": np.array([0.0, 1.0, 2.0])},
            r"labels have dtype float64, but class indices must be integers: convert them",
        ),
        ({"labels": np.array([True, False, True])}, "labels have dtype bool"),
        ({"labels": np.array([0, 1])}, "the batch sizes differ: x 3, labels 2"),
        ({"labels": np.zeros((3, 4))}, r"labels have shape \(3, 4\), but must be .*\(batch, 3\)"),
        ({"labels": np.eye(3, dtype=int)}, "target vectors have dtype int64.*convert them"),
        ({"labels": np.full((3, 3), np.nan)}, "labels has 9 values that are not finite"),
        (
            {"x": np.ones((3, 6))},
            r"images have shape \(3, 6\), but the network takes \(batch, 5\): reshape or resize",
        ),
        ({"x": np.ones(5)}, r"images have shape \(5,\), but the network takes \(batch, 5\)"),
        (
            {"x": np.ones((3, 5), np.uint8)},
            "images have dtype uint8, but must be real floating point: scale them first",
        ),
        ({"x": np.ones((3, 5), complex)}, "images have dtype complex128, but must be real"),
        ({"x": np.ones((0, 5)), "labels": np.zeros(0, int)}, "the batch is empty; give one image"),
        ({"x": np.full((3, 5), np.nan)}, "x has 15 values that are not finite: mend or drop"),
        ({"x": X.at[1, 2].set(np.inf)}, "x has 1 values that are not finite: mend or drop"),
        ({"init": (jnp.zeros((3, 4)),)}, "init has arrays of shapes .* aux.state of an earlier"),
        ({"init": (jnp.zeros((2, 4)),) * 2}, "the batch sizes differ: x 3, labels 3, init 2"),
        ({"init": (jnp.full((3, 4), np.nan),) * 2}, "init has 24 values that are not finite"),
        (
            {"nudged": hp.Sequential(steps=5, noise=0.1)},
            r"noise 0.1 needs a key to be drawn from: give key=jax.random.key",
        ),
        ({"free": hp.Sequential(steps=5, noise=0.1)}, "noise 0.1 needs a key to be drawn from"),
        (
            {"free": hp.Sequential(steps=5, noise=0.1), "estimator": hp.Implicit(), "key": "given"},
            "Implicit is a reference without noise, but free has noise 0.1",
        ),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_computed(options, message, monkeypatch):
    def computed(*_, **__):
        raise AssertionError("something was computed")

    monkeypatch.setattr(hp.Holomorphic, "estimate", computed)
    monkeypatch.setattr(hp.Implicit, "estimate", computed)
    if options.get("key"):
        options = options | {"key": jax.random.key(0)}
    with pytest.raises(ValueError, match=message):
        evaluate(**options)


POOLED = {"input_shape": (4, 4, 1), "classes": 3, "key": jax.random.key(0)}


@pytest.mark.parametrize(
    ("network", "parts"),
    [
        (hp.mlp([5, 4, 3], activation=hp.ReLU(), key=jax.random.key(0)), "activation ReLU"),
        (hp.vgg([2], pooling=hp.MaxPool(2), **POOLED), "pooling MaxPool of layer 1"),
        (
            hp.vgg([2], pooling=hp.MaxPool(2), activation=hp.ClippedReLU(), **POOLED),
            "activation ClippedReLU and pooling MaxPool of layer 1",
        ),
    ],
)
def test_complex_nudges_need_holomorphic_parts(network, parts):
    x = np.ones((3, *network.input_shape))
    message = f"need a holomorphic network, and {parts} is not: use real nudges"
    for estimator in (FOUR, hp.Holomorphic(0.1, 2, full_circle=True), hp.Online(0.1)):
        with pytest.raises(ValueError, match=message):
            evaluate(network, x, estimator=estimator)


def test_real_nudges_do_with_parts_that_are_not_holomorphic():
    network = hp.mlp([5, 4, 3], activation=hp.ReLU(), weight_std=0.3, key=jax.random.key(0))
    two, centred = (
        evaluate(network, estimator=e)[1] for e in (hp.Holomorphic(0.1, 2), hp.Centred(0.1))
    )
    assert_close(two, centred)


@pytest.mark.parametrize("name", ["energy", "cost"])
def test_an_energy_that_takes_absolute_values_is_named(name):
    class Bent(Spring):
        def energy(self, state, x):
            if name == "energy":
                return x["k"] * jnp.abs(state["u"]) ** 2 / 2
            return super().energy(state, x)

        def cost(self, state, y):
            return jnp.abs(super().cost(state, y)) if name == "cost" else super().cost(state, y)

    x, y = springs(2)
    message = rf"Bent.{name} returns float64 for a complex state, so it is not holomorphic: replace"
    with pytest.raises(ValueError, match=message):
        hp.value_and_grad(Bent(jnp.array(1.0)), x, y, estimator=FOUR)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hp.Holomorphic(0.4, 1), "points must be a whole number, 2 or more; got 1"),
        (lambda: hp.Holomorphic(0.4, 0), "points must be a whole number, 2 or more; got 0"),
        (lambda: hp.Holomorphic(0.0, 4), "radius must be a positive number; got 0.0"),
        (lambda: hp.Holomorphic(-0.1, 4), "radius must be a positive number; got -0.1"),
        (lambda: hp.Holomorphic(float("nan"), 4), "radius must be a positive number; got nan"),
        (lambda: hp.Holomorphic(float("inf"), 4), "radius must be a positive number; got inf"),
        (
            lambda: hp.Holomorphic(0.4, 2, part=hp.ComplexPart.IMAGINARY),
            "points=2 puts both nudges on the real axis.*use 3 points or more",
        ),
        (lambda: hp.Online(0.4, 1), "points must be a whole number, 2 or more; got 1"),
        (lambda: hp.Online(0.0), "radius must be a positive number; got 0.0"),
        (lambda: hp.Online(0.4, steps_per_point=0), "steps_per_point must be.*1 or more; got 0"),
        (lambda: hp.Online(0.4, periods=0), "periods must be a whole number, 1 or more; got 0"),
        (lambda: hp.Online(0.4, warmup_periods=-1), "warmup_periods must be.*0 or more; got -1"),
        (lambda: hp.OneSided(0.0), "nudge must be a real number other than 0; got 0.0"),
        (lambda: hp.Centred(float("nan")), "nudge must be a real number other than 0; got nan"),
        (lambda: hp.Implicit(restart=0), "restart must be a whole number, 1 or more; got 0"),
        (lambda: hp.Unrolled(0), "steps must be a whole number, 1 or more; got 0"),
    ],
)
def test_bad_estimators(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        (X, LABELS + 1, "labels are out of range: they must be from 0 to 2"),
        (X, LABELS - 1, "labels are out of range: they must be from 0 to 2"),
        (X.at[0, 0].set(jnp.nan), LABELS, "the inputs have values that are not finite"),
    ],
)
def test_bad_values_under_jit_are_found_when_it_runs(x, labels, message):
    # JAX's own jit turns what a running program raises into a RuntimeError when the program is new
    # and into a ValueError when it has run before.
    with pytest.raises((RuntimeError, ValueError), match=message):
        jax.block_until_ready(jitted(NETWORK, x, labels))


def test_bad_shapes_under_jit_are_refused():
    with pytest.raises(ValueError, match=r"images have shape \(3, 4\)"):
        jitted(NETWORK, X[:, :4], LABELS)


def test_labels_for_an_energy_without_a_cost():
    class Costless(hp.AbstractEnergy):
        def energy(self, state, x):
            return jnp.sum(state**2) / 2 - jnp.sum(x * state)

        def init_state(self, x):
            return jnp.zeros_like(x)

    with pytest.raises(TypeError, match=r"Costless has no cost.*define cost\(self, state, y\)"):
        hp.value_and_grad(Costless(), jnp.ones((1, 2)), jnp.ones((1, 2)), estimator=FOUR)
