"""`relax`: let a batch settle and look at the result."""

from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from holoprop._checks import check_finite
from holoprop._tree import as_parameters
from holoprop._types import Inexact, Key, PyTree, State
from holoprop._varying import of_own_share
from holoprop.energies import AbstractEnergy
from holoprop.relaxation._arguments import (
    as_batch,
    check_arguments,
    label_classes,
    out_of_range,
)
from holoprop.relaxation._batching import Batching, with_batching
from holoprop.relaxation._defaults import default_relaxation
from holoprop.relaxation._holomorphy import (
    Defects,
    holomorphy_defects,
    holomorphy_faults,
    is_broken,
)
from holoprop.relaxation._problem import Problem, TargetObjective
from holoprop.relaxation._relaxation import AbstractRelaxation
from holoprop.relaxation._solution import Equilibrium, RelaxationResult
from holoprop.relaxation._solve import Phase, solve

# A Python, NumPy or JAX number, or an array of them.
Nudge: TypeAlias = complex | np.number | np.ndarray | Inexact[jax.Array, "*points"]


def relax(
    energy: AbstractEnergy,
    x: PyTree[Any],
    *,
    nudge: Nudge = 0.0,
    target: PyTree[Any] | None = None,
    init: State | None = None,
    relaxation: AbstractRelaxation | None = None,
    batching: Batching | None = None,
    key: Key | None = None,
    throw: bool = False,
) -> Equilibrium:
    """Let a batch of examples settle under the total energy F = E + beta l.

    The equilibrium solves dF/ds = 0 (Eq. 1). A real nudge is computed in real arithmetic, a
    complex one in complex arithmetic; a Python or NumPy number whose imaginary part is zero counts
    as real.

    Arguments:
        energy: An `AbstractEnergy` or one of the networks.
        x: Inputs with a leading batch axis on every leaf; [batch, *input_shape] for a network.
        nudge: beta, real or complex: a scalar, or [points] for several at once; default 0, the free
            phase.
        target: [batch] class indices or [batch, ...] vectors, as the energy's cost takes them;
            needed for a nudge other than 0. Under `jax.jit`, where values are not known before, an
            example with a class index out of range counts as diverged.
        init: State to start from, [batch, ...], real or complex; default the energy's own.
        relaxation: Default `Sequential()` where the energy's numerics are a fixed-point map, as a
            `LayeredNetwork`'s are, else `Descent()`.
        batching: Which examples step together: `Lockstep()`, `Lockstep(count)` or `Slots(count)`.
            The default is `Lockstep()` where the computation runs on an accelerator; on a processor
            it is `Slots(8)` for a large network and `Lockstep(count)` for others.
        key: PRNG key; needed if the relaxation has noise.
        throw: Whether to raise if an example does not settle.

    Returns:
        An `Equilibrium`. Not settling is a code in its `result`. Under `jax.jit`, all examples of
        an energy that turns out not to be holomorphic, under a complex nudge, count as diverged.

    Raises:
        ValueError: If shapes, types or values do not fit, before anything is computed; or if the
            energy turns out not to be holomorphic, under a complex nudge.
        RuntimeError: With `throw`, if an example does not settle, and under `jax.jit` for labels
            out of range and energies that turn out not to be holomorphic.

    Example:
        >>> import holoprop as hp
        >>> network = hp.mlp([6, 4, 4, 4], key=jax.random.key(0))
        >>> equilibrium = hp.relax(network, jnp.ones((3, 6)))
        >>> equilibrium.result.tolist()
        [0, 0, 0]

    Reference: Laborieux and Zenke (2022), Section 2 and Appendix B.
    """
    energy = as_parameters(energy)
    x, target = as_batch("x", x), as_batch("target", target)
    energy, x, target, init = of_own_share((energy, x, target, init), throw=throw)
    relaxation = default_relaxation(energy, mixed=False) if relaxation is None else relaxation
    check_finite(nudge=nudge)
    beta = _as_nudge(nudge)
    if target is None and beta is not None:
        raise ValueError(
            f"nudge {nudge} needs a target to nudge towards: give target=labels, or nudge=0."
        )
    targets = {} if target is None else {"target": target}
    init = check_arguments(energy, x, targets=targets, init=init, key=key, noise=relaxation.noise)
    problem = Problem(energy, x, None if beta is None else TargetObjective(target))
    equilibrium, defects = _relax(problem, relaxation, batching, beta, init, key)
    broken, messages = is_broken(defects), holomorphy_faults(energy, equilibrium.state, defects)
    if not isinstance(broken, jax.core.Tracer) and np.any(broken):
        raise ValueError(messages[int(np.argmax(broken))])
    if throw:
        classes = None if beta is None else label_classes(energy, x, target)
        others = [
            out_of_range(target, classes),
            jnp.any(equilibrium.result != RelaxationResult.SETTLED),
        ]
        faults = jnp.concatenate([broken, jnp.stack(others)])
        messages += [
            f"labels are out of range: they must be from 0 to {(classes or 1) - 1}.",
            "relax: an example did not settle; look at the residuals with throw=False, allow more "
            "steps, or see whether a class index is out of range.",
        ]
        state = eqx.branched_error_if(
            equilibrium.state, jnp.any(faults), jnp.argmax(faults), messages
        )
        equilibrium = eqx.tree_at(lambda e: e.state, equilibrium, state)
    return equilibrium


