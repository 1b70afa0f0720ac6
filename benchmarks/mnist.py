"""The multi-layer perceptron on digits: the paper's schedule, the fast path, and the authors."""

import holoprop as hp
from benchmarks.baselines import gradient_step, paper_step
from benchmarks.cases import digit_batch, digits, mlp_weights
from benchmarks.references import agreement, implicit_reference
from benchmarks.rows import Row, no_worse, seconds, times
from benchmarks.setting import Setting
from benchmarks.timing import as_json, interleave
from holoprop.runs import build_method, presets

_BATCH, _RADIUS, _POINTS = 20, 0.4, 10
# Seconds a step of the authors' program takes on two cores.
_AUTHORS = 0.174


def speed_rows(setting: Setting) -> list[Row]:
    """Seconds of one gradient, and its error against the implicit gradient in float64.

    Once by the library's default relaxations, and once as the preset `mnist-hep` has it, which
    settles only as far as training needs.
    """
    x, y = digit_batch(_BATCH)
    estimator = hp.Holomorphic(_RADIUS, _POINTS)
    preset = build_method(presets()["mnist-hep"].config, steps=1)
    steps = {
        "paper": paper_step(_RADIUS, _POINTS, *setting.mlp_schedule),
        "default": gradient_step(estimator),
        "preset": gradient_step(preset.estimator, free=preset.free, nudged=preset.nudged),
    }
    rows = []
    for weights, network in mlp_weights(setting).items():
        calls = {name: lambda step=step, n=network: step(n, x, y) for name, step in steps.items()}
        timings = interleave(calls, repeats=3 * setting.repeats)
        exact = implicit_reference(f"mlp-{setting.name}", network, x, y)
        errors, seen = {}, {}
        for name, call in calls.items():
            (_, aux), grads = call()
            errors[name] = agreement(grads, exact).relative_error
            seen[name] = {
                "relative_error": errors[name],
                "unsettled": int(aux.unsettled),
                "steps": {phase: int(count) for phase, count in aux.steps.items()},
            }
        data = {"images": digits().name, "timings": as_json(timings), "gradients": seen}
        for name in ("default", "preset"):
            time, paper = timings[name].median, timings["paper"].median
            error = f"error {errors[name]:.1e}, paper's schedule {errors['paper']:.1e}"
            exact_enough = no_worse(errors[name], errors["paper"])
            what = f"MNIST MLP, batch {_BATCH}, N = {_POINTS}, {weights} weights, {name} settings"
            rows += [
                Row(
                    f"{what}: paper's schedule / fast path",
                    "10 or more",
                    f"{times(paper / time)} ({seconds(paper)} / {seconds(time)}; {error})",
                    paper / time >= 10 and exact_enough,
                    data,
                ),
                Row(
                    f"{what}: authors' {_AUTHORS} s / fast path",
                    "10 or more",
                    f"{times(_AUTHORS / time)}",
                    _AUTHORS / time >= 10 and exact_enough,
                ),
            ]
    return rows
