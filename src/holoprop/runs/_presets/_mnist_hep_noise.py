"""Table 1's hEP setting with noise.

    holoprop train mnist-hep-noise --data FOLDER

N = 10, radius 0.4. The paper: 97.80 % at the last epoch. Not run here, nor at small scale.
"""

import dataclasses

import holoprop as hp
from holoprop.runs._presets._mnist_hep import MNIST_HEP
from holoprop.runs._presets._preset import Preset, scaled_down

_CONFIG = dataclasses.replace(
    MNIST_HEP.config,
    # The physics itself: noise is drawn at every step.
    free=hp.Synchronous(steps=200, noise=4e-2),
    nudged=hp.Synchronous(steps=50, noise=4e-2),
)

MNIST_HEP_NOISE = Preset(
    "Table 1's hEP setting with noise 0.04, on all of MNIST, 50 epochs.",
    _CONFIG,
    small=scaled_down(_CONFIG, images=3000, epochs=3, sizes=(784, 128, 128, 10)),
    paper="97.8",
)
