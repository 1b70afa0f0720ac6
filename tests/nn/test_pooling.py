"""Poolings against windows cut out one by one, and their derivatives against JAX's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import holoprop as hp

few = settings(deadline=None, max_examples=30)


def softmax(entries, temperature):
    # Shifted by a real number, which cancels.
    e = np.exp((entries - entries.real.max()) / temperature)
    return e / e.sum()


# Each pooling with what it makes of one window's entries, in NumPy.
POOLINGS = {
    hp.SoftmaxPool(2): lambda e: np.sum(softmax(e, 1.0) * e),
    hp.SoftmaxPool(3, 10.0): lambda e: np.sum(softmax(e, 10.0) * e),
    hp.SoftmaxPool(2, 0.3): lambda e: np.sum(softmax(e, 0.3) * e),
    hp.AveragePool(2): np.mean,
    hp.AveragePool(3): np.mean,
    hp.MaxPool(2): lambda e: e[np.argmax(e.real)],
}
every = pytest.mark.parametrize("pooling", POOLINGS, ids=repr)
kinds = pytest.mark.parametrize("kind", [float, complex])
# Odd and even, with a rim that fills no window of two or of three.
SHAPE = (7, 8, 2)


def picture(shape=SHAPE, *, kind=float, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=shape)
    return z + 0.3j * rng.normal(size=shape) if kind is complex else z


def kind_of(z):
    return complex if np.iscomplexobj(z) else float


def by_windows(pooling, z):
    """Every window cut out and pooled on its own; what fills no window is left out."""
    window = pooling.window
    out = np.zeros((z.shape[0] // window, z.shape[1] // window, z.shape[2]), z.dtype)
    for i, j, c in np.ndindex(out.shape):
        cut = z[i * window : (i + 1) * window, j * window : (j + 1) * window, c]
        out[i, j, c] = POOLINGS[pooling](cut.ravel())
    return out


@functools.cache
def compiled(pooling):
    """What a pooling says of itself, and JAX's derivatives of its value."""

    @jax.jit
    def look(z, above):
        value, transposed = jax.vjp(pooling, z)
        return {
            "value": value,
            "derivative": pooling.derivative(z),
            "slope": transposed(jnp.ones_like(value))[0],
            "feedback": pooling.feedback(z, above),
            "transposed": transposed(above)[0],
        }

    def on(z):
        pooled = (z.shape[0] // pooling.window, z.shape[1] // pooling.window, z.shape[2])
        above = picture(pooled, kind=kind_of(z), seed=1).astype(z.dtype)
        return {k: np.asarray(v) for k, v in look(jnp.asarray(z), jnp.asarray(above)).items()}

    return on


@every
@kinds
def test_value(pooling, kind):
    z = picture(kind=kind)
    found = compiled(pooling)(z)["value"]
    assert found.dtype == z.dtype
    np.testing.assert_allclose(found, by_windows(pooling, z), rtol=1e-13, atol=1e-14)


@every
@kinds
def test_derivative_and_feedback_are_those_of_the_value(pooling, kind):
    found = compiled(pooling)(picture(kind=kind))
    np.testing.assert_allclose(found["derivative"], found["slope"], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found["feedback"], found["transposed"], rtol=1e-12, atol=1e-14)


@every
def test_derivative_by_differences(pooling):
    """Of the pooled value by NumPy's windows rather than of JAX's."""
    z, step = picture(), 1e-6
    found = compiled(pooling)(z)["derivative"]
    for i, j, c in [(0, 0, 0), (2, 3, 1), (5, 5, 0), (4, 1, 1)]:
        up, down = z.copy(), z.copy()
        up[i, j, c], down[i, j, c] = up[i, j, c] + step, down[i, j, c] - step
        change = np.sum(by_windows(pooling, up) - by_windows(pooling, down)) / (2 * step)
        np.testing.assert_allclose(found[i, j, c], change, atol=1e-8)


@every
def test_rim_gets_nothing(pooling):
    derivative = compiled(pooling)(picture())["derivative"]
    np.testing.assert_array_equal(derivative[7 - 7 % pooling.window :], 0)
    np.testing.assert_array_equal(derivative[:, 8 - 8 % pooling.window :], 0)


@few
@given(*[st.integers(1, 9)] * 2, *[st.integers(1, 3)] * 2)
def test_shapes(height, width, channels, window):
    z = jax.ShapeDtypeStruct((height, width, channels), np.float64)
    for pooling in (hp.SoftmaxPool(window), hp.AveragePool(window), hp.MaxPool(window)):
        pooled = jax.eval_shape(pooling, z)
        assert pooled.shape == (height // window, width // window, channels)
        assert jax.eval_shape(pooling.derivative, z).shape == z.shape
        assert jax.eval_shape(pooling.feedback, z, pooled).shape == z.shape


@functools.cache
def compiled_change(pooling):
    """The difference form, and JAX's derivatives of value and derivative along the change."""

    @jax.jit
    def look(z, zeta):
        def both(z):
            return pooling(z), pooling.derivative(z)

        return pooling.change(pooling.base(z), zeta), jax.jvp(both, (z,), (zeta,))[1]

    return look


@every
@kinds
def test_change(pooling, kind):
    """Of value and derivative, by plain differences where these keep their digits."""
    z, zeta = picture(), 0.3 * picture(kind=kind, seed=1)
    value, derivative = compiled_change(pooling)(jnp.asarray(z + 0 * zeta), jnp.asarray(zeta))[0]
    new, old = (compiled(pooling)(at) for at in (z + zeta, z + 0 * zeta))
    np.testing.assert_allclose(value, new["value"] - old["value"], atol=1e-13)
    np.testing.assert_allclose(derivative, new["derivative"] - old["derivative"], atol=1e-13)


@every
@pytest.mark.parametrize("dtype", [np.float64, np.complex128, np.float32])
def test_small_changes_keep_their_digits(pooling, dtype):
    """A change too small for the input's own precision is the derivative times it, to rounding."""
    size = 1e-25
    z, zeta = picture().astype(dtype), (size * picture(kind=kind_of(dtype()), seed=1)).astype(dtype)
    found, slopes = compiled_change(pooling)(jnp.asarray(z), jnp.asarray(zeta))
    # A few roundings of terms some ten times as large as the change.
    limit = 1e-13 if np.finfo(dtype).eps < 1e-10 else 1e-4
    for change, slope in zip(found, slopes, strict=True):
        np.testing.assert_allclose(change / size, slope / size, rtol=0, atol=limit)


def test_softmax_pool_lies_between_average_and_max():
    z = picture()
    average, largest = (by_windows(pooling, z) for pooling in (hp.AveragePool(2), hp.MaxPool(2)))
    np.testing.assert_allclose(hp.SoftmaxPool(2, 1e7)(jnp.asarray(z)), average, atol=1e-6)
    np.testing.assert_allclose(hp.SoftmaxPool(2, 1e-3)(jnp.asarray(z)), largest, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_softmax_pool_does_not_overflow(dtype):
    near = picture(kind=kind_of(dtype())).astype(dtype)
    for far in (-1e3, 1e3):
        # The spacing of float32 at a thousand is 6e-5.
        found = compiled(hp.SoftmaxPool(2))((near + far).astype(dtype))
        expected = (
            by_windows(hp.SoftmaxPool(2), near.astype(np.result_type(dtype, np.float64))) + far
        )
        assert found["value"].dtype == dtype
        np.testing.assert_allclose(found["value"], expected, rtol=0, atol=3e-4)
        assert np.all(np.isfinite(found["derivative"]))


@every
def test_cauchy_riemann(pooling):
    """Over a circle in the complex plane the mean is the centre, but not with `MaxPool`."""
    # Small beside the temperature: the softmax has poles.
    turns = (
        0.4 * min(1, getattr(pooling, "temperature", 1)) * np.exp(2j * np.pi * np.arange(32) / 32)
    )
    z, along = picture(), picture(seed=1)
    points = jnp.asarray(z + turns[:, None, None, None] * along)
    mean = jnp.mean(jax.jit(jax.vmap(pooling))(points), axis=0)
    defect = np.abs(mean - by_windows(pooling, z)).max()
    holomorphic = not isinstance(pooling, hp.MaxPool)
    assert pooling.holomorphic is holomorphic
    assert defect < 1e-8 if holomorphic else defect > 1e-2


def test_max_pool_shares_among_equals():
    z = np.array([[3.0, 3.0], [1.0, 0.0]])[..., None]
    expected = np.array([[0.5, 0.5], [0, 0]])[..., None]
    found = compiled(hp.MaxPool(2))(z)
    np.testing.assert_array_equal(found["derivative"], expected)
    np.testing.assert_array_equal(found["slope"], expected)


@pytest.mark.parametrize("kind", [hp.SoftmaxPool, hp.AveragePool, hp.MaxPool])
@pytest.mark.parametrize("window", [0, -2])
def test_bad_window(kind, window):
    with pytest.raises(ValueError, match=rf"window must be a whole number.*got {window}"):
        kind(window)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_bad_temperature(temperature):
    with pytest.raises(ValueError, match=rf"temperature must be positive; got {temperature}.*Max"):
        hp.SoftmaxPool(2, temperature)
