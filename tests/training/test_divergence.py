"""Training that goes astray is stopped, with the reason and what helps."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import examples, method, unchanged

import holoprop as hp
from holoprop.training import DivergedError, Method, evaluate, fit

KNOBS = ("learning rate", "radius", "smaller weights", "temperature")


def train(network, data, trained_by, **changes):
    settings = {"epochs": 1, "batch_size": 2, "seed": 0} | changes
    return fit(network, data, data, method=trained_by, **settings)


def names_the_knobs(caught):
    return all(knob in str(caught.value) for knob in KNOBS)


@pytest.mark.parametrize("rate", [1e9, 1e12, 1e30])
def test_loss_that_grows_without_end_stops_training(network, rate):
    seen = []
    with pytest.raises(DivergedError, match=r"loss (is|has grown)") as caught:
        train(network, examples(200), method(rate=rate), epochs=3, on_progress=seen.append)
    assert names_the_knobs(caught)
    assert len(seen) <= 3, "it is not looked at for long"


def there_and_back():
    """An optimiser whose sixth step ruins the readout, and whose thirtieth takes that back."""

    def update(gradients, count, params):
        size = jnp.where(count == 5, 1e9, 0.0) - jnp.where(count == 29, 1e9, 0.0)
        still = jax.tree.map(jnp.zeros_like, gradients)
        away = size * jnp.arange(3.0)
        return eqx.tree_at(lambda n: n.readout.bias, still, away), count + 1

    return optax.GradientTransformation(lambda params: jnp.int32(0), update)


def test_loss_that_is_high_for_a_while_does_not_stop_training(network):
    plain = dataclasses.replace(method(), optimiser=there_and_back())
    seen = []
    train(network, examples(200), plain, on_progress=seen.append)
    assert max(p.loss for p in seen) > 1e6
    assert len(seen) == 6


def test_share_of_examples_that_do_not_settle_is_what_was_set():
    share = 0.5
    network, data = hp.mlp([6, 5, 4, 3], key=jax.random.key(0)), examples(400)
    two = hp.Sequential(tolerance=1e-30, max_steps=2)
    residual = np.asarray(hp.relax(network, data.inputs, relaxation=two).residual)
    # Of such batches the given share does not settle, some more and some less.
    hasty = hp.Sequential(tolerance=float(np.quantile(residual, 1 - share)), max_steps=2)
    still = Method(hp.Implicit(), hasty, hasty, optax.sgd(0.0), unchanged)
    settings = {"batch_size": 40, "epochs": 6}
    train(network, data, still, max_unsettled=share + 0.15, **settings)
    with pytest.raises(DivergedError, match=r"\d+ % of the examples do not settle") as caught:
        train(network, data, still, max_unsettled=share - 0.15, **settings)
    assert names_the_knobs(caught)
    assert "3 looks on end" in str(caught.value)


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf])
def test_loss_that_is_not_finite_stops_training_at_once(network, value):
    broken = eqx.tree_at(lambda n: n.readout.bias, network, jnp.array([0.0, value, 0.0]))
    seen = []
    with pytest.raises(DivergedError) as caught:
        train(broken, examples(8), method(), on_progress=seen.append)
    assert names_the_knobs(caught)
    assert seen == []


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_share_out_of_range_is_refused(network, share):
    with pytest.raises(ValueError, match="max_unsettled must be from 0 to 1"):
        train(network, examples(8), method(), max_unsettled=share)


@pytest.mark.parametrize("seed", [-1, 2**32, 99999999999999999999])
def test_seeds_of_which_bits_would_be_lost_are_refused(network, seed):
    with pytest.raises(ValueError, match=rf"seed must be from 0 to 4294967295; got {seed}\."):
        train(network, examples(8), method(), seed=seed)
    with pytest.raises(ValueError, match=rf"seed must be from 0 to 4294967295; got {seed}\."):
        evaluate(method(), network, examples(8), seed=seed)


def test_every_bit_of_a_seed_counts(network):
    noisy = method(relaxation=hp.Sequential(steps=5, noise=0.1))
    seeds = [0, 1, 2**16, 2**31, 2**32 - 1]
    losses = [evaluate(noisy, network, examples(4), seed=seed).loss for seed in seeds]
    assert len(set(losses)) == len(seeds)
