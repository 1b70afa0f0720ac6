"""Costs against NumPy, and their derivatives against the closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


# What is refused, and what is not a number --------------------------------------------------------


INDICES = st.sampled_from([np.uint8, np.int8, np.int16, np.int32, np.int64, np.uint32])


@costs
@pytest.mark.parametrize("classes", [1, 3, 127, 300])
@given(dtype=INDICES, data=st.data())
@settings(deadline=None, max_examples=12)
def test_class_indices_of_any_type(cost, classes, dtype, data):
    """In range it is the one-hot vector's cost, however few numbers the type has; else no number.

    NumPy makes the vector; 300 classes are more than a byte counts.
    """
    limits = np.iinfo(dtype)
    numbers = st.integers(max(int(limits.min), -400), min(int(limits.max), 400))
    index = data.draw(numbers | st.integers(0, min(classes - 1, int(limits.max))))
    p = np.linspace(-1, 1, classes)
    found = traced(cost, p, dtype(index))
    if 0 <= index < classes:
        np.testing.assert_allclose(found, traced(cost, p, np.eye(classes)[index]), rtol=1e-14)
        np.testing.assert_allclose(cost(jnp.asarray(p), dtype(index)), found, rtol=1e-12)
    else:
        assert np.isnan(found)
        with pytest.raises(ValueError, match=f"target is {index}, but the prediction has "):
            cost(jnp.asarray(p), dtype(index))


@jax.jit
def traced(cost, p, target):
    return cost(p, target)


@costs
@predictions
@pytest.mark.parametrize("label", [-1, 4, -4, 2**31 - 1])
@pytest.mark.quick("-1-*", "4-real-*")
def test_unknown_labels_under_a_trace_have_no_finite_cost_or_slope(cost, p, label):
    labels = jnp.array([2, label])
    slope = jax.grad(cost, holomorphic=np.iscomplexobj(p))
    values, slopes = (jax.vmap(f, in_axes=(None, 0))(jnp.asarray(p), labels) for f in (cost, slope))
    assert np.isfinite(values).tolist() == [True, False]
    assert np.isfinite(slopes).all(axis=1).tolist() == [True, False]
    assert not np.isfinite(slopes[1]).any()


BAD_TARGETS = {
    "an axis of one": np.array([1]),
    "too short": np.zeros(3),
    "too long": np.zeros(5),
    "a batch": np.zeros((1, 4)),
    "a batch of indices": np.zeros((4, 1), int),
    "a float index": np.array(1.0),
    "a truth value": np.array(True),
    "complex": np.zeros(4, complex),
}


@costs
@predictions
@pytest.mark.parametrize("target", BAD_TARGETS.values(), ids=BAD_TARGETS)
def test_targets_of_other_shapes_and_types_are_refused(cost, p, target):
    """Also under a trace; nothing broadcasts."""
    shape = ", *".join(map(str, target.shape))
    message = rf"target has shape \({shape},?\) and dtype {target.dtype}"
    for evaluate in (cost, jax.jit(lambda p, y: cost(p, y))):
        with pytest.raises(ValueError, match=message + r".*prediction has shape \(4,\): give real"):
            evaluate(jnp.asarray(p), jnp.asarray(target))


@costs
def test_a_class_of_no_vector_is_refused(cost):
    with pytest.raises(ValueError, match=r"prediction has shape \(2, 2\)"):
        cost(jnp.zeros((2, 2)), 1)


def test_cross_entropy_of_more_than_one_vector_is_refused():
    with pytest.raises(ValueError, match=r"CrossEntropy takes one vector of classes: map it"):
        hp.CrossEntropy()(jnp.zeros((2, 4)), jnp.zeros((2, 4)))


def test_squared_error_of_any_one_shape():
    p = np.arange(6.0).reshape(2, 3)
    found = hp.SquaredError()(jnp.asarray(p), p / 3)
    np.testing.assert_allclose(found, np.sum((p * 2 / 3) ** 2) / 2)
