"""Derivatives of what the library returns: of gradients, and of states after a number of steps.

The oracle is a central difference of the same number in float64, or a closed form. Where there is
no derivative, an error says so.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax.flatten_util import ravel_pytree
from table import ENERGIES, RELAXATIONS, squared_error_mlp
from zoo import circuit, error, five_points

import holoprop as hp

PLAIN, DEVIATION = hp.StateForm.PLAIN, hp.StateForm.DEVIATION
AVERAGE, FOURIER = hp.GradientRule.AVERAGE, hp.GradientRule.FOURIER
SLOW = pytest.mark.slow


def fixed(network: Any, steps: int) -> dict[str, Any]:
    """A number of plain steps in both phases."""
    by_map = network.numerics().fixed_point_map
    relaxation = hp.Sequential(steps=steps) if by_map else hp.GradientFlow(0.4, steps=steps)
    return {"free": relaxation, "nudged": relaxation}


def check_derivative(
    scalar: Callable[[jax.Array], jax.Array], at: jax.Array, *, forward: bool, rtol: float
) -> None:
    """A scalar's derivative along a random direction, against its values on either side."""
    way = jax.random.normal(jax.random.key(8), at.shape)

    @jax.jit
    def look(at: jax.Array) -> tuple[jax.Array, jax.Array]:
        if forward:
            return jax.jvp(scalar, (at,), (way,))
        value, slope = jax.value_and_grad(scalar)(at)
        return value, slope @ way

    h = 5e-4
    far, near, found, back, other = (look(at + t * way) for t in (2 * h, h, 0, -h, -2 * h))
    # The error of these differences is of fourth order.
    wanted = (8 * (near[0] - back[0]) - (far[0] - other[0])) / (12 * h)
    assert abs(float(wanted)) > 1e-3
    assert float(found[1]) == pytest.approx(float(wanted), rel=rtol)


# Of gradients ------------------------------------------------------------------------------------


def check_gradient(
    case: tuple[Any, Any, Any], estimator: Any, *, forward: bool, **options: Any
) -> None:
    """The derivative of a random combination of a gradient, by parameters and inputs together."""
    network, x, y = case
    options = {**fixed(network, 12), **options}
    theta, rebuild = ravel_pytree((network, x))
    weights = jax.random.normal(jax.random.key(9), ravel_pytree(network)[0].shape)

    def gradient(theta: jax.Array) -> jax.Array:
        network, x = rebuild(theta)
        (_, aux), grads = hp.value_and_grad(
            network, x, y, estimator=estimator, throw=False, **options
        )
        # An example that is left out would be no test, and its coming back a jump.
        return jnp.where(aux.unsettled == 0, ravel_pytree(grads)[0] @ weights, jnp.nan)

    check_derivative(gradient, theta, forward=forward, rtol=2e-7)


forms = pytest.mark.parametrize("form", [DEVIATION, pytest.param(PLAIN, marks=SLOW)])
modes = pytest.mark.parametrize(
    "forward", [False, pytest.param(True, marks=SLOW)], ids=["reverse", "forward"]
)
ESTIMATORS: dict[str, Callable[..., Any]] = {
    "one-sided": lambda **o: hp.OneSided(0.1, **o),
    "centred": lambda **o: hp.Centred(0.1, **o),
    "holomorphic": lambda **o: hp.Holomorphic(0.2, 3, **o),
    "full circle": lambda **o: hp.Holomorphic(0.2, 2, full_circle=True, **o),
}


@forms
@pytest.mark.parametrize("forward", [False, True], ids=["reverse", "forward"])
@pytest.mark.parametrize("rule", [AVERAGE, pytest.param(FOURIER, marks=SLOW)])
@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.quick("holomorphic-*-reverse-*", "one-sided-*-forward-*")
def test_derivative_of_a_gradient(name: str, rule: Any, forward: bool, form: Any) -> None:
    check_gradient(five_points(), ESTIMATORS[name](rule=rule, form=form), forward=forward)


@pytest.mark.slow
@modes
@pytest.mark.parametrize(
    "estimator",
    [hp.Online(0.2, 3, steps_per_point=4, periods=1), hp.Unrolled(12), hp.Implicit()],
    ids=["online", "unrolled", "implicit"],
)
def test_derivative_of_other_estimators_gradients(estimator: Any, forward: bool) -> None:
    check_gradient(five_points(), estimator, forward=forward)


@pytest.mark.slow
@modes
def test_derivative_of_a_gradient_in_microbatches(forward: bool) -> None:
    estimator = hp.Holomorphic(0.2, 2, full_circle=True)
    check_gradient(five_points(), estimator, forward=forward, batching=hp.Slots(1))


