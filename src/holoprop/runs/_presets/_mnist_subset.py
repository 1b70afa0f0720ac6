"""The packaged digits.

    holoprop train

9,000 of the packaged digits, by hEP with N = 8 and radius 0.05. OUTCOME
"""

import holoprop as hp
from holoprop.runs._config import OptimiserConfig, TrainConfig
from holoprop.runs._networks import Mlp
from holoprop.runs._presets._preset import Preset

MNIST_SUBSET = Preset(
    "A 784-256-256-10 network on the packaged subset of MNIST, by hEP (default).",
    TrainConfig(
        epochs=10,
        # Weights start smaller than 1/sqrt(fan-in), and decay, because a network of weak couplings
        # settles soon and answers nudges smoothly.
        network=Mlp(weight_std=0.04),
        # After training a few ambiguous digits make up the gradient, and for them s*(beta) has a
        # singularity as close as 0.15; this radius stays well inside.
        estimator=hp.Holomorphic(radius=0.05, points=8),
        free=hp.Anderson(hp.Sequential(tolerance=1e-5, max_steps=200), depth=5),
        nudged=hp.Anderson(hp.Sequential(tolerance=1e-3, max_steps=60), depth=3),
        # The learning rate falls along a cosine, which steadies the last epochs.
        optimiser=OptimiserConfig(learning_rate=0.2, schedule="cosine", weight_decay=1e-3),
    ),
)
