"""How exact a gradient is, in numbers: errors, Taylor coefficients, what estimates say."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import holoprop as hp
from holoprop.experiments._parts import Numbers
from holoprop.experiments._toy import circle

FORMS = {"plain": hp.StateForm.PLAIN, "deviation": hp.StateForm.DEVIATION}


@dataclasses.dataclass(frozen=True)
class Exactness:
    """Settings of the map of errors.

    Attributes:
        sizes: Of the MLP.
        batch: Examples, Gaussian.
        seed: Of weights and examples.
        steps: Synchronous steps, free and nudged.
        points: The N.
        radii: Of the circles.
        modes: Points of the circle that the Taylor coefficients are read from.
        mode_radius: Its radius; at least the largest of `radii`, and in the stable region.
        single_points: The N of the float32 panel, and of the noisy one.
        noise: Deviation of the noise on every step of the noisy estimates.
        asked: Relative error of an example's gradient that tuning is asked for.
    """

    sizes: tuple[int, ...] = (6, 4, 4, 4)
    batch: int = 4
    seed: int = 3
    steps: int = 200
    points: tuple[int, ...] = (2, 4, 8, 16, 32)
    radii: tuple[float, ...] = tuple(float(f"{r:.4g}") for r in np.geomspace(1e-5, 0.8, 24))
    modes: int = 128
    mode_radius: float = 0.8
    single_points: int = 8
    noise: float = 0.04
    asked: float = 1e-6


def example(config: Exactness, dtype: str) -> tuple[hp.LayeredNetwork, np.ndarray, np.ndarray]:
    """Network, inputs and labels; the same numbers in both precisions, but for rounding."""
    weights, inputs, classes = jax.random.split(jax.random.key(config.seed), 3)
    network = jax.tree.map(lambda w: w.astype(dtype), hp.mlp(config.sizes, key=weights))
    x = jax.random.normal(inputs, (config.batch, config.sizes[0]))
    labels = jax.random.randint(classes, (config.batch,), 0, config.sizes[-1])
    return network, np.asarray(x.astype(dtype)), np.asarray(labels)


def slopes(
    network: hp.LayeredNetwork, x: np.ndarray, labels: np.ndarray, nudges: np.ndarray, steps: int
) -> np.ndarray:
    """dF/dtheta at the equilibria of some nudges, complex [nudges, parameters], mean of the batch.

    By differentiating F itself, apart from the estimators.
    """
    schedule = hp.Synchronous(steps=steps)
    free = hp.relax(network, x, relaxation=schedule)
    nudged = hp.relax(
        network,
        x,
        nudge=jnp.asarray(nudges, complex),
        target=labels,
        init=free.state,
        relaxation=schedule,
        batching=hp.Lockstep(),
    )

    @eqx.filter_jit
    def slope(network: hp.LayeredNetwork, beta: jax.Array, state: tuple[jax.Array, ...]) -> tuple:
        def total(network: hp.LayeredNetwork) -> jax.Array:
            numerics = network.numerics()
            each = jax.vmap(lambda s, x, y: numerics.interaction(s, x) + beta * network.cost(s, y))(
                state, jnp.asarray(x), jnp.asarray(labels)
            )
            return jnp.mean(each)

        real = eqx.filter_grad(lambda n: jnp.real(total(n)))(network)
        imaginary = eqx.filter_grad(lambda n: jnp.imag(total(n)))(network)
        return flat(real), flat(imaginary)

    # Beyond the stable region the coefficients would be those of nothing.
    worst = float(jnp.max(jnp.nan_to_num(nudged.residual, nan=jnp.inf)))
    if worst > 1e-10:
        raise RuntimeError(
            f"the circle of radius {np.abs(nudges).max():g} leaves the stable region (residual "
            f"{worst:.1e}): choose a smaller mode_radius or another seed."
        )
    rows = []
    for index, beta in enumerate(nudges):
        state = tuple(layer[index] for layer in nudged.state)
        real, imaginary = slope(network, jnp.asarray(beta, complex), state)
        rows.append(np.asarray(real) + 1j * np.asarray(imaginary))
    return np.array(rows)


def flat(grads: hp.LayeredNetwork) -> jax.Array:
    """All arrays of a gradient in one vector."""
    return jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(grads)])


def taylor(values: np.ndarray, radius: float) -> np.ndarray:
    """Coefficients a_p of sum_p a_p beta^p from values on a circle, [modes / 2, ...].

    a_p radius^p is the p-th Fourier mode, with an alias from the order p + modes on.
    """
    modes = np.fft.fft(values, axis=0) / len(values)
    orders = np.arange(len(values) // 2)
    return modes[: len(orders)] / radius ** orders.reshape(-1, *[1] * (values.ndim - 1))


def predicted(coefficients: np.ndarray, radius: float, points: int) -> float:
    """Eq. (9): relative error from the coefficients of orders N + 1, 2 N + 1, ..."""
    orders = np.arange(points + 1, len(coefficients), points)
    powers = radius ** (orders - 1.0)
    bias = np.tensordot(powers, coefficients[orders], 1) if orders.size else np.full(1, np.nan)
    return float(np.linalg.norm(bias) / np.linalg.norm(coefficients[1]))


def coefficients_of(config: Exactness) -> Numbers:
    """Norms and predictions; the coefficients themselves are many."""
    network, x, labels = example(config, "float64")
    nudges = config.mode_radius * circle(config.modes)
    a = taylor(slopes(network, x, labels, nudges, config.steps), config.mode_radius)
    bias = [[predicted(a, r, n) for r in config.radii] for n in config.points]
    return {
        "predicted": np.array(bias),
        "coefficient_norms": np.linalg.norm(a, axis=1),
        # To see that the first coefficient is the gradient.
        "first_coefficient": np.real(a[1]),
    }


def errors_of(config: Exactness, dtype: str, form: str, points: int) -> Numbers:
    """Relative error against the float64 implicit gradient at each radius; NaN if unsettled."""
    network, x, labels = example(config, dtype)
    reference = flat(reference_of(config))
    schedule = hp.Synchronous(steps=config.steps)
    found = []
    for radius in config.radii:
        size = jnp.asarray(radius, dtype)
        (_, aux), grads = hp.value_and_grad(
            network,
            x,
            labels,
            estimator=hp.Holomorphic(size, points, form=FORMS[form]),
            free=schedule,
            nudged=schedule,
            throw=False,
        )
        error = jnp.linalg.norm(flat(grads).astype(float) - reference)
        usable = bool(jnp.all(aux.settled))
        found.append(float(error / jnp.linalg.norm(reference)) if usable else np.nan)
    return {"error": np.array(found)}


def said_of(config: Exactness, points: int, noise: float) -> Numbers:
    """Every example's true and estimated error at each radius, [radii, batch]; NaN if unsettled."""
    network, x, labels = example(config, "float64")
    schedule = hp.Synchronous(steps=config.steps, noise=noise)

    def one(x: jax.Array, label: jax.Array, **options: Any) -> tuple[hp.Aux, jax.Array]:
        (_, aux), grads = hp.value_and_grad(network, x[None], label[None], throw=False, **options)
        return aux, flat(grads)

    @eqx.filter_jit
    def errors(radius: jax.Array) -> tuple[jax.Array, jax.Array]:
        estimator = hp.Holomorphic(radius, points)

        def both(row: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            x, label, key = row
            exact = one(x, label, estimator=hp.Implicit(), free=hp.Synchronous(steps=config.steps))
            aux, found = one(x, label, estimator=estimator, free=schedule, nudged=schedule, key=key)
            error = jnp.linalg.norm(found - exact[1]) / jnp.linalg.norm(exact[1])
            usable = aux.settled[0]
            return jnp.where(usable, error, jnp.nan), jnp.where(usable, aux.error[0], jnp.nan)

        keys = jax.random.split(jax.random.key(config.seed + 1), len(labels))
        return jax.lax.map(both, (jnp.asarray(x), jnp.asarray(labels), keys))

    true, said = zip(*(errors(jnp.asarray(radius)) for radius in config.radii), strict=True)
    return {"true": np.array(true), "said": np.array(said)}


def proposed_of(config: Exactness) -> Numbers:
    """The circle that tuning proposes, and its gradient's error."""
    network, x, labels = example(config, "float64")
    schedule = hp.Synchronous(steps=config.steps)
    tuning = hp.tune(
        network,
        x,
        labels,
        error=config.asked,
        share=0.0,
        radii=config.radii,
        points=config.points,
        free=schedule,
        nudged=schedule,
    )
    _, grads = hp.value_and_grad(
        network, x, labels, estimator=tuning.estimator, free=schedule, nudged=schedule
    )
    reference = flat(reference_of(config))
    error = jnp.linalg.norm(flat(grads) - reference) / jnp.linalg.norm(reference)
    return {
        "proposed_radius": np.asarray(tuning.best.radius),
        "proposed_points": np.asarray(tuning.best.points),
        "proposed_said": np.asarray(tuning.best.error),
        "proposed_error": np.asarray(error),
    }


def reference_of(config: Exactness) -> hp.LayeredNetwork:
    network, x, labels = example(config, "float64")
    schedule = hp.Synchronous(steps=config.steps)
    return hp.value_and_grad(network, x, labels, estimator=hp.Implicit(), free=schedule)[1]
