"""The nudged problem: an energy, a batch of inputs, and what the state is nudged towards."""

import abc
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from holoprop._tree import dot, holomorphic_grad, is_complex, to_complex
from holoprop._types import Array, Float, PyTree, Scalar, State, Target
from holoprop._varying import alike
from holoprop.energies import AbstractDynamics, AbstractEnergy, initial_state

# What to do about an energy or cost of one's own that is not holomorphic.
REMEDY = (
    "replace abs, real, imag, conj, vdot or norm by products (s * s for abs(s) ** 2, sum(s * s) "
    "for vdot(s, s) or norm(s) ** 2), or use real nudges (OneSided, Centred, or Holomorphic with "
    "points=2); hp.check_holomorphic looks closer."
)


class AbstractObjective(eqx.Module):
    """What a nudge lowers: the l in F = E + beta l, for one example."""

    @abc.abstractmethod
    def cost(self, energy: AbstractEnergy, state: State) -> Scalar:
        """l(theta, s)."""


def _as_scalar(energy: AbstractEnergy, name: str, value: Any) -> Scalar:
    """Raise `ValueError` for what is no scalar: a sum left out, or shapes that broadcast."""
    if jnp.shape(value) != ():
        raise ValueError(
            f"{type(energy).__name__}.{name} returns an array of shape {jnp.shape(value)} for one "
            "example, but must return a scalar: give what is compared the same shape, and sum."
        )
    return value


class TargetObjective(AbstractObjective):
    """The energy's own cost against a target."""

    y: Target

    def cost(self, energy: AbstractEnergy, state: State) -> Scalar:
        """l(theta, s, y)."""
        return _as_scalar(energy, "cost", energy.cost(state, self.y))


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
        origin: Free equilibria, [batch, ...], where residuals are relative to the response to a
            nudge and states are not deviations, else None.
    """

    energy: AbstractEnergy
    x: PyTree[Any]
    objective: AbstractObjective | None = None
    centre: State | None = None
    origin: State | None = None

    @property
    def batch(self) -> int:
        """Number of examples."""
        return jax.tree.leaves(self.x)[0].shape[0]

    def init_state(self) -> State:
        """[batch, ...]: every example's own starting state, complex if the energy is.

        Displaced where the energy asks for it (`AbstractEnergy.perturbation`).
        """
        state = alike(jax.vmap(self._init_state)(self.x), self.energy, self.x)
        size = self.energy.perturbation()
        if not (isinstance(size, int | float) and 0 <= size < math.inf):
            raise ValueError(
                f"{type(self.energy).__name__}.perturbation() is {size!r}, but is the size of a "
                "displacement of the start: return a Python number, 0 or more."
            )
        if size > 0:
            state = _displaced(state, float(size))
        return state if self.is_real else to_complex(state)

    def start(self, init: State | None) -> State | None:
        """[batch, ...]: where a free phase starts that is given `init`, or None for its own start.

        Of a complex state, such as an oscillation leaves, it is the real part, unless the energy is
        complex itself.
        """
        if init is None or not is_complex(init) or not self.is_real:
            return init
        return jax.tree.map(jnp.real, init)

    def _init_state(self, x: PyTree[Any]) -> State:
        return initial_state(self.energy, x)

    @property
    def states(self) -> PyTree[Any]:
        """Shapes and real dtypes of [batch, ...] states."""
        return jax.eval_shape(jax.vmap(self._init_state), self.x)

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
        values = self._scalars(lambda state: state).values()
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
        for name, value in self._scalars(to_complex).items():
            if not jnp.issubdtype(value.dtype, jnp.complexfloating):
                raise ValueError(
                    f"{type(self.energy).__name__}.{name} returns {value.dtype} for a complex "
                    f"state, so it is not holomorphic: {REMEDY}"
                )

    def _scalars(self, arithmetic: Callable[[State], State]) -> dict[str, jax.ShapeDtypeStruct]:
        """Dtypes of one example's energy and cost, of its starting state in some arithmetic."""

        def scalars(x: PyTree[Any], objective: AbstractObjective | None) -> dict[str, Scalar]:
            state = arithmetic(self._init_state(x))
            energy = _as_scalar(self.energy, "energy", self.energy.energy(state, x))
            if objective is None:
                return {"energy": energy}
            return {"energy": energy, "cost": objective.cost(self.energy, state)}

        return jax.eval_shape(scalars, *self._example)


def _displaced(state: State, size: float) -> State:
    """A batch of states, every example moved by the same normal numbers times `size`."""
    leaves, structure = jax.tree.flatten(state)
    keys = jax.random.split(jax.random.key(0), len(leaves))
    # Drawn in float32, so that every precision has the same.
    moved = [
        s + size * jax.random.normal(key, s.shape[1:], jnp.float32).astype(s.dtype)
        for s, key in zip(leaves, keys, strict=True)
    ]
    return jax.tree.unflatten(structure, moved)


class Prepared(eqx.Module):
    """What of a problem relaxation does not change, for one example or, mapped, for a batch.

    Attributes:
        constants: From the numerics' `prepare` or `prepare_deviation`.
        objective: What is nudged, or None.
        centre: Where states are deviations from it, else None.
        origin: Where residuals are relative to the distance from it, else None.
    """

    constants: PyTree[Any]
    objective: AbstractObjective | None
    centre: State | None
    origin: State | None


def prepare(problem: Problem) -> Prepared:
    """Computed once before a relaxation, [batch, ...]."""
    numerics = problem.energy.numerics()
    if problem.centre is None:
        constants = jax.vmap(numerics.prepare)(problem.x)
    else:
        constants = jax.vmap(numerics.prepare_deviation)(problem.x, problem.centre)
    return Prepared(constants, problem.objective, problem.centre, problem.origin)


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
