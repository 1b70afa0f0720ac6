"""The paper's networks: multi-layer perceptrons and VGG-like convolutional networks."""

from collections.abc import Sequence

import jax

from holoprop._types import Key
from holoprop.energies._layered import LayeredNetwork
from holoprop.nn import (
    AbstractActivation,
    AbstractCost,
    AbstractCoupling,
    AbstractPooling,
    Conv,
    CrossEntropy,
    Dense,
    DSiLU,
    ShiftedSigmoid,
    SoftmaxPool,
)

# Table 5: paddings, which convolutions are pooled, temperature; by the number of convolutions.
_TABLE_5 = {
    4: ((1, 1, 1, 0), (True, True, True, True), 1.0),
    6: ((1, 1, 1, 0, 1, 0), (True, False, True, False, True, False), 10.0),
}


def _check_sizes(name: str, sizes: Sequence[int], least: int) -> None:
    if len(sizes) < least or any(not isinstance(size, int) or size < 1 for size in sizes):
        raise ValueError(
            f"{name} must be {least} or more whole numbers, each 1 or more; got {list(sizes)}."
        )


def _on_top(
    couplings: list[AbstractCoupling],
    top: Dense,
    activation: AbstractActivation,
    cost: AbstractCost,
) -> LayeredNetwork:
    """The topmost coupling as the readout, or as the last layer of the state."""
    if cost.has_readout:
        return LayeredNetwork(tuple(couplings), activation=activation, cost=cost, readout=top)
    return LayeredNetwork((*couplings, top), activation=activation, cost=cost)


def mlp(
    sizes: Sequence[int],
    *,
    activation: AbstractActivation | None = None,
    weight_std: float | None = None,
    cost: AbstractCost | None = None,
    key: Key,
) -> LayeredNetwork:
    """A multi-layer perceptron (Appendix B.1).

    Arguments:
        sizes: Numbers of units from the input to the prediction; three or more with a readout
            (`CrossEntropy`), two or more without. The paper's are 784, 256, 256, 10.
        activation: Default `ShiftedSigmoid()`.
        weight_std: Deviation of the truncated normal weights; default 1/sqrt(fan-in).
        cost: `CrossEntropy()` (default) or `SquaredError()`.
        key: For the weights. Biases are zero.

    Returns:
        A `LayeredNetwork` in JAX's default precision.

    Raises:
        ValueError: If the sizes are too few or not positive whole numbers.

    Example:
        >>> network = mlp([784, 256, 256, 10], key=jax.random.key(0))
        >>> network.classes
        10

    Reference: Laborieux and Zenke (2022), Appendix B.1.
    """
    cost = CrossEntropy() if cost is None else cost
    _check_sizes("sizes", sizes, 3 if cost.has_readout else 2)
    keys = jax.random.split(key, len(sizes) - 1)
    couplings = [
        Dense.init((below,), above, weight_std=weight_std, key=k)
        for below, above, k in zip(sizes[:-1], sizes[1:], keys, strict=True)
    ]
    activation = ShiftedSigmoid() if activation is None else activation
    return _on_top(list(couplings[:-1]), couplings[-1], activation, cost)


def vgg(
    channels: Sequence[int],
    *,
    input_shape: Sequence[int] = (32, 32, 3),
    classes: int = 10,
    padding: Sequence[int] | None = None,
    pool: Sequence[bool] | None = None,
    pooling: AbstractPooling | None = None,
    activation: AbstractActivation | None = None,
    weight_std: float | None = None,
    cost: AbstractCost | None = None,
    key: Key,
) -> LayeredNetwork:
    """A VGG-like network of 3x3 convolutions with stride 1 and a dense coupling on top (Table 5).

    Four and six convolutions have the defaults of the paper's five- and seven-layer networks, whose
    channels are 128, 256, 512, 512 and 128, 128, 256, 256, 512, 512.

    Arguments:
        channels: Channels after each convolution, from the input upwards.
        input_shape: (height, width, channels) of an image; default (32, 32, 3).
        classes: Length of the prediction; default 10.
        padding: Zeros around each convolution's input; default Table 5's, or 1 everywhere.
        pool: Whether each convolution is pooled; default Table 5's, or True everywhere.
        pooling: Default `SoftmaxPool(2)` with Table 5's temperature (1 for four convolutions, 10
            for six), else temperature 1.
        activation: Default `DSiLU()`.
        weight_std: Deviation of the truncated normal weights; default 1/sqrt(fan-in).
        cost: `CrossEntropy()` (default) or `SquaredError()`.
        key: For the weights. Biases are zero.

    Returns:
        A `LayeredNetwork` in JAX's default precision.

    Raises:
        ValueError: If lengths disagree, sizes are not positive, or the image is too small.

    Example:
        >>> network = vgg([8, 16, 16, 16], classes=10, key=jax.random.key(0))
        >>> [coupling.out_shape for coupling in network.couplings]
        [(16, 16, 8), (8, 8, 16), (4, 4, 16), (1, 1, 16)]

    Reference: Laborieux and Zenke (2022), Appendix B.2 and Table 5.
    """
    _check_sizes("channels", channels, 1)
    _check_sizes("input_shape", input_shape, 3)
    if len(input_shape) != 3:
        raise ValueError(
            f"input_shape must be 3 numbers, height, width and channels; got {list(input_shape)}."
        )
    _check_sizes("classes", [classes], 1)
    count = len(channels)
    everywhere = ((1,) * count, (True,) * count, 1.0)
    table_padding, table_pool, temperature = _TABLE_5.get(count, everywhere)
    padding = table_padding if padding is None else padding
    pool = table_pool if pool is None else pool
    for name, values in (("padding", padding), ("pool", pool)):
        if len(values) != count:
            raise ValueError(
                f"{name} has {len(values)} entries for {count} convolutions: give one for each."
            )
    if min(padding) < 0:
        raise ValueError(f"padding must be 0 or more for each convolution; got {list(padding)}.")
    pooling = SoftmaxPool(2, temperature) if pooling is None else pooling
    keys = jax.random.split(key, count + 1)
    couplings: list[AbstractCoupling] = []
    shape = tuple(input_shape)
    for width, pad, pooled, k in zip(channels, padding, pool, keys[:-1], strict=True):
        height, breadth, depth = shape
        conv = Conv.init(
            (height, breadth, depth),
            width,
            padding=pad,
            pooling=pooling if pooled else None,
            weight_std=weight_std,
            key=k,
        )
        couplings.append(conv)
        shape = conv.out_shape
    top = Dense.init(shape, classes, weight_std=weight_std, key=keys[-1])
    activation = DSiLU() if activation is None else activation
    return _on_top(couplings, top, activation, CrossEntropy() if cost is None else cost)
