"""The toy network of Fig. 2: 6-4-4-4, one Gaussian input, one random class."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

import holoprop as hp
from holoprop.experiments._maps import is_settled


@dataclasses.dataclass(frozen=True)
class Toy:
    """A network and its one example.

    Attributes:
        network: In float64.
        x: [1, inputs].
        label: [1].
    """

    network: hp.LayeredNetwork
    x: np.ndarray
    label: np.ndarray

    def relax(
        self, nudges: np.ndarray, *, free_steps: int, steps: int
    ) -> tuple[hp.Equilibrium, hp.Equilibrium]:
        """The free equilibrium and those under complex nudges [points]."""
        free = hp.relax(self.network, self.x, relaxation=hp.Synchronous(steps=free_steps))
        nudged = hp.relax(
            self.network,
            self.x,
            nudge=jnp.asarray(nudges, complex),
            target=self.label,
            init=free.state,
            relaxation=hp.Synchronous(steps=steps),
            batching=hp.Lockstep(),
        )
        return free, nudged


def toy(seed: int, *, sizes: tuple[int, ...] = (6, 4, 4, 4), weight_std: float = 0.5) -> Toy:
    """Weights, input and class of a seed; the input is divided by its largest number."""
    weights, inputs, classes = jax.random.split(jax.random.key(seed), 3)
    network = hp.mlp(sizes, weight_std=weight_std, key=weights)
    x = np.asarray(jax.random.normal(inputs, (1, sizes[0])))
    label = np.asarray(jax.random.randint(classes, (1,), 0, sizes[-1]))
    return Toy(network, x / x.max(), label)


def circle(points: int) -> np.ndarray:
    """exp(2 pi i k/N), [points]."""
    return np.exp(2j * np.pi * np.arange(points) / points)


def frontier(example: Toy, radii: np.ndarray, *, points: int, free_steps: int, steps: int) -> float:
    """The smallest of some radii whose circle leaves the stable region, or infinity.

    It looks at so many points of the upper half; the lower one has the conjugate equilibria.
    """
    upper = np.exp(1j * np.linspace(0, np.pi, points))
    nudges = (radii[:, None] * upper).reshape(-1)
    _, nudged = example.relax(nudges, free_steps=free_steps, steps=steps)
    settled = is_settled(np.asarray(nudged.residual)).reshape(len(radii), points)
    broken = np.flatnonzero(~settled.all(axis=1))
    return float(radii[broken[0]]) if broken.size else np.inf
