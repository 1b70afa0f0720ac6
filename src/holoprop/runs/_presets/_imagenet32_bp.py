"""Table 2's baseline on ImageNet 32x32, by backpropagation through ReLUs.

    holoprop train imagenet32-bp --data FOLDER

The paper: 37.2 % at the best epoch. Not run here, nor at small scale.
"""

import dataclasses

import holoprop as hp
from holoprop.runs._networks import Vgg
from holoprop.runs._presets._imagenet32_hep import IMAGENET32_HEP
from holoprop.runs._presets._preset import Preset, scaled_down

_CONFIG = dataclasses.replace(
    IMAGENET32_HEP.config,
    network=Vgg(classes=1000, activation=hp.ReLU()),
    method="bp",
    estimator=None,
    free=None,
    nudged=None,
)

IMAGENET32_BP = Preset(
    "Table 2's five-layer network on ImageNet 32x32 by backpropagation, with ReLUs, 90 epochs.",
    _CONFIG,
    small=scaled_down(_CONFIG, images=2000, epochs=4, batch_size=32, channels=(16, 32, 64, 64)),
    paper="37.2*",
)
