"""Settings of a run: their ranges, and the objects that they stand for."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import holoprop as hp
from holoprop.runs import Custom, OptimiserConfig, TrainConfig, build_method
from holoprop.runs._images import scale_images
from holoprop.runs._json import as_json


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", 0), ("batch_size", 0), ("seed", -1), ("validation", 1.0), ("validation", -0.1)],
)
def test_settings_out_of_range_are_refused_in_python_too(name, value):
    with pytest.raises(ValueError, match=rf"{name} must be .*; got {value}\."):
        TrainConfig(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"), [("learning_rate", 0.0), ("momentum", 1.0), ("weight_decay", -0.1)]
)
def test_optimiser_out_of_range_is_refused_in_python_too(name, value):
    with pytest.raises(ValueError, match=rf"{name} must be .*; got {value}\."):
        OptimiserConfig(**{name: value})


def test_settings_cannot_be_changed_once_made():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().epochs = 3


# As JSON


def test_chosen_objects_say_their_class():
    config = TrainConfig(
        estimator=hp.Centred(0.1),
        nudged=hp.GradientFlow(0.2, steps=3),
        network=Custom("somewhere:circuit"),
    )
    found = json.loads(json.dumps(as_json(config)))
    centred = {"type": "Centred", "nudge": 0.1, "rule": "average", "form": None}
    assert found["estimator"] == centred
    assert found["nudged"]["type"] == "GradientFlow"
    assert (found["nudged"]["dt"], found["nudged"]["steps"]) == (0.2, 3)
    assert found["network"] == {"type": "Custom", "factory": "somewhere:circuit"}
    assert found["optimiser"] == dataclasses.asdict(OptimiserConfig())
    assert "type" not in found


def test_wrapped_relaxation_says_its_class_too():
    found = as_json(TrainConfig(free=hp.Anderson(hp.Synchronous(steps=3), depth=4)))["free"]
    assert (found["type"], found["depth"]) == ("Anderson", 4)
    assert (found["inner"]["type"], found["inner"]["steps"]) == ("Synchronous", 3)


# The optimiser


def updates(config, gradients, *, weights, steps=10):
    """Weights after each of some gradients."""
    optimiser = config.build(steps=steps)
    state, seen = optimiser.init(weights), []
    for gradient in gradients:
        change, state = optimiser.update(gradient, state, weights)
        weights = optax.apply_updates(weights, change)
        seen.append(float(weights))
    return seen


def test_optimiser_is_plain_descent_by_default():
    gradients = [jnp.asarray(2.0), jnp.asarray(-1.0)]
    found = updates(OptimiserConfig(learning_rate=0.1), gradients, weights=jnp.asarray(1.0))
    np.testing.assert_allclose(found, [0.8, 0.9])


def test_weight_decay_joins_the_gradient_before_momentum():
    config = OptimiserConfig(learning_rate=0.1, momentum=0.9, weight_decay=0.5)
    gradients = [jnp.asarray(2.0), jnp.asarray(-1.0)]
    first = 2.0 + 0.5 * 1.0
    w1 = 1.0 - 0.1 * first
    second = 0.9 * first + (-1.0 + 0.5 * w1)
    found = updates(config, gradients, weights=jnp.asarray(1.0))
    np.testing.assert_allclose(found, [w1, w1 - 0.1 * second])


def test_cosine_schedule_goes_down_to_zero_over_the_run():
    config = OptimiserConfig(learning_rate=0.1, schedule="cosine")
    found = updates(config, [jnp.asarray(1.0)] * 5, weights=jnp.asarray(0.0), steps=4)
    rates = 0.1 * (1 + np.cos(np.pi * np.arange(5) / 4)) / 2
    np.testing.assert_allclose(found, -np.cumsum(rates), atol=1e-15)
    assert rates[-1] == 0


# What a step needs


def test_images_are_scaled_to_one():
    scaled = scale_images(jnp.array([[0, 51, 255]], jnp.uint8))
    np.testing.assert_allclose(scaled, [[0, 0.2, 1]], rtol=1e-6)
    assert jnp.issubdtype(scaled.dtype, jnp.floating)


def test_method_is_made_of_the_parts():
    config = TrainConfig(free=hp.Sequential(steps=3), nudged=hp.Sequential(steps=4))
    method = build_method(config, steps=10)
    assert method.estimator == hp.Holomorphic(0.4, 10)
    assert (method.free, method.nudged) == (hp.Sequential(steps=3), hp.Sequential(steps=4))
    assert jax.tree.leaves(method.transform(jnp.full((1, 2), 255, jnp.uint8)))[0].max() == 1
