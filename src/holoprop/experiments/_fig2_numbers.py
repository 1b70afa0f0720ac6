"""The numbers of Figure 2: from a seed to orbits, a map, products, cosines, and a network."""

import dataclasses

import jax.numpy as jnp
import numpy as np

import holoprop as hp
from holoprop.experiments._maps import residual_map
from holoprop.experiments._parts import Numbers, Parts, stacked
from holoprop.experiments._toy import Toy, circle, frontier, toy


@dataclasses.dataclass(frozen=True)
class Fig2:
    """Settings of Figure 2.

    Attributes:
        seeds: Networks that are looked at, in order, for the first whose frontier is in `between`.
        between: Smallest radius whose circle leaves the stable region, at least and at most.
        search_points: Of each half circle that is looked at: unstable slits are thin.
        weight_std: Of the weights.
        steps: Synchronous steps of the free and of the nudged phases.
        map_steps: Of the map, under each nudge.
        map_points: Grid points on a side of the map.
        width: Side of the map.
        lanes: Nudges that the map relaxes at once.
        orbit_points: N of panel a.
        orbit_radius: Radius of panel a.
        star: Radius of the circle in panel b, marked in panel d.
        product_points: N of panel c.
        product_radii: Radii of panel c.
        points: N of hEP in panel d.
        radii: Of panel d.
    """

    seeds: int = 2000
    between: tuple[float, float] = (0.55, 1.2)
    search_points: int = 241
    weight_std: float = 0.5
    steps: int = 100
    map_steps: int = 200
    map_points: int = 301
    width: float = 3.0
    lanes: int = 10000
    orbit_points: int = 24
    orbit_radius: float = 0.1
    star: float = 0.5
    product_points: int = 32
    product_radii: tuple[float, ...] = (0.001, 0.01, 0.1, 0.5)
    points: int = 30
    radii: tuple[float, ...] = tuple(float(f"{r:.4g}") for r in np.geomspace(0.001, 1.5, 48))


def _search(config: Fig2) -> Numbers:
    radii = np.linspace(0.05, config.width / 2, 30)
    for seed in range(config.seeds):
        example = toy(seed, weight_std=config.weight_std)
        edge = frontier(
            example,
            radii,
            points=config.search_points,
            free_steps=config.steps,
            steps=config.map_steps,
        )
        if config.between[0] <= edge <= config.between[1]:
            return {"seed": np.array(seed), "frontier": np.array(edge)}
    raise RuntimeError(
        f"no seed from 0 to {config.seeds - 1} has a circle of radius {config.between[0]} to "
        f"{config.between[1]} that leaves the stable region: look at more seeds."
    )


def _orbits(config: Fig2, example: Toy) -> Numbers:
    nudges = config.orbit_radius * circle(config.orbit_points)
    free, nudged = example.relax(nudges, free_steps=config.steps, steps=config.steps)
    return {
        f"{name}_{layer + 1}": np.asarray(state)
        for name, states in (
            ("free", [s[0] for s in free.state]),
            ("orbit", [s[:, 0] for s in nudged.state]),
        )
        for layer, state in enumerate(states)
    }


def _reference(config: Fig2, example: Toy) -> hp.LayeredNetwork:
    """The gradient by the implicit function theorem."""
    _, grads = hp.value_and_grad(
        example.network,
        example.x,
        example.label,
        estimator=hp.Implicit(),
        free=hp.Synchronous(steps=config.map_steps),
    )
    return grads


def _products(config: Fig2, example: Toy) -> Numbers:
    """Products of the two units whose weight has the largest gradient, less the free product."""
    gradient = np.asarray(_reference(config, example).couplings[1].weight)
    upper, lower = np.unravel_index(np.argmax(np.abs(gradient)), gradient.shape)
    rows = []
    for radius in config.product_radii:
        nudges = radius * circle(config.product_points)
        free, nudged = example.relax(nudges, free_steps=config.map_steps, steps=config.map_steps)
        product = nudged.state[0][:, 0, lower] * nudged.state[1][:, 0, upper]
        rows.append(np.asarray(product - free.state[0][0, lower] * free.state[1][0, upper]))
    return {
        "products": np.array(rows),
        "minus_gradient": -gradient[upper, lower],
        "units": np.array([lower, upper]),
    }


def _cosines(config: Fig2, example: Toy, radius: float) -> Numbers:
    schedule = hp.Synchronous(steps=config.steps)
    reference = _reference(config, example)
    # An array, so that one program serves all radii.
    size = jnp.asarray(radius)
    form = hp.StateForm.PLAIN
    found = {}
    for name, estimator in (
        ("hep", hp.Holomorphic(size, config.points, form=form)),
        ("classic", hp.OneSided(size, form=form)),
    ):
        (_, aux), grads = hp.value_and_grad(
            example.network,
            example.x,
            example.label,
            estimator=estimator,
            free=schedule,
            nudged=schedule,
            throw=False,
        )
        # Where a phase does not settle, the library gives no gradient.
        usable = bool(aux.settled[0])
        cosine = hp.gradient_alignment(grads, reference).cosine if usable else np.nan
        residual = np.asarray(aux.residuals["nudged"])
        found[f"cosine_{name}"] = np.asarray(cosine, float)
        found[f"residual_{name}"] = np.where(np.isfinite(residual), residual, np.nan).max()
    return found


def exported(config: Fig2, example: Toy) -> Numbers:
    """The network, its example and the implicit gradient, for who computes without the library.

    `weight_1` and `bias_1` are the lowest coupling's, those with the largest number the readout's.
    """
    found = {"input": example.x[0], "label": example.label[0]}
    for prefix, network in (("", example.network), ("gradient_", _reference(config, example))):
        assert network.readout is not None
        for index, coupling in enumerate((*network.couplings, network.readout), start=1):
            found[f"{prefix}weight_{index}"] = np.asarray(coupling.weight)
            found[f"{prefix}bias_{index}"] = np.asarray(coupling.bias)
    return found


def compute(config: Fig2, parts: Parts) -> Numbers:
    """Seed, network, orbits, map, products, cosines."""
    search = parts.run("seed", lambda: _search(config))
    example = toy(int(search["seed"]), weight_std=config.weight_std)
    network = parts.run("network", lambda: exported(config, example))
    orbits = parts.run("orbits", lambda: _orbits(config, example))
    residual = residual_map(
        example.network,
        example.x,
        example.label,
        parts,
        name="map",
        centre=0,
        width=config.width,
        points=config.map_points,
        free_steps=config.steps,
        steps=config.map_steps,
        lanes=config.lanes,
    )
    products = parts.run("products", lambda: _products(config, example))
    cosines = parts.each("radius", config.radii, lambda r: _cosines(config, example, r))
    return {
        **search,
        **network,
        **orbits,
        "map": residual,
        **products,
        "radii": np.array(config.radii),
        **stacked(cosines),
    }
