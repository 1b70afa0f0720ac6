"""The five-layer network: the paper's schedule, the fast path, the authors, and more points."""

import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

import holoprop as hp
from benchmarks.baselines import gradient_step, paper_step
from benchmarks.cases import (
    cnn_weights,
    initial_cnn,
    picture_batch,
    pictures,
    trained_cnn,
)
from benchmarks.references import agreement, small_circle_reference
from benchmarks.rows import Row, no_worse, seconds, times
from benchmarks.setting import Setting
from benchmarks.timing import Timing, as_json, interleave, per_step

_RADIUS = 1.0
# Seconds a step of the authors' program takes on two cores.
_AUTHORS = 214.0


def _paper_calls(
    setting: Setting, network: hp.LayeredNetwork, x: jax.Array, y: jax.Array
) -> dict[str, Callable[[], Any]]:
    """The paper's schedule as a whole, or each of its phases with few steps and with some more.

    Phases are relaxed alone, because no gradient can be read from states that have hardly moved.
    """
    if setting.whole_schedule:
        step = paper_step(_RADIUS, 2, *setting.cnn_schedule)
        return {"paper, whole": lambda: step(network, x, y)}
    circle = jnp.array([_RADIUS, -_RADIUS], jnp.complex64)

    def phase(nudge: jax.Array | None, steps: int) -> Callable[[], Any]:
        relaxation = hp.Synchronous(steps=steps)

        @eqx.filter_jit
        def run(network: hp.LayeredNetwork, x: jax.Array, y: jax.Array) -> Any:
            if nudge is None:
                return hp.relax(network, x, relaxation=relaxation)
            return hp.relax(network, x, nudge=nudge, target=y, relaxation=relaxation)

        return lambda: run(network, x, y)

    more_free, more_nudged = setting.counted
    return {
        "paper, free": phase(None, 1),
        "paper, more free": phase(None, 1 + more_free),
        "paper, nudged": phase(circle, 1),
        "paper, more nudged": phase(circle, 1 + more_nudged),
    }


def _paper_time(setting: Setting, timings: dict[str, Timing]) -> float:
    """Seconds of the paper's whole schedule; of its steps alone where a part was scaled."""
    if setting.whole_schedule:
        return timings["paper, whole"].median
    return sum(
        count * per_step(timings[f"paper, {phase}"], timings[f"paper, more {phase}"], more)
        for phase, count, more in zip(
            ("free", "nudged"), setting.cnn_schedule, setting.counted, strict=True
        )
    )


def _seen(result: Any, exact: Any) -> dict[str, Any]:
    """Error, cosine and how the phases ended."""
    (_, aux), grads = result
    alignment = agreement(grads, exact)
    return {
        "relative_error": alignment.relative_error,
        "cosine": alignment.cosine,
        "unsettled": int(aux.unsettled),
        "steps": {phase: int(count) for phase, count in aux.steps.items()},
    }


def speed_rows(setting: Setting) -> list[Row]:
    """Seconds of one gradient by the paper's schedule and by the fast path, and their errors.

    The paper's schedule runs once as a whole, for its error; its time is that of a counted part,
    scaled, taken in turns with the fast path.
    """
    x, y = picture_batch(setting.batches[0])
    whole = (
        paper_step(_RADIUS, 2, *setting.cnn_schedule).lower(initial_cnn(setting), x, y).compile()
    )
    fast = {
        "N = 2": gradient_step(hp.Holomorphic(_RADIUS, 2)),
        "N = 4": gradient_step(hp.Holomorphic(_RADIUS, 4)),
    }
    counted = (
        f"{setting.counted[0]} of {setting.cnn_schedule[0]} and {setting.counted[1]} of "
        f"{setting.cnn_schedule[1]} steps timed and scaled"
    )
    if setting.whole_schedule:
        counted = "timed whole"
    rows = []
    # Rates that are too high for the batch make a network slow to settle.
    harsh = {"harshly trained": trained_cnn(setting, scaled=False)}
    for weights, network in (cnn_weights(setting) | harsh).items():
        calls = _paper_calls(setting, network, x, y)
        calls |= {name: lambda step=step, n=network: step(n, x, y) for name, step in fast.items()}
        timings = interleave(calls, repeats=setting.repeats)
        started = time.perf_counter()
        paper_result = jax.block_until_ready(whole(network, x, y))
        once = time.perf_counter() - started
        exact = small_circle_reference(f"cnn-{setting.name}", network, x, y)
        seen = {name: _seen(calls[name](), exact) for name in fast}
        seen["paper"] = _seen(paper_result, exact)
        paper, two, four = (
            _paper_time(setting, timings),
            timings["N = 2"].median,
            timings["N = 4"].median,
        )
        errors = {name: record["relative_error"] for name, record in seen.items()}
        exact_enough = no_worse(errors["N = 2"], errors["paper"])
        what = f"five-layer CNN, batch {len(y)}, radius {_RADIUS:g}, {weights} weights"
        data = {
            "images": pictures().name,
            "timings": as_json(timings),
            "paper_s": paper,
            "paper_whole_once_s": once,
            "gradients": seen,
        }
        rows += [
            Row(
                f"{what}: paper's schedule / fast path, N = 2",
                "15 or more",
                f"{times(paper / two)} ({seconds(paper)}, {counted} / {seconds(two)}; error "
                f"{errors['N = 2']:.4g}, paper's schedule {errors['paper']:.4g})",
                paper / two >= 15 and exact_enough,
                data,
            ),
            Row(
                f"{what}: authors' {_AUTHORS:g} s / fast path, N = 2",
                "80 or more",
                times(_AUTHORS / two),
                _AUTHORS / two >= 80 and exact_enough,
            ),
            Row(
                f"{what}: N = 4 / N = 2",
                "2.2 or less",
                f"{times(four / two)} ({seconds(four)} / {seconds(two)}; error "
                f"{errors['N = 4']:.1e} / {errors['N = 2']:.1e})",
                four / two <= 2.2,
            ),
        ]
    return rows
