"""One process at a time in a folder."""

import contextlib
import fcntl
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path

from holoprop.runs._files import reason

NAME = ".lock"


@contextlib.contextmanager
def locked(folder: Path, on_warning: Callable[[str], None]) -> Iterator[None]:
    """Keep other processes out of a folder.

    The system lets go of the lock when its process ends, however it ends: a file that a dead
    process has left is no obstacle.

    Arguments:
        folder: Is there.
        on_warning: Told where the file system knows no locks.

    Raises:
        FileExistsError: If another process holds the lock.
    """
    path = folder / NAME
    file = _open(path)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had it may have taken the file away between the two.
        if not path.exists() or os.fstat(file).st_ino != path.stat().st_ino:
            raise BlockingIOError
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()} on {platform.node() or 'this machine'}".encode())
    except BlockingIOError as error:
        holder = os.pread(file, 200, 0).decode(errors="replace") or "another process"
        os.close(file)
        raise FileExistsError(
            f"{holder} is at work in the run folder {folder}: wait for it to end, or choose "
            "another with --output."
        ) from error
    except OSError as error:
        on_warning(f"{folder} cannot be locked ({reason(error)}): start no second run in it.")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(file)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise OSError(
            f"the run folder {path.parent} cannot be written to ({reason(error)}): choose another "
            "with --output."
        ) from error
