"""The shared table: every energy, relaxation and estimator has a row here.

`tests/relaxation/test_relax.py` relaxes its networks by every relaxation, `tests/estimators/
test_exactness.py` crosses estimators, energies and precisions.
"""

from typing import Any

import jax
import jax.numpy as jnp
from zoo import circuit, five_points

import holoprop as hp

# A depth of three keeps the programs small.
RELAXATIONS = {
    "synchronous": hp.Synchronous(),
    "sequential": hp.Sequential(),
    "gradient flow": hp.GradientFlow(0.5),
    "anderson synchronous": hp.Anderson(hp.Synchronous(), depth=3),
    "anderson sequential": hp.Anderson(hp.Sequential(), depth=3),
    "anderson gradient flow": hp.Anderson(hp.GradientFlow(0.5), depth=3),
}


def hopfield() -> tuple[Any, Any, Any]:
    network = hp.HopfieldNetwork(
        24, clamped=range(6), outputs=range(20, 24), weight_std=0.1, key=jax.random.key(2)
    )
    x = jax.random.uniform(jax.random.key(202), (3, 6))
    return network, x, 0.5 * jax.random.uniform(jax.random.key(203), (3, 4))


def little_vgg() -> tuple[Any, Any, Any]:
    network = hp.vgg([2, 3], input_shape=(8, 8, 1), classes=3, key=jax.random.key(0))
    return network, jax.random.uniform(jax.random.key(1), (2, 8, 8, 1)), jnp.array([0, 2])


def squared_error_mlp() -> tuple[Any, Any, Any]:
    network = hp.mlp([5, 4, 3], cost=hp.SquaredError(), weight_std=0.4, key=jax.random.key(0))
    return network, jax.random.uniform(jax.random.key(1), (2, 5)), jnp.array([0, 2])


# Each with the precisions in which it is left to the slow tests.
ENERGIES = {
    "mlp": (five_points, ()),
    "squared error": (squared_error_mlp, ("float32",)),
    "vgg": (little_vgg, ("float32", "float64")),
    "hopfield": (hopfield, ("float32",)),
    "circuit": (circuit, ()),
}
# Each with its largest relative error in float64 and in float32. In float64 the bias decides: first
# and second order in the nudge for the classic estimators, the twelfth power of the radius for the
# others. In float32 settled states carry some 1e-6 of their size in rounding, and a difference of
# states divides that by the nudge.
ESTIMATORS = {
    "one-sided": (hp.OneSided(1e-3), 1e-2, 5e-2),
    "centred": (hp.Centred(1e-2), 1e-3, 1e-2),
    "holomorphic": (hp.Holomorphic(0.1, 12), 1e-8, 1e-3),
    "online": (hp.Online(0.1, 12, steps_per_point=150, periods=1), 1e-8, 1e-3),
    "unrolled": (hp.Unrolled(300), 1e-8, 1e-4),
}
