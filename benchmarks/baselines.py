"""What the fast path is compared with, built from the library's own plain parts.

Every gradient is one jitted program of network, images and labels, as a user would run it.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

import holoprop as hp
from benchmarks.convolutions import convolve, over_patches

Step = Callable[[hp.LayeredNetwork, jax.Array, jax.Array], Any]


def gradient_step(
    estimator: hp.AbstractEstimator,
    *,
    free: hp.AbstractRelaxation | None = None,
    nudged: hp.AbstractRelaxation | None = None,
    throw: bool = True,
) -> Step:
    """`(loss, aux), grads` of a batch, jitted as a whole; the relaxations default to the fast path.

    Arguments:
        estimator: Of the gradient.
        free: Relaxation of the free phase.
        nudged: Relaxation of the nudged phases.
        throw: Whether it is an error that no example settles.
    """

    @eqx.filter_jit
    def step(network: hp.LayeredNetwork, x: jax.Array, y: jax.Array) -> Any:
        return hp.value_and_grad(
            network, x, y, estimator=estimator, free=free, nudged=nudged, throw=throw
        )

    return step


def paper_step(radius: float, points: int, free_steps: int, nudged_steps: int) -> Step:
    """The paper's own schedule.

    Synchronous steps in fixed numbers, the free phase from zero, every point of the full circle in
    complex arithmetic, and states rather than deviations.
    """
    return gradient_step(
        hp.Holomorphic(radius, points, full_circle=True, form=hp.StateForm.PLAIN),
        free=hp.Synchronous(steps=free_steps),
        nudged=hp.Synchronous(steps=nudged_steps),
    )


def unrolled_step(steps: int) -> Step:
    """BPTT over sequential sweeps, which need the fewest of the plain relaxations."""
    return gradient_step(hp.Unrolled(steps), free=hp.Sequential())


def implicit_step() -> Step:
    """The adjoint linear solve, cut off after 60 Jacobian products.

    In float32 the residual of a large network's solve stalls far above the rounding that GMRES
    would wait for, so more restarts cost time and gain nothing.
    """
    return gradient_step(hp.Implicit(restart=20, max_restarts=3))


def _by_library(coupling: hp.nn.AbstractCoupling, s: jax.Array) -> jax.Array:
    return jax.vmap(coupling.linear)(s)


def _by_compiler(coupling: hp.nn.AbstractCoupling, s: jax.Array) -> jax.Array:
    if isinstance(coupling, hp.Conv):
        return convolve(s, coupling.weight, coupling.padding)
    return _by_library(coupling, s)


def _by_patches(coupling: hp.nn.AbstractCoupling, s: jax.Array) -> jax.Array:
    if isinstance(coupling, hp.Conv):
        return over_patches(s, coupling.weight, coupling.padding)
    return _by_library(coupling, s)


# Which of them is fastest depends on the machine and the batch; the baseline is the fastest.
_FORMULATIONS = {"library": _by_library, "compiler": _by_compiler, "patches": _by_patches}


def backpropagation_steps() -> dict[str, Step]:
    """Loss and gradient of the feed-forward network, in several formulations of its convolutions.

    The same couplings, poolings, activation and cost as the energy's, without feedback:
    s_l = activation(P(W s_{l-1}) + b), and the readout's cross-entropy.
    """

    def step_by(linear: Callable[[hp.nn.AbstractCoupling, jax.Array], jax.Array]) -> Step:
        def loss(network: hp.LayeredNetwork, x: jax.Array, y: jax.Array) -> jax.Array:
            s = x.reshape(-1, *network.input_shape)
            for coupling in network.couplings:
                s = network.activation(jax.vmap(coupling.drive)(linear(coupling, s)))
            assert network.readout is not None
            logits = jax.vmap(network.readout.drive)(linear(network.readout, s))
            return jnp.mean(jax.vmap(network.cost_function)(logits, y))

        return eqx.filter_jit(eqx.filter_value_and_grad(loss))

    return {name: step_by(linear) for name, linear in _FORMULATIONS.items()}
