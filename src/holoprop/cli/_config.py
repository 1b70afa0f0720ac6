"""What a training run can be told: frozen dataclasses, which are the command line's options too.

Names of parts are strings here and nowhere else; `_build` turns them into objects.
"""

import dataclasses
import math
from typing import Literal


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """The network."""

    sizes: tuple[int, ...] = (784, 256, 256, 10)
    """Units from the input to the prediction."""
    activation: Literal["shifted-sigmoid", "dsilu", "silu", "tanh", "identity", "relu",
                        "clipped-relu"] = "shifted-sigmoid"  # fmt: skip
    """Activation function."""
    cost: Literal["cross-entropy", "squared-error"] = "cross-entropy"
    """Cross-entropy of a readout, or squared error of a nudged output layer."""
    weight_std: float | None = None
    """Deviation of the initial weights; default 1/sqrt(fan-in)."""


@dataclasses.dataclass(frozen=True)
class EstimatorConfig:
    """How gradients are estimated."""

    name: Literal["holomorphic", "online", "centred", "one-sided", "implicit", "unrolled"] = (
        "holomorphic"
    )
    """Holomorphic, online, centred and one-sided equilibrium propagation, or a reference."""
    radius: float = 0.4
    """Size of the nudge: |beta|."""
    points: int = 10
    """N, points on the circle (holomorphic, online)."""
    rule: Literal["average", "fourier"] = "average"
    """Eq. (8), or the first Fourier coefficient of the state and one mixed derivative, which is
    cheaper for many points (holomorphic, centred, one-sided)."""
    steps_per_point: int = 30
    """Relaxation steps at each point (online)."""
    periods: int = 3
    """Periods that are averaged (online)."""
    warmup_periods: int = 1
    """Periods before that, which are not read (online)."""
    unrolled_steps: int = 200
    """Steps of backpropagation through time (unrolled)."""


@dataclasses.dataclass(frozen=True)
class RelaxationConfig:
    """How a phase settles: by a tolerance, or for a fixed number of steps."""

    order: Literal["sequential", "synchronous"] = "sequential"
    """Layer after layer, or all layers at once (the paper's)."""
    anderson: int = 0
    """Steps that Anderson mixing combines, 2 or more; 0 for none."""
    steps: int | None = None
    """Fixed number of steps; replaces tolerance and max-steps."""
    tolerance: float | Literal["auto"] = 1e-4
    """Residual at which an example has settled: relative to the state in the free phase, to the
    state's deviation from it in nudged phases (without noise); auto for what the gradient needs."""
    max_steps: int = 100
    """Largest number of steps."""
    noise: float = 0.0
    """Deviation of the noise on every unit's input; needs fixed steps."""
    precision: Literal["float32", "bfloat16", "tensorfloat32"] = "float32"
    """Of the operands of linear maps; states stay float32."""


@dataclasses.dataclass(frozen=True)
class OptimiserConfig:
    """Stochastic gradient descent."""

    learning_rate: float = 0.05
    """Learning rate."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate over the run: as it is, or down to zero along a cosine."""
    momentum: float = 0.0
    """Momentum, from 0 to below 1."""
    weight_decay: float = 0.0
    """Added to the gradient, times the weights, before momentum."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """A training run."""

    data: str | None = None
    """Folder with train and test parquet files, or a hub name; default the MNIST subset that comes
    with holoprop."""
    validation: float = 0.1
    """Share of the training split that is held out; 0 to validate on the test split, as the paper
    does."""
    epochs: int = 10
    """Passes over the training split."""
    batch_size: int = 20
    """Images in a step."""
    seed: int = 0
    """Of the weights, the order of images and the noise."""
    output: str | None = None
    """Run folder; default a new dated one under runs/."""
    overwrite: bool = False
    """Replace an earlier run in the run folder."""
    profile: bool = False
    """Write a profile of some early training steps to `profile` in the run folder, for TensorBoard
    or Perfetto."""
    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
    estimator: EstimatorConfig = dataclasses.field(default_factory=EstimatorConfig)
    free: RelaxationConfig = dataclasses.field(default_factory=RelaxationConfig)
    nudged: RelaxationConfig = dataclasses.field(default_factory=RelaxationConfig)
    optimiser: OptimiserConfig = dataclasses.field(default_factory=OptimiserConfig)

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("seed", 0)):
            value = getattr(self, name)
            if value < least:
                flag = name.replace("_", "-")
                raise ValueError(f"--{flag} must be {least} or more; got {value}.")
        if not 0 <= self.validation < 1:
            raise ValueError(
                f"--validation must be a share from 0 to below 1; got {self.validation}."
            )
        if not 0 < self.optimiser.learning_rate < math.inf:
            raise ValueError(
                f"--optimiser.learning-rate must be positive; got {self.optimiser.learning_rate}."
            )
        if not 0 <= self.optimiser.momentum < 1:
            raise ValueError(
                f"--optimiser.momentum must be from 0 to below 1; got {self.optimiser.momentum}."
            )
        if not 0 <= self.optimiser.weight_decay < math.inf:
            raise ValueError(
                f"--optimiser.weight-decay must be 0 or more; got {self.optimiser.weight_decay}."
            )
