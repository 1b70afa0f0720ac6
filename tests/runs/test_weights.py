"""Weights in a file: they come back, and have a fingerprint."""

import hashlib
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from safetensors.numpy import save_file

import holoprop as hp
from holoprop.runs import RunFolder, load_weights
from holoprop.runs._weights import named_arrays, weights_sha256

NETWORKS = {
    "mlp": lambda key: hp.mlp([6, 5, 4, 3], key=key),
    "vgg": lambda key: hp.vgg([2, 3], input_shape=(4, 4, 3), classes=2, key=key),
    "hopfield": lambda key: hp.HopfieldNetwork(8, clamped=[0, 1], outputs=[7], key=key),
    "circuit": zoo.Circuit.init,
}


def saved(path, network):
    """The sha256 of weights that are written into a new run folder."""
    run = RunFolder(path)
    with run.begun():
        run.start({})
        return run.save_weights(network)


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_come_back(tmp_path, name):
    network, other = (NETWORKS[name](jax.random.key(seed)) for seed in (0, 1))
    sha256 = saved(tmp_path / "run", network)
    assert sha256 == weights_sha256(network) != weights_sha256(other)
    for path in (tmp_path / "run", tmp_path / "run" / "weights.safetensors", str(tmp_path / "run")):
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
    for path in (tmp_path, tmp_path / "nowhere", tmp_path / "nowhere.safetensors"):
        with pytest.raises(FileNotFoundError, match=r"no weights at .*finished run"):
            load_weights(network, path)


@pytest.mark.parametrize("sizes", [[6, 4, 3], [6, 5, 5, 3]])
def test_weights_of_another_network_are_refused(tmp_path, sizes):
    saved(tmp_path / "run", hp.mlp([6, 5, 3], key=jax.random.key(0)))
    with pytest.raises(ValueError, match=r"\(5, 6\).*but the network has.*config\.json"):
        load_weights(hp.mlp(sizes, key=jax.random.key(0)), tmp_path / "run")


@pytest.mark.parametrize("keep", [0, 4, 100, -50])
def test_truncated_weights_are_refused(tmp_path, keep):
    network = hp.mlp([6, 5, 3], key=jax.random.key(0))
    saved(tmp_path / "run", network)
    file = tmp_path / "run" / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"weights\.safetensors is damaged or no safetensors file"):
        load_weights(network, tmp_path / "run")


def as_npy(path, network):
    with open(path, "wb") as file:
        np.save(file, np.zeros((3, 5)))


def as_npz(path, network):
    with open(path, "wb") as file:
        np.savez(file, **named_arrays(network))


def as_text(path, network):
    path.write_text("weights")


@pytest.mark.parametrize("write", [as_npy, as_npz, as_text])
def test_file_of_another_format_is_refused(tmp_path, write):
    network, file = hp.mlp([6, 5, 3], key=jax.random.key(0)), tmp_path / "weights.safetensors"
    write(file, network)
    with pytest.raises(ValueError, match="damaged or no safetensors file"):
        load_weights(network, file)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_weights_that_are_not_finite_are_refused(tmp_path, value, dtype):
    network = zoo.cast(hp.mlp([6, 5, 3], key=jax.random.key(0)), dtype)
    for name in named_arrays(network):
        broken = {n: np.array(a) for n, a in named_arrays(network).items()}
        broken[name].flat[-1] = value
        save_file(broken, tmp_path / "broken.safetensors")
        with pytest.raises(ValueError, match=f"{re.escape(name)} in .* not finite"):
            load_weights(network, tmp_path / "broken.safetensors")


@pytest.mark.parametrize("dtype", [np.complex64, np.int32, np.uint8, np.bool_])
def test_weights_of_another_kind_are_refused(tmp_path, dtype):
    network, file = hp.mlp([6, 5, 3], key=jax.random.key(0)), tmp_path / "other.safetensors"
    other = {n: np.ones(a.shape, dtype) for n, a in named_arrays(network).items()}
    header, offset = {}, 0
    kinds = {"complex64": "C64", "int32": "I32", "uint8": "U8", "bool": "BOOL"}
    for name, array in other.items():
        end = offset + array.nbytes
        kind = kinds[array.dtype.name]
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    data = b"".join(a.tobytes() for a in other.values())
    file.write_bytes(len(text).to_bytes(8, "little") + text + data)
    with pytest.raises(ValueError, match=r"real weights|damaged or no safetensors file"):
        load_weights(network, file)


def test_complex_weights_are_not_saved(tmp_path):
    network = hp.mlp([6, 5, 3], key=jax.random.key(0))
    network = jax.tree.map(lambda a: a + 0j, network)
    with pytest.raises(ValueError, match=r"couplings\[0\]\.weight is complex128: only real"):
        saved(tmp_path / "run", network)
    assert not list((tmp_path / "run").glob("weights*"))


OTHERS = {
    "activation": lambda key: hp.mlp([6, 5, 3], activation=hp.Tanh(), key=key),
    "cost_function": lambda key: hp.mlp([6, 5, 3], cost=hp.SquaredError(), key=key),
    "class": lambda key: hp.HopfieldNetwork(8, clamped=[0, 1], outputs=[7], key=key),
    "outputs": lambda key: hp.HopfieldNetwork(8, clamped=[0, 1], outputs=[6], key=key),
}


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("activation", lambda key: hp.mlp([6, 5, 3], key=key), OTHERS["activation"]),
        (r"outputs\[0\]", OTHERS["class"], OTHERS["outputs"]),
        (
            "pooling.temperature",
            *(
                lambda key, t=t: hp.vgg(
                    [2],
                    input_shape=(4, 4, 3),
                    classes=2,
                    pooling=hp.SoftmaxPool(temperature=t),
                    key=key,
                )
                for t in (1.0, 0.5)
            ),
        ),
    ],
)
def test_weights_of_other_parts_are_refused(tmp_path, name, one, other):
    # The arrays have the same names and shapes; what is done with them is another thing.
    saved(tmp_path / "run", one(jax.random.key(0)))
    with pytest.raises(ValueError, match=rf"{name} is .*, but this one's is .*config\.json"):
        load_weights(other(jax.random.key(0)), tmp_path / "run")
    load_weights(one(jax.random.key(1)), tmp_path / "run")


def test_weights_without_a_description_are_taken(tmp_path):
    network = hp.mlp([6, 5, 3], key=jax.random.key(0))
    save_file(named_arrays(network), tmp_path / "plain.safetensors")
    other = hp.mlp([6, 5, 3], key=jax.random.key(1))
    loaded = load_weights(other, tmp_path / "plain.safetensors")
    assert weights_sha256(loaded) == weights_sha256(network)


def test_half_precision_comes_back(tmp_path):
    network = zoo.cast(hp.mlp([6, 5, 3], key=jax.random.key(0)), jnp.bfloat16)
    sha256 = saved(tmp_path / "run", network)
    assert weights_sha256(load_weights(network, tmp_path / "run")) == sha256
