"""`tune` proposes a circle that has the error asked for, at no more than it must cost."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from table import little_vgg
from zoo import circuit, each, five_points, plain, true_error

import holoprop as hp

RADII = (0.02, 0.1, 0.3, 0.6, 1.0)
POINTS = (2, 3, 4, 6, 8)


def more(case: Any, count: int) -> Any:
    network, x, y = case()
    keys = jax.random.split(jax.random.key(4), len(jax.tree.leaves(x)))
    leaves = [
        jax.random.uniform(k, (count, *leaf.shape[1:]), minval=0.2)
        for k, leaf in zip(keys, jax.tree.leaves(x), strict=True)
    ]
    rows = jnp.arange(count) % len(y)
    return network, jax.tree.unflatten(jax.tree.structure(x), leaves), y[rows]


def cheapest(case: Any, error: float, share: float, tuning: Any, options: Any) -> float:
    """The least cost of a grid's pair whose true error is small enough."""
    network, x, y = case
    exact, _ = each(network, x, y, hp.Implicit(), plain(network))
    costs = []
    for trial in tuning.trials:
        estimator = hp.Holomorphic(jnp.asarray(trial.radius), trial.points)
        found, (*_, settled) = each(network, x, y, estimator, options)
        true = np.where(settled, true_error(found, exact), np.inf)
        if np.mean(true > error) <= share:
            costs.append(trial.cost)
    return min(costs)


@pytest.mark.parametrize(
    "error",
    [1e-3, pytest.param(0.03, marks=pytest.mark.slow), pytest.param(1e-6, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize(
    "case", [five_points, circuit, pytest.param(little_vgg, marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_it_proposes_the_cheapest_circle_that_will_do(case: Any, error: float) -> None:
    network, x, y = case = more(case, 12)
    options = plain(network)
    tuning = hp.tune(network, x, y, error=error, share=0.1, radii=RADII, points=POINTS, **options)
    exact, _ = each(network, x, y, hp.Implicit(), options)
    found, _ = each(network, x, y, tuning.estimator, options)
    assert tuning.reached
    assert np.mean(true_error(found, exact) > 2 * error) <= 0.1
    assert tuning.best.cost <= 1.3 * cheapest(case, error, 0.1, tuning, options)


def test_noise_asks_for_a_larger_radius() -> None:
    network, x, y = more(five_points, 12)
    noisy = hp.Sequential(steps=20, noise=0.01)
    options = {"free": noisy, "nudged": noisy, "key": jax.random.key(0)}
    tuning = hp.tune(network, x, y, error=0.3, share=0.3, radii=RADII, points=(2, 6), **options)
    assert tuning.best.radius >= 0.3
    by_radius = [t.parts["noise"] for t in tuning.trials if t.points == 6]
    np.testing.assert_array_less(by_radius[1:], by_radius[:-1])


def test_what_cannot_be_had_is_said() -> None:
    network, x, y = five_points()
    options = plain(network)
    tuning = hp.tune(network, x, y, error=1e-12, radii=(0.3, 0.6), points=(2, 4), **options)
    assert not tuning.reached
    assert tuning.best.error == min(trial.error for trial in tuning.trials) > 1e-12


def test_what_is_not_trusted_has_no_error() -> None:
    network, x, y = five_points()
    y = jnp.eye(4)[y].at[1].mul(200.0)
    options = {"radii": (1e-4, 0.3), "points": (4,), **plain(network)}
    tuning = hp.tune(network, x, y, share=0.0, **options)
    small, large = tuning.trials
    assert (large.error, large.unsettled + large.untrusted) == (np.inf, 1)
    assert tuning.best == small
    (most,) = hp.tune(network, x, y, share=0.3, **options).trials[1:]
    assert most.error < np.inf


@pytest.mark.slow
def test_the_cost_is_counted_in_real_states() -> None:
    network, x, y = five_points()
    fixed = {"free": hp.Sequential(steps=7), "nudged": hp.Sequential(steps=5)}
    points = (2, 3, 4, 5, 6)
    tuning = hp.tune(network, x, y, radii=(0.01,), points=points, **fixed)
    assert [trial.cost for trial in tuning.trials] == [7 + 5 * n for n in points]
    noisy = {"free": hp.Sequential(steps=7), "nudged": hp.Sequential(steps=5, noise=1e-9)}
    found = hp.tune(
        network, x, y, radii=(0.01,), points=points, key=jax.random.key(0), **noisy
    ).trials
    # Of a circle that noise leaves whole, all but the points on the real axis are complex.
    assert [trial.cost for trial in found] == [7 + 5 * c for c in (2, 5, 6, 9, 10)]


def test_unstable_equilibria_are_counted() -> None:
    """Two units that switch each other off rest where both updated at once would swing."""
    network = hp.mlp([1, 1, 1, 2], key=jax.random.key(0))
    network = eqx.tree_at(
        lambda n: [c.weight for c in n.couplings] + [n.couplings[1].bias],
        network,
        [jnp.ones((1, 1)), -4 * jnp.ones((1, 1)), 2 * jnp.ones(1)],
    )
    mixed = hp.Anderson(hp.Synchronous(), depth=2)
    x, y = jnp.array([[2.0], [-3.0], [-2.5]]), jnp.array([0, 1, 0])
    tuning = hp.tune(network, x, y, radii=(1e-3,), points=(2,), free=mixed, nudged=mixed)
    assert (tuning.examples, tuning.unstable) == (3, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"error": 0.0}, r"error must be a relative error above 0 and below 1; got 0\.0"),
        ({"error": 1.5}, r"error must be a relative error above 0"),
        ({"share": 1.0}, r"share must be from 0 to below 1; got 1\.0"),
        ({"radii": ()}, r"radii must be one positive number or more"),
        ({"radii": (0.1, -1.0)}, r"radii must be one positive number or more"),
        ({"points": (1,)}, r"points must be one whole number or more, each 2 or more"),
    ],
)
def test_bad_arguments(options: Any, message: str) -> None:
    network, x, y = five_points()
    with pytest.raises(ValueError, match=message):
        hp.tune(network, x, y, **options)
