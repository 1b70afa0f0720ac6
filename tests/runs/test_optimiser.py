"""Optimisers of a run, against updates that are written out."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import zoo

import holoprop as hp
from holoprop.runs import OptimiserConfig

SIZES = [3, 4, 4, 2]


def network(cost=None):
    return hp.mlp(SIZES, cost=cost, key=jax.random.key(0))


def layers(net):
    return [*net.couplings, *([] if net.readout is None else [net.readout])]


def ones(net, value=1.0):
    return jax.tree.map(lambda a: jnp.full_like(a, value), eqx.filter(net, eqx.is_inexact_array))


def trained(config, gradients, *, steps=10, epochs=1, start=None):
    """The network's layers before, and after each of some gradients."""
    net = network() if start is None else start
    optimiser = config.build(steps=steps, epochs=epochs)
    state = optimiser.init(eqx.filter(net, eqx.is_inexact_array))
    seen = [layers(net)]
    for gradient in gradients:
        params = eqx.filter(net, eqx.is_inexact_array)
        change, state = jax.jit(optimiser.update)(gradient, state, params)
        net = eqx.apply_updates(net, change)
        seen.append(layers(net))
    return seen


@pytest.mark.parametrize("cost", [hp.CrossEntropy(), hp.SquaredError()])
def test_each_layer_has_its_rate_from_the_first_coupling_to_the_last(cost):
    rates = (0.3, 0.2, 0.1)
    net = network(cost)
    before, after = trained(OptimiserConfig(learning_rates=rates), [ones(net)], start=net)
    for rate, old, new in zip(rates, before, after, strict=True):
        np.testing.assert_allclose(new.weight, old.weight - rate, rtol=1e-12)
        np.testing.assert_allclose(new.bias, old.bias - rate, rtol=1e-12)


