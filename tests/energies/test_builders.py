"""The builders make the paper's networks: Appendix B.1, Table 5."""

import functools

import equinox as eqx
import jax
import numpy as np
import pytest

import holoprop as hp

KEY = jax.random.key(0)


def shaped(build, *args, **options):
    """The network without its numbers: drawing those takes longer."""
    return eqx.filter_eval_shape(lambda: build(*args, key=KEY, **options))


def shapes(network):
    return [coupling.out_shape for coupling in network.couplings]


def test_mlp_of_the_paper():
    network = shaped(hp.mlp, [784, 256, 256, 10])
    assert shapes(network) == [(256,), (256,)]
    assert network.readout.weight.shape == (10, 256)
    assert (network.input_shape, network.classes) == ((784,), 10)
    assert network.activation == hp.ShiftedSigmoid()
    assert isinstance(network.cost_function, hp.CrossEntropy)


def test_mlp_with_its_prediction_in_the_state():
    network = shaped(hp.mlp, [6, 5, 4], cost=hp.SquaredError(), activation=hp.Tanh())
    assert shapes(network) == [(5,), (4,)]
    assert network.readout is None
    assert network.classes == 4
    assert network.activation == hp.Tanh()


def test_mlp_weights():
    for std, scale in [(None, 1 / np.sqrt([784, 256, 256])), (0.05, np.full(3, 0.05))]:
        network = hp.mlp([784, 256, 256, 10], weight_std=std, key=KEY)
        for coupling, deviation in zip((*network.couplings, network.readout), scale, strict=True):
            weight = np.asarray(coupling.weight)
            assert np.abs(weight).max() <= 2 * deviation * (1 + 1e-12)
            # The deviation of a standard normal cut at two is 0.8796; 2560 draws or more.
            np.testing.assert_allclose(weight.std(), 0.8796 * deviation, rtol=0.05)
            assert not np.any(coupling.bias)


def test_layers_are_drawn_independently():
    network = hp.mlp([50, 50, 50, 50], key=KEY)
    weights = [np.ravel(c.weight) for c in (*network.couplings, network.readout)]
    # 2500 pairs: a chance correlation has deviation 0.02.
    assert np.abs(np.corrcoef(weights) - np.eye(3)).max() < 0.1
    other = hp.mlp([50, 50, 50, 50], key=jax.random.key(1))
    assert not np.allclose(other.readout.weight, network.readout.weight)
    again = hp.mlp([50, 50, 50, 50], key=KEY)
    np.testing.assert_array_equal(again.readout.weight, network.readout.weight)


TABLE_5 = {
    "five layers": (
        [128, 256, 512, 512],
        [(16, 16, 128), (8, 8, 256), (4, 4, 512), (1, 1, 512)],
        [1, 1, 1, 0],
        [True, True, True, True],
        1.0,
    ),
    "seven layers": (
        [128, 128, 256, 256, 512, 512],
        [(16, 16, 128), (16, 16, 128), (8, 8, 256), (6, 6, 256), (3, 3, 512), (1, 1, 512)],
        [1, 1, 1, 0, 1, 0],
        [True, False, True, False, True, False],
        10.0,
    ),
}


@pytest.mark.parametrize("name", TABLE_5)
@pytest.mark.parametrize("classes", [10, 100])
def test_vgg_of_the_paper(name, classes):
    channels, wanted, padding, pool, temperature = TABLE_5[name]
    network = shaped(hp.vgg, channels, classes=classes)
    assert shapes(network) == wanted
    assert network.input_shape == (32, 32, 3)
    assert [c.padding for c in network.couplings] == padding
    assert [c.pooling is not None for c in network.couplings] == pool
    assert {c.pooling for c in network.couplings if c.pooling} == {hp.SoftmaxPool(2, temperature)}
    depths = [3, *channels[:-1]]
    kernels = [(3, 3, below, above) for below, above in zip(depths, channels, strict=True)]
    assert [c.weight.shape for c in network.couplings] == kernels
    assert network.readout.weight.shape == (classes, 512)
    assert network.activation == hp.DSiLU()
    assert isinstance(network.cost_function, hp.CrossEntropy)


