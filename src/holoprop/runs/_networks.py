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

    def image_channels(self, size: tuple[int, ...]) -> int | None:
        """How many channels images of a size must have, or None where it does not say.

        Arguments:
            size: Height and width.
        """
        return None


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

    def image_channels(self, size: tuple[int, ...]) -> int | None:
        """As many as its first layer has units for each pixel."""
        channels, rest = divmod(self.sizes[0], math.prod(size))
        return channels if rest == 0 else None

    def check(self, name: str, shape: tuple[int, ...], classes: int) -> None:
        """The input and the prediction must have the data's sizes."""
        size = math.prod(shape)
        if size != self.sizes[0]:
            side = math.isqrt(self.sizes[0])
            scaled = f", or --data.size {side}" if side**2 == self.sizes[0] else ""
            raise ValueError(
                f"images of {name} have shape {shape}, {size} numbers each, but the network "
                f"takes {self.sizes[0]}: set --network.sizes to begin with {size}{scaled}."
            )
        if classes > self.sizes[-1]:
            raise ValueError(
                f"{name} has {classes} classes, but the network predicts {self.sizes[-1]}: "
                f"set --network.sizes to end with {classes}."
            )


@dataclasses.dataclass(frozen=True)
class Vgg(AbstractNetwork):
    """A network of 3x3 convolutions with a dense coupling on top.

    Attributes:
        channels: After each convolution, from the input upwards.
        input_shape: Height, width and channels of an image.
        classes: Length of the prediction.
        padding: Zeros around each convolution's input; default Table 5's for four and six
            convolutions, else 1 everywhere.
        pool: Whether each convolution is pooled; default Table 5's likewise, else True everywhere.
        pooling: Default softmax pooling with window 2 and Table 5's temperature, 1 for four
            convolutions and 10 for six, else 1.
        activation: Of the hidden units.
        cost: Cross-entropy of a readout, or squared error of a nudged output layer.
        weight_std: Deviation of the initial weights, positive; default 1/sqrt(fan-in).
    """

    channels: tuple[int, ...] = (128, 256, 512, 512)
    input_shape: tuple[int, ...] = (32, 32, 3)
    classes: int = 10
    padding: tuple[int, ...] | None = None
    pool: tuple[bool, ...] | None = None
    pooling: hp.nn.AbstractPooling | None = None
    activation: hp.nn.AbstractActivation = dataclasses.field(default_factory=hp.DSiLU)
    cost: hp.nn.AbstractCost = dataclasses.field(default_factory=hp.CrossEntropy)
    weight_std: float | None = None

    def build(self, *, seed: int) -> hp.LayeredNetwork:
        """The network at its initial weights."""
        return hp.vgg(
            self.channels,
            input_shape=self.input_shape,
            classes=self.classes,
            padding=self.padding,
            pool=self.pool,
            pooling=self.pooling,
            activation=self.activation,
            weight_std=self.weight_std,
            cost=self.cost,
            key=jax.random.key(seed),
        )

    def image_channels(self, size: tuple[int, ...]) -> int | None:
        """Those of its input shape, where that is of this size."""
        return self.input_shape[2] if size == self.input_shape[:2] else None

    def check(self, name: str, shape: tuple[int, ...], classes: int) -> None:
        """Images must have the shape, grey ones without an axis for their one channel."""
        found = shape if len(shape) == 3 else (*shape, 1)
        if found != self.input_shape:
            height, width, _ = self.input_shape
            scaled = f", or --data.size {height}" if height == width != found[0] else ""
            raise ValueError(
                f"images of {name} have shape {found}, but the network takes {self.input_shape}: "
                f"set --network.input-shape {' '.join(map(str, found))}{scaled}."
            )
        if classes > self.classes:
            raise ValueError(
                f"{name} has {classes} classes, but the network predicts {self.classes}: set "
                f"--network.classes {classes}."
            )


@dataclasses.dataclass(frozen=True)
class Custom(AbstractNetwork):
    """An energy of one's own.

    Attributes:
        factory: `module:function`, for which `--network module:function` will do; it is called with
            `key=` and returns an energy whose input is an image, [height, width] or
            [height, width, 3], from 0 to 1 or as `inputs` normalises it.
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
