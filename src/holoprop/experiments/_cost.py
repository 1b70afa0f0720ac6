"""What accuracy costs: error of each estimator against its floating-point operations."""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg
from matplotlib.figure import Figure

import holoprop as hp
from holoprop.experiments._data import digits
from holoprop.experiments._experiment import Experiment
from holoprop.experiments._parts import Numbers, Parts
from holoprop.experiments._record import Claim
from holoprop.experiments._style import SERIES, letter, new_figure


@dataclasses.dataclass(frozen=True)
class Cost:
    """Settings of the costs.

    Attributes:
        sizes: Of the MLP.
        weight_std: Of the weights.
        seed: Of the weights.
        batch: Digits.
        steps: Synchronous steps of each phase (at each point, for online): one value a program.
        radius: Of all but the classic and centred estimates.
        small: Nudge of the classic and centred estimates.
        points: N of hEP.
    """

    sizes: tuple[int, ...] = (784, 256, 256, 10)
    weight_std: float = 0.05
    seed: int = 0
    batch: int = 10
    steps: tuple[int, ...] = (2, 4, 8, 16, 32, 64)
    radius: float = 0.4
    small: float = 0.05
    points: tuple[int, ...] = (4, 8)


# Of `online`: N, and the periods that are read after one that is not.
_ONLINE, _PERIODS = 8, 2


def methods(config: Cost) -> list[str]:
    """Names of all that are compared, as the picture has them."""
    hep = [f"hEP, N = {n}" for n in config.points]
    return ["classic", "centred", *hep, "online", "BPTT", "implicit"]


def _estimator(config: Cost, name: str, steps: int) -> hp.AbstractEstimator:
    if name.startswith("hEP"):
        return hp.Holomorphic(config.radius, int(name.split()[-1]))
    return {
        "classic": lambda: hp.OneSided(config.small),
        "centred": lambda: hp.Centred(config.small),
        "online": lambda: hp.Online(
            config.radius, _ONLINE, steps_per_point=steps, periods=_PERIODS, warmup_periods=1
        ),
        "BPTT": lambda: hp.Unrolled(steps=steps),
        "implicit": lambda: hp.Implicit(),
    }[name]()


@dataclasses.dataclass(frozen=True)
class Operations:
    """Floating-point operations of one example, of matrix products alone.

    Attributes:
        sizes: Of the MLP.
    """

    sizes: tuple[int, ...]

    @property
    def drive(self) -> int:
        """The input's way into the first layer, once."""
        return 2 * self.sizes[0] * self.sizes[1]

    @property
    def step(self) -> int:
        """A free step: each inner coupling forwards and back."""
        return sum(4 * a * b for a, b in itertools.pairwise(self.sizes[1:-1]))

    @property
    def nudge(self) -> int:
        """The readout forwards and back, which only a nudged step needs."""
        return 4 * self.sizes[-2] * self.sizes[-1]

    @property
    def gradient(self) -> int:
        """Outer products of one reading."""
        return sum(2 * a * b for a, b in itertools.pairwise(self.sizes))

    def of(self, name: str, steps: int, iterations: float) -> float:
        """Of one estimate; a complex product with real weights is two real ones.

        `hEP` simulates two real points and N/2 - 1 complex ones; conjugates are not simulated.
        """
        free = self.drive + steps * self.step
        nudged = steps * (self.step + self.nudge) + self.gradient
        if name == "classic":
            return free + nudged + self.gradient
        if name == "centred":
            return free + 2 * nudged
        if name.startswith("hEP"):
            # Two real points, and half of the others at twice the cost.
            return free + int(name.split()[-1]) * nudged
        if name == "online":
            stepped = (1 + _PERIODS) * _ONLINE * steps * (self.step + self.nudge)
            return self.drive + 2 * (stepped + _PERIODS * _ONLINE * self.gradient)
        if name == "BPTT":
            # The reverse of a step goes back through the map, and to its weights.
            return 3 * free
        return free + iterations * self.step + self.gradient


