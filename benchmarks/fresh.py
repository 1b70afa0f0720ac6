"""What only a process of its own can measure: a first compilation, and the largest memory.

`python -m benchmarks.fresh compile 10` prints its findings as one line of JSON.
"""

import argparse
import json
import re
import resource
import sys
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import holoprop as hp
from benchmarks.baselines import gradient_step
from benchmarks.cases import (
    initial_cnn,
    initial_deep,
    initial_mlp,
    normalise_pictures,
    random_pictures,
    scale_digits,
)
from benchmarks.setting import FULL, QUICK, Setting
from holoprop.training import Method, train_step

_COMPILE_BATCH = 16


def _relaxation(steps: int | None) -> hp.AbstractRelaxation | None:
    """So many fixed steps of the default relaxation, or the default itself."""
    return None if steps is None else hp.Anderson(hp.Sequential(steps=steps))


def compile_training_step(
    setting: Setting, steps: int | None, *, points: int, perceptron: bool
) -> dict[str, Any]:
    """Seconds to trace and to compile a training step, of the seven-layer network or of MNIST's."""
    relaxation = _relaxation(steps) or hp.Anderson(hp.Sequential(tolerance="auto"))
    if perceptron:
        network, radius, transform = initial_mlp(setting), 0.4, scale_digits
        inputs, labels = np.zeros((20, 28, 28), np.uint8), np.zeros(20, np.int32)
    else:
        network, radius, transform = initial_deep(setting), 1.0, normalise_pictures
        inputs, labels = random_pictures(_COMPILE_BATCH)
    estimator = hp.Holomorphic(radius, points)
    optimiser = optax.sgd(0.1, momentum=0.9)
    method = Method(estimator, relaxation, relaxation, optimiser, transform)
    state = method.optimiser.init(eqx.filter(network, eqx.is_inexact_array))
    key = jax.random.key(0)
    started = time.perf_counter()
    lowered = train_step.lower(method, network, state, inputs, labels, key)
    traced = time.perf_counter()
    lowered.compile()
    return {"trace_s": traced - started, "compile_s": time.perf_counter() - traced}


def _largest_memory() -> int:
    """Bytes: the device's own count where it keeps one, else the process's largest resident set."""
    counted = jax.devices()[0].memory_stats()
    if counted is not None:
        return int(counted["peak_bytes_in_use"])
    # Linux hands ru_maxrss down from the process that starts another; VmHWM is the process's own.
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if found is not None:
            return 1024 * int(found.group(1))
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else 1024 * largest


def memory(setting: Setting, steps: int | None, *, run: bool) -> dict[str, Any]:
    """Bytes that the program of one gradient sets aside, and after a run all that was in use."""
    network = initial_cnn(setting)
    # Reading a data set would take more memory than what is measured.
    images, labels = random_pictures(setting.memory_batch)
    x, y = normalise_pictures(jnp.asarray(images)), jnp.asarray(labels)
    relaxation = _relaxation(steps)
    step = gradient_step(hp.Holomorphic(1.0, 2), free=relaxation, nudged=relaxation)
    compiled = step.lower(network, x, y).compile()
    found = {"temporaries": compiled.compiled.memory_analysis().temp_size_in_bytes}
    if run:
        jax.block_until_ready(compiled(network, x, y))
        found["largest"] = _largest_memory()
    return found


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["compile", "memory"])
    parser.add_argument("steps", type=int, nargs="?", help="fixed steps; default: to a tolerance")
    parser.add_argument("--run", action="store_true", help="run the program (memory)")
    parser.add_argument("--mlp", action="store_true", help="the MNIST network (compile)")
    parser.add_argument("--points", type=int, default=4, help="N (compile)")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    setting = QUICK if options.quick else FULL
    if options.what == "compile":
        found = compile_training_step(
            setting, options.steps, points=options.points, perceptron=options.mlp
        )
    else:
        found = memory(setting, options.steps, run=options.run)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
