"""Who is told how a run goes."""

import dataclasses
from collections.abc import Callable

from holoprop.training import EpochMetrics, Progress


@dataclasses.dataclass(frozen=True)
class Listener:
    """Who is told how a run goes.

    Attributes:
        on_stage: What is being done now, in a few words.
        on_warning: A sentence on what the run does without.
        on_start: A sentence on the data and the run folder, before anything is compiled.
        on_progress: Every few batches.
        on_epoch: After each epoch.
    """

    on_stage: Callable[[str], None] = lambda words: None
    on_warning: Callable[[str], None] = lambda sentence: None
    on_start: Callable[[str], None] = lambda sentence: None
    on_progress: Callable[[Progress], None] = lambda progress: None
    on_epoch: Callable[[EpochMetrics], None] = lambda metrics: None
