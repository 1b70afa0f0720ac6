"""Times of several calls, taken in turns so that a slow minute of the machine hits all alike."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds of one call in each round."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Over the rounds."""
        return statistics.median(self.rounds)

    def as_json(self) -> dict[str, Any]:
        """Median and spread, in seconds."""
        lower, upper = np.quantile(self.rounds, [0.25, 0.75])
        return {
            "median_s": self.median,
            "min_s": min(self.rounds),
            "max_s": max(self.rounds),
            "quartiles_s": [float(lower), float(upper)],
            "rounds": len(self.rounds),
        }


def interleave(calls: Mapping[str, Callable[[], Any]], *, repeats: int) -> dict[str, Timing]:
    """Time calls in the order A B C A B C ..., each to the end of its computation.

    Every call is made once before, so that neither compilation nor first touches are timed.
    """
    for call in calls.values():
        jax.block_until_ready(call())
    rounds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            started = time.perf_counter()
            jax.block_until_ready(call())
            rounds[name].append(time.perf_counter() - started)
    return {name: Timing(tuple(taken)) for name, taken in rounds.items()}


def as_json(timings: Mapping[str, Timing]) -> dict[str, Any]:
    """Of several calls, by name."""
    return {name: timing.as_json() for name, timing in timings.items()}


def per_step(fewer: Timing, more: Timing, steps: int) -> float:
    """Seconds a step takes, from two calls that differ by so many steps and nothing else.

    The median of the rounds' differences: what both calls share cancels within a round.
    """
    differences = [b - a for a, b in zip(fewer.rounds, more.rounds, strict=True)]
    return statistics.median(differences) / steps
