"""Table 2's baseline on CIFAR-100, by backpropagation through the feed-forward network of ReLUs.

    holoprop train cifar100-bp --data FOLDER

The paper: 62.0 % at the best epoch. Not run here, nor at small scale.
"""

import dataclasses

import holoprop as hp
from holoprop.runs._networks import Vgg
from holoprop.runs._presets._cifar100_hep import CIFAR100_HEP
from holoprop.runs._presets._preset import Preset, scaled_down

_CONFIG = dataclasses.replace(
    CIFAR100_HEP.config,
    network=Vgg(classes=100, activation=hp.ReLU()),
    method="bp",
    estimator=None,
    free=None,
    nudged=None,
)

CIFAR100_BP = Preset(
    "Table 2's five-layer network on CIFAR-100 by backpropagation, with ReLUs, 90 epochs.",
    _CONFIG,
    small=scaled_down(_CONFIG, images=4000, epochs=4, batch_size=32, channels=(16, 32, 64, 64)),
    paper="62.0*",
)
