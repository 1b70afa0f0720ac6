"""The training runs that have a name: a file for each, with its command, time and outcome."""

from holoprop.runs._presets._cifar10_bp import CIFAR10_BP
from holoprop.runs._presets._cifar10_deep_clipped import CIFAR10_DEEP_CLIPPED
from holoprop.runs._presets._cifar10_deep_n2 import CIFAR10_DEEP_N2
from holoprop.runs._presets._cifar10_deep_n4 import CIFAR10_DEEP_N4
from holoprop.runs._presets._cifar10_hep import CIFAR10_HEP
from holoprop.runs._presets._cifar100_bp import CIFAR100_BP
from holoprop.runs._presets._cifar100_hep import CIFAR100_HEP
from holoprop.runs._presets._fashion_mnist_bp import FASHION_MNIST_BP
from holoprop.runs._presets._fashion_mnist_hep import FASHION_MNIST_HEP
from holoprop.runs._presets._imagenet32_bp import IMAGENET32_BP
from holoprop.runs._presets._imagenet32_hep import IMAGENET32_HEP
from holoprop.runs._presets._mnist_ep_01 import MNIST_EP_01
from holoprop.runs._presets._mnist_ep_01_noise import MNIST_EP_01_NOISE
from holoprop.runs._presets._mnist_ep_04 import MNIST_EP_04
from holoprop.runs._presets._mnist_ep_04_noise import MNIST_EP_04_NOISE
from holoprop.runs._presets._mnist_hep import MNIST_HEP
from holoprop.runs._presets._mnist_hep_noise import MNIST_HEP_NOISE
from holoprop.runs._presets._mnist_online import MNIST_ONLINE
from holoprop.runs._presets._mnist_online_noise import MNIST_ONLINE_NOISE
from holoprop.runs._presets._mnist_subset import MNIST_SUBSET
from holoprop.runs._presets._preset import Preset, describe_changes

__all__ = ["Preset", "describe_changes", "presets"]


def presets() -> dict[str, Preset]:
    """The training runs that have a name, those of a table beside each other.

    The first is the default.

    Example:
        >>> list(presets())[:3]
        ['mnist-subset', 'mnist-hep', 'mnist-hep-noise']
    """
    return {
        "mnist-subset": MNIST_SUBSET,
        "mnist-hep": MNIST_HEP,
        "mnist-hep-noise": MNIST_HEP_NOISE,
        "mnist-online": MNIST_ONLINE,
        "mnist-online-noise": MNIST_ONLINE_NOISE,
        "mnist-ep-0.1": MNIST_EP_01,
        "mnist-ep-0.1-noise": MNIST_EP_01_NOISE,
        "mnist-ep-0.4": MNIST_EP_04,
        "mnist-ep-0.4-noise": MNIST_EP_04_NOISE,
        "cifar10-hep": CIFAR10_HEP,
        "cifar10-bp": CIFAR10_BP,
        "cifar100-hep": CIFAR100_HEP,
        "cifar100-bp": CIFAR100_BP,
        "imagenet32-hep": IMAGENET32_HEP,
        "imagenet32-bp": IMAGENET32_BP,
        "cifar10-deep-n2": CIFAR10_DEEP_N2,
        "cifar10-deep-n4": CIFAR10_DEEP_N4,
        "cifar10-deep-clipped": CIFAR10_DEEP_CLIPPED,
        "fashion-mnist-hep": FASHION_MNIST_HEP,
        "fashion-mnist-bp": FASHION_MNIST_BP,
    }
