"""What makes gradients fast changes none of their digits: each saving against the plain way."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from zoo import circuit, error, five_points, gradient, plain

import holoprop as hp
from holoprop.estimators import _gradient

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
@pytest.mark.quick("softmax pooling-2")
def test_deviations_give_the_gradient_of_states(case: Callable[[], Any], points: int) -> None:
    network, x, y = case()
    found, wanted = (
        gradient(network, x, y, hp.Holomorphic(0.3, points, form=form), **plain(network))
        for form in (hp.StateForm.DEVIATION, hp.StateForm.PLAIN)
    )
    assert error(found, wanted) <= 1e-10


@pytest.mark.parametrize("case", [five_points, vgg], ids=["mlp", "vgg"])
@pytest.mark.slow
def test_opposite_nudges_are_read_together(
    case: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, x, y = case()
    options = {"estimator": hp.Holomorphic(0.3, 4), **plain(network)}
    together = gradient(network, x, y, **options)
    reading = _gradient.Reading
    monkeypatch.setattr(
        "holoprop.estimators._holomorphic.Reading", lambda *arrays, opposite=False: reading(*arrays)
    )
    jax.clear_caches()
    assert error(together, gradient(network, x, y, **options)) <= 1e-12


@pytest.mark.parametrize("radius", [0.001, 0.01, 0.1, 1.0])
@pytest.mark.slow
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
@pytest.mark.quick("mlp-phases1-*")
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
    assert jnp.all(polished.result == hp.RelaxationResult.SETTLED)
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
@pytest.mark.quick("False-deviations", "True-states")
def test_a_sweep_applies_each_map_once_in_each_direction(deviation: bool, backwards: bool) -> None:
    network = hp.vgg([8, 8, 8, 8], padding=[1] * 4, input_shape=(128, 128, 3), key=KEY)
    x = jnp.zeros(network.input_shape)
    state, numerics = network.init_state(x), network.numerics()
    if deviation:
        prepared = numerics.prepare_deviation(x, state)
        dynamics: Any = numerics.deviation(prepared, None, numerics.maps())
    else:
        dynamics = numerics.dynamics(numerics.prepare(x), None, numerics.maps())
    sweep = jax.make_jaxpr(lambda c: dynamics.sequential(c, None, backwards=backwards))(
        dynamics.extend(state)
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


@pytest.mark.parametrize("opposite", [False, True], ids=["change", "difference"])
@pytest.mark.parametrize("case", [five_points, vgg], ids=["mlp", "vgg"])
def test_reading_a_gradient_costs_the_local_rule(case: Callable[[], Any], opposite: bool) -> None:
    """Pull above times activity below; no pooling is differentiated, and no map applied twice."""
    network, x, _ = case()
    x, rng = x[0], np.random.default_rng(0)
    centre, delta = (
        tuple(jnp.asarray(rng.normal(size=c.out_shape)) for c in network.couplings)
        for _ in range(2)
    )

    def by_library(network: Any) -> Any:
        def value(network: Any) -> jax.Array:
            numerics = network.numerics()
            read = numerics.interaction_difference if opposite else numerics.interaction_change
            return read(centre, delta, x)

        return jax.grad(value)(network).couplings

    def by_hand(network: Any) -> Any:
        first, *upper = network.couplings
        x0, scale = network.numerics().input(x), 1 + opposite
        slopes = [slope(first, [(x0, scale * first.pull(first.linear(x0), delta[0]))], delta[0])]
        pairs = zip(itertools.pairwise(centre), itertools.pairwise(delta), upper, strict=True)
        for (low, high), (d, alpha), c in pairs:
            z, zeta = c.linear(low), c.linear(d)
            base, pull = c.base(z), c.pull(z, high)
            up = c.pull_change(base, zeta, high, alpha)
            down = c.pull_change(base, -zeta, high, -alpha) if opposite else 0 * up
            terms = [(low, up - down), (d, scale * pull + up + down)]
            slopes.append(slope(c, terms, alpha))
        return tuple(slopes)

    def slope(coupling: Any, terms: Any, alpha: jax.Array) -> Any:
        def product(weight: jax.Array) -> jax.Array:
            c = dataclasses.replace(coupling, weight=weight)
            return sum(jnp.sum(c.linear(below) * pull) for below, pull in terms)

        by_bias = (1 + opposite) * jnp.sum(alpha.reshape(-1, coupling.bias.size), axis=0)
        weight = -jax.grad(product)(coupling.weight)
        return dataclasses.replace(coupling, weight=weight, bias=-by_bias)

    programs = [jax.jit(f).lower(network).compile() for f in (by_library, by_hand)]
    found, wanted = (program(network) for program in programs)
    assert error(found, wanted) <= 1e-12
    found, wanted = (program.cost_analysis()["flops"] for program in programs)
    assert found <= 1.02 * wanted


# Tolerances --------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [hp.StateForm.PLAIN, hp.StateForm.DEVIATION])
@pytest.mark.parametrize(("radius", "points"), [(0.4, 2), (0.4, 4), (0.4, 8), (0.1, 2), (0.1, 4)])
@pytest.mark.quick("0.4-4-StateForm.PLAIN")
def test_auto_settles_below_the_bias(form: hp.StateForm, radius: float, points: int) -> None:
    network = hp.mlp([6, 4, 4, 4], weight_std=0.5, key=KEY)
    x = jax.random.normal(jax.random.key(100), (1, 6))
    x, y = x / jnp.max(x), jnp.array([0])
    estimator = hp.Holomorphic(radius, points, form=form)
    auto, tight = hp.Sequential(tolerance="auto"), hp.Sequential()
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
    ],
)
@pytest.mark.parametrize(
    "make", [hp.Synchronous, hp.Sequential, lambda **o: hp.GradientFlow(1, **o)]
)
def test_bad_settings(make: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)


@pytest.mark.parametrize("make", [hp.Synchronous, hp.Sequential])
def test_bad_precision(make: Any) -> None:
    message = "precision must be one of None, 'bfloat16', 'tensorfloat32'; got 'float16'"
    with pytest.raises(ValueError, match=message):
        make(precision="float16")


def test_precision_of_an_energy_of_ones_own_is_refused() -> None:
    network, x, _ = circuit()
    with pytest.raises(
        ValueError, match="precision='bfloat16' lowers the linear maps of a Layered"
    ):
        hp.relax(network, x, relaxation=hp.Synchronous(precision="bfloat16"))