def pooled(pooling: Any, **options: Any) -> tuple[Any, Any, Any]:
    network = hp.vgg(
        [2, 3], input_shape=(6, 6, 1), classes=3, pooling=pooling, key=jax.random.key(0), **options
    )
    return network, jax.random.uniform(jax.random.key(1), (2, 6, 6, 1)), jnp.array([0, 2])


NETWORKS = {
    "squared error": squared_error_mlp,
    "softmax pooling": lambda: pooled(hp.SoftmaxPool(2, 0.7)),
    "average pooling": lambda: pooled(hp.AveragePool(2)),
    "hopfield": ENERGIES["hopfield"][0],
    "circuit": circuit,
}


@pytest.mark.slow
@forms
@modes
@pytest.mark.parametrize("name", NETWORKS)
def test_derivative_of_a_gradient_of_other_energies(name: str, forward: bool, form: Any) -> None:
    check_gradient(NETWORKS[name](), hp.Holomorphic(0.2, 3, form=form), forward=forward)


@pytest.mark.slow
@forms
@pytest.mark.parametrize(
    "case",
    [
        lambda: pooled(hp.SoftmaxPool(2)),
        lambda: pooled(hp.MaxPool(2), activation=hp.ReLU(), weight_std=0.1),
    ],
    ids=["softmax pooling", "max pooling"],
)
def test_derivative_of_a_gradient_from_real_nudges(case: Callable[[], Any], form: Any) -> None:
    check_gradient(case(), hp.Centred(0.1, form=form), forward=False)


def penalty(network: Any, x: Any, y: Any, estimator: Any, **options: Any) -> jax.Array:
    _, grads = hp.value_and_grad(network, x, y, estimator=estimator, **options)
    return sum(jnp.sum(g**2) for g in jax.tree.leaves(grads))


@pytest.mark.slow
@pytest.mark.parametrize("rule", [AVERAGE, pytest.param(FOURIER, marks=SLOW)])
@pytest.mark.parametrize("estimator", [hp.OneSided, hp.Centred])
def test_penalties_are_those_of_the_other_form(estimator: Any, rule: Any) -> None:
    # At rest both forms simulate the same physics.
    network, x, y = five_points()
    found, wanted = (
        jax.jit(jax.grad(penalty, argnums=(0, 1)), static_argnums=3)(
            network, x, y, estimator(0.05, form=form, rule=rule), **fixed(network, 60)
        )
        for form in (DEVIATION, PLAIN)
    )
    assert error(found, wanted) <= 1e-9


@pytest.mark.slow
def test_a_penalty_learns() -> None:
    """Down the derivative of the squared gradient, the squared gradient falls as it says."""
    network, x, y = five_points()
    options = {"estimator": hp.Centred(0.05), **fixed(network, 40)}
    before, slope = jax.value_and_grad(penalty)(network, x, y, **options)
    rate = 1e-4
    after = penalty(jax.tree.map(lambda a, g: a - rate * g, network, slope), x, y, **options)
    fall = rate * sum(float(jnp.sum(g**2)) for g in jax.tree.leaves(slope))
    assert float(before - after) == pytest.approx(fall, rel=0.05)


# Of states after a number of steps ---------------------------------------------------------------


class Spring(hp.AbstractEnergy):
    """E = k s^2/2 - x s, at rest at s = x/k."""

    k: Any

    def energy(self, state: Any, x: Any) -> Any:
        return self.k * jnp.sum(state**2) / 2 - jnp.sum(x * state)

    def init_state(self, x: Any) -> Any:
        return jnp.zeros_like(x)

    def cost(self, state: Any, y: Any) -> Any:
        return jnp.sum((state - y) ** 2) / 2


K, X, REST = jnp.array(2.0), jnp.ones((1, 1)), 0.5 * jnp.ones((1, 1))


@pytest.mark.parametrize("init", [None, REST], ids=["cold", "warm"])
@pytest.mark.quick("warm")
def test_derivative_of_a_state(init: Any) -> None:
    def state(k: jax.Array) -> jax.Array:
        relaxation = hp.GradientFlow(0.3, steps=100)
        return hp.relax(Spring(k), X, init=init, relaxation=relaxation).state[0, 0]

    assert float(jax.jvp(state, (K,), (jnp.ones(()),))[1]) == pytest.approx(-0.25, rel=1e-12)
    assert float(jax.grad(state)(K)) == pytest.approx(-0.25, rel=1e-12)
    assert float(jax.hessian(state)(K)) == pytest.approx(0.25, rel=1e-12)


def with_steps(relaxation: Any, steps: int) -> Any:
    if isinstance(relaxation, hp.Anderson):
        return hp.Anderson(with_steps(relaxation.inner, steps), depth=relaxation.depth)
    return dataclasses.replace(relaxation, steps=steps)


