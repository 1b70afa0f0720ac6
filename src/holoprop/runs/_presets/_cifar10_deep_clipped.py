"""Fig. 4c's non-holomorphic twin: max pooling and clipped ReLUs, nudges of +1 and -1.

    holoprop train cifar10-deep-clipped --data FOLDER

The paper: 80.4 % at the end, 85.3 % on the training images. Not run here, nor at small scale.
"""

import dataclasses

import holoprop as hp
from holoprop.runs._networks import Vgg
from holoprop.runs._presets._cifar10_deep_n2 import CIFAR10_DEEP_N2
from holoprop.runs._presets._preset import Preset, scaled_down

_CONFIG = dataclasses.replace(
    CIFAR10_DEEP_N2.config,
    network=Vgg(
        channels=(128, 128, 256, 256, 512, 512),
        pooling=hp.MaxPool(2),
        activation=hp.ClippedReLU(),
    ),
    # Fixed numbers of steps, as in the paper: what has kinks need not settle to a tolerance.
    free=hp.Synchronous(steps=260),
    nudged=hp.Synchronous(steps=60),
)

CIFAR10_DEEP_CLIPPED = Preset(
    "Fig. 4c's network with max pooling and clipped ReLUs on CIFAR-10, 90 epochs.",
    _CONFIG,
    small=scaled_down(
        _CONFIG, images=2000, epochs=4, batch_size=32, channels=(16, 16, 32, 32, 64, 64)
    ),
    paper="80.4",
)
