"""What makes gradients fast changes none of their digits: each saving against the plain way."""

from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from zoo import circuit, error, five_points, gradient, plain

import holoprop as hp
from holoprop import _crowd, _microbatches, _readings, _turns
from holoprop._problem import Problem

KEY = jax.random.key(0)


def cosines(grads: Any, reference: Any) -> dict[str, float]:
    grads, reference = (
        jax.tree.map(lambda g: np.asarray(g, np.float64), t) for t in (grads, reference)
    )
    return {k: float(c) for k, (c, _) in hp.gradient_alignment(grads, reference).layers.items()}


def squared_error() -> tuple[Any, Any, Any]:
    network = hp.mlp([5, 4, 3], cost=hp.SquaredError(), activation=hp.Tanh(), key=KEY)
    return network, jax.random.uniform(jax.random.key(1), (2, 5)), jnp.array([0, 2])


def vgg(pooling: Any = None) -> tuple[Any, Any, Any]:
    network = hp.vgg([3, 8, 4], input_shape=(12, 12, 1), classes=3, pooling=pooling, key=KEY)
    return network, jax.random.uniform(jax.random.key(1), (2, 12, 12, 1)), jnp.array([0, 2])


def hopfield() -> tuple[Any, Any, Any]:
    network = hp.HopfieldNetwork(
        12, clamped=range(4), outputs=range(10, 12), weight_std=0.1, key=KEY
    )
    return network, jax.random.uniform(jax.random.key(1), (3, 4)), 0.3 * jnp.ones((3, 2))


# The deviation form ------------------------------------------------------------------------------


@pytest.mark.parametrize("points", [2, 5])
@pytest.mark.parametrize(
    "case",
    [five_points, squared_error, vgg, lambda: vgg(hp.AveragePool()), hopfield, circuit],
    ids=["mlp", "squared error", "softmax pooling", "average pooling", "hopfield", "circuit"],
)
def test_deviations_give_the_gradient_of_states(case: Callable[[], Any], points: int) -> None:
    network, x, y = case()
    found, wanted = (
        gradient(network, x, y, hp.Holomorphic(0.3, points, form=form), **plain(network))
        for form in (hp.Form.DEVIATION, hp.Form.PLAIN)
    )
    assert error(found, wanted) <= 1e-10


@pytest.mark.parametrize("case", [five_points, vgg], ids=["mlp", "vgg"])
def test_opposite_nudges_are_read_together(
    case: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, x, y = case()
    options = {"estimator": hp.Holomorphic(0.3, 4), **plain(network)}
    together = gradient(network, x, y, **options)
    reading = _readings.Reading
    monkeypatch.setattr(
        "holoprop._phased.Reading", lambda *arrays, opposite=False: reading(*arrays)
    )
    jax.clear_caches()
    assert error(together, gradient(network, x, y, **options)) <= 1e-12


@pytest.mark.parametrize("radius", [0.001, 0.01, 0.1, 1.0])
def test_float32_keeps_its_digits_at_any_radius(radius: float) -> None:
    """Plain states lose them (design.md: a cosine of 0.07 in the first convolution)."""
    network = hp.vgg([8, 8, 16, 16, 16, 16], key=KEY)
    x = jax.random.normal(jax.random.key(1), (4, 32, 32, 3))
    y = jnp.array([0, 3, 5, 9])
    estimator = hp.Holomorphic(radius, 2)
    wanted = gradient(network, x, y, estimator, free=hp.Anderson(), nudged=hp.Anderson())
    single = zoo.cast(network, jnp.float32)
    found = gradient(single, x.astype(jnp.float32), y, estimator)
    assert {g.dtype for g in jax.tree.leaves(found)} == {jnp.dtype("float32")}
    assert min(cosines(found, wanted).values()) >= 0.9999


@pytest.mark.parametrize(("phases", "least"), [(("nudged",), 0.9999), (("free", "nudged"), 0.999)])
@pytest.mark.parametrize("case", [five_points, vgg], ids=["mlp", "vgg"])
def test_bfloat16_maps(case: Callable[[], Any], phases: tuple[str, ...], least: float) -> None:
    network, x, y = zoo.cast(case(), jnp.float32)
    estimator = hp.Holomorphic(0.1, 2)
    low = hp.Anderson(hp.Sequential(tolerance=1e-3, precision="bfloat16"))
    wanted = gradient(network, x, y, estimator)
    found = gradient(network, x, y, estimator, **dict.fromkeys(phases, low))
    assert error(found, wanted) > 1e-6, "nothing was rounded"
    assert min(cosines(found, wanted).values()) >= least


def test_a_free_phase_in_bfloat16_is_polished() -> None:
    network, x, _ = zoo.cast(vgg(), jnp.float32)
    exact = hp.relax(network, x)
    polished = hp.relax(network, x, relaxation=hp.Sequential(precision="bfloat16"))
    assert jnp.all(polished.result == hp.Result.SETTLED)
    assert error(polished.state, exact.state) <= 1e-5


# Linear maps -------------------------------------------------------------------------------------


def primitives(jaxpr: Any, counts: dict[str, int] | None = None) -> dict[str, int]:
    """How often each primitive stands in a program, those inside loops and calls included."""
    counts = {} if counts is None else counts
    for equation in jaxpr.eqns:
        counts[equation.primitive.name] = counts.get(equation.primitive.name, 0) + 1
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")
        ):
            if hasattr(inner, "eqns"):
                primitives(inner, counts)
            elif hasattr(inner, "jaxpr"):
                primitives(inner.jaxpr, counts)
    return counts


