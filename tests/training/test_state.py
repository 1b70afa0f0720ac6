"""Training that goes on from any step ends as if it had never stopped."""

import copy
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import zoo
from toy import circuit_examples, examples, method, unchanged

import holoprop as hp
from holoprop.training import (
    Backpropagation,
    Examples,
    Method,
    TrainState,
    first_state,
    fit,
    restored_state,
)

TIMES = {"images_per_second": 0.0, "seconds": 0.0}


class StopError(Exception):
    """Raised in place of a signal."""


def bits(network):
    return [(a.dtype, a.shape, a.tobytes()) for a in map(np.asarray, jax.tree.leaves(network))]


def kept(state):
    """What is saved, as it comes back from JSON and from a disk."""
    arrays, record = state.saved()
    return copy.deepcopy(arrays), json.loads(json.dumps(record))


def numbers(lines):
    return [dataclasses.replace(line, **TIMES) for line in lines]


def run(network, data, trained_by, *, start=None, stop_at=None, epochs=2, size=4, seed=0):
    """`fit` up to a call of `on_state`, or to its end: what was saved, lines, network."""
    lines, calls = [], 0

    def on_state(state):
        nonlocal calls
        calls += 1
        if calls == stop_at:
            stopped.append(kept(state))
            raise StopError

    stopped = []
    try:
        trained = fit(
            network,
            data,
            data,
            method=trained_by,
            epochs=epochs,
            batch_size=size,
            seed=seed,
            start=start,
            on_state=on_state,
            on_epoch=lines.append,
        )
    except StopError:
        return stopped[0], lines, None
    return calls, lines, trained


def momentum(**changes):
    """A method whose optimiser has arrays, a count and a schedule of its own."""
    optimiser = optax.sgd(optax.cosine_decay_schedule(0.2, 12), momentum=0.9)
    return dataclasses.replace(method(**changes), optimiser=optimiser)


METHODS = {
    "momentum": momentum(),
    "noise": method(relaxation=hp.Sequential(steps=5, noise=0.1)),
    "backpropagation": Backpropagation(
        optax.adam(0.01),
        unchanged,
        augment=lambda x, key: x + 0.1 * jax.random.normal(key, x.shape),
    ),
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.quick("momentum")
def test_training_goes_on_from_every_step(network, name):
    data = examples(25)
    calls, lines, trained = run(network, data, METHODS[name])
    assert calls == 2 * (6 + 1), "after each batch, and after each epoch"
    other = hp.mlp([6, 5, 3], key=jax.random.key(9))
    for stop_at in range(1, calls + 1):
        saved, before, _ = run(network, data, METHODS[name], stop_at=stop_at)
        start = restored_state(METHODS[name], other, *saved)
        _, after, again = run(other, data, METHODS[name], start=start)
        assert bits(again) == bits(trained), stop_at
        assert numbers(before + after) == numbers(lines), stop_at


def test_training_goes_on_between_two_looks(network):
    # 45 batches, of which the host looks at the 1st, 21st, 41st and last.
    data = examples(90)
    calls, lines, trained = run(network, data, METHODS["momentum"], epochs=1, size=2)
    for stop_at in (1, 2, 20, 21, 22, 44, 45):
        saved, before, _ = run(
            network, data, METHODS["momentum"], epochs=1, size=2, stop_at=stop_at
        )
        start = restored_state(METHODS["momentum"], network, *saved)
        left, after, again = run(network, data, METHODS["momentum"], epochs=1, size=2, start=start)
        assert left == calls - stop_at
        assert bits(again) == bits(trained), stop_at
        assert numbers(before + after) == numbers(lines), stop_at


def test_training_goes_on_after_several_stops(network):
    data = examples(25)
    _, lines, trained = run(network, data, METHODS["noise"])
    start, seen = None, []
    for stop_at in (3, 1, 2, 5, None):
        saved, more, again = run(network, data, METHODS["noise"], start=start, stop_at=stop_at)
        seen += more
        if again is None:
            start = restored_state(METHODS["noise"], network, *saved)
    assert bits(again) == bits(trained)
    assert numbers(seen) == numbers(lines)


def test_energy_of_ones_own_without_classes_goes_on():
    circuit, data = zoo.Circuit.init(jax.random.key(0)), circuit_examples(8)
    flow = method(relaxation=hp.GradientFlow(0.3, steps=100), rate=0.1)
    calls, lines, trained = run(circuit, data, flow)
    assert lines[0].train_error is None
    for stop_at in (1, calls // 2):
        saved, before, _ = run(circuit, data, flow, stop_at=stop_at)
        start = restored_state(flow, circuit, *saved)
        _, after, again = run(circuit, data, flow, start=start)
        assert bits(again) == bits(trained)
        assert numbers(before + after) == numbers(lines)


class Scaled(hp.AbstractEnergy):
    """A linear network in float32 with a Python number to be trained, which is weakly typed."""

    weight: jax.Array
    scale: float

    def energy(self, state, x):
        return jnp.sum(state**2) / 2 - self.scale * jnp.sum(state * (self.weight @ x))

    def init_state(self, x):
        return jnp.zeros(3, jnp.float32)

    def cost(self, state, y):
        return hp.CrossEntropy()(state, y)

    def logits(self, state):
        return state


def test_weakly_typed_numbers_come_back_weak():
    # As any other number of double precision it would make everything double.
    network = Scaled(jax.random.normal(jax.random.key(0), (3, 6), jnp.float32) / 3, 0.7)
    data = examples(8)
    data = Examples(data.inputs.astype(np.float32), data.labels)
    flow = method(relaxation=hp.GradientFlow(0.5, steps=30))
    state = first_state(flow, network)
    restored = restored_state(flow, network, *kept(state))
    assert restored.network.scale.weak_type
    assert restored.network.scale.dtype == state.network.scale.dtype
    assert not restored.network.weight.weak_type
    calls, lines, trained = run(network, data, flow)
    for stop_at in (1, 2, calls - 1):
        saved, before, _ = run(network, data, flow, stop_at=stop_at)
        _, after, again = run(network, data, flow, start=restored_state(flow, network, *saved))
        assert bits(again) == bits(trained)
        assert numbers(before + after) == numbers(lines)


@pytest.mark.parametrize("shape", [(), (2, 3)])
@pytest.mark.parametrize("weak", [False, True])
def test_arrays_come_back_as_they_were(network, shape, weak):
    values = np.arange(np.prod(shape), dtype=float).reshape(shape) / 3
    full = jnp.full(shape, 0.0 if weak else np.float64(0))
    leaf = full.at[...].set(values)
    assert leaf.weak_type == weak
    state = TrainState(network, {"a": leaf, "count": jnp.int32(3)})
    keeping = optax.GradientTransformation(lambda p: {"a": leaf * 0, "count": jnp.int32(0)}, None)
    plain = Method(hp.Centred(0.1), hp.Sequential(), hp.Sequential(), keeping, unchanged)
    found = restored_state(plain, network, *kept(state)).optimiser_state
    assert found["a"].weak_type == weak
    assert found["a"].dtype == leaf.dtype
    np.testing.assert_array_equal(found["a"], values)
    assert int(found["count"]) == 3


def test_arrays_of_another_network_are_refused(network):
    saved = kept(first_state(method(), network))
    other = hp.mlp([6, 4, 3], key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"\(5, 6\).* but network and optimiser have .*\(4, 6\)"):
        restored_state(method(), other, *saved)


def test_arrays_of_another_optimiser_are_refused(network):
    saved = kept(first_state(method(), network))
    with pytest.raises(ValueError, match="were saved, but network and optimiser have"):
        restored_state(momentum(), network, *saved)
