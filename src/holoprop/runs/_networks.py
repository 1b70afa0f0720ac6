"""What can be trained: a network of the library, or an energy of one's own."""

import abc
import dataclasses
import math
import pkgutil
import sys

import jax

import holoprop as hp


@dataclasses.dataclass(frozen=True)
class AbstractNetwork(abc.ABC):
    """How an energy is built, and what images it takes."""

    @abc.abstractmethod
    def build(self, *, seed: int) -> hp.AbstractEnergy:
        """The energy at its initial weights."""

    @abc.abstractmethod
    def check(self, name: str, shape: tuple[int, ...], classes: int) -> None:
        """Raise `ValueError` where images do not fit, before anything is compiled."""


@dataclasses.dataclass(frozen=True)
class Mlp(AbstractNetwork):
    """A multi-layer perceptron.

    Attributes:
        sizes: Units from the input to the prediction.
        activation: Of the hidden units.
        cost: Cross-entropy of a readout, or squared error of a nudged output layer.
        weight_std: Deviation of the initial weights, positive; default 1/sqrt(fan-in).
    """

    sizes: tuple[int, ...] = (784, 256, 256, 10)
    activation: hp.nn.AbstractActivation = dataclasses.field(default_factory=hp.ShiftedSigmoid)
    cost: hp.nn.AbstractCost = dataclasses.field(default_factory=hp.CrossEntropy)
    weight_std: float | None = None

    def build(self, *, seed: int) -> hp.LayeredNetwork:
        """The network at its initial weights."""
        return hp.mlp(
            self.sizes,
            activation=self.activation,
            weight_std=self.weight_std,
            cost=self.cost,
            key=jax.random.key(seed),
        )

    def check(self, name: str, shape: tuple[int, ...], classes: int) -> None:
        """The input and the prediction must have the data's sizes."""
        size = math.prod(shape)
        if size != self.sizes[0]:
            raise ValueError(
                f"images of {name} have shape {shape}, {size} numbers each, but the network "
                f"takes {self.sizes[0]}: set --network.sizes to begin with {size}."
            )
        if classes > self.sizes[-1]:
            raise ValueError(
                f"{name} has {classes} classes, but the network predicts {self.sizes[-1]}: "
                f"set --network.sizes to end with {classes}."
            )


@dataclasses.dataclass(frozen=True)
class Custom(AbstractNetwork):
    """An energy of one's own.

    Attributes:
        factory: `module:function`; it is called with `key=` and returns an energy whose input is an
            image, [height, width] or [height, width, 3], from 0 to 1.
    """

    factory: str

    def build(self, *, seed: int) -> hp.AbstractEnergy:
        """What the factory returns."""
        if ":" not in self.factory:
            raise ValueError(f"factory must be written module:function; got {self.factory!r}.")
        # As `python -m` does: an installed command does not see the current folder's modules.
        if "" not in sys.path:
            sys.path.insert(0, "")
        try:
            function = pkgutil.resolve_name(self.factory)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(
                f"factory {self.factory!r} is not found ({error}): name a module that Python can "
                "import, and a function in it."
            ) from error
        energy = function(key=jax.random.key(seed))
        if not isinstance(energy, hp.AbstractEnergy):
            raise ValueError(
                f"factory {self.factory!r} returned {type(energy).__name__}: it must return a "
                "holoprop.AbstractEnergy."
            )
        return energy

    def check(self, name: str, shape: tuple[int, ...], classes: int) -> None:
        """What an energy of one's own takes, it alone knows."""
