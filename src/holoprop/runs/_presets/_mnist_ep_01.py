"""Table 1's classic EP with a nudge of 0.1 and without noise.

    holoprop train mnist-ep-0.1 --data FOLDER

Settled to a tolerance instead of the paper's 350 and 350 steps. The paper: 98.03 % at the last
epoch. Not run here, nor at small scale.
"""

import dataclasses

import holoprop as hp
from holoprop.runs._presets._mnist_hep import MNIST_HEP
from holoprop.runs._presets._preset import Preset, scaled_down

_CONFIG = dataclasses.replace(
    MNIST_HEP.config,
    estimator=hp.OneSided(0.1),
)

MNIST_EP_01 = Preset(
    "Table 1's classic EP, nudge 0.1, on all of MNIST, 50 epochs.",
    _CONFIG,
    small=scaled_down(_CONFIG, images=6000, epochs=5, sizes=(784, 128, 128, 10)),
    paper="98.0",
)
