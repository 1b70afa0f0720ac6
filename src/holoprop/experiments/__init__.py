"""Experiments: one module for each figure and table of the paper, and beyond.

Each is a frozen configuration, numbers computed from it by parts, a picture drawn from the numbers
alone, and claims that the numbers bear out or do not; `experiments` lists them. They may import
everything below them up to `holoprop.runs`. Parsing and what is drawn on the terminal belong to
`holoprop.cli`; whatever serves more than these pictures belongs to the library.
"""

from holoprop.experiments._experiment import (
    SCALES,
    Experiment,
    Reproduction,
    redraw,
    reproduce,
)
from holoprop.experiments._parts import Numbers, Parts, PartSeen
from holoprop.experiments._record import Claim, read_numbers
from holoprop.experiments._table import experiments

__all__ = [
    "SCALES",
    "Claim",
    "Experiment",
    "Numbers",
    "PartSeen",
    "Parts",
    "Reproduction",
    "experiments",
    "read_numbers",
    "redraw",
    "reproduce",
]
