"""Table 2's hEP on CIFAR-100: the five-layer network, N = 2, radius 1.

    holoprop train cifar100-hep --data FOLDER

The paper: 61.6 % at the best epoch. Not run here, nor at small scale.
"""

import dataclasses

from holoprop.runs._config import DataConfig
from holoprop.runs._networks import Vgg
from holoprop.runs._presets._cifar10_hep import CIFAR10_HEP
from holoprop.runs._presets._preset import Preset, scaled_down

_CONFIG = dataclasses.replace(
    CIFAR10_HEP.config,
    data=DataConfig("uoft-cs/cifar100"),
    network=Vgg(classes=100),
    optimiser=dataclasses.replace(CIFAR10_HEP.config.optimiser, weight_decay=1e-2),
)

CIFAR100_HEP = Preset(
    "Table 2's five-layer network on CIFAR-100 by hEP with N = 2, 90 epochs.",
    _CONFIG,
    small=scaled_down(_CONFIG, images=4000, epochs=4, batch_size=32, channels=(16, 32, 64, 64)),
    paper="61.6*",
)