def _network(config: Cost) -> hp.LayeredNetwork:
    key = jax.random.key(config.seed)
    return hp.mlp(config.sizes, weight_std=config.weight_std, key=key)


def _force(dynamics: Any, unflatten: Callable[[jax.Array], Any], flat: jax.Array) -> jax.Array:
    """A synchronous step's change, of a state as one vector."""
    moved, _ = dynamics.synchronous(dynamics.extend(unflatten(flat)), None)
    return jax.flatten_util.ravel_pytree(dynamics.state(moved))[0] - flat


def _minus(transposed: Callable[[jax.Array], Any], vector: np.ndarray) -> np.ndarray:
    return -np.asarray(transposed(jnp.asarray(vector))[0])


def krylov_steps(config: Cost) -> float:
    """Products with the Jacobian that SciPy's GMRES needs for the adjoint, mean of the batch.

    To the relative residual 1e-10; counted apart from the library's own solver.
    """
    network, (x, labels) = _network(config), digits(config.batch)
    free = hp.relax(network, x, relaxation=hp.Synchronous(steps=4 * max(config.steps)))
    numerics = network.numerics()
    counts = []
    for index in range(config.batch):
        state = tuple(layer[index] for layer in free.state)
        vector, unflatten = jax.flatten_util.ravel_pytree(state)
        dynamics = numerics.dynamics(numerics.prepare(jnp.asarray(x[index])), None, numerics.maps())

        slope = jax.grad(network.cost)(state, labels[index])
        target = np.asarray(jax.flatten_util.ravel_pytree(slope)[0])
        force = functools.partial(_force, dynamics, unflatten)
        transposed = jax.jit(jax.vjp(force, vector)[1])
        seen: list[float] = []
        operator = scipy.sparse.linalg.LinearOperator(
            (vector.size, vector.size),
            matvec=functools.partial(_minus, transposed),
            dtype=float,
        )
        scipy.sparse.linalg.gmres(
            operator,
            target,
            rtol=1e-10,
            restart=vector.size,
            maxiter=1,
            callback=seen.append,
            callback_type="pr_norm",
        )
        counts.append(len(seen))
    return float(np.mean(counts))


def _error(config: Cost, name: str, steps: int) -> Numbers:
    """Relative error and cosine against the implicit gradient; NaN if an example is unsettled."""
    network, (x, labels) = _network(config), digits(config.batch)
    exact = hp.Synchronous(steps=4 * max(config.steps))
    reference = hp.value_and_grad(network, x, labels, estimator=hp.Implicit(), free=exact)[1]
    schedule = hp.Synchronous(steps=steps)
    (_, aux), grads = hp.value_and_grad(
        network,
        x,
        labels,
        estimator=_estimator(config, name, steps),
        free=schedule,
        nudged=schedule,
        throw=False,
    )
    found = hp.gradient_alignment(grads, reference)
    usable = bool(np.all(aux.settled))
    return {
        "error": np.array(float(found.relative_error) if usable else np.nan),
        "cosine": np.array(float(found.cosine) if usable else np.nan),
    }


def compute(config: Cost, parts: Parts) -> Numbers:
    """Errors of all methods and steps, and their operations."""
    names = methods(config)
    krylov = parts.run("krylov", lambda: {"krylov": np.array(krylov_steps(config))})
    pairs = list(itertools.product(names, config.steps))
    found = parts.each("estimate", pairs, lambda pair: _error(config, *pair))
    shape = len(names), len(config.steps)
    operations = Operations(config.sizes)
    flops = [operations.of(name, steps, float(krylov["krylov"])) for name, steps in pairs]
    return {
        "methods": np.array(names),
        "steps": np.array(config.steps),
        **krylov,
        "flops": np.array(flops, float).reshape(shape),
        "error": np.array([part["error"] for part in found]).reshape(shape),
        "cosine": np.array([part["cosine"] for part in found]).reshape(shape),
    }


