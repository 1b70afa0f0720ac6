"""Checkpoints: where training stands, on the disk, each whole or not there."""

import contextlib
import dataclasses
import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from holoprop.runs._files import reason, remove, to_disk

_ARRAYS, _RECORD, _SUMS = "arrays", "record.json", "sha256.json"
_PART = "part"
# Of the disk, beside what the arrays take.
_MARGIN = 2**18


@dataclasses.dataclass(frozen=True)
class Saved:
    """What a checkpoint holds.

    Attributes:
        step: Batches that were done, over all epochs.
        arrays: Tree of NumPy arrays.
        record: What goes into JSON.
    """

    step: int
    arrays: dict[str, Any]
    record: dict[str, Any]


class Checkpoints:
    """The newest few checkpoints of a run.

    Each is a folder: arrays as Orbax writes them, a record, and the sha256 of every file. It is
    written beside its place and moved there. When it is read, a byte that has changed or a file
    that is missing makes it no checkpoint, and the one before it is used.

    Arguments:
        folder: Of the checkpoints; made when the first one is written.
        keep: How many, 1 or more.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     checkpoints = Checkpoints(Path(folder) / "checkpoints", keep=1)
        ...     for step in (1, 2):
        ...         checkpoints.save(Saved(step, {"weight": np.arange(3.0)}, {"epoch": 1}))
        ...     checkpoints.steps, checkpoints.newest(print).arrays["weight"].tolist()
        ([2], [0.0, 1.0, 2.0])
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        self.folder, self.keep = folder, keep

    @property
    def steps(self) -> list[int]:
        """Those that are there, from the newest."""
        if not self.folder.is_dir():
            return []
        return sorted(
            (int(p.name) for p in self.folder.iterdir() if p.name.isdigit()), reverse=True
        )

    def save(self, saved: Saved) -> None:
        """Write a checkpoint, and remove the oldest.

        Raises:
            OSError: If it cannot be written; those that were there stay.
        """
        place, part = self.folder / str(saved.step), self.folder / _PART
        try:
            self.clean()
            part.mkdir(parents=True)
            self._check_room(saved)
            with _orbax() as (checkpointer, args):
                checkpointer.save((part / _ARRAYS).absolute(), args=args.StandardSave(saved.arrays))
            (part / _RECORD).write_text(json.dumps(saved.record), encoding="utf-8")
            sums = {str(path.relative_to(part)): _sha256(path) for path in _files(part)}
            (part / _SUMS).write_text(json.dumps(sums), encoding="utf-8")
            for path in _files(part):
                to_disk(path)
            if place.exists():
                remove(place)
            part.rename(place)
        # The errors of Orbax and of the library below it share no base class but Exception.
        except Exception as error:
            with contextlib.suppress(OSError):
                self.clean()
            raise OSError(reason(error)) from error
        # One that is newer is damaged, and another had to be gone on from.
        for step in [step for step in self.steps if step <= saved.step][self.keep :]:
            remove(self.folder / str(step))

    def _check_room(self, saved: Saved) -> None:
        # Where it fails halfway, what writes arrays leaves exceptions behind that nobody asks for,
        # and that Python prints in the end.
        needed = sum(array.nbytes for array in jax.tree.leaves(saved.arrays)) + _MARGIN
        if shutil.disk_usage(self.folder).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def newest(self, on_warning: Callable[[str], None]) -> Saved | None:
        """The newest checkpoint that is as it was written, or None.

        Arguments:
            on_warning: Told of each that is newer and damaged.
        """
        steps = self.steps
        for index, step in enumerate(steps):
            try:
                return self._read(step)
            except Exception as error:
                older = steps[index + 1 :]
                instead = f"step {older[0]} is next" if older else "no older one is there"
                on_warning(
                    f"the checkpoint {self.folder / str(step)} is damaged ({reason(error)}): "
                    f"{instead}."
                )
        return None

    def _read(self, step: int) -> Saved:
        place = self.folder / str(step)
        sums = json.loads((place / _SUMS).read_text(encoding="utf-8"))
        # All of them first: what reads arrays does not expect others than were written.
        for name, expected in sums.items():
            if _sha256(place / name) != expected:
                raise ValueError(f"{name} is not what was written")
        with _orbax() as (checkpointer, args):
            restored = checkpointer.restore(
                (place / _ARRAYS).absolute(), args=args.StandardRestore()
            )
        arrays = jax.tree.map(np.asarray, restored)
        return Saved(step, arrays, json.loads((place / _RECORD).read_text(encoding="utf-8")))

    def clean(self) -> None:
        """Remove what a process that was killed has left half written."""
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if not path.name.isdigit():
                    remove(path)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _sha256(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@contextlib.contextmanager
def _orbax() -> Iterator[tuple[Any, Any]]:
    """A checkpointer and its arguments' module, without their messages."""
    # Imported here because it takes a second, which a run's first step need not wait for.
    import orbax.checkpoint as ocp

    # It waits for no other process of the run: what it writes and reads is this one's own.
    index = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=index,
        active_processes={index},
        barrier_sync_key_prefix=f"process{index}" if jax.process_count() > 1 else None,
    )
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        handler = ocp.StandardCheckpointHandler(multiprocessing_options=alone)
        with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
            yield checkpointer, ocp.args
    finally:
        logger.setLevel(before)
