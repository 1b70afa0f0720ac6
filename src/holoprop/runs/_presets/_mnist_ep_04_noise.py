"""Table 1's classic EP with a nudge of 0.4 and noise.

    holoprop train mnist-ep-0.4-noise --data FOLDER

The paper: 96.41 % at the last epoch. Not run here, nor at small scale.
"""

import dataclasses

import holoprop as hp
from holoprop.runs._presets._mnist_hep import MNIST_HEP
from holoprop.runs._presets._preset import Preset, scaled_down

_CONFIG = dataclasses.replace(
    MNIST_HEP.config,
    estimator=hp.OneSided(0.4),
    # The physics itself: noise is drawn at every step.
    free=hp.Synchronous(steps=350, noise=4e-2),
    nudged=hp.Synchronous(steps=350, noise=4e-2),
)

MNIST_EP_04_NOISE = Preset(
    "Table 1's classic EP, nudge 0.4, with noise 0.04, on all of MNIST, 50 epochs.",
    _CONFIG,
    small=scaled_down(_CONFIG, images=3000, epochs=3, sizes=(784, 128, 128, 10)),
    paper="96.4",
)
