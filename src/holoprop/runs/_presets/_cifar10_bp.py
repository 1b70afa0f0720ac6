"""Table 2's baseline on CIFAR-10, by backpropagation through the feed-forward network of ReLUs.

    holoprop train cifar10-bp --data FOLDER

Data, schedule and pooling are those of cifar10-hep. The paper: 88.3 % at the best epoch. Not run at
full scale. At small scale 35.0 % after 4 epochs (seed 0), in 48 s of processor time.
"""

import dataclasses

import holoprop as hp
from holoprop.runs._networks import Vgg
from holoprop.runs._presets._cifar10_hep import CIFAR10_HEP
from holoprop.runs._presets._preset import Preset, scaled_down

_CONFIG = dataclasses.replace(
    CIFAR10_HEP.config,
    network=Vgg(activation=hp.ReLU()),
    method="bp",
    estimator=None,
    free=None,
    nudged=None,
)

CIFAR10_BP = Preset(
    "Table 2's five-layer network on CIFAR-10 by backpropagation, with ReLUs, 90 epochs.",
    _CONFIG,
    small=scaled_down(_CONFIG, images=4000, epochs=4, batch_size=32, channels=(16, 32, 64, 64)),
    paper="88.3*",
    reached="35.0 small",
)
