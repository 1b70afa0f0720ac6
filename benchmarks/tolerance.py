"""How far a gradient is off for a phase that has not quite settled (docs/speed.md)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import holoprop as hp
from benchmarks.baselines import gradient_step
from benchmarks.cases import digit_batch, digits, initial_mlp, mlp_weights, picture_batch
from benchmarks.references import agreement, implicit_reference, reference
from benchmarks.rows import Row
from benchmarks.setting import Setting

_TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5)
# Radius and N of the perceptron's biases, and the last of them with float32's tolerances, free and
# nudged.
_CIRCLES = ((0.4, 2), (0.1, 2), (0.4, 10))
_PAIRS = ((1e-6, 1e-6), (1e-6, 1e-5), (3e-6, 3e-5), (1e-5, 1e-4), (1e-4, 1e-3))


def _mixed(tolerance: float | str | None) -> hp.Anderson:
    return hp.Anderson(hp.Sequential(tolerance=tolerance, max_steps=3000))


def tolerance_rows(setting: Setting) -> list[Row]:
    """What a tolerance costs in float64 and in float32, and the bias that it is measured by."""
    return _in_double(setting) + _perceptron(setting)


def _perceptron(setting: Setting) -> list[Row]:
    """Biases of the perceptron's settled gradients; then float32's error from not settling."""
    x, y = digit_batch(20)
    rows = []
    for weights, network in mlp_weights(setting).items():
        exact = implicit_reference(f"mlp-{setting.name}", network, x, y)
        circles = {
            (radius, points): reference(
                f"mlp-{setting.name}-{radius:g}-{points}",
                network,
                x,
                y,
                hp.Holomorphic(radius, points),
            )
            for radius, points in _CIRCLES
        }
        biases = {
            f"radius {radius:g}, N = {points}": agreement(settled, exact)
            for (radius, points), settled in circles.items()
        }
        radius, points = _CIRCLES[-1]
        errors = {}
        for free, nudged in _PAIRS:
            step = gradient_step(
                hp.Holomorphic(radius, points), free=_mixed(free), nudged=_mixed(nudged)
            )
            grads = step(network, x, y)[1]
            errors[f"{free:g} / {nudged:g}"] = agreement(grads, circles[radius, points])
        for what, found in (
            ("bias", biases),
            (f"float32, radius {radius:g}, N = {points}, error by tolerance free / nudged", errors),
        ):
            told = {name: alignment.relative_error for name, alignment in found.items()}
            rows.append(
                Row(
                    f"MNIST MLP, {len(y)} digits, {weights} weights: {what}",
                    "",
                    "; ".join(f"{name}: {error:.1e}" for name, error in told.items()),
                    None,
                    {"images": digits().name, "relative_error": told},
                )
            )
    return rows


def _in_double(setting: Setting) -> list[Row]:
    """Error over tolerance of either phase, and the bias beside it.

    On the multi-layer perceptron with calm weights (deviation 0.05) and with its initial ones, and
    on a narrow five-layer network.
    """
    with jax.enable_x64(True):
        x, y = (np.asarray(a, np.float64) if a.ndim > 1 else a for a in digit_batch(10))
        pictures, labels = picture_batch(4)
        calm = hp.mlp(setting.mlp, weight_std=0.05, key=jax.random.key(0))
        narrow = hp.vgg([8, 16, 16, 16], key=jax.random.key(0))
        cases: dict[str, tuple[Any, Any, Any, float, int]] = {
            "MLP, calm weights, radius 0.4, N = 4": (calm, x, y, 0.4, 4),
            "MLP, initial weights, radius 0.4, N = 4": (initial_mlp(setting), x, y, 0.4, 4),
            "narrow CNN, radius 1, N = 2": (
                narrow,
                jnp.asarray(pictures, jnp.float64),
                labels,
                1.0,
                2,
            ),
        }
        rows = []
        for name, (network, images, targets, radius, points) in cases.items():
            estimator = hp.Holomorphic(radius, points)

            def gradient(
                free: Any, nudged: Any, network: Any = network, images: Any = images,
                targets: Any = targets, estimator: Any = estimator,
            ) -> Any:  # fmt: skip
                step = gradient_step(estimator, free=_mixed(free), nudged=_mixed(nudged))
                return step(network, images, targets)[1]

            settled = gradient(None, None)
            exact = gradient_step(hp.Implicit(), free=_mixed(None))(network, images, targets)[1]
            bias = agreement(settled, exact).relative_error
            auto = agreement(gradient("auto", "auto"), settled).relative_error
            factors = {
                phase: [
                    agreement(
                        gradient(t, None) if phase == "free" else gradient(None, t), settled
                    ).relative_error
                    / t
                    for t in _TOLERANCES
                ]
                for phase in ("free", "nudged")
            }
            told = ", ".join(
                f"{phase} {min(f):.2g} to {max(f):.2g}" for phase, f in factors.items()
            )
            rows.append(
                Row(
                    f"{name}: error from not settling with tolerance auto",
                    f"below the bias, {bias:.1e}",
                    f"{auto:.1e}; error over tolerance, 1e-2 to 1e-5: {told}",
                    auto <= bias,
                    {"bias": bias, "auto": auto, "error_over_tolerance": factors},
                )
            )
    return rows
