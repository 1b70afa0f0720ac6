"""What makes up a preset."""

import dataclasses

from holoprop.runs._config import TrainConfig


@dataclasses.dataclass(frozen=True)
class Preset:
    """A training run that has a name.

    Attributes:
        summary: One line on what it is.
        config: Everything that it sets.
    """

    summary: str
    config: TrainConfig
