"""Fig. 4c's seven-layer network on CIFAR-10 by hEP with N = 4.

    holoprop train cifar10-deep-n4 --data FOLDER

The paper: 85.6 % at the end, 95.7 % on the training images. Not run here, nor at small scale.
"""

import dataclasses

import holoprop as hp
from holoprop.runs._presets._cifar10_deep_n2 import CIFAR10_DEEP_N2
from holoprop.runs._presets._preset import Preset, scaled_down

_CONFIG = dataclasses.replace(
    CIFAR10_DEEP_N2.config,
    estimator=hp.Holomorphic(radius=1.0, points=4),
)

CIFAR10_DEEP_N4 = Preset(
    "Fig. 4c's seven-layer network on CIFAR-10 by hEP with N = 4, 90 epochs.",
    _CONFIG,
    small=scaled_down(
        _CONFIG, images=2000, epochs=4, batch_size=32, channels=(16, 16, 32, 32, 64, 64)
    ),
    paper="85.6",
)