@pytest.mark.slow
@modes
@pytest.mark.parametrize("steps", [7, 120])
@pytest.mark.parametrize("name", RELAXATIONS)
def test_derivative_of_a_networks_state(name: str, steps: int, forward: bool) -> None:
    """On the way, and long after it has come to rest, where a step changes nothing at all."""
    relaxation, (network, x, y) = with_steps(RELAXATIONS[name], steps), five_points()
    theta, rebuild = ravel_pytree((network, x))

    def loss(theta: jax.Array) -> jax.Array:
        network, x = rebuild(theta)
        state = hp.relax(network, x, relaxation=relaxation).state
        return jnp.mean(jax.vmap(network.cost)(state, y))

    check_derivative(loss, theta, forward=forward, rtol=1e-8)


# Where there is none -----------------------------------------------------------------------------

REFUSED = pytest.raises(
    ValueError,
    match=r"a relaxation to a tolerance has no derivative: use hp.equilibrium, .* fixed number",
)

MODES: dict[str, Callable[[Any, Any], Any]] = {
    "forward": lambda f, at: jax.jvp(f, (at,), (jnp.ones_like(at),)),
    "reverse": lambda f, at: jax.grad(lambda at: jnp.sum(f(at)))(at),
    "forward under jit": lambda f, at: jax.jit(jax.jacfwd(f))(at),
    "reverse under jit": lambda f, at: jax.jit(jax.jacrev(f))(at),
    "linearised": lambda f, at: jax.linearize(f, at)[1](at),
    "of jit": lambda f, at: jax.jvp(jax.jit(f), (at,), (at,)),
    "second": lambda f, at: jax.hessian(f)(at),
    "mapped": lambda f, at: jax.vmap(jax.jacrev(f))(jnp.stack([at, at])),
    "of a map": lambda f, at: jax.jacfwd(jax.vmap(f))(jnp.stack([at, at])),
    "of a loop": lambda f, at: jax.grad(
        lambda at: jax.lax.scan(lambda c, _: (c + jnp.sum(f(at)), None), 0.0, length=2)[0]
    )(at.astype(float)),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.quick("forward", "reverse under jit", "second", "of a loop")
def test_a_relaxation_to_a_tolerance_has_no_derivative(mode: str) -> None:
    def state(k: jax.Array) -> jax.Array:
        return hp.relax(Spring(k), X, init=REST).state

    with REFUSED:
        MODES[mode](state, K)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["forward", "reverse"])
@pytest.mark.parametrize(
    ("relaxation", "batching"),
    [
        (None, hp.Lockstep()),
        (None, hp.Lockstep(1)),
        (None, hp.Slots(2)),
        (hp.Anderson(hp.Synchronous(tolerance=1e-3)), None),
    ],
)
def test_by_whatever_it_depends_on(relaxation: Any, batching: Any, mode: str) -> None:
    network, x, y = five_points()
    options = {"relaxation": relaxation, "batching": batching}
    init = hp.relax(network, x).state

    def by_scale(scale: jax.Array) -> jax.Array:
        return hp.relax(jax.tree.map(lambda a: scale * a, network), x, **options).state[0]

    def by_input(x: jax.Array) -> jax.Array:
        return hp.relax(network, x, **options).state[0]

    def by_init(s: jax.Array) -> jax.Array:
        return hp.relax(network, x, init=(s, init[1]), **options).state[0]

    def by_nudge(nudge: jax.Array) -> jax.Array:
        return hp.relax(network, x, nudge=nudge, target=y, **options).state[0]

    for function, at in (
        (by_scale, jnp.ones(())),
        (by_input, x),
        (by_init, init[0]),
        (by_nudge, 0.1 * jnp.ones(())),
    ):
        with REFUSED:
            MODES[mode](function, at)


@pytest.mark.parametrize(
    ("estimator", "batching", "mode"),
    [
        (hp.OneSided(0.1), None, "forward"),
        (hp.OneSided(0.1), None, "reverse"),
        (hp.Centred(0.1), None, "second"),
        (hp.Holomorphic(0.1, 3), None, "forward"),
        (hp.Holomorphic(0.1, 3), hp.Slots(1), "reverse"),
        (hp.Implicit(), None, "forward"),
        (hp.Implicit(), hp.Slots(1), "reverse"),
    ],
)
@pytest.mark.quick("estimator0-*", "estimator5-*")
def test_nor_has_a_gradient_from_it(estimator: Any, batching: Any, mode: str) -> None:
    network, x, y = five_points()

    def squared(scale: jax.Array) -> jax.Array:
        scaled = jax.tree.map(lambda a: scale * a, network)
        return penalty(scaled, x, y, estimator, batching=batching)

    with REFUSED:
        MODES[mode](squared, jnp.ones(()))


