"""Activations against NumPy, their primitives, and their behaviour far out and off the axis."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import holoprop as hp


def logistic(z):
    return 1 / (1 + np.exp(-z))


# Each activation with its formula in NumPy.
FORMULAS = {
    hp.ShiftedSigmoid: lambda z: 1 / (1 + np.exp(-4 * z + 2)),
    hp.DSiLU: lambda z: (z / 2) * logistic(z) + (1 - z / 2) * logistic(z - 2),
    hp.SiLU: lambda z: z * logistic(z),
    hp.Tanh: np.tanh,
    hp.Identity: lambda z: z,
    hp.ReLU: lambda z: np.where(z.real > 0, z, 0),
    hp.ClippedReLU: lambda z: np.where(z.real > 2, 1, np.where(z.real > 0, z / 2, 0)),
}
HOLOMORPHIC = [hp.ShiftedSigmoid, hp.DSiLU, hp.SiLU, hp.Tanh, hp.Identity]
# What each tends to far out, left and right, and its slope there.
LIMITS = {
    hp.ShiftedSigmoid: ((0, 0), (1, 0)),
    hp.DSiLU: ((0, 0), (1, 0)),
    hp.SiLU: ((0, 0), (1e3, 1)),
    hp.Tanh: ((-1, 0), (1, 0)),
    hp.Identity: ((-1e3, 1), (1e3, 1)),
    hp.ReLU: ((0, 0), (1e3, 1)),
    hp.ClippedReLU: ((0, 0), (1, 0)),
}
every = pytest.mark.parametrize("kind", FORMULAS)
holomorphic = pytest.mark.parametrize("kind", HOLOMORPHIC)
dtypes = pytest.mark.parametrize("dtype", [np.float64, np.complex128, np.float32, np.complex64])

# Off the kinks of the pieces at 0 and 2, and within the nearest poles (pi/4 off the real axis).
REAL = np.linspace(-6, 6, 50)
COMPLEX = (np.linspace(-6, 6, 50)[:, None] + 1j * np.linspace(-0.6, 0.6, 7)).ravel()
FAR = np.array([-1e3, 1e3])


@functools.cache
def compiled(kind):
    """Value and derivative of an array of inputs; in double precision also of the primitive."""

    @jax.jit
    def look(z):
        slope = functools.partial(jax.grad, holomorphic=jnp.iscomplexobj(z))
        activation = kind()
        functions = [activation]
        if jnp.finfo(z.dtype).bits == 64:
            functions.append(activation.primitive)
        return [out for f in functions for out in (f(z), jax.vmap(slope(f))(z))]

    # One shape for all inputs, so that each precision compiles once.
    def padded(z):
        z = np.asarray(z)
        found = look(jnp.asarray(np.resize(z, COMPLEX.shape)))
        return [np.asarray(f)[: z.size] for f in found]

    return padded


def inputs(dtype):
    return (COMPLEX if np.issubdtype(dtype, np.complexfloating) else REAL).astype(dtype)


@every
@dtypes
def test_formula(kind, dtype):
    z = inputs(dtype)
    value, *_ = compiled(kind)(z)
    assert value.dtype == dtype
    # In float32 terms of size 6 are rounded to 6e-8 of themselves, a few times over.
    atol = 1e-13 if np.finfo(dtype).eps < 1e-10 else 3e-6
    np.testing.assert_allclose(value, FORMULAS[kind](z.astype(np.complex128)), rtol=0, atol=atol)


@every
@dtypes
def test_derivative(kind, dtype):
    """Against differences of the formula."""
    z, step = inputs(dtype), 1e-5
    _, slope, *_ = compiled(kind)(z)
    wide = z.astype(np.complex128)
    expected = (FORMULAS[kind](wide + step) - FORMULAS[kind](wide - step)) / (2 * step)
    # The differences err by 1e-10 times the third derivative, which is 64 times a few at most for
    # the steep sigmoid; float32 adds its rounding of terms of size 6.
    atol = 1e-7 if np.finfo(dtype).eps < 1e-10 else 2e-5
    np.testing.assert_allclose(slope, expected, rtol=0, atol=atol)


@every
@dtypes
def test_no_overflow_far_out(kind, dtype):
    z = FAR.astype(dtype)
    off = 0
    if np.issubdtype(dtype, np.complexfloating):
        off = 0.5j
        z = (z + off).astype(dtype)
    value, slope, *_ = compiled(kind)(z)
    (left, left_slope), (right, right_slope) = LIMITS[kind]
    slopes = np.array([left_slope, right_slope])
    np.testing.assert_allclose(slope, slopes, atol=1e-6)
    np.testing.assert_allclose(value, np.array([left, right]) + off * slopes, rtol=1e-6)


@holomorphic
def test_no_overflow_far_off_the_axis(kind):
    z = np.array([1e3 + 1e3j, -1e3 + 1e3j, 1e3 - 1e3j, -1e3 - 1e3j], np.complex64)
    value, slope, *_ = compiled(kind)(z)
    assert np.all(np.isfinite(value))
    assert np.all(np.isfinite(slope))


@every
def test_primitive_on_the_real_axis(kind):
    z = np.concatenate([REAL, [-100.0, -40.0, 40.0, 100.0]])
    value, _, _, primitive_slope = compiled(kind)(z)
    np.testing.assert_allclose(primitive_slope[:-4], value[:-4], rtol=1e-12, atol=1e-12)
    # Two activations have their primitive by quadrature, which is coarser far out.
    np.testing.assert_allclose(primitive_slope[-4:], value[-4:], rtol=1e-9, atol=1e-9)


@holomorphic
def test_primitive_in_the_complex_plane(kind):
    value, _, _, primitive_slope = compiled(kind)(COMPLEX)
    np.testing.assert_allclose(primitive_slope, value, rtol=1e-12, atol=1e-12)


@every
def test_primitive_by_differences(kind):
    """The values themselves, not JAX's derivative of them."""
    step = 1e-5
    (_, _, ahead, _), (_, _, behind, _) = compiled(kind)(REAL + step), compiled(kind)(REAL - step)
    np.testing.assert_allclose((ahead - behind) / (2 * step), FORMULAS[kind](REAL), atol=1e-8)


