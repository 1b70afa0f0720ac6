"""The modes that simulate physics, against bare loops of the same products, activations and draws.

Noise, oscillations and fixed steps cannot use the fast path: every step of every point is taken.
What a bare loop of them costs is what the machine asks for.
"""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import holoprop as hp
from benchmarks.cases import digit_batch, initial_mlp
from benchmarks.rows import Row, seconds
from benchmarks.setting import Setting
from benchmarks.timing import as_json, interleave

_BATCH, _RADIUS, _POINTS, _NOISE, _SEEDS = 20, 0.4, 10, 0.04, 3
_PER_POINT, _PERIODS = 30, 4


def _bare(
    network: Any, x: Any, y: Any, key: Any, *, free: int, nudges: Any, steps: int, noise: float
) -> Any:
    """States after free steps and after steps under each row of nudges in turn.

    Arguments:
        network: Its weights.
        x: [batch, ...].
        y: [batch].
        key: For the noise.
        free: Real steps without a nudge.
        nudges: Real or complex [rows, points]: the points of a row are simulated side by side.
        steps: Under each row.
        noise: Standard deviation, or 0 to draw none.
    """
    inner, readout = network.couplings[1:], network.readout
    first = network.couplings[0]
    drive = x.reshape(len(y), -1) @ first.weight.T + first.bias
    target = jax.nn.one_hot(y, readout.weight.shape[0])

    def product(s: Any, weight: Any) -> Any:
        if not jnp.iscomplexobj(s):
            return s @ weight
        both = jnp.stack([s.real, s.imag]) @ weight
        return jax.lax.complex(both[0], both[1])

    def step(nudge: Any, states: Any, key: Any) -> Any:
        u = [drive + 0 * states[0]]
        for coupling, below in zip(inner, states[:-1], strict=True):
            u.append(product(below, coupling.weight.T) + coupling.bias)
        for i, (coupling, above) in enumerate(zip(inner, states[1:], strict=True)):
            u[i] = u[i] + product(above, coupling.weight)
        if nudge is not None:
            z = product(states[-1], readout.weight.T) + readout.bias
            p = jnp.exp(z - jnp.max(z.real, -1, keepdims=True))
            error = p / jnp.sum(p, -1, keepdims=True) - target
            u[-1] = u[-1] - product(nudge[:, None, None] * error, readout.weight)
        if noise > 0:
            keys = jax.random.split(key, len(u))
            draws = [
                jax.random.normal(k, a.shape, jnp.float32) for k, a in zip(keys, u, strict=True)
            ]
            u = [a + noise * d for a, d in zip(u, draws, strict=True)]
        return [1 / (1 + jnp.exp(2 - 4 * a)) for a in u]

    def walk(states: Any, nudge: Any, key: Any, count: int) -> Any:
        def body(states: Any, i: Any) -> Any:
            return step(nudge, states, jax.random.fold_in(key, i)), None

        return jax.lax.scan(body, states, jnp.arange(count))[0]

    states = [jnp.zeros((len(y), len(c.bias)), x.dtype) for c in network.couplings]
    if free:
        states = walk(states, None, key, free)
    states = [jnp.broadcast_to(s, (nudges.shape[1], *s.shape)).astype(nudges.dtype) for s in states]

    def row(states: Any, at: Any) -> Any:
        nudge, i = at
        states = walk(states, nudge, jax.random.fold_in(key, i), steps)
        return states, states

    return jax.lax.scan(row, states, (nudges, jnp.arange(len(nudges))))[1]


