"""Every gradient knows its own error: estimated against true errors, example by example.

The true one is that of an example's own gradient, against the implicit gradient in float64.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from table import hopfield, little_vgg
from zoo import MIXED, branching, circuit, each, five_points, plain, true_error

import holoprop as hp

DEVIATION, PLAIN = hp.StateForm.DEVIATION, hp.StateForm.PLAIN


def many(case: Any, count: int = 12) -> tuple[Any, Any, Any]:
    """A case's network with more examples than it comes with, of several sizes."""
    network, x, y = case()
    keys = jax.random.split(jax.random.key(11), len(jax.tree.leaves(x)))
    leaves = [
        jax.random.normal(k, (count, *leaf.shape[1:])) * jnp.max(jnp.abs(leaf))
        for k, leaf in zip(keys, jax.tree.leaves(x), strict=True)
    ]
    rows = jnp.arange(count) % len(y)
    return network, jax.tree.unflatten(jax.tree.structure(x), leaves), y[rows]


def judged(case: Any, make: Any, radii: Any) -> tuple[Any, Any, Any]:
    """True and estimated errors of all examples at all radii, and the latter's parts."""
    network, x, y = case
    exact, _ = each(network, x, y, hp.Implicit(), plain(network))
    rows = []
    for radius in radii:
        found, seen = each(network, x, y, make(jnp.asarray(radius)), plain(network))
        error, parts, _, settled = jax.tree.map(np.asarray, seen)
        row = true_error(found, exact), error, parts
        rows.append(jax.tree.map(lambda a, settled=settled: a[settled], row))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *rows)


def assert_agrees(
    true: Any, estimated: Any, parts: Any, *, share: float, upper: bool = False
) -> None:
    """Within a factor of ten for a share of examples, and no large error that is not seen.

    Or, where the estimate is an upper limit, no more than ten times too small.
    """
    known = (estimated > 100 * parts["rounding"]) & (estimated < 0.1)
    known &= parts["bias"] > parts["settling"]
    assert known.sum() >= 10
    ratio = np.log10(true[known] / estimated[known])
    assert np.mean((ratio if upper else np.abs(ratio)) <= 1) >= share
    assert not np.any((true > 0.1) & (estimated < 0.02))


# Bias --------------------------------------------------------------------------------------------

