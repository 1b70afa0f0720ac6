"""Energies as users write them: their own physics in its natural units, nothing made for holoprop.

Each has an example in float32 or float64 with the same numbers in both, whose response to a nudge
is moderate, and says how far it may be nudged and how fast its slope may be followed. All of them
are holomorphic and come to rest where their curvature is positive.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import holoprop as hp


@dataclasses.dataclass(frozen=True)
class User:
    """An energy of one's own with a batch.

    Attributes:
        example: From a dtype to the energy, a batch of inputs and their targets.
        radius: Of a circle of nudges, in units of the energy over the cost's: a quarter of the
            distance to the nearest branch point of s*(beta), or less.
        dt: Of explicit steps along the slope, in units of the state squared over the energy: below
            one over the largest curvature on the way.
    """

    example: Callable[[Any], tuple[Any, Any, Any]]
    radius: float
    dt: float


class DiodeCircuit(hp.AbstractEnergy):
    """Resistors and diodes between two sources and ground; free are the voltages of three nodes.

    The co-content: sum g (v_i - v_j)^2 / 2 over the resistors plus the integral of
    I_s (exp(v / V_T) - 1) over the diodes, which lead from a node to ground. Its slope is the
    current out of each node. Volts, siemens, amperes; the cost is in volts squared, so a nudge is a
    conductance.
    """

    conductance: jax.Array
    saturation: jax.Array
    # Between terminals: the two sources, ground, then the nodes.
    resistors: tuple[tuple[int, int], ...] = eqx.field(static=True)
    diodes: tuple[int, ...] = eqx.field(static=True)
    thermal: float = eqx.field(static=True, default=0.02585)

    def energy(self, state: Any, x: Any) -> Any:
        v = jnp.concatenate([x.astype(state.dtype), jnp.zeros(1, state.dtype), state])
        one, other = np.transpose(self.resistors)
        across = state[np.array(self.diodes)]
        diode = self.saturation * (self.thermal * jnp.exp(across / self.thermal) - across)
        return jnp.sum(self.conductance * (v[one] - v[other]) ** 2) / 2 + jnp.sum(diode)

    def init_state(self, x: Any) -> Any:
        return jnp.zeros(3, self.conductance.dtype)

    def cost(self, state: Any, y: Any) -> Any:
        return (state[2] - y) ** 2 / 2


def diode_circuit(dtype: Any) -> tuple[Any, Any, Any]:
    """Conductances from 1e-6 to 1e-3 siemens; the diodes' own are up to 2e-2."""
    energy = DiodeCircuit(
        jnp.asarray([1e-3, 2e-4, 5e-5, 1e-4, 1e-5, 1e-6], dtype),
        jnp.asarray([1e-12, 1e-9], dtype),
        ((0, 3), (1, 4), (3, 4), (4, 5), (5, 2), (3, 5)),
        (0, 2),
    )
    x = jnp.asarray([[0.9, 0.6], [0.4, 0.8], [0.7, 0.3]], dtype)
    return energy, x, jnp.asarray([0.2, 0.3, 0.1], dtype)


class XYNetwork(hp.AbstractEnergy):
    """Oscillators, each pulled at by a field of its own: -sum J cos(a - b) - sum h cos(a - c).

    The input is each field's strength and where the phases start; the fields' angles are learned.
    """

    coupling: jax.Array
    angle: jax.Array
    displacement: float = eqx.field(static=True, default=0.0)

    def energy(self, state: Any, x: Any) -> Any:
        pairs = jnp.triu(self.coupling, 1) * jnp.cos(state[:, None] - state)
        return -jnp.sum(pairs) - jnp.sum(x["field"] * jnp.cos(state - self.angle))

    def init_state(self, x: Any) -> Any:
        return x["start"]

    def perturbation(self) -> float:
        return self.displacement

    def cost(self, state: Any, y: Any) -> Any:
        return 1 - jnp.cos(state[-1] - y)