def _modes(setting: Setting) -> dict[str, tuple[str, float, float, Any, dict[str, Any]]]:
    """By name: what it is, seconds asked for, noise, its step, and the bare loop's arguments."""
    circle = np.exp(2j * np.pi * np.arange(_POINTS) / _POINTS)
    nudges = jnp.asarray(_RADIUS * circle, jnp.complex64)
    free, nudged = setting.mlp_schedule
    long = 350 if setting.every_energy else 20

    def phases(free: int, nudged: int, noise: float) -> dict[str, Any]:
        return {
            "free": hp.Synchronous(steps=free, noise=noise),
            "nudged": hp.Synchronous(steps=nudged, noise=noise),
        }

    online = hp.Online(_RADIUS, _POINTS, steps_per_point=_PER_POINT, periods=_PERIODS - 1)
    periods = jnp.tile(nudges, _PERIODS)[:, None]
    return {
        "noise": (
            f"hEP with noise {_NOISE}, {free}/{nudged} steps",
            0.25,
            _NOISE,
            _step(hp.Holomorphic(_RADIUS, _POINTS), **phases(free, nudged, _NOISE)),
            {"free": free, "nudges": nudges[None], "steps": nudged},
        ),
        "classic": (
            f"classic EP with noise {_NOISE}, {long}/{long} steps",
            0.25,
            _NOISE,
            _step(hp.OneSided(_RADIUS), **phases(long, long, _NOISE)),
            {"free": long, "nudges": jnp.full((1, 1), _RADIUS), "steps": long},
        ),
        "online": (
            "online hEP, 30 steps a point, 3 periods and a warm-up",
            0.35,
            0.0,
            _step(online, nudged=hp.Synchronous(steps=1)),
            {"free": 0, "nudges": periods, "steps": _PER_POINT},
        ),
        "online with noise": (
            f"online hEP with noise {_NOISE}",
            0.55,
            _NOISE,
            _step(online, nudged=hp.Synchronous(steps=1, noise=_NOISE)),
            {"free": 0, "nudges": periods, "steps": _PER_POINT},
        ),
    }


def _step(estimator: Any, **phases: Any) -> Callable[..., Any]:
    """A jitted gradient of network, images, labels and key."""

    @eqx.filter_jit
    def step(network: Any, x: Any, y: Any, key: Any) -> Any:
        return hp.value_and_grad(network, x, y, estimator=estimator, key=key, throw=False, **phases)

    return step


def physical_rows(setting: Setting) -> list[Row]:
    """Seconds of one gradient in each mode, against the bare loop, and for three seeds at once."""
    x, y = digit_batch(_BATCH)
    network = initial_mlp(setting)
    networks = eqx.filter_vmap(lambda key: hp.mlp(setting.mlp, key=key))(
        jax.random.split(jax.random.key(1), _SEEDS)
    )
    key = jax.random.key(2)
    keys = jax.random.split(key, _SEEDS)
    rows = []
    for name, (what, asked, noise, step, arguments) in _modes(setting).items():
        bare = jax.jit(functools.partial(_bare, noise=noise, **arguments))
        several = eqx.filter_jit(
            lambda networks, keys, step=step: eqx.filter_vmap(
                lambda network, key: step(network, x, y, key)
            )(networks, keys)
        )
        calls = {
            "step": lambda step=step: step(network, x, y, key),
            "bare": lambda bare=bare: bare(network, x, y, key),
            "seeds": lambda several=several: several(networks, keys),
        }
        taken = interleave(calls, repeats=setting.repeats)
        time, floor, three = (taken[k].median for k in ("step", "bare", "seeds"))
        rows += [
            Row(
                f"MNIST MLP, batch {_BATCH}, {what}: a gradient",
                f"{asked} s or less, and 1.5 times a bare loop or less",
                f"{seconds(time)}, {time / floor:.2f} times a bare loop's {seconds(floor)}",
                time <= asked and time <= 1.5 * floor,
                {"mode": name} | as_json(taken),
            ),
            Row(
                f"{what}: {_SEEDS} seeds in one program / one seed",
                "2.5 or less",
                f"{three / time:.2f} ({seconds(three)} / {seconds(time)})",
                three <= 2.5 * time,
                {"mode": name} | as_json(taken),
            ),
        ]
    return rows
