"""The deviation form against the plain form in float64: the same physics, the same gradient."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import holoprop as hp
from benchmarks.baselines import gradient_step
from benchmarks.cases import digit_batch, picture_batch
from benchmarks.references import agreement, in_double
from benchmarks.rows import Row
from benchmarks.setting import Setting

_SWEEPS = hp.Anderson(hp.Sequential(tolerance=1e-13))
_FLOW = hp.GradientFlow(0.4, tolerance=1e-14)
# Two real and six complex points.
_POINTS = {"real points": hp.Holomorphic(0.4, 2), "complex points": hp.Holomorphic(0.4, 8)}


class Units(hp.AbstractEnergy):
    """An energy of one's own with a nested state: two groups of units, coupled by a tanh."""

    coupling: jax.Array
    drive: jax.Array

    def energy(self, state: Any, x: jax.Array) -> jax.Array:
        """E = |u|^2/2 + |v|^2/2 - tanh(A u) . v - x . B u."""
        u, v = state["low"], state["high"]
        pull = jnp.sum(jnp.tanh(self.coupling @ u) * v) + x @ self.drive @ u
        return (jnp.sum(u**2) + jnp.sum(v**2)) / 2 - pull

    def init_state(self, x: jax.Array) -> Any:
        """Zeros."""
        above, below = self.coupling.shape
        return {"low": jnp.zeros(below, x.dtype), "high": jnp.zeros(above, x.dtype)}

    def cost(self, state: Any, y: jax.Array) -> jax.Array:
        """Half the squared error of the upper group."""
        return jnp.sum((state["high"] - y) ** 2) / 2


def _small_mlp() -> Any:
    network = hp.mlp([6, 4, 4, 4], weight_std=0.3, key=jax.random.key(0))
    return network, jax.random.uniform(jax.random.key(1), (5, 6)), jnp.array([0, 1, 2, 3, 1])


def _digit_mlp() -> Any:
    network = hp.mlp([784, 256, 256, 10], weight_std=0.05, key=jax.random.key(0))
    return network, *digit_batch(10)


def _small_vgg() -> Any:
    return hp.vgg([8, 16, 16, 16], key=jax.random.key(0)), *picture_batch(4)


def _hopfield() -> Any:
    network = hp.HopfieldNetwork(
        24, clamped=range(6), outputs=range(20, 24), weight_std=0.1, key=jax.random.key(2)
    )
    x = jax.random.uniform(jax.random.key(3), (3, 6))
    return network, x, 0.5 * jax.random.uniform(jax.random.key(4), (3, 4))


def _units() -> Any:
    keys = jax.random.split(jax.random.key(5), 4)
    # Weights so small that a circle of radius 0.4 stays where equilibria are unique: at twice these
    # the two forms come to different ones, and their gradients differ by 8.8e-2.
    coupling = 0.2 * jax.random.normal(keys[0], (4, 5))
    energy = Units(coupling, jax.random.normal(keys[1], (3, 5)) / 2)
    x, y = jax.random.normal(keys[2], (3, 3)) / 2, jax.random.normal(keys[3], (3, 4)) / 2
    return energy, x, y


_CASES: dict[str, Callable[[], Any]] = {
    "MLP 6-4-4-4": _small_mlp,
    "MLP 784-256-256-10": _digit_mlp,
    "VGG 8-16-16-16": _small_vgg,
    "Hopfield network of 24 units": _hopfield,
    "energy of one's own": _units,
}


def deviation_rows(setting: Setting) -> list[Row]:
    """Relative difference of the two forms' gradients, whole, at well settled states."""
    rows = []
    names = list(_CASES) if setting.every_energy else ["MLP 6-4-4-4"]
    for name in names:
        with jax.enable_x64(True):
            energy, x, y = in_double(_CASES[name]())
            relaxation = _SWEEPS if energy.numerics().fixed_point_map else _FLOW
            errors = {}
            for points, circle in _POINTS.items():
                gradients = {
                    form: gradient_step(
                        hp.Holomorphic(circle.radius, circle.points, form=form),
                        free=relaxation,
                        nudged=relaxation,
                    )(energy, x, y)[1]
                    for form in (hp.StateForm.DEVIATION, hp.StateForm.PLAIN)
                }
                errors[points] = agreement(*gradients.values()).relative_error
        rows.append(
            Row(
                f"{name}, float64: deviation form against plain form, radius 0.4",
                "1e-10 or less",
                ", ".join(f"{points} {error:.1e}" for points, error in errors.items()),
                max(errors.values()) <= 1e-10,
                {"relative_error": errors},
            )
        )
    return rows
