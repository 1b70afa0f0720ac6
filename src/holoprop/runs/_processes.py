"""Several processes at one run: what they begin together, and what they agree on.

Each does everything, on its devices and its part of every batch; the first one alone has the run's
folder, and tells how it goes.
"""

import contextlib
import hashlib
import tempfile
from collections.abc import Callable, Iterator
from typing import TypeVar, cast

import jax
import numpy as np
from jax.experimental import multihost_utils

from holoprop.runs._run_folder import RunFolder

_Answer = TypeVar("_Answer")

# Several processes agree on a stop every so many batches, where the host waits for the devices
# anyhow: `fit` looks after the first batch, and then as often.
_AGREE_EVERY = 20
# How alike processes are is told by so many bytes of a hash.
_DIGEST = 16


def is_first() -> bool:
    """Whether this is the process that has the run's folder, or the only one."""
    return jax.process_index() == 0


def any_of(flag: bool) -> bool:
    """Whether a flag is set in any process; all must ask."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.array(flag))))


def is_stopped(asked: Callable[[], bool], *, batch: int) -> bool:
    """Whether to stop after a batch: of several processes all at the same one.

    Arguments:
        asked: Whether this process has been asked to.
        batch: Batches of the epoch that are done; 0 between two epochs.
    """
    if jax.process_count() == 1:
        return asked()
    return (batch == 0 or batch % _AGREE_EVERY == 1) and any_of(asked())


def together(begin: Callable[[], _Answer], *, same: Callable[[_Answer], str]) -> _Answer:
    """What a beginning comes to, in all processes or in none.

    Arguments:
        begin: May fail in one process alone.
        same: What must be the same in all of them, of the answer.

    Raises:
        RuntimeError: If it failed in another process.
        ValueError: If what must be the same is not.
    """
    if jax.process_count() == 1:
        return begin()
    answer, fault, mark = None, None, bytes(_DIGEST)
    try:
        answer = begin()
        mark = hashlib.sha256(same(answer).encode()).digest()[:_DIGEST]
    except Exception as error:
        fault = error
    marks = multihost_utils.process_allgather(np.frombuffer(mark, np.uint8))
    if fault is not None:
        raise fault
    count = len(marks)
    failed = np.flatnonzero(~np.any(marks, axis=1))
    if failed.size:
        raise RuntimeError(
            f"process {failed[0]} of {count} (from 0) cannot begin: what it prints says why."
        )
    others = np.flatnonzero(np.any(marks != marks[0], axis=1))
    if others.size:
        raise ValueError(
            f"process {others[0]} of {count} (from 0) has other settings, data, packages or "
            "weights than process 0: give all of them the same. Tasks of a cluster that should "
            "train runs of their own must not find each other: see docs/devices.md."
        )
    # Without a fault there is an answer, which may be None.
    return cast(_Answer, answer)


@contextlib.contextmanager
def own_folder(run: RunFolder) -> Iterator[RunFolder]:
    """The run's folder in the first process, and in others one that is taken away in the end."""
    if is_first():
        yield run
        return
    with tempfile.TemporaryDirectory() as folder:
        yield RunFolder(folder)


def devices_for(batch_size: int) -> tuple[list[jax.Device], str | None]:
    """The devices among which a batch is shared, and a sentence on it; none of them for one alone.

    One process takes as many of its devices as share a batch evenly, several take all.

    Arguments:
        batch_size: Images in a step.

    Raises:
        ValueError: If the devices of several processes cannot share it evenly.
    """
    devices, processes = jax.devices(), jax.process_count()
    if len(devices) == 1:
        return [], None
    if processes > 1:
        if batch_size % len(devices):
            nearest = max(1, round(batch_size / len(devices))) * len(devices)
            raise ValueError(
                f"--batch-size {batch_size} cannot be shared evenly by the {len(devices)} devices "
                f"of {processes} processes: choose a multiple, for instance {nearest}."
            )
        return devices, (
            f"{len(devices)} devices of {processes} processes share each batch: "
            f"{batch_size // len(devices)} images each"
        )
    count = max(n for n in range(1, len(devices) + 1) if batch_size % n == 0)
    unused = (
        f"; {len(devices) - count} more would need a --batch-size that is a multiple of "
        f"{len(devices)}"
        if count < len(devices)
        else ""
    )
    sentence = f"{count} devices share each batch: {batch_size // count} images each{unused}"
    if count == 1:
        sentence = f"one of {len(devices)} devices is used{unused}"
    return devices[:count] if count > 1 else [], sentence
