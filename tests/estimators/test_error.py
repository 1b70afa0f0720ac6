"""Every gradient knows its own error: estimated against true errors, example by example.

The true one is that of an example's own gradient, against the implicit gradient in float64.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from table import hopfield, little_vgg
from zoo import circuit, five_points, plain

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


@eqx.filter_jit
def each(network: Any, x: Any, y: Any, estimator: Any, relaxations: Any, key: Any = None) -> Any:
    """Gradient and record of every example by itself."""

    def one(x: Any, y: Any) -> Any:
        x, y = jax.tree.map(lambda a: a[None], (x, y))
        (_, aux), grads = hp.value_and_grad(
            network, x, y, estimator=estimator, key=key, throw=False, **relaxations
        )
        aux = aux.error, aux.error_parts, aux.trusted, aux.settled
        flat = jnp.concatenate([jnp.ravel(g) for g in jax.tree.leaves(grads)])
        return flat, jax.tree.map(lambda a: a[0], aux)

    return jax.vmap(one)(x, y)


def true_error(found: Any, exact: Any) -> np.ndarray:
    found, exact = (np.asarray(g, np.float64) for g in (found, exact))
    return np.linalg.norm(found - exact, axis=-1) / np.linalg.norm(exact, axis=-1)


def judged(case: Any, make: Any, radii: Any, *, relaxations: Any = None) -> tuple[Any, Any]:
    """True and estimated errors of all examples at all radii."""
    network, x, y = case
    relaxations = plain(network) if relaxations is None else relaxations
    exact, _ = each(network, x, y, hp.Implicit(), plain(network))
    true, estimated = [], []
    for radius in radii:
        found, (error, *_, settled) = each(network, x, y, make(jnp.asarray(radius)), relaxations)
        true.append(true_error(found, exact)[settled])
        estimated.append(np.asarray(error)[settled])
    return np.concatenate(true), np.concatenate(estimated)


def assert_agrees(true: Any, estimated: Any, *, share: float, roundings: float = 1e-13) -> None:
    """Within a factor of ten for a share of examples, and no large error that is not seen."""
    known = (estimated > roundings) & (estimated < 0.1)
    assert known.sum() >= 10
    ratio = np.abs(np.log10(estimated[known] / true[known]))
    assert np.mean(ratio <= 1) >= share
    assert not np.any((true > 0.1) & (estimated < 0.02))


# Bias --------------------------------------------------------------------------------------------

RADII = (0.01, 0.05, 0.2, 0.6)
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
def test_bias_of_a_perceptron(name: str) -> None:
    make, share = MAKERS[name]
    assert_agrees(*judged(many(five_points), make, RADII), share=share)


@pytest.mark.parametrize("name", ["one-sided", "centred", "four"])
@pytest.mark.parametrize(
    "case", [hopfield, circuit, pytest.param(little_vgg, marks=pytest.mark.slow)]
)
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
def test_no_large_error_is_taken_for_a_small_one(points: int) -> None:
    assert missed(50, [4, 5, 4, 3], points, seed=points) == 0


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [[4, 5, 4, 3], [5, 3, 2], [6, 4, 4, 4, 3], [3, 2, 3, 2]])
@pytest.mark.parametrize("points", [1, 2, 3, 4, 8])
def test_no_large_error_is_taken_for_a_small_one_in_ten_thousand(
    points: int, sizes: list[int]
) -> None:
    assert missed(500, sizes, points, seed=100 + points) == 0
