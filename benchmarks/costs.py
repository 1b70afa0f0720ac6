"""What a program costs before and beside its steps: compilation, memory, more seeds, an epoch."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import holoprop as hp
from benchmarks.cases import digits, mlp_weights, scale_digits
from benchmarks.rows import Row, seconds, times
from benchmarks.setting import Setting
from benchmarks.timing import as_json, interleave
from holoprop.data import epoch_batches
from holoprop.runs import build_method, presets
from holoprop.training import train_step

_STEPS = ("10", "1000")
_SEEDS, _BATCH = 3, 20
_EPOCH_IMAGES = 60_000


def _in_fresh_process(setting: Setting, *arguments: str) -> dict[str, Any]:
    """The findings of `benchmarks.fresh`."""
    # A device's memory must be left to the child, and nothing compiled before may be reused.
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    quick = ["--quick"] if setting.name == "quick" else []
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.fresh", *arguments, *quick],
        cwd=Path(__file__).parents[1],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def compile_rows(setting: Setting) -> list[Row]:
    """Tracing and compiling a training step, each in a fresh process."""
    found = {steps: _in_fresh_process(setting, "compile", steps) for steps in _STEPS}
    found["tolerance"] = _in_fresh_process(setting, "compile")
    total = {name: record["trace_s"] + record["compile_s"] for name, record in found.items()}
    told = ", ".join(
        f"{seconds(value)} ({'to a tolerance' if name == 'tolerance' else name + ' steps'})"
        for name, value in total.items()
    )
    rows = [
        Row(
            "seven-layer CNN, N = 4: trace and compile the training step",
            "18 s or less, whatever the number of steps",
            told,
            max(total.values()) <= 18,
            found,
        )
    ]
    for points, asked in ((10, 6), (2, 4)):
        record = _in_fresh_process(setting, "compile", "--mlp", "--points", str(points))
        taken = record["trace_s"] + record["compile_s"]
        rows.append(
            Row(
                f"MNIST MLP, default settings, N = {points}: trace and compile the training step",
                f"{asked} s or less",
                seconds(taken),
                taken <= asked,
                record,
            )
        )
    return rows


def memory_rows(setting: Setting) -> list[Row]:
    """The largest memory of one gradient of the five-layer network at a large batch, N = 2.

    Programs of 10 and of 1000 steps are compared by what they set aside; that of 10 steps and the
    default one are also run, each in a process of its own, whose whole memory is counted.
    """
    few = _in_fresh_process(setting, "memory", _STEPS[0], "--run")
    many = _in_fresh_process(setting, "memory", _STEPS[1])
    default = _in_fresh_process(setting, "memory", "--run")
    largest = max(few["largest"], default["largest"]) / 1e9
    same = abs(few["temporaries"] - many["temporaries"]) <= 0.01 * few["temporaries"]
    return [
        Row(
            f"five-layer CNN, batch {setting.memory_batch}, N = 2: peak memory",
            "2.5 GB or less, the same for 10 and 1000 steps",
            f"{largest:.2f} GB (whole process; run of 10 steps {few['largest'] / 1e9:.2f}, to a "
            f"tolerance {default['largest'] / 1e9:.2f}); programs set aside "
            f"{few['temporaries'] / 1e9:.3f} GB for 10 steps, {many['temporaries'] / 1e9:.3f} GB "
            "for 1000",
            largest <= 2.5 and same,
            {"10 steps": few, "1000 steps": many, "tolerance": default},
        )
    ]


def _operations(program: Any, *arguments: Any) -> float:
    """Floating-point operations of a program, each loop's body counted once."""
    analysis = program.lower(*arguments).compile().compiled.cost_analysis()
    analysis = analysis[0] if isinstance(analysis, list) else analysis
    return float(analysis["flops"])


def seed_rows(setting: Setting) -> list[Row]:
    """Three networks, each with its own batch, in one vmapped gradient, against one of them."""
    preset = build_method(presets()["mnist-hep"].config, steps=1)
    return [
        _seed_row(
            setting,
            "preset",
            {"estimator": preset.estimator, "free": preset.free, "nudged": preset.nudged},
        ),
        _seed_row(setting, "default", {"estimator": hp.Holomorphic(0.4, 10)}),
    ]