# Changes from tiny to large, and inputs from the middle to where an activation saturates.
BASES = np.array([-30.0, -9.0, -1.0, 0.1, 0.6, 1.3, 4.0, 9.0, 30.0])
CHANGES = [1e-30, 1e-9, 1e-4, 0.3, -1e-4, -0.3, -2.0, 5.0]


@functools.cache
def compiled_change(kind):
    def change(a, d):
        activation = kind()
        return activation.change(activation.base(a), d)

    return jax.jit(change)


def long_change(kind, a, d):
    """The difference in extended precision, or by the slope where that would lose digits too."""
    wide = np.result_type(d, np.longdouble)
    a, d = a.astype(wide), d.astype(wide)
    step = wide.type(1e-4)
    slope = (FORMULAS[kind](a + step) - FORMULAS[kind](a - step)) / (2 * step)
    exact = np.where(np.abs(d) > 1e-6, FORMULAS[kind](a + d) - FORMULAS[kind](a), slope * d)
    return np.where(np.isfinite(exact), exact, 0)


@every
@dtypes
def test_change(kind, dtype):
    """f(a + d) - f(a), relative to d however small it is."""
    turn = np.exp(0.3j) if np.issubdtype(dtype, np.complexfloating) else 1
    a = np.repeat(BASES, len(CHANGES)).astype(np.finfo(dtype).dtype)
    d = (np.tile(CHANGES, len(BASES)) * turn).astype(dtype)
    found = compiled_change(kind)(jnp.asarray(a), jnp.asarray(d))
    assert found.dtype == dtype
    # The slope in extended precision errs by 1e-8 of the third derivative; float32 rounds a few
    # times, terms as large as the input's thirty.
    limit = 3e-7 if np.finfo(dtype).eps < 1e-10 else 3e-5
    error = np.abs(np.asarray(found) - long_change(kind, a, d)) / np.abs(d)
    np.testing.assert_array_less(error, limit)


