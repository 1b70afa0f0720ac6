"""`holoprop tune`: its arguments, its faults, and what is drawn on the terminal."""

from rich.console import Console
from rich.table import Table

from holoprop import runs
from holoprop.cli._drafts import Draft
from holoprop.cli._parse import parse
from holoprop.diagnostics import Tuning