def _seed_row(setting: Setting, name: str, settings: dict[str, Any]) -> Row:
    keys = jax.random.split(jax.random.key(0), _SEEDS)
    networks = eqx.filter_vmap(lambda key: hp.mlp(setting.mlp, key=key))(keys)
    images = digits()
    x = scale_digits(jnp.asarray(images.images[: _SEEDS * _BATCH])).reshape(_SEEDS, _BATCH, -1)
    y = jnp.asarray(images.labels[: _SEEDS * _BATCH]).reshape(_SEEDS, _BATCH)

    def gradient(network: Any, x: jax.Array, y: jax.Array) -> Any:
        return hp.value_and_grad(network, x, y, **settings)

    one = eqx.filter_jit(gradient)
    several = eqx.filter_jit(eqx.filter_vmap(gradient, in_axes=(eqx.if_array(0), 0, 0)))

    def alone(seed: int) -> Any:
        return jax.tree.map(lambda a: a[seed] if eqx.is_array(a) else a, (networks, x, y))

    each = [alone(seed) for seed in range(_SEEDS)]
    calls = {f"seed {seed}": lambda a=a: one(*a) for seed, a in enumerate(each)}
    calls["together"] = lambda: several(networks, x, y)
    timings = interleave(calls, repeats=3 * setting.repeats)
    single = float(np.mean([timings[f"seed {seed}"].median for seed in range(_SEEDS)]))
    together = timings["together"].median
    # The loop goes on until the slowest seed has settled.
    sweeps = [sum(int(count) for count in one(*a)[0][1].steps.values()) for a in each]
    waiting = max(sweeps) / float(np.mean(sweeps))
    work = _operations(several, networks, x, y) / _operations(one, *each[0])
    return Row(
        f"three seeds in one vmapped MNIST step / one seed, batch {_BATCH}, N = 10, initial "
        f"weights, {name} settings",
        "3 or less",
        f"{times(together / single)} ({seconds(together)} / {seconds(single)}; operations a sweep "
        f"x {work:.2f}, sweeps of the slowest seed x {waiting:.2f}, which is the ratio where three "
        "times the rows take no longer)",
        together / single <= 3,
        {"timings": as_json(timings), "sweeps": sweeps, "operations_ratio": work},
    )


def epoch_rows(setting: Setting) -> list[Row]:
    """An epoch of the preset `mnist-hep`, from a counted number of its training steps, scaled.

    Shuffling and handing over the images are in it, validation is not. Measured from the first
    step on and again after some epochs, since networks become slower to settle.
    """
    images = digits()
    method = build_method(presets()["mnist-hep"].config, steps=setting.epoch_steps)

    def run(network: hp.LayeredNetwork) -> Any:
        state = method.optimiser.init(eqx.filter(network, eqx.is_inexact_array))
        batches = epoch_batches(len(images), _BATCH, seed=0, epoch=1)
        for count, rows in zip(range(setting.epoch_steps), batches, strict=False):
            inputs, labels = images.images[rows], images.labels[rows]
            network, state, _ = train_step(
                method, network, state, inputs, labels, jax.random.key(count)
            )
        return network

    weights = mlp_weights(setting)
    calls = {name: lambda n=network: run(n) for name, network in weights.items()}
    timings = interleave(calls, repeats=setting.long_repeats)
    scale = _EPOCH_IMAGES / _BATCH / setting.epoch_steps
    epochs = {name: scale * timing.median for name, timing in timings.items()}
    told = ", ".join(f"{seconds(value)} ({name} weights)" for name, value in epochs.items())
    return [
        Row(
            "epoch of `mnist-hep` on 60,000 digits",
            "40 s or less",
            f"{told}; {setting.epoch_steps} of {_EPOCH_IMAGES // _BATCH} steps timed and scaled, "
            f"on {images.name}",
            max(epochs.values()) <= 40,
            {"timings": as_json(timings), "epoch_s": epochs},
        )
    ]
