"""How the cost of a gradient grows, predicted in floating-point operations (docs/speed.md).

Nearly all operations are linear maps of couplings above the first. With C the operations of all of
them once in one direction for one example, a gradient of N points takes, for a batch of B,

    B C (3 + 2 F + 2 N K + 4 (N - 1))

where F and K are the free and nudged sweeps: a feed-forward start, the free equilibrium's own maps
and inputs (3), a forward and a feedback application for each sweep and each of N rows (a complex
point is two rows, and stands for its conjugate too), and reading the gradient. One rate, measured
on the middle setting, turns operations into seconds for all others.
"""

import math

import jax
import jax.numpy as jnp

import holoprop as hp
from benchmarks.baselines import gradient_step
from benchmarks.cases import picture_batch
from benchmarks.rows import Row, seconds
from benchmarks.setting import Setting
from benchmarks.timing import as_json, interleave

# Batch, points and radius; then how many times as wide, and how many convolutions.
_MIDDLE = (16, 2, 1.0, 1.0, 4)
_OTHERS = (
    (8, 2, 1.0, 1.0, 4),
    (32, 2, 1.0, 1.0, 4),
    (16, 4, 1.0, 1.0, 4),
    (16, 2, 0.1, 1.0, 4),
    (16, 2, 1.0, 0.5, 4),
    (16, 2, 1.0, 1.0, 6),
)


def one_way(network: hp.LayeredNetwork) -> int:
    """Operations of the linear maps above the first coupling, once, for one example."""
    total = 0
    for coupling in network.couplings[1:]:
        z = jax.eval_shape(coupling.linear, jnp.zeros(coupling.in_shape))
        # Each entry of z is a sum of as many products as the weight has entries for a channel.
        total += 2 * math.prod(z.shape) * math.prod(coupling.weight.shape[:-1])
    return total


def operations(
    network: hp.LayeredNetwork, *, batch: int, points: int, free: int, nudged: int
) -> int:
    """Of a whole gradient, after so many sweeps."""
    return batch * one_way(network) * (3 + 2 * free + 2 * points * nudged + 4 * (points - 1))


def model_rows(setting: Setting) -> list[Row]:
    """Predicted and measured times over batch, points, radius, width and depth."""
    if setting.name == "quick":
        settings: tuple[tuple[int, int, float, float, int], ...] = ((4, 2, 1.0, 1.0, 4),) * 2
    else:
        settings = (_MIDDLE, *_OTHERS)
    calls, work, told = {}, {}, {}
    for batch, points, radius, width, depth in settings:
        channels = setting.cnn if depth == 4 else setting.deep
        network = hp.vgg([round(width * c) for c in channels], key=jax.random.key(0))
        x, y = picture_batch(batch)
        step = gradient_step(hp.Holomorphic(radius, points))
        (_, aux), _ = step(network, x, y)
        free, nudged = int(aux.steps["free"]), int(aux.steps["nudged"])
        name = f"batch {batch}, N = {points}, radius {radius:g}, {depth + 1} layers, x{width:g}"
        calls[name] = lambda step=step, network=network, x=x, y=y: step(network, x, y)
        work[name] = operations(network, batch=batch, points=points, free=free, nudged=nudged)
        told[name] = {"free": free, "nudged": nudged, "operations": work[name]}
    timings = interleave(calls, repeats=setting.long_repeats)
    reference = next(iter(calls))
    rate = work[reference] / timings[reference].median
    worst, lines = 0.0, []
    for name, timing in timings.items():
        ratio = timing.median / (work[name] / rate)
        told[name]["measured_over_predicted"] = ratio
        worst = max(worst, abs(ratio - 1))
        lines.append(f"{name}: {seconds(timing.median)}, {ratio:.2f} of predicted")
    return [
        Row(
            "model in floating-point operations: predicted times",
            "within 30 %",
            f"{100 * worst:.0f} % at worst, at {rate / 1e9:.0f} GFLOP/s ({'; '.join(lines)})",
            worst <= 0.3,
            {"timings": as_json(timings), "predictions": told},
        )
    ]
