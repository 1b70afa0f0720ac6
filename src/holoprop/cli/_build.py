"""From the command line's names to the library's objects."""

import math

import jax
import jax.numpy as jnp
import optax

import holoprop as hp
from holoprop._types import Array
from holoprop.cli._config import (
    EstimatorConfig,
    NetworkConfig,
    OptimiserConfig,
    RelaxationConfig,
    TrainConfig,
)
from holoprop.training import Method

_ACTIVATIONS: dict[str, type[hp.nn.AbstractActivation]] = {
    "shifted-sigmoid": hp.ShiftedSigmoid,
    "dsilu": hp.DSiLU,
    "silu": hp.SiLU,
    "tanh": hp.Tanh,
    "identity": hp.Identity,
    "relu": hp.ReLU,
    "clipped-relu": hp.ClippedReLU,
}


def build_network(config: NetworkConfig, *, seed: int) -> hp.LayeredNetwork:
    """The network at its initial weights."""
    return hp.mlp(
        config.sizes,
        activation=_ACTIVATIONS[config.activation](),
        weight_std=config.weight_std,
        cost=hp.CrossEntropy() if config.cost == "cross-entropy" else hp.SquaredError(),
        key=jax.random.key(seed),
    )


def build_estimator(config: EstimatorConfig) -> hp.AbstractEstimator:
    """The estimator of a name, with those settings that it has."""
    if not 0 < config.radius < math.inf:
        raise ValueError(f"--estimator.radius must be positive; got {config.radius}.")
    if config.unrolled_steps < 1:
        raise ValueError(
            f"--estimator.unrolled-steps must be 1 or more; got {config.unrolled_steps}."
        )
    rule = hp.GradientRule(config.rule)
    match config.name:
        case "holomorphic":
            return hp.Holomorphic(config.radius, config.points, rule=rule)
        case "online":
            return hp.Online(
                config.radius,
                config.points,
                steps_per_point=config.steps_per_point,
                periods=config.periods,
                warmup_periods=config.warmup_periods,
            )
        case "centred":
            return hp.Centred(config.radius, rule=rule)
        case "one-sided":
            return hp.OneSided(config.radius, rule=rule)
        case "implicit":
            return hp.Implicit()
        case "unrolled":
            return hp.Unrolled(config.unrolled_steps)


def build_relaxation(config: RelaxationConfig, *, phase: str) -> hp.AbstractRelaxation:
    """The relaxation of a phase, whose name begins its options' names."""
    if config.anderson < 0 or config.anderson == 1:
        raise ValueError(
            f"--{phase}.anderson must be 0 for none, or 2 or more; got {config.anderson}."
        )
    tolerance = config.tolerance
    if config.steps is None and tolerance != "auto" and not 0 < tolerance < math.inf:
        raise ValueError(f"--{phase}.tolerance must be positive or auto; got {tolerance}.")
    order = hp.Sequential if config.order == "sequential" else hp.Synchronous
    precision = None if config.precision == "float32" else config.precision
    plain: hp.AbstractRelaxation
    if config.steps is not None:
        plain = order(steps=config.steps, noise=config.noise, precision=precision)
    else:
        plain = order(
            tolerance=tolerance,
            max_steps=config.max_steps,
            noise=config.noise,
            precision=precision,
        )
    return hp.Anderson(plain, depth=config.anderson) if config.anderson else plain


def build_optimiser(config: OptimiserConfig, *, steps: int) -> optax.GradientTransformation:
    """SGD over a number of steps; weight decay is added to the gradient before momentum."""
    rate: optax.ScalarOrSchedule = config.learning_rate
    if config.schedule == "cosine":
        rate = optax.cosine_decay_schedule(config.learning_rate, steps)
    return optax.chain(
        optax.add_decayed_weights(config.weight_decay) if config.weight_decay else optax.identity(),
        optax.sgd(rate, momentum=config.momentum or None),
    )


def scale_images(images: Array) -> Array:
    """Unsigned bytes to real numbers from 0 to 1."""
    return images.astype(jnp.float32) / 255


def build_method(config: TrainConfig, *, steps: int) -> Method:
    """Everything that a training step needs beside the network, for a run of so many steps."""
    return Method(
        estimator=build_estimator(config.estimator),
        free=build_relaxation(config.free, phase="free"),
        nudged=build_relaxation(config.nudged, phase="nudged"),
        optimiser=build_optimiser(config.optimiser, steps=steps),
        transform=scale_images,
    )
