"""Whether a problem is holomorphic where it settled: a look at one point, at next to no cost.

`holoprop.diagnostics` has a thorough look, at many points and on circles round them. This one is
taken along with every gradient by complex nudges, of energies that do not declare what they are.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from holoprop._tree import real_dtype, to_complex
from holoprop._types import Array, Bool, Float, Int, PyTree, State
from holoprop.energies import AbstractEnergy
from holoprop.relaxation._problem import REMEDY, LinearObjective, Problem

# How far from the equilibrium, in units of the largest value of a leaf. Off the real axis, because
# on it some functions pass: the slope of (s - conj(s)) ** 2 is zero there. Off the equilibrium,
# because there the slope is a rounding of zero, and nothing relative to it can be said.
_EXCURSION = 0.05
# The golden ratio, whose multiples spread evenly over a turn.
_GOLDEN = 0.6180339887498949
# For each function that was looked at, real [leaves]: how far it is from holomorphic.
Defects = dict[str, Float[Array, " leaves"]]


def holomorphy_defects(problem: Problem, state: State, example: int | Int[Array, ""]) -> Defects:
    """How far energy and cost are from holomorphic, near one example's equilibrium.

    A holomorphic f pulls i c back to i times what it pulls c back to, by the Cauchy-Riemann
    equations (Eq. 11). The defect of a leaf is the largest difference between the two over its
    units, relative to the largest of their values: some roundings for a holomorphic function, of
    order one for another, at most 1; not a number where f is not finite.

    What it cannot see at one point: pieces that are holomorphic each (ReLU, max), and what JAX
    takes no derivative of (`sign`, `stop_gradient`).

    Arguments:
        problem: The batch.
        state: Where the example settled, without a batch axis, real or complex. Units that are not
            finite count as zero.
        example: Which of the batch; best one that did settle.

    Returns:
        For "energy" (or "step", for numerics that are a fixed-point map) and "cost", a defect for
        each leaf of the state; nothing if the energy declares what it is.
    """
    energy = problem.energy
    if energy.declares_holomorphy():
        return {}
    x, objective = jax.tree.map(lambda a: a[example], (problem.x, problem.objective))
    functions: dict[str, Callable[[State], PyTree[Any]]] = {}
    if energy.numerics().fixed_point_map:
        functions["step"] = lambda s: _step(energy, x, s)
    else:
        functions["energy"] = lambda s: energy.energy(s, x)
    if objective is not None and not isinstance(objective, LinearObjective):
        functions["cost"] = lambda s: objective.cost(energy, s)
    near = _excursion(state)
    # Products in a low precision, an accelerator's default, are rounded by more than what is
    # looked for.
    with jax.default_matmul_precision("highest"):
        defects = {name: _defects(function, near) for name, function in functions.items()}
    # A number to look at, which nobody means to differentiate.
    return jax.lax.stop_gradient(defects)


def is_broken(defects: Defects) -> Bool[Array, " parts"]:
    """Which of all defects are more than rounding; the functions in the order of their names."""
    broken = [defects[name] > jnp.sqrt(_eps(defects[name])) for name in sorted(defects)]
    return jnp.concatenate(broken) if broken else jnp.zeros(0, bool)


def holomorphy_faults(energy: AbstractEnergy, state: State, defects: Defects) -> list[str]:
    """The sentence that belongs to each of `is_broken`.

    Arguments:
        energy: That was looked at.
        state: Any of its states, or a batch of them.
        defects: What was found.
    """
    places = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(state)]
    return [
        f"the {name} of {type(energy).__name__} breaks the Cauchy-Riemann equations in "
        f"state{place}, so it is not holomorphic: {REMEDY}"
        for name in sorted(defects)
        for place in places
    ]


def _step(energy: AbstractEnergy, x: PyTree[Any], state: State) -> State:
    """One synchronous free step of one example."""
    numerics = energy.numerics()
    dynamics = numerics.dynamics(numerics.prepare(x), None, numerics.maps())
    return dynamics.state(dynamics.synchronous(dynamics.extend(state), None)[0])


def _defects(function: Callable[[State], PyTree[Any]], state: State) -> Float[Array, " leaves"]:
    value, pull_back = jax.vjp(lambda s: to_complex(function(s)), state)
    cotangent = _directions(value)
    (one,) = pull_back(cotangent)
    (turned,) = pull_back(jax.tree.map(lambda c: 1j * c, cotangent))
    defects = jax.tree.leaves(jax.tree.map(_defect, one, turned))
    # Of leaves of several precisions the lowest decides how large a rounding is.
    lowest = max((d.dtype for d in defects), key=lambda dtype: jnp.finfo(dtype).eps)
    return jnp.stack([d.astype(lowest) for d in defects])


def _defect(one: Array, turned: Array) -> Float[Array, ""]:
    # By largest values: a sum of squares would leave the range of float32 where a state does not.
    whole = _largest(one) + _largest(turned)
    return _largest(turned - 1j * one) / jnp.where(whole > 0, whole, 1)


def _excursion(state: State) -> State:
    """A complex state near one, each unit moved in a direction of its own."""
    state = jax.tree.map(lambda s: jnp.where(jnp.isfinite(s), s, 0), to_complex(state))
    sizes = jax.tree.map(_largest, state)
    # A leaf at zero has no size, and a state at zero no unit.
    overall = jnp.max(jnp.stack(jax.tree.leaves(sizes)))
    overall = jnp.where(overall > 0, overall, 1)

    def move(s: Array, size: Array, direction: Array) -> Array:
        return s + _EXCURSION * jnp.where(size > 0, size, overall) * direction

    return jax.tree.map(move, state, sizes, _directions(state))


def _directions(like: PyTree[Any]) -> PyTree[Any]:
    """Complex numbers of absolute value one, whose angles differ from unit to unit."""
    leaves, structure = jax.tree.flatten(like)

    def spread(first: int, leaf: Array) -> Array:
        turns = _GOLDEN * jnp.arange(first, first + leaf.size, dtype=real_dtype(leaf)) % 1
        return jnp.exp(2j * jnp.pi * turns).astype(leaf.dtype).reshape(leaf.shape)

    return jax.tree.unflatten(structure, [spread(k, leaf) for k, leaf in enumerate(leaves, 1)])


def _largest(z: Array) -> Float[Array, ""]:
    return jnp.max(jnp.abs(z), initial=0)


def _eps(a: Array) -> float:
    return float(jnp.finfo(a.dtype).eps)