def _as_nudge(
    nudge: Nudge,
) -> Inexact[jax.Array, "*points"] | None:
    """The nudge in its own arithmetic, or None for the free phase."""
    if isinstance(nudge, jax.Array):
        # Its arithmetic is the caller's choice; its value is known unless it is traced.
        beta = nudge
        traced = isinstance(nudge, jax.core.Tracer)
        known_zero = not traced and nudge.ndim == 0 and np.asarray(nudge) == 0
    else:
        # Looked at before it becomes an array of JAX's, whose values a caller's jit would hide.
        value = np.asarray(nudge)
        value = value if np.any(value.imag) else value.real
        beta = jnp.asarray(value)
        known_zero = value.ndim == 0 and value == 0
    if beta.ndim > 1:
        raise ValueError(f"nudge has shape {beta.shape}, but must be a scalar or [points].")
    return None if known_zero else beta


@eqx.filter_jit
def _relax(
    problem: Problem,
    relaxation: AbstractRelaxation,
    batching: Batching | None,
    nudge: Inexact[jax.Array, "*points"] | None,
    init: State | None,
    key: Key | None,
) -> tuple[Equilibrium, Defects]:
    complex_nudge = nudge is not None and jnp.issubdtype(nudge.dtype, jnp.complexfloating)
    is_complex = complex_nudge or not problem.is_real
    if is_complex:
        problem.check_complex()
    if nudge is not None:
        dtype = problem.dtype
        nudge = nudge.astype(jnp.result_type(dtype, jnp.complex64) if complex_nudge else dtype)
        if nudge.ndim == 1 and init is not None:
            init = jax.tree.map(lambda s: jnp.broadcast_to(s, (nudge.size, *s.shape)), init)
    equilibrium = with_batching(
        batching,
        problem,
        lambda batching: solve(problem, Phase(relaxation, batching, key), nudge=nudge, init=init),
    )
    if not is_complex:
        return equilibrium, {}
    # Where one lane settled best.
    residual = equilibrium.residual
    lane = jnp.argmin(jnp.where(jnp.isfinite(residual), residual, jnp.inf))
    state = jax.tree.map(
        lambda s: s.reshape(-1, *s.shape[residual.ndim :])[lane], equilibrium.state
    )
    defects = holomorphy_defects(problem, state, lane % problem.batch)
    broken = jnp.any(is_broken(defects))
    residual = jnp.where(broken, jnp.nan, residual)
    result = jnp.where(broken, RelaxationResult.DIVERGED, equilibrium.result)
    return Equilibrium(equilibrium.state, residual, equilibrium.steps, result), defects
