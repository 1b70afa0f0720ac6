"""Run the benchmarks: all of them, some rows alone, or everything small to see that it runs."""

import argparse
import dataclasses
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import jax

from benchmarks import (
    backprop,
    budget,
    cnn,
    costs,
    deviation,
    limit,
    mnist,
    model,
    physical,
    precision,
    report,
    tolerance,
)
from benchmarks.rows import Row
from benchmarks.setting import FULL, QUICK, Setting

_RESULTS = Path(__file__).parent / "results"

_ROWS: dict[str, Callable[[Setting], list[Row]]] = {
    "mnist": mnist.speed_rows,
    "seeds": costs.seed_rows,
    "epoch": costs.epoch_rows,
    "limit": limit.limit_rows,
    "compile": costs.compile_rows,
    "memory": costs.memory_rows,
    "cnn": cnn.speed_rows,
    "backprop": backprop.backprop_rows,
    "tolerance": tolerance.tolerance_rows,
    "model": model.model_rows,
    "precision": precision.precision_rows,
    "deviation": deviation.deviation_rows,
    "budget": budget.budget_rows,
    "physical": physical.physical_rows,
    "references": backprop.reference_rows,
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=_ROWS, metavar="NAME", help=", ".join(_ROWS))
    parser.add_argument("--quick", action="store_true", help="tiny networks, once or twice each")
    parser.add_argument(
        "--output",
        type=Path,
        help="folder of the results; default benchmarks/results for a whole run, else a new "
        "temporary one",
    )
    return parser.parse_args()


def main() -> int:
    """Measure, and write after every group of rows; returns 1 if one could not be measured."""
    options = _options()
    setting = QUICK if options.quick else FULL
    if options.quick:
        # Nearly all of a smoke run is compilation; XLA reads this when it is first used.
        os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
    elif jax.default_backend() != "cpu":
        setting = dataclasses.replace(setting, whole_schedule=True)
    whole = options.rows is None and not options.quick
    folder = options.output or (
        _RESULTS if whole else Path(tempfile.mkdtemp(prefix="holoprop-benchmarks-"))
    )
    head, groups, failed = report.opening(), {}, False
    for name in options.rows or _ROWS:
        started = time.perf_counter()
        try:
            groups[name] = _ROWS[name](setting)
        # One row that fails must not cost the others, which take an hour.
        except Exception as error:
            traceback.print_exc()
            failed = True
            reason = " ".join(str(error).split())[:200]
            groups[name] = [Row(name, "", f"failed: {type(error).__name__}: {reason}", False)]
        path = report.write(folder, head, groups)
        for row in groups[name]:
            print(f"{row.what}\n    asked {row.asked or '-'}; measured {row.measured}; {row.met}")
        print(f"-- {name}: {time.perf_counter() - started:.0f} s", flush=True)
        # Each compiled kernel holds mapped memory, of which a process may have only so many pieces.
        jax.clear_caches()
    print(f"results: {path}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