@pytest.mark.parametrize("kind", [hp.ShiftedSigmoid, hp.DSiLU, hp.SiLU, hp.Tanh, hp.Identity])
def test_small_change_is_the_slope_times_it(kind):
    """To rounding in float64, and relative to the change of the activity itself."""
    a = np.linspace(-4, 4, 30)
    slope = compiled(kind)(a)[1]
    for d in (1e-18, -1e-18, 1e-18j):
        found = compiled_change(kind)(jnp.asarray(a), jnp.full(30, d))
        np.testing.assert_allclose(found, slope * d, rtol=1e-12, atol=1e-15 * abs(d))


@pytest.mark.parametrize("kind", [hp.ShiftedSigmoid, hp.Tanh])
@pytest.mark.parametrize("side", [-1, 1])
def test_change_of_a_saturated_unit_keeps_its_digits(kind, side):
    """Far out f is its limit less c exp(-r |z|), of which a plain difference would see nothing."""
    rate, c, sign = {
        hp.ShiftedSigmoid: (4, np.exp(2 * side), 1),
        hp.Tanh: (2, 2, 1),
    }[kind]
    a, d = np.full(4, 20.0 * side), np.array([1.0, -1.0, 0.01, 1e-12])
    found = compiled_change(kind)(jnp.asarray(a), jnp.asarray(d))
    expected = -side * sign * c * np.exp(-rate * 20.0) * np.expm1(-rate * side * d)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@every
@dtypes
def test_large_changes_do_not_overflow(kind, dtype):
    a = np.array([-1.0, 0.5, 3.0], np.finfo(dtype).dtype)
    for d in (-1e3, 1e3):
        found = compiled_change(kind)(jnp.asarray(a), jnp.full(3, d, dtype))
        with np.errstate(over="ignore"):
            expected = FORMULAS[kind](a + d) - FORMULAS[kind](a)
        # float32 numbers of size a thousand are 6e-5 apart.
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=3e-4)


class Quartic(hp.nn.AbstractActivation):
    """One's own activation: its primitive and its change come from defaults."""

    holomorphic = True

    def __call__(self, z):
        return z + z**3 / 10


def test_defaults_for_an_activation_of_ones_own():
    a = jnp.linspace(-3.0, 3.0, 7)
    found = jax.jit(lambda a: Quartic().primitive(a))(a)
    np.testing.assert_allclose(found, a**2 / 2 + a**4 / 40, rtol=1e-12, atol=1e-14)
    for d in (1e-20, 0.5, 0.3j):
        found = compiled_change(Quartic)(a, jnp.full(7, d))
        expected = d + (3 * a**2 * d + 3 * a * d**2 + d**3) / 10
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@every
def test_says_whether_it_is_holomorphic(kind):
    assert kind.holomorphic is (kind in HOLOMORPHIC)


@every
def test_cauchy_riemann(kind):
    """The change along i is i times that along 1, except across the seams of a function in pieces.

    So holomorphic functions have the mean-value property over a circle, and the others have not.
    """
    turns = 0.4 * np.exp(2j * np.pi * np.arange(32) / 32)
    centres = np.linspace(-3, 3, 10) + 0.05
    mean = compiled(kind)((centres[:, None] + turns).ravel())[0].reshape(10, 32).mean(axis=1)
    defect = np.abs(mean - FORMULAS[kind](centres)).max()
    assert defect < 1e-7 if kind in HOLOMORPHIC else defect > 1e-3


@every
def test_real_on_the_real_axis(kind):
    value, *_ = compiled(kind)(REAL.astype(complex))
    np.testing.assert_array_equal(value.imag, 0)
    np.testing.assert_allclose(value.real, compiled(kind)(REAL)[0], rtol=1e-14, atol=1e-15)


@every
def test_keeps_shape(kind):
    for shape in [(), (2, 3, 4)]:
        assert jax.eval_shape(kind(), jnp.zeros(shape)).shape == shape
