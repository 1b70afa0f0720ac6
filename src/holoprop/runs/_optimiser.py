"""What is made of the gradients: optax's optimisers, with rates and decays for each layer."""

import dataclasses
import inspect
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import optax
from jaxtyping import Array, PyTree

import holoprop as hp

# Along a cosine from epoch to epoch learning rates end at this part of what they began with, as in
# Table 5.
_LAST_RATE = 1e-7


@dataclasses.dataclass(frozen=True)
class OptimiserConfig:
    """An optimiser of optax: stochastic gradient descent, or another by its name.

    Attributes:
        name: In optax; on the command line `--optimiser NAME` will do.
        learning_rate: Of all layers, positive; default 0.05 where there are no `learning_rates`.
        learning_rates: Of each layer, positive, from the first coupling to the readout.
        schedule: The learning rates over the run: as they are; along a cosine down to zero, from
            step to step; or from epoch to epoch, as the paper has it.
        momentum: Of sgd, from 0 to below 1.
        weight_decay: Of all layers, 0 or more, default 0: added to the gradient, times the weights,
            before momentum. Optimisers with a decay of their own (adamw, lamb, lion, nadamw) take
            it as theirs.
        weight_decays: Of each layer, from the first coupling to the readout.
    """

    name: Literal[
        "sgd",
        "adabelief",
        "adagrad",
        "adam",
        "adamax",
        "adamw",
        "amsgrad",
        "lamb",
        "lion",
        "nadam",
        "nadamw",
        "radam",
        "rmsprop",
        "yogi",
    ] = "sgd"
    learning_rate: float | None = None
    learning_rates: tuple[float, ...] | None = None
    schedule: Literal["constant", "cosine", "cosine-by-epoch"] = "constant"
    momentum: float = 0.0
    weight_decay: float | None = None
    weight_decays: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for one, each, default in (
            ("learning_rate", "learning_rates", 0.05),
            ("weight_decay", "weight_decays", 0.0),
        ):
            if getattr(self, one) is not None and getattr(self, each) is not None:
                raise ValueError(
                    f"{each}={getattr(self, each)} and {one}={getattr(self, one)} exclude each "
                    "other: give one number for all layers, or one for each."
                )
            if getattr(self, one) is None and getattr(self, each) is None:
                object.__setattr__(self, one, default)
        for name, values in (
            ("learning_rate", (self.learning_rate,)),
            ("learning_rates", self.learning_rates or ()),
        ):
            for value in values:
                if value is not None and not 0 < value < math.inf:
                    raise ValueError(f"{name} must be positive; got {value}.")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be from 0 to below 1; got {self.momentum}.")
        if self.momentum and self.name != "sgd":
            raise ValueError(
                f"momentum must be 0 for {self.name}, which has its own; got {self.momentum}."
            )
        for name, values in (
            ("weight_decay", (self.weight_decay,)),
            ("weight_decays", self.weight_decays or ()),
        ):
            for value in values:
                if value is not None and not 0 <= value < math.inf:
                    raise ValueError(f"{name} must be 0 or more; got {value}.")
        if self.weight_decays is not None and self._decays_itself:
            raise ValueError(
                f"weight_decays must be one weight_decay for {self.name}, which decays weights "
                f"itself; got {self.weight_decays}."
            )

    @property
    def _decays_itself(self) -> bool:
        return "weight_decay" in inspect.signature(getattr(optax, self.name)).parameters

    def build(self, *, steps: int, epochs: int = 1) -> optax.GradientTransformation:
        """The optimiser for a run.

        Arguments:
            steps: Of the whole run, 1 or more.
            epochs: Into which they are divided evenly, 1 or more.

        Returns:
            An optax optimiser of a network's floating-point arrays. Where layers differ its `init`
            raises `ValueError` for a network that has not as many.
        """
        rate = self._rate(steps, epochs)
        own: dict[str, Any] = {}
        if self.name == "sgd":
            own["momentum"] = self.momentum or None
        if self._decays_itself:
            own["weight_decay"] = self.weight_decay
        return optax.chain(
            self._decay(),
            getattr(optax, self.name)(rate, **own),
            *(
                ()
                if self.learning_rates is None
                else (_by_layer(self.learning_rates, "learning-rates", lambda c, u, w: c * u),)
            ),
        )

    def _rate(self, steps: int, epochs: int) -> Any:
        """The learning rate of all layers, or what those of the layers are multiplied with."""
        peak = 1.0 if self.learning_rates is not None else self.learning_rate
        if self.schedule == "cosine":
            return optax.cosine_decay_schedule(peak, steps)
        if self.schedule == "cosine-by-epoch":
            falling = optax.cosine_decay_schedule(peak, epochs, alpha=_LAST_RATE)
            per_epoch = max(steps // epochs, 1)
            return lambda count: falling(count // per_epoch)
        return peak

    def _decay(self) -> optax.GradientTransformation:
        if self.weight_decays is not None:
            return _by_layer(self.weight_decays, "weight-decays", lambda c, u, w: u + c * w)
        if self.weight_decay and not self._decays_itself:
            return optax.add_decayed_weights(self.weight_decay)
        return optax.identity()


def _by_layer(
    values: tuple[float, ...], option: str, change: Callable[[float, Array, Array], Array]
) -> optax.GradientTransformation:
    """Updates changed by a number of their layer: `change(number, update, weight)`."""

    def init(params: PyTree[Any]) -> optax.EmptyState:
        if not isinstance(params, hp.LayeredNetwork):
            raise ValueError(
                f"--optimiser.{option} are for an mlp's or a vgg's layers, and a "
                f"{type(params).__name__} has none: give --optimiser.{option.removesuffix('s')}."
            )
        layers = _layer_count(params)
        if len(values) != layers:
            raise ValueError(
                f"--optimiser.{option} has {len(values)} numbers, but the network has {layers} "
                "layers: give one for each, from the first coupling to the readout."
            )
        jax.tree_util.tree_map_with_path(lambda path, w: _layer(path, layers), params)
        return optax.EmptyState()

    def update(
        updates: PyTree[Any], state: optax.EmptyState, params: PyTree[Any] = None
    ) -> tuple[PyTree[Any], optax.EmptyState]:
        layers = _layer_count(params)
        changed = jax.tree_util.tree_map_with_path(
            lambda path, u, w: change(values[_layer(path, layers)], u, w), updates, params
        )
        return changed, state

    return optax.GradientTransformation(init, update)


def _layer_count(network: hp.LayeredNetwork) -> int:
    return len(network.couplings) + (network.readout is not None)


def _layer(path: tuple[Any, ...], layers: int) -> int:
    """The number of the layer that an array of a network belongs to."""
    if path[0].name == "couplings":
        return int(path[1].idx)
    if path[0].name == "readout":
        return layers - 1
    raise ValueError(
        f"--optimiser settings for each layer reach couplings alone, but "
        f"{jax.tree_util.keystr(path).lstrip('.')} is to be trained, too: give one for all layers."
    )
