"""What a reproduction leaves in its folder: numbers as JSON, and the comparison with the paper."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from holoprop.experiments._parts import Numbers


@dataclasses.dataclass(frozen=True)
class Claim:
    """One statement, and whether the numbers bear it out.

    Attributes:
        statement: What is claimed.
        ours: Our number.
        holds: Whether the claim holds for our numbers; None for a number that claims nothing and is
            only set beside the paper's.
        paper: The paper's number, or None where it gives none or the claim is not its own.
    """

    statement: str
    ours: float
    holds: bool | np.bool_ | None
    paper: float | None = None

    @property
    def difference(self) -> float | None:
        """Ours less the paper's."""
        return None if self.paper is None else self.ours - self.paper

    def verdict(self, *, no: str) -> str:
        """Whether it holds, in a word; `no` where it does not."""
        return "" if self.holds is None else "yes" if self.holds else no


def write_text(file: Path, text: str) -> None:
    """Beside and moved into place: a reader never sees half a file."""
    beside = file.with_name(f"{file.name}.part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(file)


def write_json(file: Path, content: Any) -> None:
    """JSON as the standard has it, in lines."""
    write_text(file, json.dumps(content, indent=1, allow_nan=False) + "\n")


def write_numbers(file: Path, numbers: Numbers) -> None:
    """One line for each array; what is not finite becomes null, a complex array two real ones."""
    lines = (
        f"{json.dumps(name)}: {json.dumps(_as_json(value), allow_nan=False)}"
        for name, value in numbers.items()
    )
    write_text(file, "{\n" + ",\n".join(lines) + "\n}\n")


def read_numbers(file: Path) -> Numbers:
    """The arrays of `write_numbers`; null is not a number."""
    return {name: _as_array(value) for name, value in json.loads(file.read_text()).items()}


def _as_json(value: np.ndarray) -> Any:
    value = np.asarray(value)
    if np.iscomplexobj(value):
        return {"real": _as_json(value.real), "imag": _as_json(value.imag)}
    if np.issubdtype(value.dtype, np.floating) and not np.all(np.isfinite(value)):
        finite, value = np.isfinite(value), value.astype(object)
        value[~finite] = None
    return value.tolist()


def _as_array(value: Any) -> np.ndarray:
    if isinstance(value, dict):
        return np.asarray(_as_array(value["real"]) + 1j * _as_array(value["imag"]))
    array = np.asarray(value)
    return array.astype(float) if array.dtype == object else array


def rounded(values: np.ndarray, digits: int = 4) -> np.ndarray:
    """To so many significant digits, as a map's colours need no more."""
    return np.vectorize(lambda v: float(f"{v:.{digits - 1}e}"), otypes=[float])(values)


def comparison(title: str, caption: str, claims: list[Claim]) -> str:
    """The page `comparison.md`."""
    rows = [
        f"| {c.statement} | {_number(c.paper)} | {_number(c.ours)} | {_number(c.difference)} | "
        f"{c.verdict(no='**no**')} |"
        for c in claims
    ]
    verdicts = [bool(c.holds) for c in claims if c.holds is not None]
    closing = "The paper's number is given where it states one."
    return "\n".join(
        [
            f"# {title}",
            "",
            caption,
            "",
            f"{sum(verdicts)} of {len(verdicts)} claims hold. {closing}",
            "",
            "| claim | paper | ours | difference | holds |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