@pytest.mark.parametrize("deviation", [False, True], ids=["states", "deviations"])
@pytest.mark.parametrize("backwards", [False, True])
def test_a_sweep_applies_each_map_once_in_each_direction(deviation: bool, backwards: bool) -> None:
    network = hp.vgg([8, 8, 8, 8], padding=[1] * 4, input_shape=(128, 128, 3), key=KEY)
    x = jnp.zeros(network.input_shape)
    state = network.init_state(x)
    if deviation:
        rule: Any = network.deviation(network.prepare_deviation(x, state), None)
    else:
        rule = network.dynamics(network.prepare(x), None)
    sweep = jax.make_jaxpr(lambda c: rule.sequential(c, None, backwards=backwards))(
        rule.begin(state)
    )
    # Three couplings above the first; the input's drive does not change and is not computed.
    assert primitives(sweep.jaxpr)["conv_general_dilated"] == 2 * 3


def test_maps_are_prepared_outside_the_loop() -> None:
    network, x, _ = vgg()
    program = jax.make_jaxpr(lambda x: hp.relax(network, x).state)(x)
    loops: list[Any] = []

    def find(jaxpr: Any) -> None:
        for equation in jaxpr.eqns:
            if equation.primitive.name == "while":
                loops.append(equation.params["body_jaxpr"].jaxpr)
                continue
            for inner in equation.params.values():
                if hasattr(inner, "jaxpr"):
                    find(inner.jaxpr)

    find(program.jaxpr)
    assert loops
    for body in loops:
        assert "rev" not in primitives(body), "weights are flipped in every step"


# Batches in parts, and stragglers ----------------------------------------------------------------


