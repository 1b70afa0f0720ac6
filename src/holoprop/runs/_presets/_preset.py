"""What makes up a preset."""

import dataclasses
from typing import Any

from holoprop.runs._config import TrainConfig
from holoprop.runs._json import as_json


@dataclasses.dataclass(frozen=True)
class Preset:
    """A training run that has a name.

    Attributes:
        summary: One line on what it is.
        config: Everything that it sets.
        small: The same with fewer channels, images and epochs, for ten minutes on two cores.
        paper: Accuracy on the test split in %, as the paper has it, in a few characters.
        reached: What holoprop reached where it was run, likewise.
    """

    summary: str
    config: TrainConfig
    small: TrainConfig
    paper: str = "-"
    reached: str = "not run"


def scaled_down(
    config: TrainConfig, *, images: int, epochs: int, batch_size: int | None = None, **network: Any
) -> TrainConfig:
    """A configuration with fewer images and epochs, and some settings of the network changed.

    Arguments:
        config: At full scale.
        images: Of each split.
        epochs: Of the run.
        batch_size: Smaller where few images would make too few steps to see anything learned;
            default the configuration's.
        network: Settings of the network that are others.
    """
    return dataclasses.replace(
        config,
        images=images,
        epochs=epochs,
        batch_size=config.batch_size if batch_size is None else batch_size,
        network=dataclasses.replace(config.network, **network),
    )


def describe_changes(before: TrainConfig, after: TrainConfig) -> list[str]:
    """The settings that differ, in words: `epochs 3 instead of 90`.

    Arguments:
        before: A configuration.
        after: Another one.

    Example:
        >>> describe_changes(TrainConfig(), TrainConfig(epochs=3, images=500))
        ['images 500 instead of all', 'epochs 3 instead of 10']
    """
    old, new = _flat(as_json(before)), _flat(as_json(after))
    return [
        f"{name} {_shown(value)} instead of {_shown(old.get(name))}"
        for name, value in new.items()
        if old.get(name) != value
    ]


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _shown(value: Any) -> str:
    if value is None:
        return "all"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
