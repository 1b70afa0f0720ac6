"""What a training run can be told: frozen dataclasses, which are the command line's options too."""

import dataclasses
import math
from typing import Literal

import holoprop as hp
from holoprop.runs._networks import AbstractNetwork, Mlp
from holoprop.runs._optimiser import OptimiserConfig

# What equilibria alone have: settings of method "ep".
EQUILIBRIUM_SETTINGS = ("estimator", "free", "nudged")


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where images come from, and how they are read.

    Attributes:
        source: A folder with train and test parquet files, or with images in train/CLASS and
            test/CLASS; or a hub name; default the MNIST subset that comes with holoprop.
        image: The column with the images; default image or img.
        label: The column with the labels; default label or fine_label.
        size: Height and width to which images are cut and scaled, 1 or more; default none: all must
            have one size.
    """

    source: str | None = None
    image: str | None = None
    label: str | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise ValueError(f"size must be 1 or more; got {self.size}.")


@dataclasses.dataclass(frozen=True)
class InputConfig:
    """How images enter the network: from bytes to numbers from 0 to 1, and then as set here.

    Attributes:
        mean: What is taken off, one number, or one for each channel.
        std: What is divided by then, positive, likewise.
        flip: Mirror training images left to right, one in two.
        pad: Training images get so many zeros on each side and are cut back to their size at random
            places; 0 or more.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    flip: bool = False
    pad: int = 0

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            if not getattr(self, name):
                raise ValueError(f"{name} must be one number, or one for each channel; got none.")
        if not all(map(math.isfinite, self.mean)):
            raise ValueError(f"mean must be finite; got {self.mean}.")
        if not all(0 < value < math.inf for value in self.std):
            raise ValueError(f"std must be positive; got {self.std}.")
        if self.pad < 0:
            raise ValueError(f"pad must be 0 or more; got {self.pad}.")

    def check(self, name: str, shape: tuple[int, ...]) -> None:
        """Raise `ValueError` where images of a shape do not have the channels."""
        channels = shape[2] if len(shape) == 3 else 1
        for setting in ("mean", "std"):
            count = len(getattr(self, setting))
            if count not in (1, channels):
                raise ValueError(
                    f"--inputs.{setting} has {count} numbers, but images of {name} have {channels} "
                    f"channel{'s' if channels > 1 else ''}: give one for each, or one for all."
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
        data: Where images come from, and how they are read.
        validation: Share of the training split that is held out, unless the data have a validation
            split of their own; 0 to validate on the test split, as the paper does.
        images: Images of the training split, at most, evenly from its classes, and of the other
            splits each; default all.
        epochs: Passes over the training split.
        patience: Training ends early after so many epochs, 1 or more, without a better one on the
            validation images; default none.
        batch_size: Images in a step.
        seed: Of the weights, the order of images, the noise and the augmentation, from 0 to
            2^32 - 1.
        max_unsettled: Share of the images, from 0 to 1, that may be left out because they do not
            settle; a run with more of them for several looks on end is stopped.
        checked_images: Training images on which the gradient is compared with the implicit one,
            before and after training, 0 or more; 0 for no comparison.
        output: Run folder; default a new dated one under runs/.
        overwrite: Replace an earlier run in the run folder, when this one has ended.
        track: Programs that are told the settings and every epoch's numbers: tensorboard (events
            in the run folder), wandb, trackio.
        profile: Write a profile of some early training steps to `profile` in the run folder, for
            TensorBoard or Perfetto.
        compilation_cache: Keep compiled programs in the user's cache folder, so that later runs
            begin sooner.
        inputs: How images enter the network.
        network: What is trained.
        method: By equilibrium propagation, or the feed-forward network with the same couplings by
            backpropagation, the baseline.
        estimator: How gradients are estimated; only ep has it.
        free: How the free phase settles; only ep has it.
        nudged: How the nudged phases settle; only ep has it.
        optimiser: What is made of the gradients.
        checkpoints: When the run is saved, so that it can go on after an interruption.
    """

    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    validation: float = 0.1
    images: int | None = None
    epochs: int = 10
    patience: int | None = None
    batch_size: int = 20
    seed: int = 0
    max_unsettled: float = 0.5
    checked_images: int = 100
    output: str | None = None
    overwrite: bool = False
    track: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    profile: bool = False
    compilation_cache: bool = True
    inputs: InputConfig = dataclasses.field(default_factory=InputConfig)
    network: AbstractNetwork = dataclasses.field(default_factory=Mlp)
    method: Literal["ep", "bp"] = "ep"
    # None stands for the default of the method, which is nothing for "bp".
    estimator: hp.AbstractEstimator | None = None
    free: hp.AbstractRelaxation | None = None
    nudged: hp.AbstractRelaxation | None = None
    optimiser: OptimiserConfig = dataclasses.field(default_factory=OptimiserConfig)
    checkpoints: CheckpointConfig = dataclasses.field(default_factory=CheckpointConfig)

    def __post_init__(self) -> None:
        for name, least in (
            ("images", 1),
            ("checked_images", 0),
            ("epochs", 1),
            ("patience", 1),
            ("batch_size", 1),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
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
        for name, default in zip(EQUILIBRIUM_SETTINGS, _EQUILIBRIUM_DEFAULTS, strict=True):
            if self.method == "bp" and getattr(self, name) is not None:
                raise ValueError(f"{name} does not apply to method bp: leave it out.")
            if self.method == "ep" and getattr(self, name) is None:
                object.__setattr__(self, name, default)


_EQUILIBRIUM_DEFAULTS = (
    hp.Holomorphic(radius=0.4, points=10),
    hp.Sequential(tolerance=1e-4, max_steps=100),
    hp.Sequential(tolerance=1e-4, max_steps=100),
)