@pytest.mark.parametrize(
    "estimator", [hp.Holomorphic(0.3, 4), hp.Implicit()], ids=["hep", "implicit"]
)
def test_parts_of_a_batch_make_the_whole(estimator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    network = hp.mlp([6, 4, 4, 4], weight_std=0.3, key=KEY)
    x = jax.random.uniform(jax.random.key(1), (12, 6))
    y = jnp.arange(12) % 4
    exact = {"free": hp.Anderson(), "nudged": hp.Anderson()}
    (loss, aux), grads = hp.value_and_grad(network, x, y, estimator=estimator, **exact)
    monkeypatch.setattr(_crowd, "_MANY_UNITS", 1)
    monkeypatch.setattr(_microbatches, "_EXAMPLES", 4)
    jax.clear_caches()
    (loss_2, aux_2), grads_2 = hp.value_and_grad(network, x, y, estimator=estimator, **exact)
    jax.clear_caches()
    assert float(loss_2) == pytest.approx(float(loss), rel=1e-12)
    assert error(grads_2, grads) <= 1e-11
    assert jax.tree.map(jnp.shape, aux_2) == jax.tree.map(jnp.shape, aux)
    np.testing.assert_allclose(aux_2.logits, aux.logits, rtol=1e-10)
    assert error(aux_2.state, aux.state) <= 1e-11


def test_parts_weigh_as_many_examples_as_have_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x, y = five_points()
    x, y = jnp.tile(x[:4], (2, 1)), jnp.tile(y[:4], 2)
    # A saturated input does not settle in a few steps; its part has three examples left.
    x = x.at[1].mul(40.0)
    few = hp.Sequential(tolerance=1e-9, max_steps=12)
    options = {"estimator": hp.Centred(0.1), "free": few, "nudged": few}
    (loss, aux), grads = hp.value_and_grad(network, x, y, **options)
    monkeypatch.setattr(_crowd, "_MANY_UNITS", 1)
    monkeypatch.setattr(_microbatches, "_EXAMPLES", 4)
    jax.clear_caches()
    (loss_2, aux_2), grads_2 = hp.value_and_grad(network, x, y, **options)
    jax.clear_caches()
    np.testing.assert_array_equal(aux_2.settled, aux.settled)
    assert float(loss_2) == pytest.approx(float(loss), rel=1e-10)
    assert error(grads_2, grads) <= 1e-9


@pytest.mark.parametrize(
    ("batch", "size"), [(128, 16), (48, 16), (20, 10), (16, 16), (7, 7), (127, 127), (22, 11)]
)
def test_sizes_of_parts(batch: int, size: int) -> None:
    network = hp.LayeredNetwork(
        (hp.Conv.init((32, 32, 3), 16, key=KEY),),
        activation=hp.DSiLU(),
        cost=hp.CrossEntropy(),
        readout=hp.Dense.init((32, 32, 16), 10, key=KEY),
    )
    problem = Problem(network, jnp.zeros((batch, 32, 32, 3)))
    assert _microbatches.part_size(problem) == size


@pytest.fixture
def taking_turns(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Any network settles three examples at a time, as large ones do on a processor."""
    monkeypatch.setattr(_crowd, "_MANY_UNITS", 1)
    monkeypatch.setattr(_turns, "SEATS", 3)
    jax.clear_caches()
    yield
    jax.clear_caches()


def uneven(batch: int) -> tuple[hp.LayeredNetwork, jax.Array]:
    """From nothing to saturation, so that some inputs need many times the steps of others."""
    network = hp.mlp([6, 5, 5, 3], weight_std=0.9, key=jax.random.key(3))
    x = jax.random.uniform(jax.random.key(4), (batch, 6))
    return network, jnp.linspace(0, 3, batch)[:, None] * x


def assert_as_alone(together: hp.Equilibrium, alone: list[hp.Equilibrium]) -> None:
    assert len({int(a.steps) for a in alone}) > 1
    assert int(together.steps) == max(int(a.steps) for a in alone)
    np.testing.assert_array_equal(together.result, jnp.concatenate([a.result for a in alone], -1))
    for layer, *others in zip(together.state, *(a.state for a in alone), strict=True):
        axis = together.residual.ndim - 1
        np.testing.assert_allclose(layer, jnp.concatenate(others, axis), atol=1e-11)


@pytest.mark.parametrize("batch", [3, 17, 40])
def test_stragglers_go_on_alone_to_the_same_rest(batch: int) -> None:
    """A batch that is settled in stages, against each example by itself."""
    network, x = uneven(batch)
    assert_as_alone(hp.relax(network, x), [hp.relax(network, example[None]) for example in x])


def test_large_networks_settle_all_at_once_on_an_accelerator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, x = uneven(17)
    monkeypatch.setattr(_crowd, "_MANY_UNITS", 1)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    jax.clear_caches()
    program = str(jax.make_jaxpr(lambda x: hp.relax(network, x).state)(x))
    together, alone = hp.relax(network, x), [hp.relax(network, e[None]) for e in x]
    jax.clear_caches()
    assert program.count("while[") == 1
    assert_as_alone(together, alone)


@pytest.mark.parametrize("batch", [2, 3, 11])
@pytest.mark.parametrize("relaxation", [hp.Sequential(), hp.Anderson(), hp.GradientFlow(0.5)])
@pytest.mark.usefixtures("taking_turns")
def test_examples_in_turns_come_to_the_same_rest(
    batch: int, relaxation: hp.AbstractRelaxation
) -> None:
    """In whichever seat and after whomever an example settles, it is as if it were alone."""
    network, x = uneven(batch)
    options = {"relaxation": relaxation}
    assert_as_alone(
        hp.relax(network, x, **options), [hp.relax(network, e[None], **options) for e in x]
    )


@pytest.mark.usefixtures("taking_turns")
def test_nudged_examples_in_turns_come_to_the_same_rest() -> None:
    """Every example under every point of a circle."""
    network, x = uneven(7)
    y = jnp.arange(7) % 3
    for nudge in (jnp.array([0.1, 0.1j]), jnp.array(0.2)):
        alone = [
            hp.relax(network, x[i : i + 1], nudge=nudge, target=y[i : i + 1]) for i in range(7)
        ]
        assert_as_alone(hp.relax(network, x, nudge=nudge, target=y), alone)


@pytest.mark.usefixtures("taking_turns")
def test_who_does_not_settle_leaves_its_seat() -> None:
    """Diverged or out of steps, it keeps its own result and leaves no trace in its followers."""
    network, x = uneven(11)
    x = x.at[1].set(jnp.nan).at[9].set(jnp.inf)
    for relaxation in (hp.Anderson(hp.Sequential(max_steps=9)), hp.Sequential(max_steps=9)):
        # Traced, where values are not known and not checked.
        relax = eqx.filter_jit(lambda x, r=relaxation: hp.relax(network, x, relaxation=r))
        together, alone = relax(x), [relax(e[None]) for e in x]
        assert {*together.result.tolist()} == {*hp.Result}
        assert_as_alone(together, alone)


@pytest.mark.usefixtures("taking_turns")
def test_rounded_examples_in_turns_are_polished() -> None:
    network, x = uneven(7)
    rounded = hp.relax(network, x, relaxation=hp.Anderson(hp.Sequential(precision="bfloat16")))
    exact = hp.relax(network, x)
    assert set(rounded.result.tolist()) == {hp.Result.SETTLED}
    assert error(rounded.state, exact.state) <= 1e-11


@pytest.mark.usefixtures("taking_turns")
def test_networks_under_vmap_take_turns_together() -> None:
    networks = eqx.filter_vmap(lambda key: hp.mlp([6, 4, 4, 4], weight_std=0.7, key=key))(
        jax.random.split(KEY, 3)
    )
    x = jnp.linspace(0, 3, 7)[:, None] * jax.random.uniform(jax.random.key(1), (7, 6))
    together = eqx.filter_vmap(lambda network: hp.relax(network, x))(networks)
    for index in range(3):
        one = jax.tree.map(lambda a, i=index: a[i] if eqx.is_array(a) else a, networks)
        alone = hp.relax(one, x)
        assert int(alone.steps) <= int(together.steps[index])
        np.testing.assert_array_equal(together.result[index], alone.result)
        assert error([s[index] for s in together.state], alone.state) <= 1e-11


def test_networks_under_vmap_go_through_one_loop() -> None:
    """As long as the slowest needs, without choosing between old and new in every step."""
    networks = eqx.filter_vmap(lambda key: hp.mlp([6, 4, 4, 4], key=key))(jax.random.split(KEY, 3))
    x, y = jax.random.uniform(jax.random.key(1), (5, 6)), jnp.arange(5) % 4

    def seen(network: hp.LayeredNetwork) -> Any:
        (_, aux), grads = hp.value_and_grad(
            network,
            x,
            y,
            estimator=hp.Holomorphic(0.3, 4),
            free=hp.Anderson(),
            nudged=hp.Anderson(),
        )
        return aux.steps, grads

    steps, grads = eqx.filter_vmap(seen)(networks)
    for index in range(3):
        one = jax.tree.map(lambda a, i=index: a[i] if eqx.is_array(a) else a, networks)
        alone, expected = seen(one)
        for phase in ("free", "nudged"):
            assert len(set(steps[phase].tolist())) == 1
            assert int(alone[phase]) <= int(steps[phase][0])
        assert error(jax.tree.map(lambda a, i=index: a[i], grads), expected) <= 1e-10


# Tolerances --------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [hp.Form.PLAIN, hp.Form.DEVIATION])
@pytest.mark.parametrize(("radius", "points"), [(0.4, 2), (0.4, 4), (0.4, 8), (0.1, 2), (0.1, 4)])
def test_auto_settles_below_the_bias(form: hp.Form, radius: float, points: int) -> None:
    network = hp.mlp([6, 4, 4, 4], weight_std=0.5, key=KEY)
    x = jax.random.normal(jax.random.key(100), (1, 6))
    x, y = x / jnp.max(x), jnp.array([0])
    estimator = hp.Holomorphic(radius, points, form=form)
    auto, tight = hp.Anderson(hp.Sequential(tolerance="auto")), hp.Anderson()
    settled = gradient(network, x, y, estimator, free=tight, nudged=tight)
    found = gradient(network, x, y, estimator, free=auto, nudged=auto)
    bias = error(settled, gradient(network, x, y, hp.Implicit(), free=tight))
    assert error(found, settled) <= bias


def test_auto_is_the_precisions_own_without_an_estimator() -> None:
    network, x, _ = five_points()
    auto, own = hp.Sequential(tolerance="auto"), hp.Sequential()
    found, wanted = (hp.relax(network, x, relaxation=r) for r in (auto, own))
    assert int(found.steps) == int(wanted.steps)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": "tight"}, 'tolerance must be a positive number, "auto" or None; got \'tig'),
        ({"tolerance": "auto", "steps": 5}, "steps=5 and tolerance='auto' exclude each other"),
        ({"precision": "float16"}, "precision must be one of None, 'bfloat16', 'tensorfloat32'; g"),
    ],
)
@pytest.mark.parametrize(
    "make", [hp.Synchronous, hp.Sequential, lambda **o: hp.GradientFlow(1, **o)]
)
def test_bad_settings(make: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_precision_of_an_energy_of_ones_own_is_refused() -> None:
    network, x, _ = circuit()
    with pytest.raises(
        ValueError, match="precision='bfloat16' lowers the linear maps of a Layered"
    ):
        hp.relax(network, x, relaxation=hp.GradientFlow(0.1, precision="bfloat16"))
