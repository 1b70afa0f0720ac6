"""Reference gradients in float64, computed once, and how far a gradient is from them."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import holoprop as hp
from benchmarks.baselines import Step, gradient_step
from benchmarks.cache import cached

# A batch is taken in parts of this many examples, so that float64's states stay small.
_PART = 16
_EXACT = hp.Anderson(hp.Sequential(tolerance=1e-12))


def in_double(tree: Any) -> Any:
    """Every real array of a tree in float64; to be called, and used, under `jax.enable_x64`."""
    return jax.tree.map(
        lambda a: jnp.asarray(np.asarray(a), jnp.float64) if eqx.is_inexact_array(a) else a, tree
    )


@functools.cache
def _exact_step(estimator: hp.AbstractEstimator) -> Step:
    """One program for all weights."""
    return gradient_step(estimator, free=_EXACT, nudged=_EXACT)


def reference(
    name: str,
    network: hp.LayeredNetwork,
    x: jax.Array,
    y: jax.Array,
    estimator: hp.AbstractEstimator,
) -> list[np.ndarray]:
    """The estimator's gradient in float64 at equilibria settled to 1e-12, array by array.

    Arguments:
        name: Of the cached file; it has to tell the estimator.
        network: In float32.
        x: [batch, *input_shape].
        y: [batch] class indices.
        estimator: Exact enough to compare with: `Implicit()`, or a small circle.
    """

    def compute() -> Any:
        with jax.enable_x64(True):
            step = _exact_step(estimator)
            exact, total, settled = in_double(network), None, 0
            for start in range(0, len(y), _PART):
                part = slice(start, start + _PART)
                (_, aux), grads = step(exact, in_double(x[part]), y[part])
                # A mean over a part counts by the examples that it is a mean of.
                count = len(y[part]) - int(aux.unsettled)
                weighted = jax.tree.map(lambda g, c=count: c * g, grads)
                total = weighted if total is None else jax.tree.map(jnp.add, total, weighted)
                settled += count
            return jax.tree.map(lambda g: np.asarray(g) / settled, total)

    return cached(name, (eqx.filter(network, eqx.is_inexact_array), x, y), compute)


def implicit_reference(
    name: str, network: hp.LayeredNetwork, x: jax.Array, y: jax.Array
) -> list[np.ndarray]:
    """The gradient by the adjoint linear solve."""
    return reference(f"{name}-implicit", network, x, y, hp.Implicit())


def small_circle_reference(
    name: str, network: hp.LayeredNetwork, x: jax.Array, y: jax.Array
) -> list[np.ndarray]:
    """The gradient by two nudges of 0.01 in deviation form.

    Its bias falls with the square of the nudge, to some 1e-4 of that at radius 1, and unlike the
    adjoint solve it needs no Krylov space of a convolutional network's states.
    """
    return reference(f"{name}-small-circle", network, x, y, hp.Holomorphic(0.01, 2))


def agreement(grads: Any, exact: Any) -> hp.diagnostics.Alignment:
    """Cosine and relative error against a reference, array by array, compared in float64."""
    leaves, structure = jax.tree.flatten(eqx.filter(grads, eqx.is_inexact_array))
    with jax.enable_x64(True):
        ours = jax.tree.unflatten(
            structure, [jnp.asarray(np.asarray(g, np.float64)) for g in leaves]
        )
        theirs = jax.tree.unflatten(
            structure, [jnp.asarray(g, jnp.float64) for g in jax.tree.leaves(exact)]
        )
        alignment = hp.gradient_alignment(ours, theirs)
    return jax.tree.map(float, alignment)
