"""The baseline: gradients of the feed-forward network, against one that is written out."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import zoo
from toy import arrays, circuit_examples, examples, mean_error, mean_loss

import holoprop as hp
from holoprop.training import Backpropagation, Examples, evaluate, fit, train_step


def method(optimiser=None, **options):
    optimiser = optax.sgd(0.1) if optimiser is None else optimiser
    return Backpropagation(optimiser, jnp.asarray, **options)


def relu(z):
    return jnp.maximum(z, 0)


def cross_entropy(logits, y):
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - logits[jnp.arange(len(y)), y])


def softmax_pooled(z, temperature):
    """Windows of two by two, written out."""
    corners = jnp.stack([z[:, i::2, j::2] for i in (0, 1) for j in (0, 1)])
    return jnp.sum(jax.nn.softmax(corners / temperature, axis=0) * corners, axis=0)


def convolved(x, w, pad):
    """3x3 convolution, a sum over the kernel's entries."""
    height, width = (n + 2 * pad - 2 for n in x.shape[1:3])
    padded = jnp.pad(x, [(0, 0), (pad, pad), (pad, pad), (0, 0)])
    return sum(
        padded[:, i : i + height, j : j + width] @ w[i, j] for i in range(3) for j in range(3)
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.quick("float64")
def test_gradient_of_a_perceptron_is_that_of_the_network_written_out(dtype):
    network = hp.mlp([6, 5, 4, 3], activation=hp.ReLU(), key=jax.random.key(0))
    network = jax.tree.map(lambda a: a.astype(dtype) if eqx.is_array(a) else a, network)
    data = examples(8)
    x = jnp.asarray(data.inputs, dtype)
    weights = [(c.weight, c.bias) for c in (*network.couplings, network.readout)]

    def loss(weights):
        s = x
        for w, b in weights[:-1]:
            s = relu(s @ w.T + b)
        return cross_entropy(s @ weights[-1][0].T + weights[-1][1], data.labels)

    expected, slopes = jax.jit(jax.value_and_grad(loss))(weights)
    (found, aux), grads = method().value_and_grad(
        network, x, jnp.asarray(data.labels), key=jax.random.key(1)
    )
    tolerance = 1e-5 if dtype == jnp.float32 else 1e-12
    np.testing.assert_allclose(found, expected, rtol=tolerance)
    rows = (*grads.couplings, grads.readout)
    for row, (w, b) in zip(rows, slopes, strict=True):
        assert row.weight.dtype == dtype
        np.testing.assert_allclose(row.weight, w, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(row.bias, b, rtol=tolerance, atol=tolerance)
    assert (aux.steps, aux.residuals, int(aux.unsettled), int(aux.count)) == ({}, {}, 0, 8)
    assert (aux.error_parts, int(aux.untrusted)) == ({}, 0)
    assert not np.any(aux.error)


@pytest.mark.parametrize("temperature", [1.0, 10.0])
@pytest.mark.quick("1.0")
def test_gradient_of_a_convolutional_network_is_that_of_the_network_written_out(temperature):
    network = hp.vgg(
        [3, 4],
        input_shape=(8, 8, 2),
        classes=3,
        padding=(1, 0),
        pool=(True, False),
        pooling=hp.SoftmaxPool(2, temperature),
        activation=hp.ReLU(),
        key=jax.random.key(0),
    )
    network = eqx.tree_at(
        lambda n: [n.couplings[0].bias, n.couplings[1].bias],
        network,
        [jnp.arange(3) / 10, jnp.arange(4) / 10],
    )
    rng = np.random.default_rng(0)
    x, y = jnp.asarray(rng.normal(size=(5, 8, 8, 2))), jnp.array([0, 1, 2, 1, 0])
    weights = [(c.weight, c.bias) for c in (*network.couplings, network.readout)]

    def loss(weights):
        (w1, b1), (w2, b2), (w3, b3) = weights
        s = relu(softmax_pooled(convolved(x, w1, 1), temperature) + b1)
        s = relu(convolved(s, w2, 0) + b2)
        return cross_entropy(s.reshape(5, -1) @ w3.T + b3, y)

    expected, slopes = jax.jit(jax.value_and_grad(loss))(weights)
    (found, _), grads = method().value_and_grad(network, x, y, key=jax.random.key(1))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    for row, (w, b) in zip((*grads.couplings, grads.readout), slopes, strict=True):
        np.testing.assert_allclose(row.weight, w, atol=1e-12)
        np.testing.assert_allclose(row.bias, b, atol=1e-12)


def test_without_a_readout_the_last_layer_is_the_prediction():
    network = hp.mlp([6, 5, 3], activation=hp.Tanh(), cost=hp.SquaredError(), key=jax.random.key(0))
    data = examples(4)
    (w, b), (v, c) = ((k.weight, k.bias) for k in network.couplings)
    targets = np.eye(3)[data.labels]
    prediction = np.tanh(np.tanh(data.inputs @ w.T + b) @ v.T + c)
    (found, aux), _ = method().value_and_grad(
        network, jnp.asarray(data.inputs), jnp.asarray(targets), key=jax.random.key(1)
    )
    np.testing.assert_allclose(aux.logits, prediction, rtol=1e-12)
    expected = np.mean(np.sum((prediction - targets) ** 2, axis=1) / 2)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_step_descends_along_the_gradient_and_reports_what_was_seen(network):
    data, one = examples(7), method()
    weights = arrays(network)
    loss, slopes = jax.value_and_grad(mean_loss)(weights, data.inputs, data.labels)
    state = one.optimiser.init(eqx.filter(network, eqx.is_inexact_array))
    trained, _, seen = train_step(one, network, state, data.inputs, data.labels, jax.random.key(0))
    for new, old, slope in zip(arrays(trained), weights, slopes, strict=True):
        np.testing.assert_allclose(new, old - 0.1 * slope, atol=1e-12)
    assert float(seen["loss"]) == pytest.approx(float(loss))
    assert float(seen["error"]) == pytest.approx(mean_error(weights, data.inputs, data.labels))
    assert (int(seen["in_loss"]), int(seen["unsettled"])) == (7, 0)
    assert (seen["residuals"], seen["steps"]) == ({}, {})


def test_evaluation_is_one_pass(network):
    data = examples(9)
    found = evaluate(method(), network, data)
    weights = arrays(network)
    assert found.loss == pytest.approx(float(mean_loss(weights, data.inputs, data.labels)))
    assert found.error == pytest.approx(mean_error(weights, data.inputs, data.labels))
    assert found.unsettled == 0


def test_network_is_fitted(network):
    data, seen = examples(12), []
    options = {"method": method(), "epochs": 3, "batch_size": 4, "seed": 0}
    fit(network, data, data, on_epoch=seen.append, **options)
    assert [m.residuals for m in seen] == [{}] * 3
    assert [(m.gradient_error, m.untrusted, m.validation_unsettled) for m in seen] == [
        (None, 0, 0)
    ] * 3
    assert seen[-1].validation_loss < seen[0].train_loss


def test_an_energy_without_layers_is_refused():
    circuit = zoo.Circuit.init(key=jax.random.key(0))
    data = circuit_examples(3)
    with pytest.raises(ValueError, match=r"network is a Circuit, .* mlp or a vgg\."):
        method().value_and_grad(circuit, data.inputs, data.labels, key=jax.random.key(0))


def test_inputs_that_do_not_fit_are_refused(network):
    with pytest.raises(ValueError, match="6"):
        method().value_and_grad(network, jnp.ones((2, 7)), jnp.array([0, 1]), key=jax.random.key(0))


# Augmentation, of any method


def test_training_inputs_alone_are_augmented_anew_at_each_step(network):
    def shifted(x, key):
        return x + jax.random.normal(key, ())

    one, plain = method(augment=shifted), method()
    data = examples(5)
    state = plain.optimiser.init(eqx.filter(network, eqx.is_inexact_array))
    call = (network, state, data.inputs, data.labels)
    losses = [float(train_step(one, *call, jax.random.key(k))[2]["loss"]) for k in (0, 0, 1)]
    without = float(train_step(plain, *call, jax.random.key(0))[2]["loss"])
    assert losses[0] == losses[1]
    assert len({losses[0], losses[2], without}) == 3
    assert evaluate(one, network, data) == evaluate(plain, network, data)


def test_augmentation_sees_transformed_inputs(network):
    seen = []

    def look(x, key):
        seen.append((x.dtype, key.shape))
        return x

    one = Backpropagation(optax.sgd(0.1), lambda x: x / 255.0, augment=look)
    stored = Examples(np.full((4, 6), 51, np.uint8), np.zeros(4, np.int32))
    state = one.optimiser.init(eqx.filter(network, eqx.is_inexact_array))
    train_step(one, network, state, stored.inputs, stored.labels, jax.random.key(0))
    assert seen == [(jnp.float64, ())]