@pytest.mark.parametrize("phase", ["free", "nudged"])
@pytest.mark.quick("nudged")
def test_each_phase_needs_a_number_of_steps(phase: str) -> None:
    network, x, y = five_points()
    options = fixed(network, 20) | {phase: hp.Sequential()}
    with REFUSED:
        jax.grad(lambda x: penalty(network, x, y, hp.Centred(0.1), **options))(x)


@pytest.mark.parametrize("loss", [True, False], ids=["loss", "logits"])
def test_nor_has_a_loss_from_it(loss: bool) -> None:
    network, x, y = five_points()

    def value(x: jax.Array) -> jax.Array:
        (found, aux), _ = hp.value_and_grad(network, x, y, estimator=hp.Centred(0.1))
        return found if loss else jnp.sum(aux.logits)

    with REFUSED:
        jax.grad(value)(x)


@pytest.mark.parametrize("estimator", [hp.Centred(0.01), hp.Implicit(), hp.Unrolled(100)])
@pytest.mark.quick("estimator1")
def test_an_equilibrium_has_one_derivative(estimator: Any) -> None:
    def state(k: jax.Array) -> jax.Array:
        flow = hp.GradientFlow(0.3)
        return hp.equilibrium(Spring(k), X[0], estimator=estimator, free=flow, nudged=flow)[0]

    assert float(jax.grad(state)(K)) == pytest.approx(-0.25, rel=1e-3)
    if not isinstance(estimator, hp.Unrolled):
        with REFUSED:
            jax.grad(jax.grad(state))(K)


@pytest.mark.parametrize("estimator", [hp.Centred(1e-3), hp.Implicit(), hp.Unrolled(100)])
@pytest.mark.quick("estimator1")
def test_an_equilibrium_after_a_number_of_steps_has_more(estimator: Any) -> None:
    def state(k: jax.Array) -> jax.Array:
        flow = hp.GradientFlow(0.3, steps=100)
        return hp.equilibrium(Spring(k), X[0], estimator=estimator, free=flow, nudged=flow)[0]

    # x/k and its derivatives; a nudge v . s of a spring has no bias.
    assert float(jax.grad(state)(K)) == pytest.approx(-0.25, rel=1e-9)
    assert float(jax.grad(jax.grad(state))(K)) == pytest.approx(0.25, rel=1e-9)


# What needs no derivative is left alone.


def test_a_state_that_counts_as_constant() -> None:
    def loss(k: jax.Array) -> jax.Array:
        state = jax.lax.stop_gradient(hp.relax(Spring(k), X).state)
        return jnp.sum(k * state)

    for transform in (jax.grad, lambda f: jax.jit(jax.grad(f)), lambda f: jax.jit(jax.jacfwd(f))):
        assert float(transform(loss)(K)) == pytest.approx(0.5, rel=1e-5)


def test_a_state_that_does_not_depend_on_it() -> None:
    def loss(k: jax.Array) -> jax.Array:
        return jnp.sum(k * hp.relax(Spring(K), X).state)

    for transform in (jax.grad, jax.jacfwd, jax.hessian, lambda f: jax.jit(jax.grad(f))):
        wanted = 0.0 if transform is jax.hessian else 0.5
        assert float(transform(loss)(K)) == pytest.approx(wanted, rel=1e-5)


def test_a_gradient_that_counts_as_constant() -> None:
    """First-order meta-learning: through the step, and not through the gradient it is made of."""
    network, x, y = five_points()

    def loss(scale: jax.Array) -> jax.Array:
        start = jax.tree.map(lambda a: scale * a, network)
        _, grads = hp.value_and_grad(start, x, y, estimator=hp.Centred(0.1))
        grads = jax.lax.stop_gradient(grads)
        after = jax.tree.map(lambda a, g: a - 0.1 * g, start, grads)
        return ravel_pytree(after)[0].sum()

    wanted = ravel_pytree(network)[0].sum()
    assert float(jax.grad(loss)(jnp.ones(()))) == pytest.approx(float(wanted), rel=1e-12)


def test_what_is_only_looked_at() -> None:
    def loss(k: jax.Array) -> tuple[jax.Array, Any]:
        found = hp.relax(Spring(k), X)
        return k**2, (found.residual, found.steps, found.result, found.state)

    slope, seen = jax.grad(loss, has_aux=True)(K)
    assert float(slope) == 4.0
    assert float(seen[3][0, 0]) == pytest.approx(0.5, rel=1e-5)