RADII = (0.01, 0.05, 0.2, 0.4, 0.6)
MAKERS = {
    "one-sided": (lambda r: hp.OneSided(-r), 0.9),
    "centred": (hp.Centred, 0.9),
    "fourier": (lambda r: hp.Holomorphic(r, 2, rule=hp.GradientRule.FOURIER), 0.9),
    "three": (lambda r: hp.Holomorphic(r, 3), 0.9),
    "four": (lambda r: hp.Holomorphic(r, 4), 0.95),
    "nine": (lambda r: hp.Holomorphic(r, 9), 0.95),
    "sixteen": (lambda r: hp.Holomorphic(r, 16), 0.95),
    "plain": (lambda r: hp.Holomorphic(r, 5, form=PLAIN), 0.95),
    "whole circle": (lambda r: hp.Holomorphic(r, 4, full_circle=True), 0.95),
    "real part": (lambda r: hp.Holomorphic(r, 5, part=hp.ComplexPart.REAL), 0.95),
    "imaginary part": (lambda r: hp.Holomorphic(r, 6, part=hp.ComplexPart.IMAGINARY), 0.95),
    "online": (lambda r: hp.Online(r, 4, steps_per_point=100, periods=1), 0.9),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.quick("centred")
def test_bias_of_a_perceptron(name: str) -> None:
    make, share = MAKERS[name]
    # What is read of two states' products is exact to a higher order than the states tell.
    upper = name == "fourier"
    assert_agrees(*judged(many(five_points), make, RADII), share=share, upper=upper)


@pytest.mark.parametrize(
    "name", ["centred", "four", pytest.param("one-sided", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    "case", [hopfield, circuit, pytest.param(little_vgg, marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_bias_of_other_energies(case: Any, name: str) -> None:
    make, share = MAKERS[name]
    assert_agrees(*judged(many(case), make, RADII), share=share)


def random_networks(count: int, sizes: list[int], seed: int) -> tuple[Any, Any, Any, Any]:
    """Networks of one shape with weights, inputs and radii of many sizes."""
    keys = jax.random.split(jax.random.key(seed), 4)
    spread = 10 ** jax.random.uniform(keys[0], (count, 2), minval=-0.7, maxval=0.5)

    def make(key: Any, std: Any) -> Any:
        network = hp.mlp(sizes, weight_std=1.0, key=key)
        return jax.tree.map(lambda a: std * a, network)

    networks = jax.vmap(make)(jax.random.split(keys[1], count), spread[:, 0])
    x = spread[:, 1, None] * jax.random.normal(keys[2], (count, sizes[0]))
    radii = 10 ** jax.random.uniform(keys[3], (count,), minval=-2.0, maxval=0.3)
    return networks, x, jnp.arange(count) % sizes[-1], radii


def missed(count: int, sizes: list[int], points: int, seed: int) -> int:
    """How many errors above a tenth are said to be less than a fiftieth."""
    networks, x, y, radii = random_networks(count, sizes, seed)

    def gradient(network: Any, x: Any, y: Any, estimator: Any) -> Any:
        options = {"free": hp.Anderson(), "nudged": hp.Anderson()}
        found, (error, *_, settled) = each(network, x[None], y[None], estimator, options)
        return found[0], error[0], settled[0]

    @jax.jit
    @jax.vmap
    def both(network: Any, x: Any, y: Any, radius: Any) -> Any:
        estimator = hp.OneSided(radius) if points == 1 else hp.Holomorphic(radius, points)
        return gradient(network, x, y, hp.Implicit()), gradient(network, x, y, estimator)

    (exact, _, reference), (found, error, settled) = both(networks, x, y, radii)
    keep = np.asarray(settled & reference)
    true, error = true_error(found, exact)[keep], np.asarray(error)[keep]
    assert keep.sum() > count / 2
    assert np.sum(true > 0.1) > count / 20
    return int(np.sum((true > 0.1) & (error < 0.02)))


@pytest.mark.parametrize("points", [1, 2, 3, 6])
@pytest.mark.quick("2", "6")
def test_no_large_error_is_taken_for_a_small_one(points: int) -> None:
    assert missed(100, [4, 5, 4, 3], points, seed=points) == 0


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [[4, 5, 4, 3], [5, 3, 2], [6, 4, 4, 4, 3], [3, 2, 3, 2]])
@pytest.mark.parametrize("points", [1, 2, 3, 4, 8])
def test_no_large_error_is_taken_for_a_small_one_in_ten_thousand(
    points: int, sizes: list[int]
) -> None:
    assert missed(500, sizes, points, seed=100 + points) == 0


# Circles that leave the region where s*(beta) is holomorphic --------------------------------------


@pytest.mark.parametrize("points", [16, 32])
@pytest.mark.parametrize("seed", [3, 6, 7])
@pytest.mark.quick("3-16")
def test_a_branch_point_inside_the_circle_is_seen(seed: int, points: int) -> None:
    case = branching(seed)
    exact, _ = each(*case, hp.Implicit(), MIXED)
    (_, aux), _ = hp.value_and_grad(*case, estimator=hp.Holomorphic(0.3, points), **MIXED)
    found, _ = each(*case, hp.Holomorphic(0.3, points), MIXED)
    true = true_error(found, exact)
    assert float(jnp.max(aux.residuals["nudged"])) <= 1e-13
    np.testing.assert_array_equal(aux.trusted, true < 0.01)
    assert (int(aux.untrusted), int(aux.unsettled)) == (1, 0)
    worst = int(np.argmax(true))
    assert true[worst] / 10 < float(aux.error[worst]) < 10 * true[worst]


@pytest.mark.slow
def test_smooth_circles_are_trusted() -> None:
    for case in (five_points, hopfield, circuit):
        network, x, y = many(case)
        exact, _ = each(network, x, y, hp.Implicit(), plain(network))
        for points in (2, 4, 7):
            estimator = hp.Holomorphic(jnp.asarray(0.1), points)
            found, (_, _, trusted, _) = each(network, x, y, estimator, plain(network))
            smooth = true_error(found, exact) < 0.003
            assert np.sum(smooth) >= 4 or points < 7
            assert np.all(trusted[smooth])


# The other parts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "most"), [(3, 2.5), (6, 1.7), (10, 1.5)])
@pytest.mark.quick("10-1.5")
def test_settling(steps: int, most: float) -> None:
    network, x, y = many(five_points)
    few = hp.Sequential(steps=steps)
    estimator = hp.Holomorphic(0.1, 12)
    exact, _ = each(network, x, y, hp.Implicit(), plain(network))
    found, (_, parts, *_) = each(network, x, y, estimator, {"free": few, "nudged": few})
    true = true_error(found, exact)
    known = true > 1e-11
    assert np.sum(known) >= 6
    # What is said is an upper limit, for whatever way the free phase is away from its end.
    # Of three sweeps' contraction little is known.
    ratio = np.log10(np.asarray(parts["settling"])[known] / true[known])
    assert np.all((ratio >= -0.5) & (ratio <= most))


@pytest.mark.parametrize(
    "estimator", [hp.Holomorphic(0.4, 9), hp.Holomorphic(0.1, 4), hp.Centred(0.1), hp.OneSided(0.1)]
)
@pytest.mark.quick("estimator0")
def test_noise(estimator: Any) -> None:
    network, x, y = many(five_points)
    noisy = hp.Sequential(steps=20, noise=0.002)
    silent = hp.Sequential(steps=20)
    wanted, _ = each(network, x, y, estimator, {"free": silent, "nudged": silent})
    runs = [
        each(network, x, y, estimator, {"free": noisy, "nudged": noisy}, jax.random.key(seed))
        for seed in range(8)
    ]
    true = np.sqrt(np.mean([true_error(found, wanted) ** 2 for found, _ in runs], axis=0))
    parts = [parts for _, (_, parts, *_) in runs]
    said = np.sqrt(np.mean([np.asarray(p["noise"]) ** 2 for p in parts], axis=0))
    # What the readout learns is not noisy, and makes up much of some gradients.
    ratio = np.log10(said / true)
    assert np.mean((ratio >= -0.5) & (ratio <= 1)) >= 0.9
    assert np.all(np.asarray([p["settling"] for p in parts]) == 0)


@pytest.mark.parametrize("form", [DEVIATION, PLAIN])
@pytest.mark.parametrize("radius", [1e-5, 1e-3, 0.1])
@pytest.mark.quick("1e-05-*DEVIATION", "0.001-*PLAIN")
def test_float32(radius: float, form: Any) -> None:
    network, x, y = many(five_points)
    exact, _ = each(network, x, y, hp.Implicit(), plain(network))
    single = zoo.cast((network, x), jnp.float32)
    estimator = hp.Holomorphic(radius, 6, form=form)
    found, (error, parts, *_) = each(*single, y, estimator, plain(network))
    true, error = true_error(found, exact), np.asarray(error)
    assert error.dtype == np.float32
    # Rounding varies from example to example; what is said is an upper limit of it.
    assert np.all(true <= 3 * error)
    assert np.median(error) <= 30 * np.median(true) + 3e-5
    if form is PLAIN and radius < 0.01:
        assert np.all(parts["rounding"] > 1e-8 / radius)


def test_a_schedule_whose_response_is_mostly_rounding_is_not_left_out() -> None:
    network, x, y = five_points()
    steps = {"free": hp.Synchronous(steps=100), "nudged": hp.Synchronous(steps=60)}
    exact, _ = each(network, x, y, hp.Implicit(), steps)
    single = zoo.cast((network, x), jnp.float32)
    found, (error, _, _, settled) = each(*single, y, hp.Holomorphic(2e-7, 2, form=PLAIN), steps)
    true, error = true_error(found, exact), np.asarray(error)
    assert np.all(settled)
    assert np.all(true <= error)
    assert np.all(error > 0.1)
    # Where nothing else is left of it, nothing is known.
    _, (error, *_) = each(*single, y, hp.Holomorphic(1e-9, 2, form=PLAIN), steps)
    assert np.all(np.isposinf(error))


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e6])
@pytest.mark.parametrize("points", [2, 5])
@pytest.mark.quick("2-1e-30")
def test_the_unit_of_the_state_does_not_matter(scale: float, points: int) -> None:
    class Scaled(zoo.Circuit):
        def energy(self, state: Any, x: Any) -> Any:
            return scale**2 * super().energy(jax.tree.map(lambda s: s / scale, state), x)

        def cost(self, state: Any, y: Any) -> Any:
            return scale**2 * super().cost(jax.tree.map(lambda s: s / scale, state), y)

    network, x, y = circuit()
    other = Scaled(network.a, network.b, network.c)
    flow = hp.GradientFlow(0.4, steps=60)
    options = {"free": flow, "nudged": flow}
    estimator = hp.Holomorphic(0.3, points)
    wanted, found = (each(n, x, y, estimator, options)[1][1] for n in (network, other))
    np.testing.assert_allclose(found["bias"], wanted["bias"], rtol=1e-6)


@pytest.mark.slow
def test_half_and_whole_circle_and_both_forms_have_one_bias() -> None:
    network, x, y = many(five_points)
    estimators = [
        hp.Holomorphic(0.3, 5, form=form, full_circle=whole)
        for form in (DEVIATION, PLAIN)
        for whole in (False, True)
    ]
    first, *others = (each(network, x, y, e, plain(network))[1][1]["bias"] for e in estimators)
    for other in others:
        np.testing.assert_allclose(other, first, rtol=1e-6)


def test_references_know_what_has_not_settled() -> None:
    network, x, y = many(five_points)
    few = {"free": hp.Sequential(steps=6), "nudged": hp.Sequential(steps=6)}
    exact, _ = each(network, x, y, hp.Implicit(), plain(network))
    for estimator, options in ((hp.Implicit(), few), (hp.Unrolled(6), few)):
        found, (error, *_) = each(network, x, y, estimator, options)
        # The measured factor is the largest there was.
        ratio = np.log10(error / true_error(found, exact))
        assert np.all((ratio >= 0) & (ratio <= 3))
    (_, aux), _ = hp.value_and_grad(network, x, y, estimator=hp.Implicit(), **plain(network))
    assert np.all(np.asarray(aux.error) < 1e-11)
    assert np.all(np.asarray(aux.radius) == 0)


def test_an_example_that_is_left_out_has_no_error_and_is_not_untrusted() -> None:
    network, x, y = five_points()
    # A target of a hundred times the weight is a nudge of a hundred times the radius.
    y = jnp.eye(4)[y].at[1].mul(200.0)
    (_, aux), _ = hp.value_and_grad(
        network, x, y, estimator=hp.Holomorphic(0.3, 4), **plain(network)
    )
    assert aux.settled.tolist() == aux.trusted.tolist() == [True, False, True, True, True]
    assert np.isfinite(aux.error).tolist() == aux.settled.tolist()
    assert set(aux.error_parts) == {"bias", "settling", "noise", "rounding"}
    assert (int(aux.untrusted), int(aux.unsettled)) == (0, 1)
    np.testing.assert_allclose(aux.radius, 0.3)


@pytest.mark.slow
def test_the_record_of_a_batch_is_that_of_its_examples() -> None:
    network, x, y = many(five_points)
    estimator = hp.Holomorphic(0.3, 4)
    _, (error, parts, trusted, _) = each(network, x, y, estimator, MIXED)
    for batching in (None, hp.Slots(2)):
        (_, aux), _ = hp.value_and_grad(
            network, x, y, estimator=estimator, batching=batching, **MIXED
        )
        np.testing.assert_allclose(aux.error, error, rtol=1e-6)
        np.testing.assert_allclose(aux.error_parts["bias"], parts["bias"], rtol=1e-6)
        np.testing.assert_array_equal(aux.trusted, trusted)
        assert int(aux.untrusted) == np.sum(~np.asarray(trusted))


# Nothing to be wrong about ------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", [hp.OneSided(0.5), hp.Centred(0.5), hp.Holomorphic(0.5, 5)])
@pytest.mark.quick("estimator2")
def test_a_response_that_is_linear_is_exact(estimator: Any) -> None:
    class Linear(hp.AbstractEnergy):
        weight: jax.Array

        def energy(self, state: Any, x: Any) -> Any:
            return jnp.sum(state**2) / 2 - state @ (self.weight @ x)

        def init_state(self, x: Any) -> Any:
            return jnp.zeros(3)

        def cost(self, state: Any, y: Any) -> Any:
            return state @ y

    network = Linear(jax.random.normal(jax.random.key(0), (3, 4)))
    x = jax.random.normal(jax.random.key(1), (5, 4))
    y = jax.random.normal(jax.random.key(2), (5, 3)).at[0].set(0.0)
    flow = {"free": hp.Synchronous(), "nudged": hp.Synchronous()}
    (_, aux), grads = hp.value_and_grad(network, x, y, estimator=estimator, **flow)
    np.testing.assert_allclose(
        grads.weight, np.mean([np.outer(b, a) for a, b in zip(x, y, strict=True)], 0)
    )
    # The first is not nudged at all, and nothing is known of a gradient of zero.
    assert np.all(np.asarray(aux.error[1:]) < 1e-13)
    assert not np.any(np.isnan(aux.error))
    assert np.all(np.asarray(aux.trusted))
