"""The nudged problem: an energy, a batch of inputs, and what the state is nudged towards."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._tree import dot, holomorphic_grad, to_complex
from holoprop._types import Array, Float, PyTree, Scalar, State, Target
from holoprop.energies import AbstractDynamics, AbstractEnergy


class AbstractObjective(eqx.Module):
    """What a nudge lowers: the l in F = E + beta l, for one example."""

    @abc.abstractmethod
    def cost(self, energy: AbstractEnergy, state: State) -> Scalar:
        """l(theta, s)."""


class TargetObjective(AbstractObjective):
    """The energy's own cost against a target."""

    y: Target

    def cost(self, energy: AbstractEnergy, state: State) -> Scalar:
        """l(theta, s, y)."""
        return energy.cost(state, self.y)


class LinearObjective(AbstractObjective):
    """A linear function of the state, v . s: the nudge behind a vector-Jacobian product."""

    cotangent: State

    def cost(self, energy: AbstractEnergy, state: State) -> Scalar:
        """The product v . s, without a conjugate."""
        return dot(self.cotangent, state)


class ScaledObjective(AbstractObjective):
    """A part of another objective: a nudge of it is so much smaller a nudge of the whole."""

    whole: AbstractObjective
    share: Float[Array, "*batch"]

    def cost(self, energy: AbstractEnergy, state: State) -> Scalar:
        """The share of the cost."""
        return self.share * self.whole.cost(energy, state)


class Problem(eqx.Module):
    """A batch of one energy's relaxation problems, and the total energy F = E + beta l.

    Arguments:
        energy: Shared by all examples.
        x: Inputs, with a leading batch axis on every leaf.
        objective: With a leading batch axis on every leaf, or None where nothing is nudged.
        centre: Free equilibria, [batch, ...], where states are deviations from them, else None.
    """

    energy: AbstractEnergy
    x: PyTree[Any]
    objective: AbstractObjective | None = None
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
        """Shapes and dtypes of one example's input and objective."""
        batched = jax.eval_shape(lambda *tree: tree, self.x, self.objective)
        return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), batched)

    @property
    def is_real(self) -> bool:
        """Whether energy and cost are real on real states: s*(conj beta) = conj s*(beta)."""

        def scalars(x: PyTree[Any], objective: AbstractObjective | None) -> list[Scalar]:
            state = self.energy.init_state(x)
            values = [self.energy.energy(state, x)]
            return values if objective is None else [*values, objective.cost(self.energy, state)]

        values = jax.eval_shape(scalars, *self._example)
        return not any(jnp.issubdtype(v.dtype, jnp.complexfloating) for v in values)

    def check_complex(self) -> None:
        """Raise `ValueError` if the energy is known not to be holomorphic, and say where."""
        broken = self.energy.non_holomorphic()
        if broken:
            raise ValueError(
                f"complex nudges need a holomorphic network, and {' and '.join(broken)} is not: "
                "use real nudges (OneSided, Centred, or Holomorphic with points=2), or holomorphic "
                "components such as DSiLU and SoftmaxPool."
            )

        def scalars(x: PyTree[Any], objective: AbstractObjective | None) -> dict[str, Scalar]:
            state = to_complex(self.energy.init_state(x))
            values = {"energy": self.energy.energy(state, x)}
            return (
                values
                if objective is None
                else values | {"cost": objective.cost(self.energy, state)}
            )

        for name, value in jax.eval_shape(scalars, *self._example).items():
            if not jnp.issubdtype(value.dtype, jnp.complexfloating):
                raise ValueError(
                    f"{type(self.energy).__name__}.{name} returns {value.dtype} for a complex "
                    "state, so it is not holomorphic: replace abs, real, imag or conj by products "
                    "(s * s for abs(s) ** 2), or use real nudges."
                )


class Prepared(eqx.Module):
    """What of a problem relaxation does not change, for one example or, mapped, for a batch.

    Attributes:
        constants: From the numerics' `prepare` or `prepare_deviation`.
        objective: What is nudged, or None.
        centre: Where states are deviations from it, else None.
    """

    constants: PyTree[Any]
    objective: AbstractObjective | None
    centre: State | None


def prepare(problem: Problem) -> Prepared:
    """Computed once before a relaxation, [batch, ...]."""
    numerics = problem.energy.numerics()
    if problem.centre is None:
        constants = jax.vmap(numerics.prepare)(problem.x)
    else:
        constants = jax.vmap(numerics.prepare_deviation)(problem.x, problem.centre)
    return Prepared(constants, problem.objective, problem.centre)


def dynamics(
    energy: AbstractEnergy, prepared: Prepared, nudge: Scalar | None, maps: PyTree[Any]
) -> AbstractDynamics:
    """One example's dynamics under a nudge: the force on the state is -beta dl/ds."""
    numerics = energy.numerics()
    make = numerics.dynamics if prepared.centre is None else numerics.deviation
    objective = prepared.objective
    if objective is None or nudge is None:
        return make(prepared.constants, None, maps)

    def force(state: State) -> State:
        slope = holomorphic_grad(lambda s: objective.cost(energy, s), state)
        return jax.tree.map(lambda g: (-nudge * g).astype(g.dtype), slope)

    return make(prepared.constants, force, maps)
