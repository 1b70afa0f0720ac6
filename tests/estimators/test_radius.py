"""A radius for each example: `Holomorphic(..., max_error=...)`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from zoo import MIXED, branching, circuit, each, error, five_points, plain

import holoprop as hp

PLAIN = hp.StateForm.PLAIN


def evaluate(case: Any, estimator: Any, **options: Any) -> Any:
    network = case[0]
    return hp.value_and_grad(*case, estimator=estimator, **(plain(network) | options))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"form": PLAIN},
        {"rule": hp.GradientRule.FOURIER},
        {"full_circle": True},
    ],
    ids=["deviation", "plain", "fourier", "whole circle"],
)
@pytest.mark.quick("plain")
def test_an_untrusted_example_gets_a_smaller_radius(options: Any) -> None:
    case = branching(6)
    exact = evaluate(case, hp.Implicit(), **MIXED)[1]
    (_, aux), found = evaluate(case, hp.Holomorphic(0.3, 32, max_error=1e-9, **options), **MIXED)
    (_, before), _ = evaluate(case, hp.Holomorphic(0.3, 32, **options), **MIXED)
    assert (int(before.untrusted), int(aux.untrusted), int(aux.unsettled)) == (1, 0, 0)
    assert error(found, exact) <= 1e-8
    trusted = np.asarray(before.error) <= 1e-9
    np.testing.assert_array_equal(np.asarray(aux.radius) == 0.3, trusted)
    halvings = np.log2(0.3 / np.asarray(aux.radius))
    np.testing.assert_allclose(halvings, np.round(halvings), atol=1e-12)
    assert np.all(np.asarray(aux.error_parts["bias"]) <= 1e-9)
    # Who needed nothing has what it had.
    np.testing.assert_array_equal(aux.error[trusted], before.error[trusted])


@pytest.mark.slow
@pytest.mark.parametrize("points", [2, 3, 6])
@pytest.mark.parametrize("case", [five_points, circuit])
def test_it_agrees_with_a_small_radius_to_the_error_asked_for(case: Any, points: int) -> None:
    network, x, y = case()
    exact, _ = each(network, x, y, hp.Implicit(), plain(network))
    estimator = hp.Holomorphic(1.0, points, max_error=1e-3)
    found, (said, *_, settled) = each(network, x, y, estimator, plain(network))
    true = np.linalg.norm(found - exact, axis=1) / np.linalg.norm(exact, axis=1)
    assert np.all(settled)
    assert np.all(np.asarray(said) <= 1.01e-3)
    assert np.all(true <= 4e-3)
    # The batch's examples do not know of each other.
    (_, aux), grads = evaluate((network, x, y), estimator)
    flat = np.concatenate([np.ravel(g) for g in jax.tree.leaves(grads)])
    np.testing.assert_allclose(flat, np.mean(found, axis=0), rtol=1e-8, atol=1e-12)
    assert np.min(aux.radius) < 1


def test_no_example_is_left_out_for_want_of_a_good_radius() -> None:
    network, x, y = five_points()
    y = jnp.eye(4)[y].at[1].mul(200.0)
    exact = evaluate((network, x, y), hp.Implicit())[1]
    (_, before), _ = evaluate((network, x, y), hp.Holomorphic(0.3, 4))
    (_, aux), found = evaluate((network, x, y), hp.Holomorphic(0.3, 4, max_error=1e-6))
    assert (int(before.unsettled), int(aux.unsettled)) == (1, 0)
    assert error(found, exact) <= 1e-5


@pytest.mark.slow
def test_slots_and_microbatches_come_to_the_same() -> None:
    network, x, y = branching(6)
    case = network, jnp.concatenate([x, 0.9 * x, -x]), jnp.tile(y, 3)
    estimator = hp.Holomorphic(0.3, 8, max_error=1e-6)
    (_, aux), wanted = evaluate(case, estimator, **MIXED)
    for batching in (hp.Slots(3), hp.Lockstep(2)):
        (_, other), found = evaluate(case, estimator, batching=batching, **MIXED)
        np.testing.assert_array_equal(other.radius, aux.radius)
        assert error(found, wanted) <= 1e-9


@pytest.mark.slow
def test_radii_end_where_noise_rounding_or_settling_decide() -> None:
    network, x, y = five_points()
    noisy = hp.Sequential(steps=20, noise=0.02)
    (_, aux), _ = evaluate(
        (network, x, y),
        hp.Holomorphic(0.4, 6, max_error=1e-8),
        free=noisy,
        nudged=noisy,
        key=jax.random.key(0),
    )
    assert np.all(np.asarray(aux.radius) >= 0.1)
    single = zoo.cast((network, x), jnp.float32)
    (_, aux), _ = evaluate((*single, y), hp.Holomorphic(0.4, 4, max_error=1e-8, form=PLAIN))
    assert np.all(np.asarray(aux.radius) >= 0.4 * 2**-4)
    assert int(aux.unsettled) == 0


@pytest.mark.slow
def test_it_maps_over_networks() -> None:
    networks = jax.vmap(lambda key: hp.mlp([6, 4, 4, 4], weight_std=0.8, key=key))(
        jax.random.split(jax.random.key(0), 3)
    )
    _, x, y = five_points()

    def gradient(network: Any) -> Any:
        estimator = hp.Holomorphic(0.8, 4, max_error=1e-5)
        (_, aux), grads = hp.value_and_grad(network, x, y, estimator=estimator, **MIXED)
        return aux.radius, grads

    radii, grads = jax.vmap(gradient)(networks)
    for i in range(3):
        radius, wanted = gradient(jax.tree.map(lambda a, i=i: a[i], networks))
        np.testing.assert_array_equal(radii[i], radius)
        assert error(jax.tree.map(lambda a, i=i: a[i], grads), wanted) <= 1e-9
    assert len(set(np.asarray(radii).ravel().tolist())) > 1


@pytest.mark.parametrize("value", [0, -1e-3, 1, float("nan")])
def test_an_error_that_cannot_be_asked_for(value: float) -> None:
    with pytest.raises(ValueError, match=r"max_error must be a relative error above 0 and below 1"):
        hp.Holomorphic(0.3, 4, max_error=value)