def xy_network(dtype: Any) -> tuple[Any, Any, Any]:
    """Five oscillators from random starts."""
    rng = np.random.default_rng(1)
    energy = XYNetwork(
        jnp.asarray(0.3 * rng.normal(size=(5, 5)), dtype), jnp.asarray(rng.normal(size=5), dtype)
    )
    x = {"field": rng.uniform(1, 2, size=(3, 5)), "start": rng.uniform(-1.5, 1.5, size=(3, 5))}
    x = jax.tree.map(lambda a: jnp.asarray(a, dtype), x)
    return energy, x, jnp.asarray([0.5, -0.4, 1.0], dtype)


def frustrated(dtype: Any, *, displacement: float = 0.1) -> tuple[Any, Any, Any]:
    """Three oscillators that repel each other and start in phase, where all slopes are zero.

    Two mirror images of one rest are stable; which of them is taken, the displacement decides.
    """
    coupling = jnp.asarray([[0, -1.0, -0.8], [0, 0, -0.9], [0, 0, 0]], dtype)
    energy = XYNetwork(coupling, jnp.zeros(3, dtype), displacement)
    field = jnp.asarray([[1.5, 0.1, 0.1], [1.0, 0.1, 0.2]], dtype)
    x = {"field": field, "start": jnp.zeros((2, 3), dtype)}
    return energy, x, jnp.asarray([0.5, 0.8], dtype)


class Graph(hp.AbstractEnergy):
    """Features pull at nodes, and edges of two kinds hold them together.

    k s^2/2 - s . F w, plus q (d^2/2 + d^4/4) for the difference d across each edge.
    """

    stiffness: jax.Array
    weight: jax.Array
    bond: jax.Array

    def energy(self, state: Any, x: Any) -> Any:
        one, other = x["edges"].T
        across = state[one] - state[other]
        held = self.bond[x["kind"]] * (across**2 / 2 + across**4 / 4)
        pull = x["features"] @ self.weight
        if x["gate"] is not None:
            pull = x["gate"] * pull
        return self.stiffness * jnp.sum(state**2) / 2 - jnp.sum(pull * state) + jnp.sum(held)

    def init_state(self, x: Any) -> Any:
        return jnp.zeros(x["features"].shape[0], self.weight.dtype)

    def cost(self, state: Any, y: Any) -> Any:
        return (state[-1] - y) ** 2 / 2


def graph(dtype: Any) -> tuple[Any, Any, Any]:
    """Five nodes, six edges; the inputs come as NumPy made them, 64 bits wide, and one is None."""
    rng = np.random.default_rng(2)
    ends = [rng.permutation([(i, j) for i in range(5) for j in range(i)])[:6] for _ in range(3)]
    x = {
        "features": rng.normal(size=(3, 5, 2)),
        "edges": np.stack(ends),
        "kind": rng.integers(0, 2, size=(3, 6)),
        "gate": None,
    }
    energy = Graph(
        jnp.asarray(1.2, dtype), jnp.asarray([0.8, -0.5], dtype), jnp.asarray([0.5, 0.2], dtype)
    )
    return energy, x, np.array([0.3, -0.2, 0.1])


class TwoScales(hp.AbstractEnergy):
    """Units in the thousands that are stiff, beside small ones that are a hundred times softer."""

    stiffness: jax.Array
    rest: jax.Array
    coupling: jax.Array

    def energy(self, state: Any, x: Any) -> Any:
        big, away = state["big"], state["small"] - self.rest
        soft = jnp.sum(away**2 / 2 + away**4 / 4)
        pull = self.coupling * jnp.mean(jnp.sin(big / 1000)) * jnp.sum(state["small"])
        return self.stiffness[0] * jnp.sum((big - x) ** 2) / 2 + self.stiffness[1] * soft - pull

    def init_state(self, x: Any) -> Any:
        return {"big": jnp.zeros_like(x), "small": jnp.zeros_like(self.rest)}

    def cost(self, state: Any, y: Any) -> Any:
        return jnp.sum((state["small"] - y) ** 2) / 2


