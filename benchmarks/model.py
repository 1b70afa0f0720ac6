"""How the cost of a gradient grows, predicted in floating-point operations (docs/speed.md).

Nearly all of it is linear maps of couplings above the first. For a batch of B, a gradient of N
points applies all of them

    A = B (3 + 2 F + 2 N K + 4 (N - 1))

times to one example, where F and K are the free and nudged sweeps: a feed-forward start, the free
equilibrium's own maps and inputs (3), a forward and a feedback application for each sweep and each
of N rows (a complex point is two rows, and stands for its conjugate too), and reading the gradient.
With C operations and G numbers that are gathered into patches for it, in the mean of both
directions, that takes A (C / R + G / S). The two rates R and S are measured on two widths and turn
counts into seconds for all other settings.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

import holoprop as hp
from benchmarks.baselines import gradient_step
from benchmarks.cases import picture_batch
from benchmarks.rows import Row, seconds
from benchmarks.setting import Setting
from benchmarks.timing import as_json, interleave

# Batch, points and radius; then how many times as wide, and how many convolutions. The rates are
# those of the first two.
_MEASURED = ((16, 2, 1.0, 1.0, 4), (16, 2, 1.0, 0.5, 4))
_PREDICTED = (
    (8, 2, 1.0, 1.0, 4),
    (32, 2, 1.0, 1.0, 4),
    (16, 4, 1.0, 1.0, 4),
    (16, 2, 0.1, 1.0, 4),
    (16, 2, 1.0, 0.75, 4),
    (16, 2, 1.0, 1.5, 4),
    (16, 2, 1.0, 1.0, 6),
)


def one_way(network: hp.LayeredNetwork) -> tuple[int, float]:
    """C and G of the linear maps above the first coupling, for one example."""
    operations, gathered = 0, 0.0
    for coupling in network.couplings[1:]:
        z = jax.eval_shape(coupling.linear, jnp.zeros(coupling.in_shape))
        *kernel, below, above = coupling.weight.shape
        patch = math.prod(kernel) * math.prod(z.shape[:-1])
        operations += 2 * patch * below * above
        gathered += patch * (below + above) / 2
    return operations, gathered


def applications(*, batch: int, points: int, free: int, nudged: int) -> int:
    """A of a whole gradient, after so many sweeps."""
    return batch * (3 + 2 * free + 2 * points * nudged + 4 * (points - 1))


def model_rows(setting: Setting) -> list[Row]:
    """Predicted and measured times over batch, points, radius, width and depth."""
    if setting.name == "quick":
        settings = ((4, 2, 1.0, 1.0, 4), (4, 2, 1.0, 0.5, 4), (8, 2, 1.0, 1.0, 4))
    else:
        settings = (*_MEASURED, *_PREDICTED)
    calls, counts, told = {}, {}, {}
    for batch, points, radius, width, depth in settings:
        channels = setting.cnn if depth == 4 else setting.deep
        network = hp.vgg([round(width * c) for c in channels], key=jax.random.key(0))
        x, y = picture_batch(batch)
        step = gradient_step(hp.Holomorphic(radius, points))
        (_, aux), _ = step(network, x, y)
        free, nudged = int(aux.steps["free"]), int(aux.steps["nudged"])
        name = f"batch {batch}, N = {points}, radius {radius:g}, {depth + 1} layers, x{width:g}"
        calls[name] = lambda step=step, network=network, x=x, y=y: step(network, x, y)
        times = applications(batch=batch, points=points, free=free, nudged=nudged)
        counts[name] = times * np.array(one_way(network))
        told[name] = {"free": free, "nudged": nudged, "operations": int(counts[name][0])}
    timings = interleave(calls, repeats=setting.long_repeats)
    first = list(calls)[:2]
    # Seconds per operation and per number.
    prices = np.linalg.solve(
        np.stack([counts[name] for name in first]), [timings[name].median for name in first]
    )
    worst, lines = 0.0, []
    for name, timing in timings.items():
        ratio = timing.median / float(counts[name] @ prices)
        told[name]["measured_over_predicted"] = ratio
        worst = max(worst, abs(ratio - 1))
        lines.append(f"{name}: {seconds(timing.median)}, {ratio:.2f} of predicted")
    rates = 1e-9 / prices
    return [
        Row(
            "model in floating-point operations: predicted times",
            "within 30 %",
            f"{100 * worst:.0f} % at worst, at {rates[0]:.0f} GFLOP/s and {rates[1]:.2g}e9 numbers "
            f"a second, from the first two ({'; '.join(lines)})",
            worst <= 0.3,
            {"timings": as_json(timings), "predictions": told},
        )
    ]