def test_vgg_of_any_other_length():
    network = shaped(hp.vgg, [4, 6], input_shape=(8, 10, 1), classes=3)
    assert shapes(network) == [(4, 5, 4), (2, 2, 6)]
    assert {c.pooling for c in network.couplings} == {hp.SoftmaxPool(2, 1.0)}


def test_vgg_as_asked():
    network = shaped(
        hp.vgg,
        [4, 6],
        input_shape=(9, 9, 2),
        classes=3,
        padding=(0, 1),
        pool=(False, True),
        pooling=hp.AveragePool(3),
        activation=hp.Tanh(),
        cost=hp.SquaredError(),
    )
    assert shapes(network) == [(7, 7, 4), (2, 2, 6), (3,)]
    assert [c.pooling for c in network.couplings[:2]] == [None, hp.AveragePool(3)]
    assert network.readout is None


def test_vgg_weights():
    build = functools.partial(hp.vgg, [32, 64], input_shape=(8, 8, 8), key=KEY)
    for std, scale in [(None, 1 / np.sqrt([9 * 8, 9 * 32])), (0.05, [0.05, 0.05])]:
        for coupling, deviation in zip(build(weight_std=std).couplings, scale, strict=True):
            weight = np.asarray(coupling.weight) / deviation
            assert np.abs(weight).max() <= 2 * (1 + 1e-12)
            np.testing.assert_allclose(weight.std(), 0.8796, rtol=0.05)


@pytest.mark.parametrize("sizes", [[784, 10], [6], [], [6, 0, 4], [6, -3, 4]])
def test_bad_sizes(sizes):
    with pytest.raises(
        ValueError, match=r"sizes must be 3 or more whole numbers, each 1 or more; got"
    ):
        hp.mlp(sizes, key=KEY)


def test_two_sizes_do_without_a_readout():
    assert shaped(hp.mlp, [6, 4], cost=hp.SquaredError()).classes == 4
    with pytest.raises(ValueError, match="sizes must be 2 or more whole numbers"):
        hp.mlp([6], cost=hp.SquaredError(), key=KEY)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": []}, "channels must be 1 or more whole numbers"),
        ({"channels": [4, 0]}, r"channels must be .* got \[4, 0\]"),
        ({"classes": 0}, r"classes must be .* got \[0\]"),
        ({"input_shape": (8, 8)}, r"input_shape must be 3 .* got \[8, 8\]"),
        ({"input_shape": (8, 8, 3, 1)}, r"input_shape must be 3 .* got \[8, 8, 3, 1\]"),
        ({"input_shape": (8, 0, 3)}, r"input_shape must be .* got \[8, 0, 3\]"),
        ({"padding": (1,)}, "padding has 1 entries for 2 convolutions: give one for each"),
        ({"pool": (True,) * 3}, "pool has 3 entries for 2 convolutions: give one for each"),
        ({"padding": (1, -1)}, r"padding must be 0 or more .* got \[1, -1\]"),
        ({"input_shape": (2, 2, 1)}, r"in_shape \(1, 1, 4\) is too small.*Use larger images"),
    ],
)
def test_bad_vgg(options, message):
    given = {"channels": [4, 4], "input_shape": (8, 8, 3), **options}
    with pytest.raises(ValueError, match=message):
        hp.vgg(given.pop("channels"), key=KEY, **given)


@pytest.mark.parametrize("std", [0.0, -0.1, float("nan"), float("inf")])
def test_bad_weight_std(std):
    message = f"weight_std must be a positive number; got {std}"
    with pytest.raises(ValueError, match=message):
        hp.mlp([6, 4, 3], weight_std=std, key=KEY)
    with pytest.raises(ValueError, match=message):
        hp.vgg([4], input_shape=(4, 4, 1), weight_std=std, key=KEY)
    with pytest.raises(ValueError, match=message):
        hp.HopfieldNetwork(4, clamped=[0], outputs=[3], weight_std=std, key=KEY)
