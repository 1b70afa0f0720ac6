"""`stability_map`: for which complex nudges does a network settle?"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from holoprop._types import Array, Complex, Float, Int, PyTree
from holoprop.energies import AbstractEnergy
from holoprop.relaxation import AbstractRelaxation, physical_relaxation, relax


class StabilityMap(eqx.Module):
    """Residuals over a square of the complex plane.

    Attributes:
        nudges: Complex [points, points]: beta, real part along the columns, imaginary part upwards
            along the rows.
        residual: Real [points, points]: the largest of the batch's residuals.
        result: Integers [points, points]: the worst of the batch's `RelaxationResult`s.
    """

    nudges: Complex[Array, "points points"]
    residual: Float[Array, "points points"]
    result: Int[Array, "points points"]


def stability_map(
    energy: AbstractEnergy,
    x: PyTree[Any],
    target: PyTree[Any],
    *,
    width: float = 3.0,
    points: int = 61,
    relaxation: AbstractRelaxation | None = None,
) -> StabilityMap:
    """Relax under each nudge of a square grid round zero (Fig. 2b and 7).

    Every nudge starts from the free equilibrium; one row of the grid is one batched solve.

    Arguments:
        energy: An `AbstractEnergy` with a cost, holomorphic.
        x: Inputs with a leading batch axis.
        target: Labels or targets, [batch, ...].
        width: Side of the square, positive; default 3, as in Fig. 2b.
        points: Grid points on a side, 2 or more; default 61.
        relaxation: Default 200 synchronous steps where the energy's numerics are a fixed-point map,
            as in Fig. 2b, else 2000 steps of `GradientFlow(0.1)`.

    Returns:
        A `StabilityMap`.

    Raises:
        ValueError: If width or points are out of range, or as `relax` does.

    Example:
        >>> import jax, holoprop as hp
        >>> network = hp.mlp([6, 4, 4, 4], key=jax.random.key(0))
        >>> found = hp.stability_map(network, jnp.ones((1, 6)), jnp.array([0]), points=5)
        >>> found.residual.shape
        (5, 5)

    Reference: Laborieux and Zenke (2022), Fig. 2b, Appendix D.
    """
    if not 0 < width < float("inf"):
        raise ValueError(f"width must be positive; got {width!r}.")
    if not isinstance(points, int) or points < 2:
        raise ValueError(f"points must be a whole number, 2 or more; got {points!r}.")
    relaxation = physical_relaxation(energy) if relaxation is None else relaxation
    axis = np.linspace(-width / 2, width / 2, points)
    # A grid point of zero imaginary part would turn real; all stay complex alike.
    nudges = jnp.asarray(axis + 1j * axis[:, None])
    free = relax(energy, x, relaxation=relaxation)
    rows = [
        relax(energy, x, nudge=row, target=target, init=free.state, relaxation=relaxation)
        for row in nudges
    ]
    residual = jnp.stack([jnp.max(row.residual, axis=1) for row in rows])
    result = jnp.stack([jnp.max(row.result, axis=1) for row in rows])
    return StabilityMap(nudges, residual, result)
