"""Small methods, examples and closed forms that the tests of training share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

import holoprop as hp
from holoprop.training import Examples, Method

SEQUENTIAL, CENTRED = hp.Sequential(steps=5), hp.Centred(0.1)


def unchanged(inputs):
    return inputs


# Cached, so that tests with the same method share what was compiled.
@functools.cache
def method(*, relaxation=SEQUENTIAL, estimator=CENTRED, rate=0.1, transform=unchanged):
    return Method(
        estimator=estimator,
        free=relaxation,
        nudged=relaxation,
        optimiser=optax.sgd(rate),
        transform=transform,
    )


def examples(count, seed=0):
    rng = np.random.default_rng(seed)
    return Examples(rng.normal(size=(count, 6)), rng.integers(0, 3, count).astype(np.int32))


def feed_forward(weights, x):
    """The prediction of a network with one hidden layer, written out."""
    w, b, v, c = weights
    return 1 / (1 + jnp.exp(-4 * (x @ w.T + b) + 2)) @ v.T + c


def arrays(network):
    first, readout = network.couplings[0], network.readout
    return first.weight, first.bias, readout.weight, readout.bias


def mean_loss(weights, x, y):
    logits = feed_forward(weights, x)
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - logits[jnp.arange(len(y)), y])


def mean_error(weights, x, y):
    return np.mean(np.argmax(feed_forward(weights, x), axis=1) != y)


def circuit_examples(count):
    """Inputs of the circuit, and targets that its upper leaf can reach."""
    rng = np.random.default_rng(0)
    return Examples({"drive": rng.normal(size=(count, 3))}, rng.normal(size=(count, 2, 2)) / 4)
