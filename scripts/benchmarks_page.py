"""Write docs/benchmarks.md from what `make bench` has left in benchmarks/results.

make bench && python scripts/benchmarks_page.py

Rows that were measured once more lie in benchmarks/results/again, and stand in their place.
"""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "cpu.json"
AGAIN = ROOT / "benchmarks" / "results" / "again" / "cpu.json"
PAGE = ROOT / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

    make bench

measures every row of this page in one go, on an otherwise idle machine, and writes
`benchmarks/results/`; `python -m benchmarks --rows NAME ...` measures some, and `--quick` all of
them at toy sizes, to see that they run. The JSON beside the table there has quartiles, rounds and
versions. This page is made from it by `scripts/benchmarks_page.py`.

{machine}

- **fast path**: `value_and_grad` as it comes, unless a row names settings. **Default settings** are
  those of `value_and_grad`, **preset settings** those of `mnist-hep`: tolerances 1e-3 and 2e-2.
- **schedule**: the paper's, run by this library: 250 and 60 synchronous steps (200 and 50 for the
  digits), every nudge in complex arithmetic, plain states.
- **error**: relative, against the implicit gradient in float64.
- **authors**: seconds of a step of the authors' program on two cores of another machine.
- **BP**: a step of the feed-forward network of the same layers, by the faster of the library's
  convolution and of one by patches.
- **asked**: the figure that was set before the work; **met**: whether it is reached, and for the
  digits' network with an error no larger than the schedule's.

{met} of {asked} rows that were asked for are met. [speed.md](speed.md) says where the time goes.
"""
SECTIONS = {
    "The digits' network, 784-256-256-10": ("mnist", "seeds", "epoch"),
    "First calls and memory": ("compile", "memory"),
    "Convolutional networks against the paper's schedule and the authors' program": (
        "limit",
        "cnn",
    ),
    "Against backpropagation, and the references": ("backprop", "references"),
    "How exact": ("tolerance", "precision", "deviation"),
    "The error budget": ("budget",),
    "Physical modes: noise, and oscillations that never stop": ("physical",),
    "The model of cost": ("model",),
}
MET = {True: "yes", False: "no", None: ""}


def page(results: dict[str, Any], again: dict[str, Any] | None) -> str:
    """The whole page."""
    rows, machine, newer = results["rows"], results["machine"], ""
    if again is not None:
        groups = list(dict.fromkeys(row["group"] for row in again["rows"]))
        rows = [row for row in rows if row["group"] not in groups] + again["rows"]
        newer = f" Rows {', '.join(groups)} once more: commit {again['commit'][:12]}."
    asked = [row for row in rows if row["met"] is not None]
    described = (
        f"{machine['processor']}, {machine['processors']} processors, {machine['memory_gb']} GB, "
        f"JAX device {machine['device']}; a float32 matrix product reaches "
        f"{machine['product_gflops']:.0f} GFLOP/s. JAX {machine['versions']['jax']}, Python "
        f"{machine['versions']['python']}; `{results['command']}`, commit "
        f"{results['commit'][:12]}, {results['date'][:10]}. Medians of interleaved runs, float32 "
        f"unless a row says otherwise.{newer}"
    )
    met = sum(row["met"] for row in asked)
    parts = [HEAD.format(machine=described, met=met, asked=len(asked))]
    for title, groups in SECTIONS.items():
        parts += [f"## {title}\n", f"`--rows {' '.join(groups)}`\n"]
        parts.append("| what | asked | measured | met |\n|---|---|---|---|")
        for row in rows:
            if row["group"] in groups:
                cells = (row["what"], row["asked"], row["measured"], MET[row["met"]])
                parts.append("| " + " | ".join(c.replace("|", r"\|") for c in cells) + " |")
        parts.append("")
    return "\n".join(parts)


if __name__ == "__main__":
    found = [
        json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
        for file in (RESULTS, AGAIN)
    ]
    PAGE.write_text(page(*found), encoding="utf-8")
