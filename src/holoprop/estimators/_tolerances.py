"""`tolerance="auto"`: how well phases must settle for the gradient that is wanted.

A gradient from N points at a radius has the bias of Eq. (9), which falls as (radius / rho)^N, and
settling until one's own error is below that is enough. The numbers are measured (docs/speed.md):
the least bias of the paper's networks at N = 2 and radius 1 is some 5e-3, of the five-layer CNN,
which is rho = 14. The error from not settling is up to 15 times the free phases' tolerance, which
is relative to the state and not to the response, and up to once the nudged phases'. In float32
tolerances are at least 3e-6 and 3e-5, for speed: a bias below some 5e-5 is not reached with them.
"""

import jax.numpy as jnp
import numpy as np

from holoprop._types import Array, Float, RealScalar
from holoprop.relaxation import AbstractRelaxation, default_tolerance

_RHO = 14.0
# Of the bias, for nudged and free phases; then the loosest, and in float32 the tightest, of either.
_NUDGED, _FREE = (0.4, 1e-2, 3e-5), (0.04, 1e-3, 3e-6)


def needed_tolerance(
    relaxation: AbstractRelaxation,
    *,
    nudged: bool,
    radius: float | Float[Array, ""],
    points: int,
    dtype: np.dtype,
    max_error: float | None = None,
) -> RealScalar | None:
    """The tolerance of a phase whose relaxation leaves it to the gradient, else None.

    Arguments:
        relaxation: Of the phase.
        nudged: Whether the phase is nudged.
        radius: Size of the nudge, real; its sign does not matter.
        points: N, or 1 for a one-sided estimate.
        dtype: Of the states' precision.
        max_error: The largest bias that is wanted, or None for that of radius and points.
    """
    if relaxation.tolerance != "auto":
        return None
    share, loosest, tightest = _NUDGED if nudged else _FREE
    if dtype == np.float64:
        tightest = default_tolerance(dtype)
    bias = (jnp.abs(jnp.asarray(radius, dtype)) / _RHO) ** points
    if max_error is not None:
        bias = jnp.minimum(bias, max_error)
    return jnp.clip(share * bias, tightest, loosest)