def draw(config: Cost, numbers: Numbers) -> Figure:
    """One less the cosine, and relative error, against operations."""
    figure = new_figure(8.4, 3.8)
    panels = figure.subplots(1, 2)
    for panel, values, words in (
        (panels[0], 1 - numbers["cosine"], "1 - cosine"),
        (panels[1], numbers["error"], "relative error"),
    ):
        for name, flops, row, series in zip(
            numbers["methods"], numbers["flops"], values, SERIES, strict=False
        ):
            panel.plot(flops / 1e6, np.maximum(row, 1e-16), label=str(name), **series)
        panel.set(
            xscale="log", yscale="log", xlabel="operations for an example (millions)", ylabel=words
        )
    letter(panels[0], "a")
    letter(panels[1], "b")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def claims(config: Cost, numbers: Numbers) -> list[Claim]:
    """What follows from the theory."""
    row = {str(name): i for i, name in enumerate(numbers["methods"])}
    error, flops = numbers["error"], numbers["flops"]
    hep = row[f"hEP, N = {max(config.points)}"]
    ends = {name: float(error[index, -1]) for name, index in row.items()}
    return [
        Claim(
            "with enough steps hEP with the largest N is nearer than classic EP (ratio of the "
            "errors)",
            ends[f"hEP, N = {max(config.points)}"] / ends["classic"],
            ends[f"hEP, N = {max(config.points)}"] < ends["classic"],
        ),
        Claim(
            "with enough steps BPTT is the implicit gradient (relative error)",
            ends["BPTT"],
            ends["BPTT"] < 1e-3,
            0.0,
        ),
        Claim(
            "an error that classic EP never reaches costs hEP more operations than BPTT (least "
            "operations for half classic EP's best error, hEP over BPTT)",
            _cheapest(flops[hep], error[hep], np.nanmin(error[row["classic"]]) / 2)
            / _cheapest(
                flops[row["BPTT"]], error[row["BPTT"]], np.nanmin(error[row["classic"]]) / 2
            ),
            _cheapest(flops[hep], error[hep], np.nanmin(error[row["classic"]]) / 2)
            > _cheapest(
                flops[row["BPTT"]], error[row["BPTT"]], np.nanmin(error[row["classic"]]) / 2
            ),
        ),
    ]


def _cheapest(flops: np.ndarray, error: np.ndarray, wanted: float) -> float:
    """The fewest operations with an error that is small enough; infinite where there are none."""
    return float(np.min(flops[np.nan_to_num(error, nan=np.inf) <= wanted], initial=np.inf))


def caption(config: Cost, numbers: Numbers) -> str:
    """What was run."""
    steps = ", ".join(map(str, config.steps))
    return (
        f"MLP {'-'.join(map(str, config.sizes))}, float64, weights of deviation "
        f"{config.weight_std:g}, seed {config.seed}, {config.batch} digits of the packaged MNIST "
        f"subset, against the implicit gradient of a settled free phase. Markers of a curve: "
        f"{steps} synchronous steps in each phase (for online, at each of {_ONLINE} points, one "
        f"period unread and {_PERIODS} read). Classic and centred nudge by {config.small:g}, hEP "
        f"and online by {config.radius:g}. Operations are those of matrix products, counted by "
        f"hand: a complex product with real weights is two real ones, conjugate points are not "
        f"simulated, BPTT's reverse costs twice its steps, the implicit solve "
        f"{float(numbers['krylov']):.3g} products with the Jacobian (SciPy's GMRES to 1e-10, mean "
        f"of the batch). A marker is missing where an example does not settle."
    )


COST = Experiment(
    name="cost",
    title="Cost: accuracy against operations",
    configs={
        "smoke": lambda: Cost(
            sizes=(784, 6, 5, 10), weight_std=0.1, batch=2, steps=(30,), points=(4,)
        ),
        "quick": Cost,
        "paper": lambda: Cost(steps=(2, 4, 8, 16, 32, 64, 128), points=(4, 8, 16)),
    },
    compute=compute,
    draw=draw,
    claims=claims,
    caption=caption,
)
