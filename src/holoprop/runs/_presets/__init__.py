"""The training runs that have a name: a file for each, with its command, time and outcome."""

from holoprop.runs._presets._mnist_hep import MNIST_HEP
from holoprop.runs._presets._mnist_subset import MNIST_SUBSET
from holoprop.runs._presets._preset import Preset


def presets() -> dict[str, Preset]:
    """The training runs that have a name; the first is the default.

    Example:
        >>> list(presets())
        ['mnist-subset', 'mnist-hep']
    """
    return {"mnist-subset": MNIST_SUBSET, "mnist-hep": MNIST_HEP}
