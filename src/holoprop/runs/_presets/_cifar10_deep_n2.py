"""Fig. 4c's seven-layer network on CIFAR-10 by hEP with N = 2.

    holoprop train cifar10-deep-n2 --data FOLDER

The paper: 84.5 % at the end, 93.5 % on the training images. Not run at full scale, nor to the end
at small scale. With --scale small --images 250 --epochs 1 (7 steps, too few to learn: 10 %) it
takes 108 s on a shared machine, all images settle, and the gradient is 6 % off the implicit one,
its cosine 0.998.
"""

import dataclasses

import holoprop as hp
from holoprop.runs._networks import Vgg
from holoprop.runs._optimiser import OptimiserConfig
from holoprop.runs._presets._cifar10_hep import CIFAR10_HEP
from holoprop.runs._presets._preset import Preset, scaled_down

_CONFIG = dataclasses.replace(
    CIFAR10_HEP.config,
    # Pooling and paddings are Table 5's by default.
    network=Vgg(channels=(128, 128, 256, 256, 512, 512)),
    free=hp.Anderson(hp.Sequential(tolerance="auto", max_steps=260), depth=5),
    optimiser=OptimiserConfig(
        learning_rates=(0.05, 0.04, 0.04, 0.03, 0.03, 0.02, 0.02),
        schedule="cosine-by-epoch",
        momentum=0.9,
        weight_decays=(5e-4, 5e-4, 5e-4, 5e-4, 5e-4, 5e-4, 1e-3),
    ),
)

CIFAR10_DEEP_N2 = Preset(
    "Fig. 4c's seven-layer network on CIFAR-10 by hEP with N = 2, 90 epochs.",
    _CONFIG,
    small=scaled_down(
        _CONFIG, images=2000, epochs=4, batch_size=32, channels=(16, 16, 32, 32, 64, 64)
    ),
    paper="84.5",
)
