"""Weights in a file: they come back, and have a fingerprint."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

import holoprop as hp
from holoprop.runs import RunFolder, load_weights
from holoprop.runs._weights import weights_sha256

NETWORKS = {
    "mlp": lambda key: hp.mlp([6, 5, 4, 3], key=key),
    "vgg": lambda key: hp.vgg([2, 3], input_shape=(4, 4, 3), classes=2, key=key),
    "hopfield": lambda key: hp.HopfieldNetwork(8, clamped=[0, 1], outputs=[7], key=key),
    "circuit": zoo.Circuit.init,
}


def saved(path, network):
    """The sha256 of weights that are written into a new run folder."""
    run = RunFolder(path)
    run.start({})
    return run.save_weights(network)


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_come_back(tmp_path, name):
    network, other = (NETWORKS[name](jax.random.key(seed)) for seed in (0, 1))
    sha256 = saved(tmp_path / "run", network)
    assert sha256 == weights_sha256(network) != weights_sha256(other)
    for path in (tmp_path / "run", tmp_path / "run" / "weights.npz", str(tmp_path / "run")):
        loaded = load_weights(other, path)
        assert jax.tree.structure(loaded) == jax.tree.structure(network)
        assert weights_sha256(loaded) == sha256
        for a, b in zip(jax.tree.leaves(loaded), jax.tree.leaves(network), strict=True):
            np.testing.assert_array_equal(a, b)


def test_sha256_is_over_names_dtypes_shapes_and_bytes():
    network = hp.HopfieldNetwork(4, clamped=[0], outputs=[3], key=jax.random.key(0))
    digest = hashlib.sha256(b"weight float64 (4, 4)\n" + np.asarray(network.weight).tobytes())
    digest.update(b"bias float64 (4,)\n" + bytes(4 * 8))
    assert weights_sha256(network) == digest.hexdigest()


def test_sha256_tells_precisions_apart():
    network = hp.mlp([6, 5, 3], key=jax.random.key(0))
    single = zoo.cast(network, jnp.float32)
    assert weights_sha256(single) != weights_sha256(network)


def test_weights_are_loaded_in_the_networks_precision(tmp_path):
    network = hp.mlp([6, 5, 3], key=jax.random.key(0))
    saved(tmp_path / "run", network)
    single = load_weights(zoo.cast(network, jnp.float32), tmp_path / "run")
    assert {a.dtype.name for a in jax.tree.leaves(single)} == {"float32"}
    np.testing.assert_array_equal(
        single.couplings[0].weight, network.couplings[0].weight.astype(np.float32)
    )


def test_loaded_network_predicts_the_same(tmp_path):
    network, other = (hp.mlp([6, 5, 4, 3], key=jax.random.key(seed)) for seed in (0, 1))
    saved(tmp_path / "run", network)
    x = np.random.default_rng(0).normal(size=(5, 6))
    loaded = load_weights(other, tmp_path / "run")
    first, second = (hp.relax(n, x).state for n in (network, loaded))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_missing_weights_are_refused(tmp_path):
    network = hp.mlp([6, 5, 3], key=jax.random.key(0))
    for path in (tmp_path, tmp_path / "nowhere", tmp_path / "nowhere.npz"):
        with pytest.raises(FileNotFoundError, match=r"no weights at .*finished run"):
            load_weights(network, path)


@pytest.mark.parametrize("sizes", [[6, 4, 3], [6, 5, 5, 3]])
def test_weights_of_another_network_are_refused(tmp_path, sizes):
    saved(tmp_path / "run", hp.mlp([6, 5, 3], key=jax.random.key(0)))
    with pytest.raises(ValueError, match=r"\(5, 6\).*but the network has.*config\.json"):
        load_weights(hp.mlp(sizes, key=jax.random.key(0)), tmp_path / "run")


def test_truncated_weights_are_refused(tmp_path):
    network = hp.mlp([6, 5, 3], key=jax.random.key(0))
    saved(tmp_path / "run", network)
    file = tmp_path / "run" / "weights.npz"
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(ValueError, match=r"weights\.npz"):
        load_weights(network, tmp_path / "run")