@pytest.mark.parametrize("decays", [(0.5, 0.5, 0.5), (0.5, 0.1, 0.0)])
@pytest.mark.parametrize("rates", [(0.3, 0.2, 0.1), None])
def test_decay_joins_the_gradient_before_momentum_in_each_layer(rates, decays):
    same = len(set(decays)) == 1
    config = OptimiserConfig(
        learning_rate=None if rates else 0.3,
        learning_rates=rates,
        momentum=0.9,
        **({"weight_decay": decays[0]} if same else {"weight_decays": decays}),
    )
    net = network()
    found = trained(config, [ones(net, 2.0), ones(net, -1.0)])
    for layer, decay in enumerate(decays):
        rate = rates[layer] if rates else 0.3
        w0 = np.asarray(found[0][layer].weight)
        first = 2.0 + decay * w0
        w1 = w0 - rate * first
        second = 0.9 * first + (-1.0 + decay * w1)
        np.testing.assert_allclose(found[1][layer].weight, w1, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(
            found[2][layer].weight, w1 - rate * second, rtol=1e-12, atol=1e-15
        )


@pytest.mark.parametrize("rates", [(0.3, 0.2, 0.1), None])
def test_cosine_by_epoch_stays_within_an_epoch(rates):
    config = OptimiserConfig(
        learning_rate=None if rates else 0.4, learning_rates=rates, schedule="cosine-by-epoch"
    )
    net = network()
    found = trained(config, [ones(net)] * 7, steps=6, epochs=3)
    for layer in range(3):
        peak = rates[layer] if rates else 0.4
        last = peak * 1e-7
        epochs = np.array([0, 0, 1, 1, 2, 2, 3])
        expected = last + (peak - last) * (1 + np.cos(np.pi * epochs / 3)) / 2
        biases = np.array([row[layer].bias[0] for row in found])
        # The schedule itself is computed in float32.
        np.testing.assert_allclose(-np.diff(biases), expected, rtol=1e-5, atol=1e-12)


def test_optimiser_is_named_as_in_optax():
    """Adam's first step has the rate's length, and its second is written out."""
    config = OptimiserConfig(name="adam", learning_rate=0.1)
    net = network()
    found = trained(config, [ones(net, 2.0), ones(net, -1.0)])
    m = v = 0.0
    value = float(found[0][0].bias[0])
    for step, gradient in enumerate((2.0, -1.0), start=1):
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        value -= 0.1 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
        np.testing.assert_allclose(found[step][0].bias, value, rtol=1e-6)


def test_rates_of_layers_go_with_other_optimisers_too():
    rates = (0.3, 0.2, 0.1)
    before, after = trained(
        OptimiserConfig(name="adam", learning_rates=rates), [ones(network(), 5.0)]
    )
    for rate, old, new in zip(rates, before, after, strict=True):
        np.testing.assert_allclose(old.bias - new.bias, rate, rtol=1e-6)


@pytest.mark.parametrize("name", OptimiserConfig.__annotations__["name"].__args__)
def test_every_name_is_an_optimiser(name):
    decay = {"weight_decay": 0.1}
    before, after = trained(
        OptimiserConfig(name=name, learning_rate=0.01, **decay), [ones(network())]
    )
    assert all(
        np.all(np.isfinite(n.weight)) and not np.array_equal(n.weight, o.weight)
        for o, n in zip(before, after, strict=True)
    )


def test_decay_of_its_own_is_handed_on():
    """AdamW takes the decay off the weights: rate times decay times weight, beside Adam's step."""
    net = network()
    plain, decayed = (
        trained(OptimiserConfig(name="adamw", learning_rate=0.1, weight_decay=d), [ones(net)])
        for d in (0.0, 0.5)
    )
    np.testing.assert_allclose(
        plain[1][0].weight - decayed[1][0].weight, 0.1 * 0.5 * plain[0][0].weight, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"learning_rate": 0.1, "learning_rates": (0.1,)}, "learning_rates=.* exclude each other"),
        ({"weight_decay": 0.1, "weight_decays": (0.1,)}, "weight_decays=.* exclude each other"),
        ({"learning_rates": (0.1, 0.0)}, r"learning_rates must be positive; got 0\.0"),
        ({"weight_decays": (0.1, -0.2)}, r"weight_decays must be 0 or more; got -0\.2"),
        ({"name": "adam", "momentum": 0.9}, "momentum must be 0 for adam"),
        ({"name": "adamw", "weight_decays": (0.1,)}, "weight_decays must be one .* for adamw"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        OptimiserConfig(**settings)


@pytest.mark.parametrize("setting", ["learning_rates", "weight_decays"])
@pytest.mark.parametrize("count", [0, 2, 4])
def test_as_many_numbers_as_layers_are_needed(setting, count):
    config = OptimiserConfig(**{setting: (0.1,) * count})
    option = setting.replace("_", "-")
    with pytest.raises(ValueError, match=rf"--optimiser\.{option} has {count} .* 3 layers"):
        config.build(steps=1).init(eqx.filter(network(), eqx.is_inexact_array))


def test_layers_of_an_energy_without_any_are_refused():
    circuit = zoo.Circuit.init(key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"a Circuit has none: give --optimiser\.learning-rate\."):
        OptimiserConfig(learning_rates=(0.1,)).build(steps=1).init(
            eqx.filter(circuit, eqx.is_inexact_array)
        )


def test_what_belongs_to_no_layer_is_refused():
    class Sloped(hp.nn.AbstractActivation):
        slope: jax.Array
        holomorphic = True

        def __call__(self, z):
            return self.slope * z

    net = hp.mlp(SIZES, activation=Sloped(jnp.array(0.5)), key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"activation\.slope is to be trained, too"):
        OptimiserConfig(learning_rates=(0.1,) * 3).build(steps=1).init(
            eqx.filter(net, eqx.is_inexact_array)
        )


def test_plain_descent_is_optax_own():
    """To the bit: what was trained before comes out as it did."""
    net = network()
    gradient = ones(net, 0.3)
    params = eqx.filter(net, eqx.is_inexact_array)
    own = OptimiserConfig(learning_rate=0.05, momentum=0.9).build(steps=1)
    optax_s = optax.sgd(0.05, momentum=0.9)
    for found, expected in zip(
        jax.tree.leaves(own.update(gradient, own.init(params), params)[0]),
        jax.tree.leaves(optax_s.update(gradient, optax_s.init(params), params)[0]),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)
