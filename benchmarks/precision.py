"""What float32 and bfloat16 leave of the seven-layer network's gradient, by radius."""

from typing import Any

import holoprop as hp
from benchmarks.baselines import Step, gradient_step
from benchmarks.cases import initial_deep, picture_batch, pictures
from benchmarks.references import agreement, reference
from benchmarks.rows import Row
from benchmarks.setting import Setting

_IMAGES = 10
# Of the plain form, whose residuals in float32 need not fall to a tolerance.
_PLAIN_STEPS = 60


def _low() -> hp.AbstractRelaxation:
    """The default relaxation, in low precision."""
    return hp.Anderson(hp.Sequential(tolerance="auto", precision="bfloat16"))


def _steps(radius: float) -> dict[str, Step]:
    """The default, the plain form, and low precision in one phase and in both."""
    estimator = hp.Holomorphic(radius, 2)
    plain = hp.Holomorphic(radius, 2, form=hp.StateForm.PLAIN)
    return {
        "float32": gradient_step(estimator),
        "plain": gradient_step(plain, nudged=hp.Sequential(steps=_PLAIN_STEPS), throw=False),
        "nudged": gradient_step(estimator, nudged=_low()),
        "both": gradient_step(estimator, free=_low(), nudged=_low()),
    }


_ROWS = {
    "float32": ("float32", 0.9999),
    "nudged": ("bfloat16 linear maps in the nudged phases", 0.9999),
    "both": ("bfloat16 linear maps in both phases", 0.999),
    "plain": (f"float32, plain form, {_PLAIN_STEPS} sequential sweeps a nudged phase", None),
}


def _least(record: dict[str, Any], images: int) -> float | None:
    """The least cosine of a layer, or None where no image settled in every phase."""
    return None if record["unsettled"] == images else min(record["layers"].values())


def precision_rows(setting: Setting) -> list[Row]:
    """The least cosine of any weight's or bias's gradient with that of float64.

    The reference is the same estimator at the same radius in float64, so that bias, which is no
    matter of precision, is in both.
    """
    network = initial_deep(setting)
    x, y = picture_batch(_IMAGES)
    found: dict[str, dict[float, dict[str, Any]]] = {name: {} for name in _ROWS}
    for radius in setting.radii:
        exact = reference(
            f"deep-{setting.name}-{radius:g}", network, x, y, hp.Holomorphic(radius, 2)
        )
        for name, step in _steps(radius).items():
            (_, aux), grads = step(network, x, y)
            layers = agreement(grads, exact).layers
            found[name][radius] = {
                "layers": {layer: cosine for layer, (cosine, _) in layers.items()},
                "unsettled": int(aux.unsettled),
                "steps": {phase: int(count) for phase, count in aux.steps.items()},
            }
    rows = []
    for name, (what, asked) in _ROWS.items():
        least = [_least(record, len(y)) for record in found[name].values()]
        rows.append(
            Row(
                f"seven-layer CNN, {_IMAGES} images, N = 2, {what}: least cosine of a layer's "
                f"gradient with float64's at radius {', '.join(f'{r:g}' for r in setting.radii)}",
                "" if asked is None else f"{asked} or more at each",
                ", ".join("nothing settles" if c is None else f"{c:.6f}" for c in least),
                None if asked is None else all(c is not None and c >= asked for c in least),
                {"images": pictures().name, "radii": found[name]},
            )
        )
    return rows
