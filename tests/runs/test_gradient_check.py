"""A run's own gradient against the implicit one."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import holoprop as hp
from holoprop.runs._gradient_check import check_gradient
from holoprop.training import Examples, Method


def test_examples_that_did_not_settle_are_left_out():
    network = hp.mlp([6, 5, 4, 3], key=jax.random.key(0))
    rng = np.random.default_rng(0)
    data = Examples(rng.normal(size=(8, 6)), rng.integers(0, 3, 8).astype(np.int32))
    two = hp.Sequential(tolerance=1e-30, max_steps=2)
    residual = hp.relax(network, data.inputs, relaxation=two).residual
    # The median residual as the tolerance: half of the examples miss it.
    half = hp.Sequential(tolerance=float(jnp.median(residual)), max_steps=2)
    method = Method(hp.Implicit(), half, half, optax.sgd(0.1), lambda inputs: inputs)
    found = check_gradient(method, network, data, seed=0)
    assert (found.images, found.unsettled) == (8, 4)
    # Of those that settled, to this tolerance only, against well settled ones.
    error = float(found.alignment.relative_error)
    assert 0 < error < 0.1
    record = found.as_dict()
    assert record["whole"] == {"cosine": float(found.alignment.cosine), "relative_error": error}
    assert set(record["layers"]) == set(found.alignment.layers)


def test_unstable_equilibria_are_counted():
    """Two units that switch each other off: at input 2 sweeps rest where both updated at once would
    swing, at input -3 all is stable."""
    network = hp.mlp([1, 1, 1, 2], key=jax.random.key(0))
    network = eqx.tree_at(
        lambda n: [c.weight for c in n.couplings] + [n.couplings[1].bias],
        network,
        [jnp.ones((1, 1)), -4 * jnp.ones((1, 1)), 2 * jnp.ones(1)],
    )
    data = Examples(np.array([[2.0], [-3.0], [-2.5]]), np.array([0, 1, 0], np.int32))
    free = hp.Anderson(hp.Synchronous(), depth=2)
    method = Method(hp.Implicit(), free, free, optax.sgd(0.1), lambda inputs: inputs)
    found = check_gradient(method, network, data, seed=0)
    state = hp.relax(network, data.inputs, relaxation=free).state
    # The Jacobian [[0, w f'], [w g', 0]] has eigenvalues +-w sqrt(f' g').
    slopes = [4 * np.asarray(s) * (1 - np.asarray(s)) for s in state]
    radius = 4 * np.sqrt(slopes[0] * slopes[1])[:, 0]
    assert (radius >= 1).tolist() == [True, False, False]
    assert (found.unsettled, found.unstable) == (0, 1)
    assert found.as_dict()["unstable"] == found.unstable


def test_it_is_of_the_same_equilibria():
    """One of these examples has two, and the mixed sweeps of the reference would find the other."""
    network = hp.mlp([6, 8, 8, 3], key=jax.random.key(0))
    weights = [6 * coupling.weight for coupling in network.couplings]
    network = eqx.tree_at(lambda n: [c.weight for c in n.couplings], network, weights)
    x = np.asarray(jax.random.normal(jax.random.key(1), (30, 6)))[24:]
    ways = hp.Descent(), hp.Anderson(hp.Sequential())
    one, other = (hp.relax(network, x, relaxation=way).state for way in ways)
    assert np.max(np.abs(one[0] - other[0])) > 0.1
    method = Method(hp.Implicit(), ways[0], ways[0], optax.sgd(0.1), lambda inputs: inputs)
    data = Examples(x, np.arange(6, dtype=np.int32) % 3)
    found = check_gradient(method, network, data, seed=0)
    assert float(found.alignment.relative_error) < 1e-6
