"""`tolerance="auto"`: how well phases must settle for the gradient that is wanted.

A gradient from N points at a radius has the bias of Eq. (9), which falls as (radius / rho)^N, where
rho is the radius up to which the circle's states are analytic. Settling better than that bias is
work for nothing. The rule takes rho = 2, beyond what the paper's toy has (about 1, design figures
and tests/test_exactness.py), and a thirtieth of that bias for the nudged phases, a tenth of it for
the free phase, whose residual is relative to the state and not to the response.
"""

import jax.numpy as jnp
import numpy as np

from holoprop._relaxation import AbstractRelaxation, default_tolerance
from holoprop._types import Array, Float, RealScalar

_RHO = 2.0
# Of the bias, for nudged and free phases; and the loosest that either may be.
_NUDGED, _FREE = (0.03, 1e-2), (0.003, 1e-3)


def needed_tolerance(
    relaxation: AbstractRelaxation,
    *,
    nudged: bool,
    radius: float | Float[Array, ""],
    points: int,
    dtype: np.dtype,
    relative_to_state: bool = False,
) -> RealScalar | None:
    """The tolerance of a phase whose relaxation leaves it to the gradient, else None.

    Arguments:
        relaxation: Of the phase.
        nudged: Whether the phase is nudged.
        radius: Size of the nudge, real; its sign does not matter.
        points: N, or 1 for a one-sided estimate.
        dtype: Of the states' precision.
        relative_to_state: Whether nudged residuals are relative to the state, of which the response
            is a part of the radius' size, instead of to the response itself.
    """
    if relaxation.tolerance != "auto":
        return None
    share, loosest = _NUDGED if nudged else _FREE
    bias = (jnp.abs(jnp.asarray(radius, dtype)) / _RHO) ** points
    if relative_to_state:
        bias = bias * jnp.minimum(jnp.abs(radius), 1)
    return jnp.clip(share * bias, default_tolerance(dtype), loosest)
