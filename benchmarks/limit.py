"""The relaxation loop against the machine's own limit: the same convolutions, back to back."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import holoprop as hp
from benchmarks.baselines import gradient_step
from benchmarks.cases import initial_cnn, picture_batch
from benchmarks.convolutions import FORWARD, TRANSPOSED, Formulation
from benchmarks.rows import Row, seconds
from benchmarks.setting import Setting
from benchmarks.timing import Timing, as_json, interleave, per_step

_BATCH, _POINTS = 16, 2
# Sweeps in one call of the limit, so that starting it does not count.
_CHAIN = 4


def _best(
    formulations: dict[str, Formulation], s: jax.Array, conv: hp.Conv, *, repeats: int
) -> tuple[str, dict[str, Timing]]:
    """The fastest formulation of one map at these shapes, and the times of all."""
    calls = {}
    for name, one in formulations.items():
        program = jax.jit(lambda s, weight, one=one: one.apply(s, weight, conv.padding))
        weight = one.prepare(conv.weight)
        calls[name] = lambda program=program, weight=weight: program(s, weight)
    timings = interleave(calls, repeats=repeats)
    return min(timings, key=lambda name: timings[name].median), timings


def _product_time(conv: hp.Conv, rows: int, *, repeats: int) -> float:
    """Seconds of the bare matrix products of a convolution's shape, forward and transposed."""
    height, width, out = conv.linear_map().z_shape
    matrix = conv.weight.reshape(-1, out)
    patches = jnp.ones((rows * height * width, matrix.shape[0]), matrix.dtype)
    results = jnp.ones((rows * height * width, out), matrix.dtype)
    exact = jax.lax.Precision.HIGHEST
    forward = jax.jit(lambda a, b: jnp.matmul(a, b, precision=exact))
    transposed = jax.jit(lambda a, b: jnp.matmul(a, b.T, precision=exact))
    timings = interleave(
        {"forward": lambda: forward(patches, matrix), "back": lambda: transposed(results, matrix)},
        repeats=repeats,
    )
    return timings["forward"].median + timings["back"].median


def limit_of(
    network: hp.LayeredNetwork, rows: int, *, repeats: int
) -> tuple[Callable[[], Any], dict[str, Any]]:
    """A program of the maps of `_CHAIN` sweeps and nothing else, and how each map is formulated.

    A sweep applies every coupling above the first once forward and once transposed; forward and
    transposed follow each other on the same images, so that nothing is computed twice or left out.
    """
    convs = [c for c in network.couplings[1:] if isinstance(c, hp.Conv)]
    chosen, record = [], {}
    for index, conv in enumerate(convs, 2):
        s = jnp.ones((rows, *conv.in_shape), conv.weight.dtype)
        z = jnp.ones((rows, *conv.linear_map().z_shape), conv.weight.dtype)
        ahead, ahead_times = _best(FORWARD, s, conv, repeats=repeats)
        back, back_times = _best(TRANSPOSED, z, conv, repeats=repeats)
        chosen.append((FORWARD[ahead], TRANSPOSED[back]))
        record[f"convolution {index}"] = {
            "forward": {"best": ahead, **as_json(ahead_times)},
            "transposed": {"best": back, **as_json(back_times)},
            "bare_products_s": _product_time(conv, rows, repeats=repeats),
        }

    @jax.jit
    def chain(images: list[jax.Array], weights: list[Any]) -> list[jax.Array]:
        def sweep(_: int, images: list[jax.Array]) -> list[jax.Array]:
            return [
                back.apply(ahead.apply(s, w, conv.padding), w_back, conv.padding)
                for s, (w, w_back), conv, (ahead, back) in zip(
                    images, weights, convs, chosen, strict=True
                )
            ]

        return jax.lax.fori_loop(0, _CHAIN, sweep, images)

    key = jax.random.key(0)
    images = [jax.random.normal(key, (rows, *c.in_shape), c.weight.dtype) for c in convs]
    weights = [
        (ahead.prepare(c.weight), back.prepare(c.weight))
        for c, (ahead, back) in zip(convs, chosen, strict=True)
    ]
    return lambda: chain(images, weights), record


def limit_rows(setting: Setting) -> list[Row]:
    """Seconds of the default relaxation's sweep against those of its maps alone, in one run.

    A sweep's time is the difference of two whole gradients whose fixed numbers of sweeps differ in
    one phase, so that everything outside the loop cancels.
    """
    network = initial_cnn(setting)
    x, y = picture_batch(min(_BATCH, setting.batches[0]))
    few, many = setting.sweeps

    def gradient(free: int, nudged: int) -> Callable[[], Any]:
        step = gradient_step(
            hp.Holomorphic(1.0, _POINTS),
            free=hp.Anderson(hp.Sequential(steps=free)),
            nudged=hp.Anderson(hp.Sequential(steps=nudged)),
        )
        return lambda: step(network, x, y)

    free_limit, free_maps = limit_of(network, len(y), repeats=setting.repeats)
    nudged_limit, nudged_maps = limit_of(network, _POINTS * len(y), repeats=setting.repeats)
    timings = interleave(
        {
            "few": gradient(few, few),
            "more free": gradient(many, few),
            "more nudged": gradient(few, many),
            "free limit": free_limit,
            "nudged limit": nudged_limit,
        },
        repeats=setting.repeats,
    )
    rows = []
    for phase, maps in (("free", free_maps), ("nudged", nudged_maps)):
        sweep = per_step(timings["few"], timings[f"more {phase}"], many - few)
        limit = timings[f"{phase} limit"].median / _CHAIN
        bare = sum(entry["bare_products_s"] for entry in maps.values())
        rows.append(
            Row(
                f"share of the machine's limit in the relaxation loop, five-layer CNN, {phase} "
                f"phase, {len(y) * (_POINTS if phase == 'nudged' else 1)} images a sweep",
                "70 % or more",
                f"{limit / sweep:.0%} ({seconds(sweep)} a sweep, its maps alone "
                f"{seconds(limit)}; bare matrix products of those shapes {seconds(bare)})",
                limit / sweep >= 0.7,
                {"sweep_s": sweep, "limit_s": limit, "bare_products_s": bare, "maps": maps},
            )
        )
    rows[0].data["timings"] = as_json(timings)
    return rows
