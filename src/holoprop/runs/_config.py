"""What a training run can be told: frozen dataclasses, which are the command line's options too."""

import dataclasses
import math
from typing import Literal

import optax

import holoprop as hp
from holoprop.runs._networks import AbstractNetwork, Mlp


@dataclasses.dataclass(frozen=True)
class OptimiserConfig:
    """Stochastic gradient descent.

    Attributes:
        learning_rate: Positive.
        schedule: The learning rate over the run: as it is, or down to zero along a cosine.
        momentum: From 0 to below 1.
        weight_decay: Added to the gradient, times the weights, before momentum; 0 or more.
    """

    learning_rate: float = 0.05
    schedule: Literal["constant", "cosine"] = "constant"
    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be positive; got {self.learning_rate}.")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be from 0 to below 1; got {self.momentum}.")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay must be 0 or more; got {self.weight_decay}.")

    def build(self, *, steps: int) -> optax.GradientTransformation:
        """The optimiser for a run of so many steps."""
        rate: optax.ScalarOrSchedule = self.learning_rate
        if self.schedule == "cosine":
            rate = optax.cosine_decay_schedule(self.learning_rate, steps)
        return optax.chain(
            optax.add_decayed_weights(self.weight_decay) if self.weight_decay else optax.identity(),
            optax.sgd(rate, momentum=self.momentum or None),
        )


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """Checkpoints, from which an interrupted run goes on.

    Attributes:
        minutes: One is written every so many; positive.
        steps: And every so many steps, 1 or more, where given.
        keep: How many of the newest are kept, 1 or more.
    """

    minutes: float = 5.0
    steps: int | None = None
    keep: int = 3

    def __post_init__(self) -> None:
        if not self.minutes > 0:
            raise ValueError(f"minutes must be positive; got {self.minutes}.")
        for name in ("steps", "keep"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more; got {value}.")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """A training run.

    Attributes:
        data: Folder with train and test parquet files, or a hub name; default the MNIST subset that
            comes with holoprop.
        validation: Share of the training split that is held out; 0 to validate on the test split,
            as the paper does.
        epochs: Passes over the training split.
        batch_size: Images in a step.
        seed: Of the weights, the order of images and the noise, from 0 to 2^32 - 1.
        max_unsettled: Share of the images, from 0 to 1, that may be left out because they do not
            settle; a run with more of them for several looks on end is stopped.
        output: Run folder; default a new dated one under runs/.
        overwrite: Replace an earlier run in the run folder, when this one has ended.
        profile: Write a profile of some early training steps to `profile` in the run folder, for
            TensorBoard or Perfetto.
        compilation_cache: Keep compiled programs in the user's cache folder, so that later runs
            begin sooner.
        network: What is trained.
        estimator: How gradients are estimated.
        free: How the free phase settles.
        nudged: How the nudged phases settle.
        optimiser: What is made of the gradients.
        checkpoints: When the run is saved, so that it can go on after an interruption.
    """

    data: str | None = None
    validation: float = 0.1
    epochs: int = 10
    batch_size: int = 20
    seed: int = 0
    max_unsettled: float = 0.5
    output: str | None = None
    overwrite: bool = False
    profile: bool = False
    compilation_cache: bool = True
    network: AbstractNetwork = dataclasses.field(default_factory=Mlp)
    estimator: hp.AbstractEstimator = dataclasses.field(
        default_factory=lambda: hp.Holomorphic(radius=0.4, points=10)
    )
    free: hp.AbstractRelaxation = dataclasses.field(
        default_factory=lambda: hp.Sequential(tolerance=1e-4, max_steps=100)
    )
    nudged: hp.AbstractRelaxation = dataclasses.field(
        default_factory=lambda: hp.Sequential(tolerance=1e-4, max_steps=100)
    )
    optimiser: OptimiserConfig = dataclasses.field(default_factory=OptimiserConfig)
    checkpoints: CheckpointConfig = dataclasses.field(default_factory=CheckpointConfig)

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1)):
            value = getattr(self, name)
            if value < least:
                raise ValueError(f"{name} must be {least} or more; got {value}.")
        if not 0 <= self.seed < 2**32:
            # More bits than these would not reach the generator of random numbers.
            raise ValueError(f"seed must be from 0 to {2**32 - 1}; got {self.seed}.")
        if not 0 <= self.max_unsettled <= 1:
            raise ValueError(f"max_unsettled must be from 0 to 1; got {self.max_unsettled}.")
        if not 0 <= self.validation < 1:
            raise ValueError(
                f"validation must be a share from 0 to below 1; got {self.validation}."
            )