def two_scales(dtype: Any, *, units: int = 100) -> tuple[Any, Any, Any]:
    """A hundred units of size 1000 and stiffness 0.7, and two of size 1 and stiffness 0.01."""
    rng = np.random.default_rng(3)
    energy = TwoScales(
        jnp.asarray([0.7, 0.01], dtype),
        jnp.asarray([1.0, 0.8], dtype),
        jnp.asarray(0.002, dtype),
    )
    x = jnp.asarray(1000 * rng.uniform(0.5, 1.5, size=(2, units)), dtype)
    return energy, x, jnp.asarray([[1.5, 0.7], [0.8, 1.2]], dtype)


class Retrieval(hp.AbstractEnergy):
    """A modern Hopfield network over the tokens of a padded sequence: |s|^2/2 - lse(c T W s) / c.

    It rests where s is the attention-weighted mean of the projected tokens.
    """

    weight: jax.Array
    sharpness: jax.Array

    def energy(self, state: Any, x: Any) -> Any:
        scores = self.sharpness * (x["tokens"] @ (self.weight @ state))
        scores = jnp.where(x["mask"], scores, -jnp.inf)
        return jnp.sum(state**2) / 2 - jax.nn.logsumexp(scores) / self.sharpness

    def init_state(self, x: Any) -> Any:
        return jnp.zeros(self.weight.shape[1], self.weight.dtype)

    def cost(self, state: Any, y: Any) -> Any:
        return jnp.sum((state - y) ** 2) / 2


def retrieval(dtype: Any) -> tuple[Any, Any, Any]:
    """Sequences of two, three and four tokens, padded to four with numbers that must not count."""
    rng = np.random.default_rng(4)
    mask = np.arange(4) < np.array([[2], [3], [4]])
    tokens = np.where(mask[..., None], rng.normal(size=(3, 4, 3)), 100.0)
    energy = Retrieval(jnp.asarray(0.5 * rng.normal(size=(3, 3)), dtype), jnp.asarray(1.5, dtype))
    x = {"tokens": jnp.asarray(tokens, dtype), "mask": jnp.asarray(mask)}
    return energy, x, jnp.asarray(0.5 * rng.normal(size=(3, 3)), dtype)


class Rod(hp.AbstractEnergy):
    """Heat along a rod between two ends of given temperature, lost to the air and by radiation.

    In kelvins and watts: sum c (u_i - u_j)^2 / 2 + h (u - a)^2 / 2 + e (u^5 / 5 - a^4 u), whose
    slope is the heat that leaves each piece. A nudge is in watts per kelvin.
    """

    conductance: jax.Array
    film: jax.Array
    emission: jax.Array

    def energy(self, state: Any, x: Any) -> Any:
        ends = [x["left"].astype(state.dtype)[None], state, x["right"].astype(state.dtype)[None]]
        flow = jnp.sum(self.conductance * jnp.diff(jnp.concatenate(ends)) ** 2) / 2
        air = self.film * jnp.sum((state - x["ambient"]) ** 2) / 2
        return flow + air + self.emission * jnp.sum(state**5 / 5 - x["ambient"] ** 4 * state)

    def init_state(self, x: Any) -> Any:
        return jnp.full(self.conductance.shape[0] - 1, 300, self.conductance.dtype)

    def cost(self, state: Any, y: Any) -> Any:
        return jnp.mean((state[4:8] - y) ** 2) / 2


