"""Which lanes step together decides time and memory, and nothing else."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zoo import error

import holoprop as hp

KEY = jax.random.key(0)
SLOTS = hp.Slots(3)


def uneven(batch: int) -> tuple[hp.LayeredNetwork, jax.Array]:
    """From nothing to saturation, so that some inputs need many times the steps of others."""
    network = hp.mlp([6, 5, 5, 3], weight_std=0.9, key=jax.random.key(3))
    x = jax.random.uniform(jax.random.key(4), (batch, 6))
    return network, jnp.linspace(0, 3, batch)[:, None] * x


def assert_as_alone(together: hp.Equilibrium, alone: list[hp.Equilibrium]) -> None:
    assert len({int(a.steps) for a in alone}) > 1
    assert int(together.steps) == max(int(a.steps) for a in alone)
    np.testing.assert_array_equal(together.result, jnp.concatenate([a.result for a in alone], -1))
    for layer, *others in zip(together.state, *(a.state for a in alone), strict=True):
        axis = together.residual.ndim - 1
        np.testing.assert_allclose(layer, jnp.concatenate(others, axis), atol=1e-11)


@pytest.mark.parametrize("batch", [3, 17, 40])
@pytest.mark.parametrize("count", [None, 2, 3])
@pytest.mark.quick("None-17", "2-3", "2-17", "3-40")
def test_lockstep_brings_every_example_where_it_goes_alone(batch: int, count: int | None) -> None:
    """All the way, or with the last of them in groups."""
    network, x = uneven(batch)
    together = hp.relax(network, x, batching=hp.Lockstep(count))
    assert_as_alone(together, [hp.relax(network, example[None]) for example in x])


@pytest.mark.parametrize("batch", [2, 3, 11])
@pytest.mark.parametrize("relaxation", [hp.Sequential(), hp.Anderson(), hp.GradientFlow(0.5)])
@pytest.mark.quick("*-11")
def test_slots_bring_every_example_where_it_goes_alone(
    batch: int, relaxation: hp.AbstractRelaxation
) -> None:
    """In whichever slot and after whichever lane an example settles."""
    network, x = uneven(batch)
    together = hp.relax(network, x, relaxation=relaxation, batching=SLOTS)
    assert_as_alone(together, [hp.relax(network, e[None], relaxation=relaxation) for e in x])


@pytest.mark.parametrize("batching", [SLOTS, hp.Lockstep(2)])
@pytest.mark.quick("batching0")
def test_nudged_examples(batching: hp.relaxation.Batching) -> None:
    """Every example under every point of a circle."""
    network, x = uneven(7)
    y = jnp.arange(7) % 3
    for nudge in (jnp.array([0.1, 0.1j]), jnp.array(0.2)):
        alone = [
            hp.relax(network, x[i : i + 1], nudge=nudge, target=y[i : i + 1]) for i in range(7)
        ]
        together = hp.relax(network, x, nudge=nudge, target=y, batching=batching)
        assert_as_alone(together, alone)


@pytest.mark.parametrize("batching", [SLOTS, hp.Lockstep(2)])
@pytest.mark.quick("batching0")
def test_a_lane_that_does_not_settle(batching: hp.relaxation.Batching) -> None:
    """Diverged or out of steps, it keeps its own result and leaves no trace in others."""
    network, x = uneven(11)
    x = x.at[1].set(jnp.nan).at[9].set(jnp.inf)
    for relaxation in (hp.Anderson(hp.Sequential(max_steps=9)), hp.Sequential(max_steps=9)):
        # Traced, where values are not known and not checked.
        relax = eqx.filter_jit(
            lambda x, r=relaxation: hp.relax(network, x, relaxation=r, batching=batching)
        )
        together, alone = relax(x), [relax(e[None]) for e in x]
        assert {*together.result.tolist()} == {*hp.RelaxationResult}
        assert_as_alone(together, alone)


def test_rounded_examples_in_slots_are_polished() -> None:
    network, x = uneven(7)
    low = hp.Anderson(hp.Sequential(precision="bfloat16"))
    rounded = hp.relax(network, x, relaxation=low, batching=SLOTS)
    exact = hp.relax(network, x)
    assert set(rounded.result.tolist()) == {hp.RelaxationResult.SETTLED}
    assert error(rounded.state, exact.state) <= 1e-11


@pytest.mark.parametrize("batching", [hp.Lockstep(), hp.Lockstep(1), SLOTS])
@pytest.mark.quick("batching0", "batching2")
def test_networks_under_vmap(batching: hp.relaxation.Batching) -> None:
    networks = eqx.filter_vmap(lambda key: hp.mlp([6, 4, 4, 4], weight_std=0.7, key=key))(
        jax.random.split(KEY, 3)
    )
    x = jnp.linspace(0, 3, 7)[:, None] * jax.random.uniform(jax.random.key(1), (7, 6))
    together = eqx.filter_vmap(lambda network: hp.relax(network, x, batching=batching))(networks)
    for index in range(3):
        one = jax.tree.map(lambda a, i=index: a[i] if eqx.is_array(a) else a, networks)
        alone = hp.relax(one, x)
        assert int(alone.steps) <= int(together.steps[index])
        np.testing.assert_array_equal(together.result[index], alone.result)
        assert error([s[index] for s in together.state], alone.state) <= 1e-11


def test_networks_under_vmap_go_through_one_loop() -> None:
    """As long as the slowest needs, without choosing between old and new in every step."""
    networks = eqx.filter_vmap(lambda key: hp.mlp([6, 4, 4, 4], key=key))(jax.random.split(KEY, 3))
    x = jnp.linspace(0, 3, 5)[:, None] * jax.random.uniform(jax.random.key(1), (5, 6))
    steps = eqx.filter_vmap(lambda network: hp.relax(network, x).steps)(networks)
    alone = [
        hp.relax(jax.tree.map(lambda a, i=i: a[i] if eqx.is_array(a) else a, networks), x).steps
        for i in range(3)
    ]
    assert len(set(map(int, alone))) > 1
    assert set(steps.tolist()) == {max(map(int, alone))}


# What is the default ------------------------------------------------------------------------------


def loops(network: hp.LayeredNetwork, platform: str) -> int:
    """Loops in the program of a free phase of two examples more than a processor has slots."""
    x = jnp.zeros((10, *network.input_shape))
    program = jax.jit(lambda x: hp.relax(network, x).state).trace(x)
    return program.lower(lowering_platforms=(platform,)).as_text().count("stablehlo.while")


def small() -> hp.LayeredNetwork:
    return hp.mlp([6, 5, 5, 3], key=KEY)


def medium() -> hp.LayeredNetwork:
    """Of which eight examples fill the cache, and ten are more."""
    return hp.mlp([6, 256, 256, 3], key=KEY)


def large() -> hp.LayeredNetwork:
    """2^14 units in its one layer."""
    return hp.mlp([1, 2**14, 2], key=KEY)


def test_the_network_decides() -> None:
    """One loop; a second one over groups, each with one of its own; one within another."""
    assert [loops(network, "cpu") for network in (small(), medium(), large())] == [1, 3, 2]


@pytest.mark.slow
def test_the_platform_decides_and_not_the_default_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """One traced program, placed on either; in a process that has both."""
    monkeypatch.setattr("holoprop._platform.backends", lambda: {"cpu": None, "cuda": None})
    monkeypatch.setattr(jax, "default_backend", lambda: "cuda")
    jax.clear_caches()
    found = {
        platform: [loops(network, platform) for network in (medium(), large())]
        for platform in ("cpu", "cuda")
    }
    jax.clear_caches()
    assert found == {"cpu": [3, 2], "cuda": [1, 1]}


@pytest.mark.slow
def test_both_ways_of_a_large_network_agree() -> None:
    x, y = jnp.linspace(0.0, 2.0, 10)[:, None], jnp.arange(10) % 2
    found = [
        hp.value_and_grad(large(), x, y, estimator=hp.Centred(0.1), batching=batching)
        for batching in (None, hp.Lockstep())
    ]
    assert error(found[0], found[1]) <= 1e-7


@pytest.mark.parametrize("count", [0, -1])
def test_bad_count(count: int) -> None:
    with pytest.raises(ValueError, match="count must be a whole number, 1 or more; got"):
        hp.Slots(count)
    with pytest.raises(ValueError, match="count must be a whole number, 1 or more; got"):
        hp.Lockstep(count)
