"""Files that are whole or not there."""

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place, and move it there: a reader never sees half of one.

    Arguments:
        path: Of the file; what was there stays as it was until the new one is on the disk.
        write: Writes it under the name that it is given.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        write(part)
        to_disk(part)
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def to_disk(path: Path) -> None:
    """Have the system write a file to the disk now, so that it outlives the machine."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def make_folders(path: Path) -> list[Path]:
    """Make a folder and those above it, and return which of them were not there, deepest first."""
    made: list[Path] = []
    for folder in (*reversed(path.parents), path):
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            made.insert(0, folder)
    return made


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it, or neither."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def reason(error: Exception) -> str:
    """Why a file could not be written, in a few words."""
    lines = (getattr(error, "strerror", None) or str(error)).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
