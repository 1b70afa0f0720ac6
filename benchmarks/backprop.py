"""The fast path against backpropagation, through the layers once and through time, and implicit."""

from typing import Any

import holoprop as hp
from benchmarks.baselines import (
    backpropagation_steps,
    gradient_step,
    implicit_step,
    unrolled_step,
)
from benchmarks.cases import cnn_weights, picture_batch, pictures
from benchmarks.references import agreement, small_circle_reference
from benchmarks.rows import Row, seconds, times
from benchmarks.setting import Setting
from benchmarks.timing import as_json, interleave

_RADIUS, _UNROLLED = 1.0, 30
_ALLOWED = {"initial": 12, "trained": 18}
_COSINE = 0.99


def backprop_rows(setting: Setting) -> list[Row]:
    """Seconds of one gradient of the five-layer network, and its cosine with the exact one.

    The exact gradient is that of the equilibrium. Backpropagation is of the feed-forward network of
    the same couplings, whose gradient is another one; the cosine of the two stands in the data.
    """
    rows = []
    for weights, network in cnn_weights(setting).items():
        for batch in setting.batches:
            rows.append(_compare(setting, weights, network, batch))
    return rows


def reference_rows(setting: Setting) -> list[Row]:
    """Backpropagation through time and the implicit gradient, beside, at the smaller batch."""
    x, y = picture_batch(setting.batches[0])
    rows = []
    for weights, network in cnn_weights(setting).items():
        exact = small_circle_reference(f"cnn-{setting.name}", network, x, y)
        rows += _references(setting, _what(len(y), weights), network, x, y, exact)
    return rows


def _what(batch: int, weights: str) -> str:
    return f"five-layer CNN, batch {batch}, N = 2, radius {_RADIUS:g}, {weights} weights"


def _compare(setting: Setting, weights: str, network: hp.LayeredNetwork, batch: int) -> Row:
    x, y = picture_batch(batch)
    small = batch == setting.batches[0]
    fast = gradient_step(hp.Holomorphic(_RADIUS, 2))
    forward = backpropagation_steps()
    calls: dict[str, Any] = {"fast": lambda: fast(network, x, y)}
    calls |= {f"BP, {name}": lambda s=step: s(network, x, y) for name, step in forward.items()}
    timings = interleave(calls, repeats=setting.repeats if small else setting.long_repeats)
    best = min((name for name in timings if name != "fast"), key=lambda n: timings[n].median)
    (_, aux), grads = calls["fast"]()
    _, feed_forward = calls[best]()
    exact = small_circle_reference(f"cnn-{setting.name}", network, x, y)
    cosine = agreement(grads, exact).cosine
    own, backward = timings["fast"].median, timings[best].median
    data = {
        "images": pictures().name,
        "timings": as_json(timings),
        "cosine": cosine,
        "cosine_of_backpropagation": agreement(feed_forward, exact).cosine,
        "unsettled": int(aux.unsettled),
        "steps": {phase: int(count) for phase, count in aux.steps.items()},
    }
    allowed = _ALLOWED[weights]
    return Row(
        f"{_what(batch, weights)}: fast path / BP step",
        f"{allowed} or less, cosine {_COSINE} or more",
        f"{times(own / backward)} ({seconds(own)} / {seconds(backward)}, {best}; cosine "
        f"{cosine:.4f})",
        own / backward <= allowed and cosine >= _COSINE,
        data,
    )


def _references(
    setting: Setting, what: str, network: hp.LayeredNetwork, x: Any, y: Any, exact: Any
) -> list[Row]:
    """BPTT and the implicit gradient, beside."""
    named = {
        f"BPTT over {_UNROLLED} sequential sweeps": unrolled_step(_UNROLLED),
        "implicit (60 Jacobian products in float32)": implicit_step(),
    }
    calls = {name: lambda s=step: s(network, x, y) for name, step in named.items()}
    timings = interleave(calls, repeats=setting.long_repeats)
    rows = []
    for name, call in calls.items():
        (_, aux), grads = call()
        cosine = agreement(grads, exact).cosine
        residuals = {phase: float(r.max()) for phase, r in aux.residuals.items()}
        rows.append(
            Row(
                f"{what}: {name}",
                "",
                f"{seconds(timings[name].median)} (cosine {cosine:.4f})",
                None,
                {"timing": timings[name].as_json(), "cosine": cosine, "residuals": residuals},
            )
        )
    return rows
