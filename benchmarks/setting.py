"""How large everything is: the figures' own sizes, or a smoke run's."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Setting:
    """Sizes and numbers of repetitions of a run.

    Attributes:
        name: Goes into the names of cached files.
        whole_schedule: Whether the paper's schedule for the CNN is timed at full length, instead of
            a counted part of it that is scaled.
        repeats: Of a call that takes seconds or less, in interleaved rounds.
        long_repeats: Of a call that takes many seconds.
        mlp: Units of the multi-layer perceptron.
        mlp_schedule: The paper's free and nudged steps for it.
        mlp_epochs: Of training before the trained weights are measured.
        mlp_images: Of the training set at most, in those epochs.
        epoch_steps: Training steps that are timed of an epoch.
        cnn: Channels of the five-layer network.
        cnn_schedule: The paper's free and nudged steps for it.
        counted: Free and nudged steps of it that are timed.
        cnn_training: Steps before the trained weights are measured.
        batches: Batch sizes of the comparison with backpropagation.
        sweeps: Two fixed numbers of sweeps, whose difference in time is that of the sweeps between.
        deep: Channels of the seven-layer network.
        radii: Of the rows on precision.
        memory_batch: Batch of the memory's row.
        every_energy: Whether the two forms are compared on every kind of energy.
    """

    name: str
    whole_schedule: bool = False
    repeats: int = 7
    long_repeats: int = 3
    mlp: tuple[int, ...] = (784, 256, 256, 10)
    mlp_schedule: tuple[int, int] = (200, 50)
    mlp_epochs: int = 3
    mlp_images: int = 60_000
    epoch_steps: int = 300
    cnn: tuple[int, ...] = (128, 256, 512, 512)
    cnn_schedule: tuple[int, int] = (250, 60)
    counted: tuple[int, int] = (5, 2)
    cnn_training: int = 300
    batches: tuple[int, ...] = (16, 128)
    sweeps: tuple[int, int] = (6, 16)
    deep: tuple[int, ...] = (128, 128, 256, 256, 512, 512)
    radii: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0)
    memory_batch: int = 128
    every_energy: bool = True


FULL = Setting("full")

# Everything once and small, to see that it runs; its figures mean nothing.
QUICK = Setting(
    "quick",
    repeats=2,
    long_repeats=1,
    mlp=(784, 32, 32, 10),
    mlp_schedule=(60, 20),
    mlp_epochs=1,
    mlp_images=400,
    epoch_steps=10,
    cnn=(8, 8),
    cnn_schedule=(40, 20),
    counted=(2, 1),
    cnn_training=3,
    batches=(4,),
    sweeps=(4, 6),
    deep=(8, 8, 8),
    radii=(0.1,),
    memory_batch=8,
    every_energy=False,
)
