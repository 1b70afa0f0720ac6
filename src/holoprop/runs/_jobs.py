"""Runs as work of their own: in processes of this machine, or in jobs of a Slurm cluster."""

import dataclasses
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from holoprop.runs._files import reason
from holoprop.runs._run_folder import RunFolder

# Submitit's own is five minutes.
_MINUTES = 60
# Seconds between two looks at a process.
_LOOK_EVERY = 0.2
_DEVICES = "CUDA_VISIBLE_DEVICES"


@dataclasses.dataclass(frozen=True)
class Work:
    """One run as a command, which begins it or goes on with it.

    Attributes:
        folder: Of the run.
        arguments: Of `holoprop train`, without the folder.
    """

    folder: Path
    arguments: tuple[str, ...]

    @property
    def log(self) -> Path:
        """What the command prints, beside the folder; what it printed before stays."""
        return self.folder.with_name(f"{self.folder.name}.log")

    def start(
        self, *, environment: Mapping[str, str] = MappingProxyType({}), in_cluster: bool = False
    ) -> "subprocess.Popen[bytes]":
        """Start the command.

        Arguments:
            environment: Variables beside those of this process.
            in_cluster: Whether signals come from a cluster, which sends them to all processes of a
                job. Elsewhere it is told by `Job.stop` alone, and not by the terminal too.
        """
        python = [sys.executable, "-m", "holoprop"]
        command = [*python, "train", *self.arguments, "--output", str(self.folder)]
        if RunFolder(self.folder).holds_run:
            command = [*python, "resume", str(self.folder)]
        with open(self.log, "ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # In the order in which it is said.
                env=os.environ | {"PYTHONUNBUFFERED": "1"} | dict(environment),
                start_new_session=not in_cluster,
                preexec_fn=_ignore_notice if in_cluster else None,
            )


def _ignore_notice() -> None:
    # That the time is over: it is for Submitit, and would end any other process.
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


@dataclasses.dataclass(frozen=True)
class Ending:
    """How a run's command has ended.

    Attributes:
        status: Its exit status, negative for a signal that ended it.
        reason: The last that it had to say.
    """

    status: int
    reason: str


class Job(Protocol):
    """Work that has begun."""

    def poll(self) -> Ending | None:
        """How it ended, or None while it has not."""

    def stop(self) -> None:
        """Ask it to write a checkpoint and end."""


# What begins work; the number is its place among those that run at once, from 0.
Start = Callable[[Work, int], Job]


def local_jobs(processes: int) -> Start:
    """Jobs that are processes of this machine.

    Where `CUDA_VISIBLE_DEVICES` names devices, so many processes share them out among themselves.

    Arguments:
        processes: At once.
    """

    def start(work: Work, place: int) -> Job:
        own = _devices(os.environ, place=place, processes=processes)
        return _LocalJob(work, work.start(environment=own))

    return start


def _devices(environment: Mapping[str, str], *, place: int, processes: int) -> dict[str, str]:
    """The variable that gives a process its share of the devices.

    Example:
        >>> _devices({"CUDA_VISIBLE_DEVICES": "4,5,6"}, place=1, processes=2)
        {'CUDA_VISIBLE_DEVICES': '5'}
    """
    named = [name for name in environment.get(_DEVICES, "").split(",") if name]
    if not named:
        return {}
    return {_DEVICES: ",".join(named[place::processes] or [named[place % len(named)]])}


@dataclasses.dataclass(frozen=True)
class _LocalJob:
    work: Work
    process: "subprocess.Popen[bytes]"

    def poll(self) -> Ending | None:
        status = self.process.poll()
        return None if status is None else _ending(self.work, status)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()


def slurm_jobs(folder: Path, options: Mapping[str, str], *, cluster: str = "slurm") -> Start:
    """Jobs of a Slurm cluster.

    A job whose time is over writes a checkpoint and is put into the queue again.

    Arguments:
        folder: For what Submitit writes; all machines of the cluster must see it.
        options: Of Submitit, such as `partition`, `timeout_min`, `gpus_per_node`.
        cluster: As Submitit calls it.

    Raises:
        ValueError: If Submitit is not installed or refuses an option.
        RuntimeError: If there is no cluster.
    """
    if importlib.util.find_spec("submitit") is None:
        raise ValueError(
            "--slurm needs the package submitit, which is not installed: "
            "pip install 'holoprop[slurm]'"
        )
    import submitit

    executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
    own = type(executor)._valid_parameters()
    given = {
        name if name in own or name.startswith("slurm_") else f"slurm_{name}": _number(value)
        for name, value in options.items()
    }
    try:
        executor.update_parameters(**{"timeout_min": _MINUTES, "name": "holoprop"} | given)
    # Their common class is Exception.
    except Exception as error:
        raise ValueError(f"--slurm: {reason(error)}") from error
    return lambda work, place: _SlurmJob(work, executor.submit(_Requeued(work)))


def _number(value: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            pass
    return value


class _Requeued:
    """Work in a job of a cluster, which goes on in another job when its time is over."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        self.process = self.work.start(in_cluster=True)
        # A wait would hold the lock that `checkpoint`, which a signal calls, waits for.
        while self.process.poll() is None:
            time.sleep(_LOOK_EVERY)
        return self.process.returncode

    def checkpoint(self) -> Any:
        """What is to be queued again, by the protocol of Submitit."""
        from submitit.helpers import DelayedSubmission

        if self.process is not None and self.process.returncode is None:
            os.kill(self.process.pid, signal.SIGTERM)
            os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        return DelayedSubmission(_Requeued(self.work))


@dataclasses.dataclass(frozen=True)
class _SlurmJob:
    work: Work
    job: Any

    def poll(self) -> Ending | None:
        if not self.job.done():
            return None
        try:
            return _ending(self.work, max(self.job.results(), key=abs))
        # A job that was cancelled, ran out of memory or could not be started.
        except Exception as error:
            return Ending(1, f"job {self.job.job_id} has ended without a result: {reason(error)}")

    def stop(self) -> None:
        self.job.cancel()


def _ending(work: Work, status: int) -> Ending:
    if status == 0:
        return Ending(0, "")
    if status < 0:
        return Ending(status, f"ended by {signal.Signals(-status).name}")
    try:
        lines = work.log.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError as error:
        return Ending(status, f"{work.log} cannot be read: {reason(error)}")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    for command in ("train", "resume"):
        last = last.removeprefix(f"holoprop {command}: ")
    return Ending(status, last)
