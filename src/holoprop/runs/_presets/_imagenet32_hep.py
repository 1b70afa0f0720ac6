"""Table 2's hEP on ImageNet 32x32: the five-layer network, N = 2, radius 1.

    holoprop train imagenet32-hep --data FOLDER

The folder is one's own, in the hub's layout. The paper: 36.5 % at the best epoch. Not run here, nor
at small scale.
"""

import dataclasses

from holoprop.runs._config import DataConfig, InputConfig
from holoprop.runs._networks import Vgg
from holoprop.runs._presets._cifar10_hep import CIFAR10_HEP
from holoprop.runs._presets._preset import Preset, scaled_down

_CONFIG = dataclasses.replace(
    CIFAR10_HEP.config,
    data=DataConfig("./imagenet32"),
    batch_size=256,
    inputs=InputConfig(
        mean=(0.485, 0.456, 0.406),
        # 1.5 times the images' own deviation.
        std=(0.3435, 0.336, 0.3375),
        flip=True,
        pad=2,
    ),
    network=Vgg(classes=1000),
    optimiser=dataclasses.replace(CIFAR10_HEP.config.optimiser, weight_decay=5e-4),
)

IMAGENET32_HEP = Preset(
    "Table 2's five-layer network on ImageNet 32x32 by hEP with N = 2, 90 epochs.",
    _CONFIG,
    small=scaled_down(_CONFIG, images=2000, epochs=4, batch_size=32, channels=(16, 32, 64, 64)),
    paper="36.5*",
)
