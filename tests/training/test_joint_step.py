"""Steps of several networks in one program."""

import threading

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import holoprop as hp
from holoprop.training import JointStep, Method, train_step


def method():
    return Method(
        hp.Holomorphic(0.3, 4),
        hp.Synchronous(steps=10),
        hp.Synchronous(steps=8),
        optax.sgd(0.1, momentum=0.9),
        jnp.asarray,
    )


def arguments(seed, method):
    network = hp.mlp([4, 3, 2], key=jax.random.key(seed))
    state = method.optimiser.init(eqx.filter(network, eqx.is_inexact_array))
    x = jax.random.normal(jax.random.key(10 + seed), (5, 4))
    return method, network, state, x, jnp.array([0, 1, 0, 1, 1]), jax.random.key(20 + seed)


def in_threads(*works):
    """What each comes to, or its fault."""
    found = [None] * len(works)

    def run(place, work):
        try:
            found[place] = work()
        except Exception as error:
            found[place] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
    return found


def test_each_network_takes_its_own_step():
    shared, joint = method(), JointStep(3)
    given = [arguments(seed, shared) for seed in range(3)]

    def work(place):
        def two_steps():
            step, (m, network, state, *others) = joint.of(place), given[place]
            for _ in range(2):
                network, state, seen = step(m, network, state, *others)
            joint.leave(place)
            return network, state, seen

        return two_steps

    found = in_threads(*map(work, range(3)))
    for place, (m, network, state, *others) in enumerate(given):
        for _ in range(2):
            network, state, seen = train_step(m, network, state, *others)
        one, other = (
            jax.tree.leaves(eqx.filter(tree, eqx.is_array))
            for tree in (found[place], (network, state, seen))
        )
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
        assert jax.tree.structure(found[place]) == jax.tree.structure((network, state, seen))


def test_who_leaves_changes_nothing_for_the_others():
    shared = method()
    rows = [arguments(seed, shared) for seed in range(2)]
    both, one = JointStep(2), JointStep(2)
    together = in_threads(lambda: both.of(0)(*rows[0]), lambda: both.of(1)(*rows[1]))[0]
    one.leave(1)
    alone = one.of(0)(*rows[0])
    for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
        if eqx.is_array(a):
            np.testing.assert_array_equal(a, b)


def test_a_fault_reaches_all():
    shared, joint = method(), JointStep(2)
    m, network, state, x, labels, key = arguments(0, shared)
    works = [lambda p=p: joint.of(p)(m, network, state, x[:, :3], labels, key) for p in (0, 1)]
    found = in_threads(*works)
    assert all(isinstance(fault, Exception) for fault in found)


@pytest.mark.parametrize(
    ("estimator", "free", "fixed"),
    [
        (hp.Holomorphic(0.3, 4), hp.Synchronous(steps=3), True),
        (hp.Holomorphic(0.3, 4), hp.Synchronous(), False),
        (hp.Holomorphic(0.3, 4, max_error=0.1), hp.Synchronous(steps=3), False),
        (hp.Online(0.3), hp.Synchronous(), True),
        (hp.Implicit(), hp.Synchronous(steps=3), False),
    ],
)
def test_fixed_steps(estimator, free, fixed):
    made = Method(estimator, free, hp.Synchronous(steps=2), optax.sgd(0.1), jnp.asarray)
    assert made.has_fixed_steps is fixed
