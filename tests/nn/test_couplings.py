"""Couplings: transposes of one another, derivatives of phi, and what their arrays look like."""

import functools
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zoo import convolution

import holoprop as hp

KEY = jax.random.key(3)


def with_bias(coupling):
    bias = jax.random.normal(jax.random.key(7), coupling.bias.shape)
    return eqx.tree_at(lambda c: c.bias, coupling, bias)


COUPLINGS = {
    "dense": hp.Dense.init((6,), 4, key=KEY),
    "dense on a picture": hp.Dense.init((3, 2, 2), 4, key=KEY),
    "conv": hp.Conv.init((5, 6, 2), 3, key=KEY),
    "conv of many channels": hp.Conv.init((5, 6, 8), 3, kernel=5, padding=2, key=KEY),
    "conv softmax": hp.Conv.init((7, 6, 2), 3, pooling=hp.SoftmaxPool(2, 0.7), key=KEY),
    "conv average": hp.Conv.init((6, 6, 2), 3, padding=0, pooling=hp.AveragePool(2), key=KEY),
    "conv max": hp.Conv.init((6, 6, 2), 3, kernel=5, padding=2, pooling=hp.MaxPool(3), key=KEY),
}
every = pytest.mark.parametrize("name", COUPLINGS)
dense = pytest.mark.parametrize("name", ["dense", "dense on a picture"])
conv = pytest.mark.parametrize("name", [name for name in COUPLINGS if name.startswith("conv")])
kinds = pytest.mark.parametrize("kind", [float, complex])


def activity(shape, *, kind=float, seed=0):
    rng = np.random.default_rng(seed)
    s = rng.normal(size=shape)
    return s + 1j * rng.normal(size=shape) if kind is complex else s


@functools.cache
def found(name, kind):
    """A coupling with a bias, two layers, and all that the coupling makes of them."""
    coupling = with_bias(COUPLINGS[name])
    below = activity(coupling.in_shape, kind=kind)
    above = activity(coupling.out_shape, kind=kind, seed=1)

    @jax.jit
    def look(below, above):
        z = coupling.linear(below)
        slope = jax.grad(coupling.phi, argnums=(0, 1), holomorphic=kind is complex)
        return {
            "z": z,
            "drive": coupling.drive(z),
            "feedback": coupling.feedback(z, above),
            "phi": coupling.phi(below, above),
            "slopes": slope(below, above),
        }

    return coupling, below, above, look(jnp.asarray(below), jnp.asarray(above))


@kinds
@dense
def test_dense_by_numpy(name, kind):
    coupling, below, above, got = found(name, kind)
    weight, bias = np.asarray(coupling.weight), np.asarray(coupling.bias)
    np.testing.assert_allclose(got["z"], weight @ below.ravel(), atol=1e-13)
    np.testing.assert_allclose(got["drive"], weight @ below.ravel() + bias, atol=1e-13)
    feedback = (weight.T @ above).reshape(coupling.in_shape)
    np.testing.assert_allclose(got["feedback"], feedback, atol=1e-13)


@kinds
@conv
def test_conv_by_loops(name, kind):
    coupling, below, _, got = found(name, kind)
    expected = convolution(below, np.asarray(coupling.weight), coupling.padding)
    np.testing.assert_allclose(got["z"], expected, atol=1e-13)
    pooled = expected if coupling.pooling is None else jax.jit(coupling.pooling)(expected)
    np.testing.assert_allclose(got["drive"], pooled + coupling.bias, atol=1e-13)


@kinds
@pytest.mark.parametrize("name", ["dense", "dense on a picture", "conv"])
def test_feedback_is_the_adjoint(name, kind):
    """<W s, t> = <s, W^T t>, products without a conjugate; where there is no pooling."""
    _, below, above, got = found(name, kind)
    left, right = np.sum(got["z"] * above), np.sum(below * got["feedback"])
    np.testing.assert_allclose(left, right, rtol=1e-13)


