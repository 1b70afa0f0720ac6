"""Fashion-MNIST in Table 1's hEP setting, which the paper does not have.

    holoprop train fashion-mnist-hep --data FOLDER

Not run here, nor at small scale.
"""

import dataclasses

from holoprop.runs._config import DataConfig
from holoprop.runs._presets._mnist_hep import MNIST_HEP
from holoprop.runs._presets._preset import Preset, scaled_down

_CONFIG = dataclasses.replace(MNIST_HEP.config, data=DataConfig("zalando-datasets/fashion_mnist"))

FASHION_MNIST_HEP = Preset(
    "Fashion-MNIST in Table 1's hEP setting, 50 epochs.",
    _CONFIG,
    small=scaled_down(_CONFIG, images=6000, epochs=5, sizes=(784, 128, 128, 10)),
)
