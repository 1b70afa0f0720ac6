"""Decoded images on disk: a split is decoded once, and mapped into memory from then on.

Each has a folder of its own, named after what it was decoded from. It is written beside and moved
into place whole, so that of two processes that begin at once one is first and both are right.
"""

import dataclasses
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_ARRAYS = ("images", "labels")
_ABOUT = "about.json"


@dataclasses.dataclass(frozen=True, eq=False)
class Decoded:
    """The images of a split, whatever it is called.

    Arguments:
        images: uint8 [n, height, width] or [n, height, width, 3].
        labels: int32 [n].
        class_names: one name for each class.
        changes: what was made of how many images, by words.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    changes: dict[str, int]


def decoded_once(
    key: str, decode: Callable[[], Decoded], on_warning: Callable[[str], None]
) -> Decoded:
    """What is kept under a key; where that is missing or damaged, it is decoded and kept.

    Arguments:
        key: of what is decoded and how, a name for a folder.
        decode: decodes it.
        on_warning: told in a sentence where it cannot be kept.
    """
    folder = _home() / key
    kept = _read(folder)
    if kept is not None:
        return kept
    decoded = decode()
    try:
        _keep(folder, decoded)
    except OSError as error:
        on_warning(
            f"decoded images cannot be kept in {folder.parent} ({error.strerror}), and will be "
            "decoded again the next time"
        )
        return decoded
    # Mapped, so that what was decoded need not stay in memory.
    return _read(folder) or decoded


def _home() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "holoprop" / "images"


def _read(folder: Path) -> Decoded | None:
    """What a folder holds, or None where it is missing or not as it was written."""
    try:
        about: dict[str, Any] = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        arrays = {n: np.load(folder / f"{n}.npy", mmap_mode="r") for n in _ARRAYS}
        if any(_checksum(array) != about["checksums"][n] for n, array in arrays.items()):
            return None
        return Decoded(**arrays, class_names=tuple(about["classes"]), changes=about["changes"])
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None


def _keep(folder: Path, decoded: Decoded) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f"{folder.name[:8]}-", dir=folder.parent))
    try:
        arrays = {name: getattr(decoded, name) for name in _ARRAYS}
        for name, array in arrays.items():
            np.save(part / f"{name}.npy", array)
        about = {
            "classes": decoded.class_names,
            "changes": decoded.changes,
            "checksums": {name: _checksum(array) for name, array in arrays.items()},
        }
        (part / _ABOUT).write_text(json.dumps(about), encoding="utf-8")
        if folder.exists() and _read(folder) is None:
            # Damaged: out of the way, in one step.
            folder.rename(part / "damaged")
        try:
            part.rename(folder)
        except OSError:
            # Another process was first.
            if _read(folder) is None:
                raise
        shutil.rmtree(folder / "damaged", ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _checksum(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).data)