@kinds
@every
def test_changes(name, kind):
    """Drive and feedback from z to z + zeta: plain differences, and the slope for tiny changes."""
    coupling, below, above, _ = found(name, kind)

    @jax.jit
    def look(below, above, below_change, above_change):
        z, zeta = coupling.linear(below), coupling.linear(below_change)

        def both(z, above):
            return coupling.drive(z), coupling.feedback(z, above)

        base = coupling.base(z)
        changes = (
            coupling.drive_change(base, zeta),
            coupling.linear_map().transposed(coupling.pull_change(base, zeta, above, above_change)),
        )
        new, old = both(z + zeta, above + above_change), both(z, above)
        slopes = jax.jvp(both, (z, above), (zeta, above_change))[1]
        return changes, jax.tree.map(lambda a, b: a - b, new, old), slopes

    moves = activity(below.shape, kind=kind, seed=2), activity(above.shape, kind=kind, seed=3)
    changes, differences, _ = look(below, above, *(0.1 * m for m in moves))
    for change, difference in zip(changes, differences, strict=True):
        np.testing.assert_allclose(change, difference, atol=1e-13)
    changes, _, slopes = look(below, above, *(1e-25 * m for m in moves))
    for change, slope in zip(changes, slopes, strict=True):
        np.testing.assert_allclose(change * 1e25, slope * 1e25, atol=1e-12)


@settings(deadline=None, max_examples=3)
@given(*[st.integers(3, 7)] * 2, *[st.integers(1, 3)] * 3, st.integers(0, 2))
def test_adjoint_at_any_shape(height, width, depth, channels, kernel, padding):
    shape = (height, width, depth)
    coupling = hp.Conv.init(shape, channels, kernel=kernel, padding=padding, key=KEY)
    grown = 2 * padding + 1 - kernel
    assert coupling.out_shape == (height + grown, width + grown, channels)
    below, above = activity(shape), activity(coupling.out_shape, seed=1)

    @jax.jit
    def both(below, above):
        z = coupling.linear(below)
        return z, coupling.feedback(z, above)

    z, feedback = both(below, above)
    np.testing.assert_allclose(np.sum(z * above), np.sum(below * feedback), atol=1e-11)


@kinds
@every
def test_drive_and_feedback_are_derivatives_of_phi(name, kind):
    _, _, _, got = found(name, kind)
    np.testing.assert_allclose(got["feedback"], got["slopes"][0], atol=1e-13)
    np.testing.assert_allclose(got["drive"], got["slopes"][1], atol=1e-13)


@kinds
@every
def test_phi_is_the_product_of_layers(name, kind):
    _, _, above, got = found(name, kind)
    np.testing.assert_allclose(got["phi"], np.sum(above * got["drive"]), rtol=1e-12)


@every
def test_complex_states_are_two_real_passes(name):
    """Weights are real: the maps act on both parts alike, and no complex product is ever built."""
    coupling, below, _, got = found(name, complex)
    linear = jax.jit(lambda below: coupling.linear(below))
    np.testing.assert_allclose(got["z"].real, linear(below.real), atol=1e-14)
    np.testing.assert_allclose(got["z"].imag, linear(below.imag), atol=1e-14)

    def both(below, above):
        z = coupling.linear(below)
        return z, coupling.feedback(z, above)

    above = np.zeros(coupling.out_shape, complex)
    program = str(jax.make_jaxpr(both)(below, above)).splitlines()
    heavy = [line for line in program if "= dot_general[" in line or "= conv_general" in line]
    assert len(heavy) == 2
    assert all(":f64[" in line and ":c128[" not in line for line in heavy)


@every
def test_shapes_fit_the_arrays(name):
    coupling, _, _, got = found(name, float)
    assert got["drive"].shape == coupling.out_shape
    assert got["feedback"].shape == coupling.in_shape


@pytest.mark.parametrize(
    ("make", "fan_in"),
    [
        (lambda: hp.Dense.init((400,), 300, key=KEY), 400),
        (lambda: hp.Dense.init((20, 4, 5), 300, key=KEY), 400),
        (lambda: hp.Conv.init((8, 8, 64), 128, key=KEY), 9 * 64),
    ],
)
def test_weights_are_truncated_normal(make, fan_in):
    coupling = make()
    weight = np.ravel(coupling.weight) * np.sqrt(fan_in)
    assert 1.99 < np.abs(weight).max() <= 2
    # Deviation of a standard normal cut at two, from its closed form; 7e4 draws or more.
    density, mass = np.exp(-2) / np.sqrt(2 * np.pi), 0.9544997361036416
    np.testing.assert_allclose(weight.std(), np.sqrt(1 - 4 * density / mass), rtol=0.01)
    assert abs(weight.mean()) < 4 / np.sqrt(weight.size)
    assert not np.any(coupling.bias)


