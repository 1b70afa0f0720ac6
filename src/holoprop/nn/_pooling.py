"""Pooling: one value from each window of a feature map, and the feedback through it.

Windows do not overlap (the stride is the window, as in Table 5); rows and columns that fill no
window are left out. Each pooling gives its value and its derivative with respect to every entry of
the window. The feedback to the layer below is that derivative times the activity above, which makes
it the exact derivative of the energy rather than an unpooling of its own. Each also has a
difference form: how value and derivative change from a base computed once, without subtracting two
nearly equal numbers.
"""

import abc
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._tree import expm1
from holoprop._types import Array, Inexact, PyTree


class AbstractPooling(eqx.Module):
    """A pooling over non-overlapping square windows.

    Attributes:
        holomorphic: Whether it is complex-differentiable.
        window: Side of the window in pixels, and the stride.
    """

    holomorphic: eqx.AbstractClassVar[bool]
    window: eqx.AbstractVar[int]

    @abc.abstractmethod
    def __call__(self, z: Inexact[Array, "h w c"]) -> Inexact[Array, "h2 w2 c"]:
        """The pooled map; h2 = h // window, w2 = w // window."""

    @abc.abstractmethod
    def derivative(self, z: Inexact[Array, "h w c"]) -> Inexact[Array, "h w c"]:
        """Of each window's pooled value with respect to each of its entries; zero in a cut rim."""

    @abc.abstractmethod
    def base(self, z: Inexact[Array, "h w c"]) -> PyTree:
        """What `change` needs of the input `z`, computed once."""

    @abc.abstractmethod
    def change(
        self, base: PyTree, zeta: Inexact[Array, "h w c"]
    ) -> tuple[Inexact[Array, "h2 w2 c"], Inexact[Array, "h w c"]]:
        """How value and derivative change from `z` to `z + zeta`, accurate relative to `zeta`."""

    def feedback(
        self, z: Inexact[Array, "h w c"], above: Inexact[Array, "h2 w2 c"]
    ) -> Inexact[Array, "h w c"]:
        """The transposed derivative at `z` applied to activities `above`."""
        return self.derivative(z) * self.spread(above, z.shape)

    def spread(
        self, above: Inexact[Array, "h2 w2 c"], shape: tuple[int, ...]
    ) -> Inexact[Array, "h w c"]:
        """Repeat each value over its window, in a map of the given shape; zeros in a cut rim."""
        height, width, channels = above.shape
        windows = (height, self.window, width, self.window, channels)
        return _unwindows(jnp.broadcast_to(above[:, None, :, None, :], windows), shape)


def _windows(z: Array, window: int) -> Array:
    """[h, w, c] as [h2, window, w2, window, c], the rim cut off."""
    height, width = z.shape[0] // window, z.shape[1] // window
    cut = z[: height * window, : width * window]
    return cut.reshape(height, window, width, window, z.shape[2])


def _unwindows(windows: Array, shape: tuple[int, ...]) -> Array:
    """The inverse of `_windows`, with zeros in the rim."""
    height, window, width, _, channels = windows.shape
    z = windows.reshape(height * window, width * window, channels)
    return jnp.pad(z, [(0, shape[0] - z.shape[0]), (0, shape[1] - z.shape[1]), (0, 0)])


def _check_window(window: int) -> None:
    if not isinstance(window, int) or window < 1:
        raise ValueError(f"window must be a whole number of pixels, 1 or more; got {window!r}.")


class SoftmaxPool(AbstractPooling):
    """Sum of the window's entries weighted by their softmax (Appendix B.2).

    y = sum_i p_i z_i with p = softmax(z / temperature); average pooling for large temperatures,
    max pooling for small ones.

    Arguments:
        window: Side of the window in pixels, and the stride; 1 or more, default 2.
        temperature: Positive, in units of the input; default 1.

    Raises:
        ValueError: If the window or the temperature is out of range.

    Example:
        >>> z = jnp.array([[0.0, 0.0], [0.0, 4.0]])[..., None]
        >>> round(float(SoftmaxPool()(z)[0, 0, 0]), 3)
        3.792
    """

    holomorphic: ClassVar[bool] = True
    window: int = eqx.field(default=2, static=True)
    temperature: float = eqx.field(default=1.0, static=True)

    def __check_init__(self) -> None:
        _check_window(self.window)
        if not self.temperature > 0:
            raise ValueError(
                f"temperature must be positive; got {self.temperature!r}. MaxPool is its limit 0."
            )

    def _weights(self, windows: Array) -> Array:
        # The softmax does not change when its inputs shift together; a real shift that carries no
        # derivative keeps it holomorphic, where a complex maximum would not.
        shift = jax.lax.stop_gradient(jnp.max(jnp.real(windows), axis=(1, 3), keepdims=True))
        e = jnp.exp((windows - shift) / self.temperature)
        return e / jnp.sum(e, axis=(1, 3), keepdims=True)

    def __call__(self, z: Inexact[Array, "h w c"]) -> Inexact[Array, "h2 w2 c"]:
        """The pooled map; h2 = h // window, w2 = w // window."""
        windows = _windows(z, self.window)
        return jnp.sum(self._weights(windows) * windows, axis=(1, 3))

    def derivative(self, z: Inexact[Array, "h w c"]) -> Inexact[Array, "h w c"]:
        """p_i (1 + (z_i - y) / temperature)."""
        windows = _windows(z, self.window)
        p = self._weights(windows)
        y = jnp.sum(p * windows, axis=(1, 3), keepdims=True)
        return _unwindows(p * (1 + (windows - y) / self.temperature), z.shape)

    def base(self, z: Inexact[Array, "h w c"]) -> PyTree:
        """The weights p, and z less its pooled value, both by windows."""
        windows = _windows(z, self.window)
        p = self._weights(windows)
        return p, windows - jnp.sum(p * windows, axis=(1, 3), keepdims=True)

    def change(
        self, base: PyTree, zeta: Inexact[Array, "h w c"]
    ) -> tuple[Inexact[Array, "h2 w2 c"], Inexact[Array, "h w c"]]:
        """With e = expm1(zeta / T) and S = sum(p e), p changes by p (e - S) / (1 + S)."""
        p, centred = base
        windows = _windows(zeta, self.window)
        e = expm1(windows / self.temperature)
        total = jnp.sum(p * e, axis=(1, 3), keepdims=True)
        dp = p * (e - total) / (1 + total)
        # The p's changes add up to nothing, so they may as well be taken of the centred inputs.
        dy = jnp.sum(dp * centred + (p + dp) * windows, axis=(1, 3), keepdims=True)
        moved = (windows - dy) / self.temperature
        dm = dp * (1 + centred / self.temperature + moved) + p * moved
        return dy[:, 0, :, 0], _unwindows(dm, zeta.shape)


