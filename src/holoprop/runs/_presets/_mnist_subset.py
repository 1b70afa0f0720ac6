"""The packaged digits.

    holoprop train

9,000 of the packaged digits, by hEP with N = 10 and radius 0.4. 72 s on two shared cores; ends with
4.8 % error on the 1,000 digits held out and 5.1 % on the 2,000 test digits (seed 0).
"""

import holoprop as hp
from holoprop.runs._config import OptimiserConfig, TrainConfig
from holoprop.runs._presets._preset import Preset

MNIST_SUBSET = Preset(
    "A 784-256-256-10 network on the packaged subset of MNIST, by hEP (default).",
    TrainConfig(
        epochs=8,
        free=hp.Anderson(hp.Sequential(tolerance=1e-3, max_steps=60), depth=5),
        nudged=hp.Anderson(hp.Sequential(tolerance=2e-2, max_steps=40), depth=3),
        # The learning rate falls along a cosine, which steadies the last epochs.
        optimiser=OptimiserConfig(learning_rate=0.2, schedule="cosine", weight_decay=1e-4),
    ),
)
