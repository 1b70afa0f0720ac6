"""One row of the table of results, and how numbers are written in it."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Row:
    """A figure that was asked for and what was measured.

    Attributes:
        what: What is measured.
        asked: The figure asked for, empty for a number that is only told beside the others.
        measured: What came out, with what is needed to judge it.
        met: Whether the figure was met; None where none was asked for.
        data: Everything measured for it, for the JSON file.
    """

    what: str
    asked: str
    measured: str
    met: bool | None
    data: dict[str, Any] = dataclasses.field(default_factory=dict)


def seconds(value: float) -> str:
    """A time in a readable unit: `2.50 s`, `31.2 ms`."""
    if value >= 100:
        return f"{value:.0f} s"
    return f"{value:.3g} s" if value >= 1 else f"{1e3 * value:.3g} ms"


def times(ratio: float) -> str:
    """A ratio: `12.3`, `104`."""
    return f"{ratio:.0f}" if ratio >= 100 else f"{ratio:.3g}"


def no_worse(error: float, baseline: float) -> bool:
    """Whether an error is equal to the baseline's, to a hundredth of it, or smaller."""
    return error <= 1.01 * baseline
