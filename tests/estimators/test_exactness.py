"""The figures that the library promises: every gradient against an independent oracle."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from jax.flatten_util import ravel_pytree
from table import ENERGIES, ESTIMATORS, hopfield, little_vgg, squared_error_mlp
from zoo import FLOW, circuit, error, five_points, plain, vector

import holoprop as hp


def gradient(network: Any, x: Any, y: Any, estimator: Any) -> Any:
    return zoo.gradient(network, x, y, estimator, **plain(network))


def cosine(a: Any, b: Any) -> float:
    a, b = vector(a), vector(b)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def slope(x: Any, y: Any) -> float:
    return float(np.polyfit(x, y, 1)[0])


def figure_2(seed: int) -> tuple[Any, Any, Any]:
    """The paper's toy: one Gaussian input divided by its maximum, one random class.

    Aliasing is no defect of the code but Eq. (9) itself: how soon the error falls depends on how
    far the nearest pole of s*(beta) lies, hence on the drawn weights. The seeds used here are ones
    whose radius of convergence is at least 1 or so; others would need more points.
    """
    network = hp.mlp([6, 4, 4, 4], weight_std=0.5, key=jax.random.key(seed))
    x = jax.random.normal(jax.random.key(100 + seed), (1, 6))
    return network, x / jnp.max(x), jnp.array([seed % 4])


# Holomorphic(0.4, 32) against Implicit -----------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 5])
@pytest.mark.quick("0")
def test_holomorphic_is_exact_in_the_papers_toy(seed: int) -> None:
    case = figure_2(seed)
    exact = gradient(*case, hp.Implicit())
    assert error(gradient(*case, hp.Holomorphic(0.4, 32)), exact) <= 1e-10


@pytest.mark.parametrize("width", [64, 256])
@pytest.mark.quick("64")
def test_holomorphic_is_exact_on_real_digits(digits: Any, width: int) -> None:
    network = hp.mlp([784, width, width, 10], weight_std=0.05, key=jax.random.key(0))
    exact = gradient(network, *digits, hp.Implicit())
    assert error(zoo.gradient(network, *digits, hp.Holomorphic(0.4, 32)), exact) <= 1e-10


@pytest.mark.slow
def test_holomorphic_is_exact_in_a_vgg_on_real_pictures(pictures: Any) -> None:
    network = hp.vgg([8, 16, 16, 16], key=jax.random.key(0))
    exact = zoo.gradient(network, *pictures, hp.Implicit())
    assert error(zoo.gradient(network, *pictures, hp.Holomorphic(0.4, 32)), exact) <= 1e-10


@pytest.mark.parametrize("case", [hopfield, circuit])
@pytest.mark.quick("hopfield")
def test_holomorphic_is_exact_in_other_energies(case: Callable[[], Any]) -> None:
    exact = gradient(*case(), hp.Implicit())
    assert error(gradient(*case(), hp.Holomorphic(0.4, 32)), exact) <= 1e-10


# Eq. (9) -----------------------------------------------------------------------------------------

# For each N radii at which the bias is well above rounding and well below one.
RADII = {2: (0.01, 0.02, 0.04), 4: (0.05, 0.1, 0.2), 8: (0.1, 0.2, 0.3), 16: (0.3, 0.4, 0.5)}


@pytest.mark.parametrize("points", RADII)
@pytest.mark.quick("2", "8")
def test_bias_falls_as_radius_to_the_power_of_points(points: int) -> None:
    radii = RADII[points]
    for seed in (0, 1, 2):
        case = figure_2(seed)
        exact = gradient(*case, hp.Implicit())
        errors = [error(gradient(*case, hp.Holomorphic(r, points)), exact) for r in radii]
        assert slope(np.log(radii), np.log(errors)) == pytest.approx(points, rel=0.1)


def test_error_falls_geometrically_with_points() -> None:
    # The bias goes as C_{N+1} (radius / R)^N, so log error is a line in N whose slope is the
    # logarithm of radius / R: by Eq. (9) that slope grows with log radius as 1.
    case = figure_2(1)
    exact = gradient(*case, hp.Implicit())
    radii, points, rates = (0.2, 0.3, 0.4), (2, 4, 8, 16), []
    for radius in radii:
        errors = [error(gradient(*case, hp.Holomorphic(radius, n)), exact) for n in points]
        assert all(b < a / 5 for a, b in itertools.pairwise(errors))
        rates.append(slope(points, np.log(errors)))
    assert slope(np.log(radii), rates) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("part", [hp.ComplexPart.REAL, hp.ComplexPart.IMAGINARY])
@pytest.mark.parametrize("points", [3, 6])
@pytest.mark.quick("6-*IMAGINARY")
def test_single_part_aliases_the_harmonic_before(points: int, part: hp.ComplexPart) -> None:
    # Appendix A.4 at finite N: cos and sin have both harmonics 1 and -1, so a single part lets
    # beta^(N-1) through where both together let only beta^(N+1) through.
    case = figure_2(0)
    exact = gradient(*case, hp.Implicit())
    radii = (0.02, 0.04, 0.08)
    errors = [error(gradient(*case, hp.Holomorphic(r, points, part=part)), exact) for r in radii]
    assert slope(np.log(radii), np.log(errors)) == pytest.approx(points - 2, rel=0.1)


@pytest.mark.parametrize(("estimator", "order"), [(hp.OneSided, 1), (hp.Centred, 2)])
@pytest.mark.quick("Centred-2")
def test_order_of_the_bias_of_real_nudges(estimator: Any, order: int) -> None:
    case = five_points()
    exact = gradient(*case, hp.Implicit())
    nudges = (0.005, 0.01, 0.02)
    errors = [error(gradient(*case, estimator(jnp.asarray(b))), exact) for b in nudges]
    assert slope(np.log(nudges), np.log(errors)) == pytest.approx(order, rel=0.1)


# One number by several ways ----------------------------------------------------------------------


def test_half_circle_equals_full_circle() -> None:
    case = figure_2(0)
    half = gradient(*case, hp.Holomorphic(0.4, 7))
    full = gradient(*case, hp.Holomorphic(0.4, 7, full_circle=True))
    assert error(half, full) <= 1e-12


@pytest.mark.slow
def test_half_circle_equals_full_circle_on_real_digits(digits: Any) -> None:
    network = hp.mlp([784, 256, 256, 10], weight_std=0.05, key=jax.random.key(0))
    # The symmetry holds in every step, so after a number of them it holds to rounding.
    steps = hp.Sequential(steps=120)
    half, full = (
        zoo.gradient(
            network,
            *digits,
            hp.Holomorphic(0.4, 6, form=hp.StateForm.PLAIN, full_circle=whole),
            free=steps,
            nudged=steps,
        )
        for whole in (False, True)
    )
    assert error(half, full) <= 1e-12


def test_batched_points_equal_points_one_by_one() -> None:
    # Eq. (8) by hand for a network of two hidden layers: dF/dW_l = -s_l s_{l-1}^T, dF/db_l = -s_l,
    # and beta (softmax - y) s^T, beta (softmax - y) for the readout.
    network, x, labels = five_points()
    bias = [c.bias for c in network.couplings]
    network = eqx.tree_at(lambda n: [c.bias for c in n.couplings], network, [b + 0.2 for b in bias])
    weight, offset = np.asarray(network.readout.weight), np.asarray(network.readout.bias)
    y, radius, points = np.eye(4)[np.asarray(labels)], 0.4, 4
    free = hp.relax(network, x).state
    total: list[Any] = [0.0] * 6
    for k in range(points):
        turn = np.exp(2j * np.pi * k / points)
        rest = hp.relax(network, x, nudge=radius * turn, target=labels, init=free)
        assert np.all(rest.result == hp.RelaxationResult.SETTLED)
        s1, s2 = map(np.asarray, rest.state)
        odds = np.exp(s2 @ weight.T + offset)
        push = radius * turn * (odds / odds.sum(axis=1, keepdims=True) - y)
        terms = [-s1.T @ x, -s1.sum(0), -s2.T @ s1, -s2.sum(0), push.T @ s2, push.sum(0)]
        for i, term in enumerate(terms):
            total[i] = total[i] + term / turn / (points * radius * len(x))
    assert max(np.abs(t.imag).max() for t in total) < 1e-12
    found = gradient(network, x, labels, hp.Holomorphic(radius, points, form=hp.StateForm.PLAIN))
    layers = (*found.couplings, found.readout)
    leaves = [leaf for layer in layers for leaf in (layer.weight, layer.bias)]
    assert error(leaves, [t.real for t in total]) <= 1e-12


@pytest.mark.parametrize("case", [lambda: figure_2(5), circuit])
@pytest.mark.quick("<lambda>")
def test_average_equals_first_coefficient_and_mixed_derivative(case: Callable[[], Any]) -> None:
    # They alias differently, so only where aliasing at N = 32 is below rounding.
    by_average = gradient(*case(), hp.Holomorphic(0.4, 32))
    by_fourier = gradient(*case(), hp.Holomorphic(0.4, 32, rule=hp.GradientRule.FOURIER))
    assert error(by_fourier, by_average) <= 1e-12


def test_centred_is_holomorphic_with_two_points() -> None:
    case = figure_2(0)
    centred = gradient(*case, hp.Centred(0.3))
    assert error(gradient(*case, hp.Holomorphic(0.3, 2)), centred) <= 1e-12


@pytest.mark.parametrize(
    ("part", "rule"),
    [
        (hp.ComplexPart.REAL, hp.GradientRule.AVERAGE),
        (hp.ComplexPart.IMAGINARY, hp.GradientRule.FOURIER),
    ],
)
@pytest.mark.quick("*IMAGINARY*")
def test_single_part_equals_both_with_many_points(
    part: hp.ComplexPart, rule: hp.GradientRule
) -> None:
    case = figure_2(5)
    both = gradient(*case, hp.Holomorphic(0.4, 32, rule=rule))
    assert error(gradient(*case, hp.Holomorphic(0.4, 32, part=part, rule=rule)), both) <= 1e-12


def test_real_part_of_two_points_is_everything() -> None:
    case = figure_2(0)
    both = gradient(*case, hp.Holomorphic(0.3, 2))
    real = gradient(*case, hp.Holomorphic(0.3, 2, part=hp.ComplexPart.REAL))
    assert error(real, both) <= 1e-12


@pytest.mark.slow
def test_mean_of_the_parts_is_both() -> None:
    # Even where each part alone is biased, harmonic by harmonic (Eq. 17).
    case = figure_2(0)
    real, imaginary, both = (
        gradient(*case, hp.Holomorphic(0.4, 6, part=p))
        for p in (hp.ComplexPart.REAL, hp.ComplexPart.IMAGINARY, hp.ComplexPart.BOTH)
    )
    mean = jax.tree.map(lambda a, b: (a + b) / 2, real, imaginary)
    assert error(mean, both) <= 1e-12


# References --------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [five_points, squared_error_mlp, little_vgg, hopfield, circuit])
@pytest.mark.quick("five_points", "circuit")
def test_implicit_matches_finite_differences(case: Callable[[], Any]) -> None:
    network, x, y = case()
    relaxation = plain(network)["free"]
    flat, unravel = ravel_pytree(network)

    def loss(theta: jax.Array) -> jax.Array:
        network = unravel(theta)
        state = hp.relax(network, x, relaxation=relaxation).state
        return jnp.mean(jax.vmap(network.cost)(state, y))

    # Along 12 orthonormal directions. Central differences with step h err by h^2 and 1e-14 / h.
    ways, _ = jnp.linalg.qr(jax.random.normal(jax.random.key(7), (flat.size, 12)))
    up, down = jax.jit(jax.vmap(jax.vmap(loss)))(flat + 1e-5 * jnp.stack([ways.T, -ways.T]))
    found = ravel_pytree(gradient(network, x, y, hp.Implicit()))[0] @ ways
    assert error(found, (up - down) / 2e-5) <= 1e-6


def test_implicit_matches_a_dense_solve_of_the_map() -> None:
    # The network of Appendix B.1 written out, its Jacobian as a matrix, and a direct solve.
    network, x, labels = five_points()

    def step(network: Any, s: jax.Array, x: jax.Array) -> jax.Array:
        (first, second), (s1, s2) = network.couplings, (s[:4], s[4:])
        u1 = first.weight @ x + first.bias + second.weight.T @ s2
        u2 = second.weight @ s1 + second.bias
        return 1 / (1 + jnp.exp(-4 * jnp.concatenate([u1, u2]) + 2))

    def cost(network: Any, s: jax.Array, label: jax.Array) -> jax.Array:
        return -jax.nn.log_softmax(network.readout.weight @ s[4:] + network.readout.bias)[label]

    total = 0.0
    for one, label in zip(x, labels, strict=True):
        s = jnp.zeros(8)
        for _ in range(200):
            s = step(network, s, one)
        jacobian = jax.jacfwd(step, argnums=1)(network, s, one)
        adjoint = jnp.linalg.solve(jnp.eye(8) - jacobian.T, jax.grad(cost, 1)(network, s, label))
        direct = ravel_pytree(jax.grad(cost)(network, s, label))[0]
        through = jax.vjp(lambda n, s=s, one=one: step(n, s, one), network)[1](adjoint)[0]
        total = total + (direct + ravel_pytree(through)[0]) / len(x)
    assert error(ravel_pytree(gradient(network, x, labels, hp.Implicit()))[0], total) <= 1e-10


@pytest.mark.slow
def test_implicit_matches_a_dense_solve_of_the_energy() -> None:
    # dL/dtheta = dl/dtheta - (d^2E/dtheta ds) H^-1 dl/ds, with the Hessian H as a matrix.
    network, x, y = circuit()
    rest = hp.relax(network, x, relaxation=FLOW).state
    theta, rebuild = ravel_pytree(network)

    def one(state: Any, x: Any, y: Any) -> jax.Array:
        s, unravel = ravel_pytree(state)

        def energy(theta: jax.Array, s: jax.Array) -> jax.Array:
            return rebuild(theta).energy(unravel(s), x)

        hessian = jax.hessian(energy, argnums=1)(theta, s)
        mixed = jax.jacfwd(jax.grad(energy), argnums=1)(theta, s)
        pull = jax.grad(lambda s: network.cost(unravel(s), y))(s)
        return -mixed @ jnp.linalg.solve(hessian, pull)

    exact = jnp.mean(jax.jit(jax.vmap(one))(rest, x, y), axis=0)
    found = gradient(network, x, y, hp.Implicit())
    assert error(ravel_pytree(found)[0], exact) <= 1e-10


@pytest.mark.parametrize("case", [five_points, circuit])
def test_unrolled_becomes_implicit(case: Callable[[], Any]) -> None:
    exact = gradient(*case(), hp.Implicit())
    assert error(gradient(*case(), hp.Unrolled(500)), exact) <= 1e-8


# Float32 -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_float32_on_real_digits(digits: Any) -> None:
    x, labels = digits
    network = hp.mlp([784, 256, 256, 10], weight_std=0.05, key=jax.random.key(0))
    double = gradient(network, x, labels, hp.Holomorphic(0.4, 10))
    single = gradient(zoo.cast(network, jnp.float32), x, labels, hp.Holomorphic(0.4, 10))
    assert {leaf.dtype for leaf in jax.tree.leaves(single)} == {jnp.dtype("float32")}
    assert error(single, double) <= 1e-3


# Equilibrium as a layer --------------------------------------------------------------------------


@pytest.mark.parametrize("case", [squared_error_mlp, circuit])
@pytest.mark.quick("circuit")
def test_equilibrium_has_the_implicit_gradient(case: Callable[[], Any]) -> None:
    network, x, _ = case()
    x = jax.tree.map(lambda a: a[0], x)

    def loss(network: Any, x: Any, estimator: Any) -> jax.Array:
        s, _ = ravel_pytree(hp.equilibrium(network, x, estimator=estimator, **plain(network)))
        return jnp.sum(jnp.sin(s) * jnp.arange(1.0, s.size + 1)) + s[0] * s[-1]

    slopes = jax.jit(jax.grad(loss, argnums=(0, 1)))
    # The cotangent, scaled to length one, pushes harder than a cost's slope would: 0.4 is outside
    # the region of equilibria here.
    found = slopes(network, x, hp.Holomorphic(0.1, 32))
    exact = slopes(network, x, hp.Implicit())
    for a, b in zip(found, exact, strict=True):
        assert error(a, b) <= 1e-9
    theta, rebuild = ravel_pytree((network, x))
    step = 1e-5 * jnp.eye(theta.size)
    losses = jax.jit(jax.vmap(jax.vmap(lambda theta: loss(*rebuild(theta), hp.Implicit()))))
    up, down = losses(theta + jnp.stack([step, -step]))
    assert error(ravel_pytree(found)[0], (up - down) / 2e-5) <= 1e-6


# Online ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_online_approaches_the_gradient_as_the_oscillation_slows(digits: Any) -> None:
    # Fig. 3a: with few steps a point the state lags behind the nudge.
    network = hp.mlp([784, 256, 256, 10], weight_std=0.05, key=jax.random.key(0))
    exact = gradient(network, *digits, hp.Implicit())
    cosines = []
    for steps in (2, 10, 200):
        estimator = hp.Online(0.4, 10, steps_per_point=steps, periods=1)
        (_, aux), online = hp.value_and_grad(
            network, *digits, estimator=estimator, nudged=hp.Synchronous()
        )
        assert int(aux.unsettled) == 0
        cosines.append(cosine(online, exact))
    assert cosines == sorted(cosines)
    assert cosines[0] < 0.99
    assert cosines[-1] >= 0.9999


# {estimator} x {network} x {precision} -----------------------------------------------------------

ALL = [
    pytest.param(
        (name, precision),
        id=f"{name}-{precision}",
        marks=[pytest.mark.slow] if precision in slow else [],
    )
    for name, (_, slow) in ENERGIES.items()
    for precision in ("float64", "float32")
]


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A network and its batch, and JAX in one precision for everything.

    In float32 as it is by default, without 64-bit types at all. The network is drawn before, since
    JAX draws other random numbers in other precisions.
    """
    name, precision = request.param
    whole = ENERGIES[name][0]()
    exact = gradient(*whole, hp.Implicit())
    jax.config.update("jax_enable_x64", precision == "float64")
    # Labels by way of NumPy, so that their integers are of the precision's kind as well.
    yield jax.tree.map(np.asarray, zoo.cast(whole, precision)), exact, precision
    jax.config.update("jax_enable_x64", True)


# `tests/test_annotations.py` runs the perceptron in float32, too, in every suite.
@pytest.mark.parametrize("case", ALL, indirect=True)
@pytest.mark.quick("circuit-float64")
def test_every_estimator_on_every_network(case: Any) -> None:
    (network, x, y), exact, precision = case
    # With the precision's own tolerance.
    layered = isinstance(network, hp.LayeredNetwork)
    relaxation = hp.Sequential() if layered else hp.GradientFlow(0.4)

    @jax.jit
    def gradients(network: Any, x: Any, y: Any) -> dict[str, Any]:
        return {
            name: hp.value_and_grad(network, x, y, estimator=e, free=relaxation, nudged=relaxation)[
                1
            ]
            for name, (e, *_) in ESTIMATORS.items()
        }

    found = gradients(network, x, y)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(precision)}
    limits = {k: limit[precision == "float32"] for k, (_, *limit) in ESTIMATORS.items()}
    errors = {k: error(g, exact) for k, g in found.items()}
    assert {k: (e, limits[k]) for k, e in errors.items() if not e <= limits[k]} == {}
