"""Parts: what an experiment has computed so far, kept so that it goes on where it stopped."""

import dataclasses
import functools
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np

from holoprop import runs

# Arrays of numbers or words by name: all that computing hands to drawing and to claims.
Numbers: TypeAlias = dict[str, np.ndarray]
_Item = TypeVar("_Item")


@dataclasses.dataclass(frozen=True)
class PartSeen:
    """What is reported of a part.

    Attributes:
        label: What it belongs to.
        done: How many of these are there, this one included.
        total: How many there will be.
        kept: Whether it was there from an earlier run.
    """

    label: str
    done: int
    total: int
    kept: bool


def config_hash(config: Any) -> str:
    """Sixteen digits of a configuration, of what it is called and of the packages' versions.

    Other versions may compute other bits, so that their parts are not mixed.
    """
    content = {
        "kind": type(config).__name__,
        "config": dataclasses.asdict(config),
        "versions": runs.versions(),
    }
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Parts:
    """Computes parts, or takes them from an earlier run of the same configuration.

    Arguments:
        root: Folder that keeps parts, in a folder for each configuration.
        config: A frozen dataclass of plain values.
        on_part: Called after each part.

    Attributes:
        folder: Where those of this configuration are; what else it keeps may lie there, too.

    Example:
        >>> import tempfile
        >>> @dataclasses.dataclass(frozen=True)
        ... class Config:
        ...     seed: int = 0
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for _ in range(2):
        ...         parts = Parts(Path(folder), Config(), lambda seen: print(seen.kept))
        ...         numbers = parts.run("square", lambda: {"square": np.array(9)})
        False
        True
    """

    def __init__(
        self, root: Path, config: Any, on_part: Callable[[PartSeen], None] = lambda seen: None
    ) -> None:
        self._root, self._on_part = root, on_part
        self.folder = root / config_hash(config)

    def under(self, config: Any) -> "Parts":
        """Parts of a smaller configuration, which several experiments may share."""
        return Parts(self._root, config, self._on_part)

    def tell(self, label: str, done: int, total: int) -> None:
        """Say how far a part has come that takes long."""
        self._on_part(PartSeen(label, done, total, kept=False))

    def run(self, label: str, compute: Callable[[], Numbers]) -> Numbers:
        """One part."""
        return self.each(label, [None], lambda item: compute())[0]

    def each(
        self, label: str, items: Iterable[_Item], compute: Callable[[_Item], Numbers]
    ) -> list[Numbers]:
        """A part for each item, in their order."""
        items, found = list(items), []
        for index, item in enumerate(items):
            name = re.sub(r"\W+", "-", f"{label} {index}")
            numbers, kept = self._take(
                self.folder / f"{name}.npz", functools.partial(compute, item)
            )
            found.append(numbers)
            self._on_part(PartSeen(label, index + 1, len(items), kept))
        return found

    def _take(self, file: Path, compute: Callable[[], Numbers]) -> tuple[Numbers, bool]:
        kept = file.exists()
        if not kept:
            numbers: dict[str, Any] = {n: np.asarray(value) for n, value in compute().items()}
            file.parent.mkdir(parents=True, exist_ok=True)
            # Written beside and moved into place: an interruption leaves no half of a part.
            beside = file.with_suffix(f".{os.getpid()}")
            with open(beside, "wb") as stream:
                np.savez(stream, **numbers)
            beside.replace(file)
        with np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}, kept


def stacked(parts: list[Numbers]) -> Numbers:
    """The arrays of equal parts, each with a leading axis over the parts."""
    return {name: np.stack([part[name] for part in parts]) for name in parts[0]}
