"""Maps of the residual over the complex plane of nudges (Fig. 2b and 7), by parts."""

import jax.numpy as jnp
import numpy as np

import holoprop as hp
from holoprop.experiments._parts import Numbers, Parts
from holoprop.experiments._record import rounded

# A residual below which an equilibrium counts as found after the map's steps.
SETTLED = 1e-3


def residual_map(
    network: hp.LayeredNetwork,
    x: np.ndarray,
    label: np.ndarray,
    parts: Parts,
    *,
    name: str,
    centre: complex,
    width: float,
    points: int,
    free_steps: int,
    steps: int,
    lanes: int,
) -> np.ndarray:
    """Residual [points, points] of one example, imaginary parts upwards; NaN where it diverged.

    Round a real centre its lower half is the upper one's mirror image: s*(conj beta) is the
    conjugate of s*(beta), as networks are real on real states.

    Arguments:
        network: A holomorphic network.
        x: [1, ...].
        label: [1].
        parts: Keeps every chunk.
        name: Of the map among the parts.
        centre: Of the square.
        width: Its side.
        points: Grid points on a side.
        free_steps: Synchronous steps of the free phase.
        steps: Synchronous steps under each nudge.
        lanes: Nudges that go through one solve.
    """
    axis = np.linspace(-width / 2, width / 2, points)
    mirrored = centre.imag == 0
    rows = axis[points // 2 :] if mirrored else axis
    nudges = (centre + axis + 1j * rows[:, None]).reshape(-1)
    # One shape for all chunks: the last is filled up.
    chunks = -(-nudges.size // lanes)
    filled = np.pad(nudges, (0, chunks * lanes - nudges.size), mode="edge").reshape(chunks, lanes)
    free = hp.relax(network, x, relaxation=hp.Synchronous(steps=free_steps))

    def residual(chunk: np.ndarray) -> Numbers:
        found = hp.relax(
            network,
            x,
            nudge=jnp.asarray(chunk),
            target=label,
            init=free.state,
            relaxation=hp.Synchronous(steps=steps),
            batching=hp.Lockstep(),
        )
        values = np.array(found.residual[:, 0], float)
        values[~np.isfinite(values)] = np.nan
        return {"residual": rounded(values)}

    found = parts.each(name, filled, residual)
    flat = np.concatenate([part["residual"] for part in found])[: nudges.size]
    known = flat.reshape(len(rows), points)
    return np.concatenate([known[::-1][: points - len(rows)], known]) if mirrored else known


def is_settled(residual: np.ndarray) -> np.ndarray:
    """Where an equilibrium was found."""
    return np.nan_to_num(residual, nan=np.inf) < SETTLED


def frontier_point(residual: np.ndarray, width: float) -> complex | None:
    """The nudge of an unsettled grid point that is nearest to zero, or None."""
    axis = np.linspace(-width / 2, width / 2, len(residual))
    nudges = axis + 1j * axis[:, None]
    distance = np.where(is_settled(residual), np.inf, np.abs(nudges))
    nearest = np.unravel_index(np.argmin(distance), distance.shape)
    return complex(nudges[nearest]) if np.isfinite(distance[nearest]) else None