def test_weight_std_scales_the_same_draw():
    one = hp.Dense.init((30,), 20, weight_std=1.0, key=KEY)
    small = hp.Dense.init((30,), 20, weight_std=0.05, key=KEY)
    np.testing.assert_allclose(small.weight, 0.05 * one.weight, rtol=1e-14)


def test_conv_that_leaves_nothing():
    with pytest.raises(ValueError, match=r"in_shape \(2, 2, 1\) is too small.*Use larger images"):
        hp.Conv.init((2, 2, 1), 3, padding=0, key=KEY)
    with pytest.raises(ValueError, match=r"leave \(0, 0, 3\)"):
        hp.Conv.init((1, 1, 1), 3, pooling=hp.AveragePool(2), key=KEY)


# Slopes of convolutions --------------------------------------------------------------------------


def by_compiler():
    """An input and weights of a map that is left to the compiler, and a direction for each."""
    rng = np.random.default_rng(0)
    shapes = [(6, 5, 8), (3, 3, 8, 4)] * 2
    s, weight, *along = (jnp.asarray(rng.normal(size=shape)) for shape in shapes)
    return (s, weight), along


def plain(s, weight):
    return jax.lax.conv_general_dilated(
        s[None], weight, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )[0]


def ours(s, weight):
    return hp.Conv(weight, jnp.zeros(weight.shape[-1]), s.shape).linear(s)


@pytest.mark.parametrize("platforms", [{"cpu"}, {"cuda"}, {"cpu", "cuda"}])
def test_slopes_of_a_convolution(platforms, monkeypatch):
    """Forward and reverse mode, by input, by weights and by both, as the compiler's own.

    In a process that has a processor, an accelerator, or both; either way runs on a processor too.
    """
    monkeypatch.setattr("holoprop._platform.backends", lambda: dict.fromkeys(platforms))
    primals, tangents = by_compiler()
    for which in [(0,), (1,), (0, 1)]:

        def close(convolve, which=which):
            def one(*chosen):
                arguments = list(primals)
                for place, value in zip(which, chosen, strict=True):
                    arguments[place] = value
                return convolve(*arguments)

            at, along = ([pair[i] for i in which] for pair in (primals, tangents))
            z, slope = jax.jvp(one, at, along)
            _, back = jax.vjp(one, *at)
            return z, slope, back(jnp.sin(z))

        for found, wanted in zip(
            jax.tree.leaves(close(ours)), jax.tree.leaves(close(plain)), strict=True
        ):
            np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("platforms", [{"cpu"}, {"cpu", "cuda"}])
def test_slopes_of_the_slopes_of_a_convolution(platforms, monkeypatch):
    """All second derivatives along a direction, in forward and in reverse mode."""
    monkeypatch.setattr("holoprop._platform.backends", lambda: dict.fromkeys(platforms))
    primals, tangents = by_compiler()

    def second(convolve):
        def total(s, weight):
            return jnp.sum(jnp.sin(convolve(s, weight)))

        def along(s, weight):
            return jax.jvp(total, (s, weight), tuple(tangents))[1]

        slopes = jax.grad(total, argnums=(0, 1))
        return jax.jvp(slopes, primals, tuple(tangents))[1], jax.grad(along, (0, 1))(*primals)

    for found, wanted in zip(
        jax.tree.leaves(second(ours)), jax.tree.leaves(second(plain)), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


def test_slopes_inside_a_loop_have_no_slow_convolution():
    """XLA on a CPU runs one with its axes in another order in plain loops, if it is in a loop."""
    (s, weight), _ = by_compiler()

    def slopes(convolve):
        def total(s, weight):
            return jnp.sum(jnp.sin(jax.vmap(convolve, (0, None))(s, weight)))

        def one(s):
            return jax.grad(total, argnums=(0, 1))(s, weight)

        batch = jnp.stack([jnp.stack([s, s]), jnp.stack([2 * s, s])])
        program = jax.jit(lambda batch: jax.lax.map(one, batch)).lower(batch).compile().as_text()
        return set(re.findall(r"convolution\(.*dim_labels=([^, ]+)", program))

    assert slopes(ours) == {"b01f_01io->b01f"}
    assert len(slopes(plain)) > 1
