"""The abstract energy: what one's own network has to say about itself."""

import abc
import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._types import Array, Inexact, Input, PyTree, Scalar, State, Target
from holoprop.energies._numerics import AbstractNumerics, GradientNumerics


class AbstractEnergy(eqx.Module):
    """A holomorphic energy E(theta, s, x) of one example; theta are the module's real arrays.

    A Python or NumPy float among the fields is such a parameter, too; a number that is not to be
    trained is a static field (`equinox.field(static=True)`). Parameters and inputs may be stored in
    half precision; everything is computed in float32 at least.

    One's own energy is a subclass with two or three methods, on one example, without a batch axis:
    `energy`, `init_state` and, if it is to be trained, `cost`. Its equilibria are those of Eq. (1),
    ds/dt = -dE/ds. Written with functions that are complex-differentiable (no `abs`, `conj`,
    `real`, `max`; see `check_holomorphic`), it serves complex nudges as it stands.

    Example:
        >>> import jax, jax.numpy as jnp, holoprop as hp
        >>> class Spring(hp.AbstractEnergy):
        ...     stiffness: jax.Array
        ...
        ...     def energy(self, state, x):
        ...         return self.stiffness * state["u"] ** 2 / 2 - x * state["u"]
        ...
        ...     def init_state(self, x):
        ...         return {"u": jnp.zeros_like(x)}
        ...
        ...     def cost(self, state, y):
        ...         return (state["u"] - y) ** 2 / 2
        >>> spring = Spring(jnp.array(2.0))
        >>> equilibrium = hp.relax(spring, jnp.array([1.0, 3.0]))
        >>> [round(float(u), 3) for u in equilibrium.state["u"]]
        [0.5, 1.5]
    """

    @abc.abstractmethod
    def energy(self, state: State, x: Input) -> Scalar:
        """E(theta, s, x): a scalar, complex if the state is, real if the state is real.

        Arguments:
            state: A tree of arrays shaped as `init_state` makes it.
            x: The input of one example.
        """

    @abc.abstractmethod
    def init_state(self, x: Input) -> State:
        """Where relaxation starts: a tree of real floating-point arrays.

        Relaxation takes them in the largest of their precisions, float32 at least.

        Arguments:
            x: The input of one example.
        """

    def cost(self, state: State, y: Target) -> Scalar:
        """l(theta, s, y): the cost of one example, holomorphic in the state.

        Arguments:
            state: A tree of arrays shaped as `init_state` makes it.
            y: The target of one example.

        Raises:
            TypeError: If the energy does not define a cost.
        """
        raise TypeError(
            f"{type(self).__name__} has no cost, so it cannot be nudged towards a target: define "
            "cost(self, state, y)."
        )

    def logits(self, state: State) -> Inexact[Array, " classes"] | None:
        """What the predicted class is read from (the largest), or None where there are no classes.

        Arguments:
            state: A tree of arrays shaped as `init_state` makes it.
        """
        return None

    # What follows has a default for every energy; a network overrides it where it knows better.

    def perturbation(self) -> float:
        """Size of a fixed pseudo-random displacement of the start, in units of the state.

        For an energy whose `init_state` may lie on a symmetry, such as oscillators that start in
        phase: where the slope vanishes at a maximum or a saddle, relaxation would stay there and
        report that it has settled. Every unit is moved by this size times a normal number that is
        its own, the same for all examples, batches and precisions. A start given as `init` stays
        as it is. It has to be well above the relaxation's tolerance times the size of the state.

        Returns:
            0 or more, known before anything is computed; default 0, no displacement.
        """
        return 0.0

    def check(self, x: PyTree[Any], y: PyTree[Any] | None) -> None:
        """Raise `ValueError` where a batch's shapes or types do not fit; values are not seen."""

    def non_holomorphic(self) -> tuple[str, ...]:
        """Names of the components that are known not to be holomorphic."""
        return ()

    def declares_holomorphy(self) -> bool:
        """Whether `non_holomorphic` tells all, so that complex nudges need no look at the numbers.

        Every other energy is tested by the Cauchy-Riemann equations at an equilibrium.
        """
        return False

    def numerics(self) -> AbstractNumerics:
        """How to compute with the energy; by its derivatives unless a network knows a faster way.

        It also says which relaxation is the default.
        """
        return GradientNumerics(self.energy)


def is_shipped(part: Any) -> bool:
    """Whether all modules inside are this library's, so that each says whether it is holomorphic.

    Arguments:
        part: A module, or what it has in its fields.
    """
    if isinstance(part, tuple | list):
        return all(map(is_shipped, part))
    if isinstance(part, eqx.Module):
        own = type(part).__module__.partition(".")[0] == __name__.partition(".")[0]
        return own and all(is_shipped(getattr(part, f.name)) for f in dataclasses.fields(part))
    return not callable(part)


def initial_state(energy: AbstractEnergy, x: Input) -> State:
    """What `init_state` makes, all of it in one precision, float32 at least.

    In half precision an update below the rounding of a state would be lost, and pass for rest.

    Arguments:
        energy: Whose state it is.
        x: The input of one example.

    Raises:
        ValueError: If there are no arrays, or some that are not floating point.
    """
    state = jax.tree.map(jnp.asarray, energy.init_state(x))
    name = f"{type(energy).__name__}.init_state"
    leaves = jax.tree_util.tree_leaves_with_path(state)
    if not leaves:
        raise ValueError(f"{name} makes no arrays: return a state of one array or more.")
    for path, leaf in leaves:
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            place = f"state{jax.tree_util.keystr(path)}" if path else "a state"
            raise ValueError(
                f"{name} makes {place} of dtype {leaf.dtype}, but states must be floating "
                "point: give the dtype, for instance jnp.zeros_like(x, dtype=float)."
            )
    precision = jnp.finfo(jnp.result_type(jnp.float32, *(leaf.dtype for _, leaf in leaves))).dtype
    return jax.tree.map(lambda s: s.astype(jnp.result_type(s.dtype, precision)), state)
