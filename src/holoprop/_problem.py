"""The nudged problem: an energy, a batch of inputs, and what the state is nudged towards."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._dynamics import AbstractDynamics
from holoprop._energy import AbstractEnergy
from holoprop._tree import dot, holomorphic_grad, to_complex
from holoprop._types import PyTree, Scalar, State, Target


class AbstractAim(eqx.Module):
    """What a nudge lowers: the l in F = E + beta l, for one example."""

    @abc.abstractmethod
    def cost(self, energy: AbstractEnergy, state: State) -> Scalar:
        """l(theta, s)."""


class TargetAim(AbstractAim):
    """The energy's own cost against a target."""

    y: Target

    def cost(self, energy: AbstractEnergy, state: State) -> Scalar:
        """l(theta, s, y)."""
        return energy.cost(state, self.y)


class LinearAim(AbstractAim):
    """A linear function of the state, v . s: the nudge behind a vector-Jacobian product."""

    cotangent: State

    def cost(self, energy: AbstractEnergy, state: State) -> Scalar:
        """V . s, without a conjugate."""
        return dot(self.cotangent, state)


class Problem(eqx.Module):
    """A batch of one energy's relaxation problems, and the total energy F = E + beta l.

    Arguments:
        energy: Shared by all examples.
        x: Inputs, with a leading batch axis on every leaf.
        aim: With a leading batch axis on every leaf, or None where nothing is nudged.
        centre: Free equilibria, [batch, ...], where states are deviations from them, else None.
    """

    energy: AbstractEnergy
    x: PyTree[Any]
    aim: AbstractAim | None = None
    centre: State | None = None

    @property
    def batch(self) -> int:
        """Number of examples."""
        return jax.tree.leaves(self.x)[0].shape[0]

    def init_state(self) -> State:
        """[batch, ...]: every example's own starting state, complex if the energy is."""
        state = jax.vmap(self.energy.init_state)(self.x)
        return state if self.is_real else to_complex(state)

    @property
    def states(self) -> PyTree[Any]:
        """Shapes and real dtypes of [batch, ...] states."""
        return jax.eval_shape(jax.vmap(self.energy.init_state), self.x)

    @property
    def dtype(self) -> Any:
        """Real dtype of the states' precision."""
        leaves = jax.tree.leaves(self.states)
        return jnp.finfo(jnp.result_type(*(leaf.dtype for leaf in leaves))).dtype

    @property
    def _example(self) -> tuple[PyTree[Any], PyTree[Any]]:
        """Shapes and dtypes of one example's input and aim."""
        batched = jax.eval_shape(lambda *tree: tree, self.x, self.aim)
        return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), batched)

    @property
    def is_real(self) -> bool:
        """Whether energy and cost are real on real states: s*(conj beta) = conj s*(beta)."""

        def scalars(x: PyTree[Any], aim: AbstractAim | None) -> list[Scalar]:
            state = self.energy.init_state(x)
            values = [self.energy.energy(state, x)]
            return values if aim is None else [*values, aim.cost(self.energy, state)]

        values = jax.eval_shape(scalars, *self._example)
        return not any(jnp.issubdtype(v.dtype, jnp.complexfloating) for v in values)

    def check_complex(self) -> None:
        """Raise `ValueError` if the energy is known not to be holomorphic, naming the part."""
        parts = self.energy.non_holomorphic_parts()
        if parts:
            raise ValueError(
                f"complex nudges need a holomorphic network, and {' and '.join(parts)} is not: use "
                "real nudges (OneSided, Centred, or Holomorphic with points=2), or holomorphic "
                "parts such as DSiLU and SoftmaxPool."
            )

        def scalars(x: PyTree[Any], aim: AbstractAim | None) -> dict[str, Scalar]:
            state = to_complex(self.energy.init_state(x))
            values = {"energy": self.energy.energy(state, x)}
            return values if aim is None else values | {"cost": aim.cost(self.energy, state)}

        for name, value in jax.eval_shape(scalars, *self._example).items():
            if not jnp.issubdtype(value.dtype, jnp.complexfloating):
                raise ValueError(
                    f"{type(self.energy).__name__}.{name} returns {value.dtype} for a complex "
                    "state, so it is not holomorphic: replace abs, real, imag or conj by products "
                    "(s * s for abs(s) ** 2), or use real nudges."
                )


def check_init(energy: AbstractEnergy, x: PyTree[Any], init: State | None) -> State | None:
    """A starting state in the energy's own precision, or `ValueError` if it is not one of its.

    Arguments:
        energy: Whose state it is to be.
        x: Inputs, with a leading batch axis on every leaf.
        init: [batch, ...], real or complex, or None.
    """
    if init is None:
        return None
    own = jax.eval_shape(jax.vmap(energy.init_state), x)
    try:
        fits = jax.tree.map(lambda leaf, like: jnp.shape(leaf) == like.shape, init, own)
    except ValueError:
        fits = False
    if not jax.tree.all(fits):
        found, wanted = (
            [tuple(jnp.shape(leaf)) for leaf in jax.tree.leaves(tree)] for tree in (init, own)
        )
        raise ValueError(
            f"init has arrays of shapes {found}, but a batch of states has {wanted}: give a state "
            "of the same energy and batch, such as aux.state of an earlier call."
        )

    def cast(leaf: Any, like: Any) -> Any:
        complex_dtype = jnp.result_type(like.dtype, jnp.complex64)
        is_complex = jnp.issubdtype(jnp.result_type(leaf), jnp.complexfloating)
        return jnp.asarray(leaf, complex_dtype if is_complex else like.dtype)

    return jax.tree.map(cast, init, own)


class Given(eqx.Module):
    """What of a problem relaxation does not change, for one example or, mapped, for a batch."""

    prepared: PyTree[Any]
    aim: AbstractAim | None
    centre: State | None


def prepare(problem: Problem) -> Given:
    """Computed once before a relaxation, [batch, ...]."""
    energy = problem.energy
    if problem.centre is None:
        prepared = jax.vmap(energy.prepare)(problem.x)
    else:
        prepared = jax.vmap(energy.prepare_deviation)(problem.x, problem.centre)
    return Given(prepared, problem.aim, problem.centre)


def dynamics(
    energy: AbstractEnergy, given: Given, nudge: Scalar | None, shared: PyTree[Any]
) -> AbstractDynamics:
    """One example's dynamics under a nudge: the force on the state is -beta dl/ds."""
    make = energy.dynamics if given.centre is None else energy.deviation
    aim = given.aim
    if aim is None or nudge is None:
        return make(given.prepared, None, shared)

    def force(state: State) -> State:
        slope = holomorphic_grad(lambda s: aim.cost(energy, s), state)
        return jax.tree.map(lambda g: (-nudge * g).astype(g.dtype), slope)

    return make(given.prepared, force, shared)
