"""Costs against NumPy, and their derivatives against the closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import holoprop as hp

P = np.array([0.3, -1.2, 2.0, 0.1])
Z = P + 1j * np.array([0.2, -0.1, 0.3, 0.4])
ONE_HOT = np.array([0.0, 0.0, 1.0, 0.0])
SOFT = np.array([0.1, 0.2, 0.5, 0.4])
costs = pytest.mark.parametrize("cost", [hp.CrossEntropy(), hp.SquaredError()])
predictions = pytest.mark.parametrize("p", [P, Z], ids=["real", "complex"])


def softmax(p):
    return np.exp(p) / np.exp(p).sum()


targets = pytest.mark.parametrize(("target", "y"), [(2, ONE_HOT), (SOFT, SOFT)])


def look(cost, p, target):
    """Value and derivative."""
    return jax.jit(jax.value_and_grad(cost, holomorphic=np.iscomplexobj(p)))(p, jnp.asarray(target))


@predictions
@targets
def test_cross_entropy(p, target, y):
    """-y . log softmax, written with the softmax itself; its derivative is sum(y) softmax - y."""
    value, slope = look(hp.CrossEntropy(), p, target)
    np.testing.assert_allclose(value, -np.sum(y * np.log(softmax(p))), rtol=1e-13)
    np.testing.assert_allclose(slope, y.sum() * softmax(p) - y, rtol=1e-12, atol=1e-14)


@predictions
@targets
def test_squared_error(p, target, y):
    """Without a conjugate, hence holomorphic; its derivative is the difference."""
    value, slope = look(hp.SquaredError(), p, target)
    np.testing.assert_allclose(value, np.sum((p - y) ** 2) / 2, rtol=1e-13)
    np.testing.assert_allclose(slope, p - y, rtol=1e-12, atol=1e-14)


@costs
def test_cauchy_riemann(cost):
    """Over a circle in the complex plane the mean is the centre."""
    turns = 0.4 * np.exp(2j * np.pi * np.arange(32) / 32)
    points = Z + turns[:, None] * np.array([1.0, -2.0, 0.5, 1.0])
    values = jax.jit(jax.vmap(lambda p: cost(p, 1)))(np.concatenate([Z[None], points]))
    np.testing.assert_allclose(np.mean(values[1:]), values[0], atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
@pytest.mark.parametrize("far", [-1e3, 1e3])
def test_cross_entropy_does_not_overflow(dtype, far):
    p = jnp.asarray(P, dtype) + far
    # The spacing of float32 at a thousand is 6e-5.
    np.testing.assert_allclose(hp.CrossEntropy()(p, 1), -np.log(softmax(P)[1]), atol=3e-4)
    confident = jnp.array([0.0, 1e3, 0.0, 0.0], dtype)
    np.testing.assert_allclose(hp.CrossEntropy()(confident, 1), 0, atol=1e-6)
    np.testing.assert_allclose(hp.CrossEntropy()(confident, 0), 1e3, rtol=1e-6)


@costs
@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_keeps_the_precision_of_the_prediction(cost, dtype):
    """A class index has none of its own, whatever JAX's default is."""
    assert cost(jnp.asarray(P, dtype), jnp.array(1)).dtype == dtype


def test_readout():
    assert hp.CrossEntropy.has_readout
    assert not hp.SquaredError.has_readout