class AveragePool(AbstractPooling):
    """The window's mean.

    Arguments:
        window: Side of the window in pixels, and the stride; 1 or more, default 2.

    Raises:
        ValueError: If the window is out of range.

    Example:
        >>> z = jnp.array([[0.0, 0.0], [0.0, 4.0]])[..., None]
        >>> float(AveragePool()(z)[0, 0, 0])
        1.0
    """

    holomorphic: ClassVar[bool] = True
    window: int = eqx.field(default=2, static=True)

    def __check_init__(self) -> None:
        _check_window(self.window)

    def __call__(self, z: Inexact[Array, "h w c"]) -> Inexact[Array, "h2 w2 c"]:
        """The pooled map; h2 = h // window, w2 = w // window."""
        return jnp.mean(_windows(z, self.window), axis=(1, 3))

    def derivative(self, z: Inexact[Array, "h w c"]) -> Inexact[Array, "h w c"]:
        """1 / window^2 everywhere."""
        ones = jnp.ones_like(_windows(z, self.window))
        return _unwindows(ones / self.window**2, z.shape)

    def base(self, z: Inexact[Array, "h w c"]) -> PyTree:
        """Nothing: the pooling is linear."""
        return ()

    def change(
        self, base: PyTree, zeta: Inexact[Array, "h w c"]
    ) -> tuple[Inexact[Array, "h2 w2 c"], Inexact[Array, "h w c"]]:
        """The mean of the change; the derivative stays."""
        return self(zeta), jnp.zeros_like(zeta)


class MaxPool(AbstractPooling):
    """The window's largest entry. Not holomorphic: it serves real nudges only.

    Arguments:
        window: Side of the window in pixels, and the stride; 1 or more, default 2.

    Raises:
        ValueError: If the window is out of range.

    Example:
        >>> z = jnp.array([[0.0, 0.0], [0.0, 4.0]])[..., None]
        >>> float(MaxPool()(z)[0, 0, 0])
        4.0
    """

    holomorphic: ClassVar[bool] = False
    window: int = eqx.field(default=2, static=True)

    def __check_init__(self) -> None:
        _check_window(self.window)

    def _weights(self, windows: Array) -> Array:
        """One at the largest real part; shared equally where several are."""
        real = jnp.real(windows)
        largest = (real == jnp.max(real, axis=(1, 3), keepdims=True)).astype(real.dtype)
        return largest / jnp.sum(largest, axis=(1, 3), keepdims=True)

    def __call__(self, z: Inexact[Array, "h w c"]) -> Inexact[Array, "h2 w2 c"]:
        """The pooled map; h2 = h // window, w2 = w // window."""
        windows = _windows(z, self.window)
        return jnp.sum(jax.lax.stop_gradient(self._weights(windows)) * windows, axis=(1, 3))

    def derivative(self, z: Inexact[Array, "h w c"]) -> Inexact[Array, "h w c"]:
        """One at the largest entry, shared equally where several are, zero elsewhere."""
        weights = self._weights(_windows(z, self.window)).astype(z.dtype)
        return _unwindows(weights, z.shape)

    def base(self, z: Inexact[Array, "h w c"]) -> PyTree:
        """The weights, and z less its pooled value, both by windows."""
        windows = _windows(z, self.window)
        weights = self._weights(windows)
        return weights, windows - jnp.max(windows, axis=(1, 3), keepdims=True)

    def change(
        self, base: PyTree, zeta: Inexact[Array, "h w c"]
    ) -> tuple[Inexact[Array, "h2 w2 c"], Inexact[Array, "h w c"]]:
        """The largest of the inputs less the old largest; a new winner's weights less the old."""
        weights, below = base
        moved = below + _windows(zeta, self.window)
        return jnp.max(moved, axis=(1, 3)), _unwindows(self._weights(moved) - weights, zeta.shape)
