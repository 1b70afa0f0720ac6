"""What can be trained: networks of the library, and energies of one's own."""

import jax.numpy as jnp
import numpy as np
import pytest
import zoo

import holoprop as hp
from holoprop.runs import Custom, Mlp


def test_network_has_the_sizes_and_the_seed():
    config = Mlp(sizes=(6, 5, 4, 3), activation=hp.Tanh())
    network, again = (config.build(seed=1) for _ in range(2))
    other = config.build(seed=2)
    assert (network.input_shape, network.classes) == ((6,), 3)
    assert [layer.shape for layer in network.init_state(jnp.zeros(6))] == [(5,), (4,)]
    assert isinstance(network.activation, hp.Tanh)
    weights = [n.couplings[0].weight for n in (network, again, other)]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_network_with_squared_error_nudges_its_output():
    network = Mlp(sizes=(6, 5, 3), cost=hp.SquaredError()).build(seed=0)
    assert [layer.shape for layer in network.init_state(jnp.zeros(6))] == [(5,), (3,)]


def test_weights_have_the_deviation_that_was_set():
    # A normal truncated at two deviations has 0.8796 of the deviation it was drawn with.
    network = Mlp(sizes=(200, 100, 3), weight_std=0.05).build(seed=0)
    assert np.std(network.couplings[0].weight) / 0.05 == pytest.approx(0.8796, rel=0.02)


@pytest.mark.parametrize(
    ("sizes", "words"), [((64, 8, 10), "begin with 784"), ((784, 8, 9), "end with 10")]
)
def test_images_that_do_not_fit_are_refused(sizes, words):
    with pytest.raises(ValueError, match=f"--network.sizes to {words}"):
        Mlp(sizes=sizes).check("digits", (28, 28), 10)


# Energies of one's own


def test_factory_is_called_with_a_key_of_the_seed():
    config = Custom("zoo:Circuit.init")
    network, again, other = (config.build(seed=seed) for seed in (1, 1, 2))
    assert isinstance(network, zoo.Circuit)
    np.testing.assert_array_equal(network.a, again.a)
    assert not np.array_equal(network.a, other.a)


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("zoo", "module:function; got 'zoo'"),
        ("nowhere:circuit", "nowhere:circuit.* is not found .*can import"),
        ("zoo:nothing", "zoo:nothing.* is not found"),
        ("builtins:dict", "returned dict: it must return a holoprop.AbstractEnergy"),
    ],
)
def test_factory_that_makes_no_energy_is_refused(factory, words):
    with pytest.raises(ValueError, match=words):
        Custom(factory).build(seed=0)