def rod(dtype: Any) -> tuple[Any, Any, Any]:
    """Twelve pieces, some tens of kelvins round 300."""
    rng = np.random.default_rng(5)
    energy = Rod(
        jnp.asarray(rng.uniform(0.3, 0.6, size=13), dtype),
        jnp.asarray(0.02, dtype),
        jnp.asarray(5.67e-10, dtype),
    )
    x = {
        "left": jnp.asarray([340.0, 310.0, 280.0], dtype),
        "right": jnp.asarray([290.0, 350.0, 275.0], dtype),
        "ambient": jnp.asarray([300.0, 295.0, 305.0], dtype),
    }
    return energy, x, jnp.asarray([305.0, 300.0, 300.0], dtype)


class ConvHopfield(hp.AbstractEnergy):
    """A Hopfield network whose units stand on a grid, with two channels and convolutions."""

    inward: jax.Array
    lateral: jax.Array
    bias: jax.Array

    def energy(self, state: Any, x: Any) -> Any:
        f = jnp.tanh(state)
        drive = self._convolve(x.astype(state.dtype), self.inward)
        pairs = self._convolve(f, self.lateral)
        pull = drive + pairs / 2 + self.bias[:, None, None]
        return jnp.sum(state**2) / 2 - jnp.sum(f * pull)

    @staticmethod
    def _convolve(image: Any, kernel: Any) -> Any:
        return jax.lax.conv(image[None], kernel.astype(image.dtype), (1, 1), "SAME")[0]

    def init_state(self, x: Any) -> Any:
        return jnp.zeros((2, 8, 8), self.bias.dtype)

    def cost(self, state: Any, y: Any) -> Any:
        return jnp.sum((jnp.mean(state, axis=(1, 2)) - y) ** 2) / 2


def conv_hopfield(dtype: Any) -> tuple[Any, Any, Any]:
    """Two images of 8 x 8; the cost is of means over 64 units, so that nudges are large."""
    rng = np.random.default_rng(6)
    energy = ConvHopfield(
        jnp.asarray(0.4 * rng.normal(size=(2, 1, 3, 3)), dtype),
        jnp.asarray(0.08 * rng.normal(size=(2, 2, 3, 3)), dtype),
        jnp.asarray([0.3, -0.2], dtype),
    )
    x = jnp.asarray(rng.uniform(size=(2, 1, 8, 8)), dtype)
    return energy, x, jnp.asarray([[0.6, -0.5], [-0.3, 0.4]], dtype)


class Chain(hp.AbstractEnergy):
    """A chain that hangs from its first link: sum k (s_i - s_{i-1})^2 / 2 - sum w s, linear."""

    stiffness: jax.Array
    load: jax.Array

    def energy(self, state: Any, x: Any) -> Any:
        links = jnp.diff(jnp.concatenate([x.astype(state.dtype)[None], state]))
        return jnp.sum(self.stiffness * links**2) / 2 - jnp.sum(self.load * state)

    def init_state(self, x: Any) -> Any:
        return jnp.zeros_like(self.load)

    def cost(self, state: Any, y: Any) -> Any:
        return (state[-1] - y) ** 2 / 2


def chain(dtype: Any) -> tuple[Any, Any, Any]:
    """78 links, so that the slowest mode is ten thousand times softer than the stiffest."""
    rng = np.random.default_rng(7)
    energy = Chain(
        jnp.asarray(rng.uniform(0.9, 1.1, size=78), dtype),
        jnp.asarray(1e-3 * rng.uniform(0.5, 1.5, size=78), dtype),
    )
    return energy, jnp.asarray([1.0, -2.0], dtype), jnp.asarray([4.5, 0.5], dtype)


USERS = {
    "diode circuit": User(diode_circuit, 3e-5, 30.0),
    "xy network": User(xy_network, 0.15, 0.2),
    "frustrated": User(frustrated, 0.03, 0.2),
    "graph": User(graph, 0.2, 0.2),
    "two scales": User(two_scales, 1e-3, 0.5),
    "retrieval": User(retrieval, 0.1, 0.4),
    "rod": User(rod, 0.05, 0.4),
    "conv hopfield": User(conv_hopfield, 8.0, 0.4),
    "chain": User(chain, 3e-3, 0.25),
}
