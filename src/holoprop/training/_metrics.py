"""What training and evaluation report: plain numbers on the host."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class EpochMetrics:
    """What one epoch came to; the keys of a line of `metrics.jsonl`.

    Attributes:
        epoch: From 1.
        train_loss: Mean over the epoch's examples that settled without a nudge, each at the network
            before its batch's step.
        train_error: Over all of them: fraction of 1, or None for an energy without classes.
        validation_loss: After the epoch.
        validation_error: As `train_error`.
        validation_top5_error: Examples whose class is not among the five best, likewise; None for
            five classes or fewer.
        residuals: By phase: mean over the batches of each batch's median residual.
        steps: By phase: mean over the batches.
        residual_quartiles: By phase: smallest, quartiles and largest, five numbers, of the batches'
            median residuals.
        step_quartiles: By phase: the same of the batches' steps.
        unsettled: Training examples that were left out of the gradient because they did not settle
            in every phase.
        validation_unsettled: Validation examples that did not settle; they count all the same.
        untrusted: Training examples whose nudges leave the region where the equilibrium is
            holomorphic; they count all the same.
        gradient_error: "mean", "median" and "largest" estimated relative error of a training
            example's gradient; one above 1, the whole gradient, counts as 1. None for
            backpropagation, which estimates nothing.
        images_per_second: In training, validation not included.
        seconds: For the training, validation not included.
    """

    epoch: int
    train_loss: float
    train_error: float | None
    validation_loss: float
    validation_error: float | None
    validation_top5_error: float | None
    residuals: dict[str, float]
    steps: dict[str, float]
    residual_quartiles: dict[str, list[float]]
    step_quartiles: dict[str, list[float]]
    unsettled: int
    validation_unsettled: int
    untrusted: int
    gradient_error: dict[str, float] | None
    images_per_second: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where training stands within an epoch.

    Attributes:
        epoch: From 1.
        epochs: Of the run.
        batch: Batches that are done, from 1.
        batches: Of the epoch.
        loss: As `EpochMetrics.train_loss`, over the epoch so far.
        error: As `loss`, a fraction of 1, or None for an energy without classes.
        residuals: As `loss`, by phase.
        steps: As `loss`, by phase.
        images_per_second: In the epoch so far.
    """

    epoch: int
    epochs: int
    batch: int
    batches: int
    loss: float
    error: float | None
    residuals: dict[str, float]
    steps: dict[str, float]
    images_per_second: float


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What a set of examples came to.

    Attributes:
        loss: Mean.
        error: Fraction of 1, or None for an energy without classes.
        top5_error: Examples whose class is not among the five best, likewise; None for five classes
            or fewer.
        unsettled: Examples that did not settle; they count all the same.
    """

    loss: float
    error: float | None
    top5_error: float | None
    unsettled: int
