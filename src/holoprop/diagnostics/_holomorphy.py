"""`check_holomorphic`: do the Cauchy-Riemann equations hold?"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from holoprop._tree import as_parameters, norm, real_dtype, to_complex
from holoprop._types import Array, Float, Input, Int, Key, PyTree, State, Target
from holoprop.energies import AbstractEnergy, initial_state


class Holomorphy(eqx.Module):
    """What `check_holomorphic` found.

    Attributes:
        holomorphic: Whether every test passed.
        failures: One sentence for each failure: which function, where.
    """

    holomorphic: bool = eqx.field(static=True)
    failures: tuple[str, ...] = eqx.field(static=True)


def check_holomorphic(
    energy: AbstractEnergy,
    x: Input,
    *,
    target: Target | None = None,
    init: State | None = None,
    radius: float = 0.2,
    samples: int = 4,
    key: Key | None = None,
) -> Holomorphy:
    """Test the Cauchy-Riemann equations (Eq. 11) numerically, and say where they fail.

    Three functions of the state are tested: the energy, the cost if there is a target, and the step
    of relaxation. At random complex states the derivative along i v must be i times that along v,
    for changes v of each leaf of the state in turn. And round a circle in the complex plane, the
    mean of f(s + radius e^(it) v) e^(it) must vanish, which also finds functions that are
    holomorphic in pieces, such as ReLU. Components of a network that declare themselves not
    holomorphic are reported by name.

    Arguments:
        energy: An `AbstractEnergy` or one of the networks.
        x: Input of one example, without a batch axis.
        target: Target of one example, to test the cost as well.
        init: State round which to test; default the relaxation's starting state.
        radius: Size of the complex excursions of each unit, positive; default 0.2,
            small enough to stay clear of the activations' poles.
        samples: Number of random states, 1 or more; default 4.
        key: For the random states; default `jax.random.key(0)`.

    Returns:
        A `Holomorphy`.

    Raises:
        ValueError: If radius or samples are out of range.

    Example:
        >>> import holoprop as hp
        >>> network = hp.mlp([6, 4, 4, 4], activation=hp.ReLU(), key=jax.random.key(0))
        >>> hp.check_holomorphic(network, jnp.ones(6)).failures[0]
        'activation ReLU is not holomorphic'
    """
    if not 0 < radius < float("inf"):
        raise ValueError(f"radius must be positive; got {radius!r}.")
    if not isinstance(samples, int) or samples < 1:
        raise ValueError(f"samples must be a whole number, 1 or more; got {samples!r}.")
    energy, x, target = as_parameters((energy, x, target))
    failures = [f"{name} is not holomorphic" for name in energy.non_holomorphic()]
    centre = to_complex(initial_state(energy, x) if init is None else as_parameters(init))
    # As trees, so that one compiled program serves all energies of a kind.
    functions = {"energy": eqx.Partial(_energy, energy, x)}
    if target is not None:
        functions["cost"] = eqx.Partial(_cost, energy, target)
    # An energy that is not complex has no complex derivative to step along.
    if _is_complex(functions["energy"], centre):
        functions["step"] = eqx.Partial(_step, energy, x)
    states, changes = _excursions(centre, jax.random.key(0) if key is None else key, samples)
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(centre)]
    real = real_dtype(centre)
    for what, function in functions.items():
        if not _is_complex(function, centre):
            failures.append(f"{what} is real for a complex state")
            continue
        defects = _defects(function, centre, states, changes, jnp.asarray(radius, real))
        # Rounding grows with the number of terms; a true failure is of order one. Not a number
        # fails as well.
        failures += [
            f"{what} breaks the Cauchy-Riemann equations in state{name}"
            for name, defect in zip(names, np.asarray(defects), strict=True)
            if not defect < np.sqrt(float(jnp.finfo(real).eps))
        ]
    return Holomorphy(not failures, tuple(failures))


def _is_complex(function: Callable[[State], PyTree], state: State) -> bool:
    leaves = jax.tree.leaves(jax.eval_shape(function, state))
    return all(jnp.issubdtype(leaf.dtype, jnp.complexfloating) for leaf in leaves)


def _energy(energy: AbstractEnergy, x: Input, state: State) -> PyTree:
    return energy.energy(state, x)


def _cost(energy: AbstractEnergy, target: Target, state: State) -> PyTree:
    return energy.cost(state, target)


def _step(energy: AbstractEnergy, x: Input, state: State) -> State:
    numerics = energy.numerics()
    dynamics = numerics.dynamics(numerics.prepare(x), None, numerics.maps())
    return dynamics.state(dynamics.synchronous(dynamics.extend(state), None)[0])


@eqx.filter_jit
def _excursions(centre: State, key: Key, samples: int) -> tuple[PyTree, PyTree]:
    """Random complex changes of every unit, none larger than one, [samples, ...]: two trees."""

    def excursion(key: Key, like: Array) -> Array:
        z = jax.random.normal(key, like.shape, like.dtype)
        return z / jnp.max(jnp.abs(z), initial=1.0)

    def one(key: Key) -> tuple[PyTree, PyTree]:
        key_state, key_direction = jax.random.split(key)
        leaves, structure = jax.tree.flatten(centre)
        states = [
            excursion(k, s)
            for k, s in zip(jax.random.split(key_state, len(leaves)), leaves, strict=True)
        ]
        changes = [excursion(key_direction, s) for s in leaves]
        return jax.tree.unflatten(structure, states), jax.tree.unflatten(structure, changes)

    return jax.vmap(one)(jax.random.split(key, samples))


@eqx.filter_jit
def _defects(
    function: Callable[[State], PyTree],
    centre: State,
    states: PyTree,
    changes: PyTree,
    radius: Float[Array, ""],
) -> Float[Array, " leaves"]:
    """How far each leaf of the state is from holomorphic, at worst over all excursions."""
    leaves, structure = jax.tree.flatten(centre)
    places = jax.tree.unflatten(structure, list(range(len(leaves))))

    def worst(place: Int[Array, ""]) -> Array:
        def defect(excursion: State, change: State) -> Array:
            state = jax.tree.map(lambda s, a: s + radius * a, centre, excursion)
            v = jax.tree.map(lambda leaf, a: jnp.where(place == leaf, a, 0), places, change)
            return jnp.maximum(_local(function, state, v), _around(function, centre, v, radius))

        return jnp.max(jax.vmap(defect)(states, changes))

    # One after the other: a network's states on all circles at once would need much memory.
    return jax.lax.map(worst, jnp.arange(len(leaves)))


def _ratio(small: PyTree, large: PyTree) -> Array:
    scale = norm(large)
    return norm(small) / jnp.where(scale > 0, scale, 1)


def _local(function: Callable[[State], PyTree], state: State, v: State) -> Array:
    """Size of f'(i v) - i f'(v), relative to f'(v) and f'(i v)."""
    turned = jax.tree.map(lambda a: 1j * a, v)
    _, along = jax.jvp(function, (state,), (v,))
    _, across = jax.jvp(function, (state,), (turned,))
    defect = jax.tree.map(lambda a, b: b - 1j * a, along, across)
    return _ratio(defect, (along, across))


def _around(function: Callable[[State], PyTree], centre: State, v: State, radius: Array) -> Array:
    """The first negative harmonic of f round a circle, relative to f's change on it."""
    count = 32
    turns = np.exp(2j * np.pi * np.arange(count) / count)

    def at(turn: Array) -> PyTree:
        return function(jax.tree.map(lambda s, a: s + radius * turn.astype(s.dtype) * a, centre, v))

    values = jax.vmap(at)(jnp.asarray(turns, jax.tree.leaves(centre)[0].dtype))
    changes = jax.tree.map(lambda f: f - jnp.mean(f, axis=0), values)
    harmonic = jax.tree.map(
        lambda f: jnp.tensordot(jnp.asarray(turns, f.dtype), f, 1) / np.sqrt(count), changes
    )
    return _ratio(harmonic, changes)
