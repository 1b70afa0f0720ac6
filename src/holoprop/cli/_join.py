"""Processes of a cluster that find each other and do one command together."""

import importlib.util
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

_ADDRESS, _COUNT, _INDEX = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
# What says how many tasks a launcher has started, beside what `jax.distributed` reads of each.
_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
_OPEN_MPI = ("OMPI_MCA_orte_hnp_uri", "OMPI_COMM_WORLD_SIZE")
_KUBERNETES = ("KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX")
# Seconds in which processes that end for the same reason can all say so.
_PARTING = 1.0


def launched(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """What `jax.distributed.initialize` is to be told, or None for a process by itself.

    Arguments:
        environment: The process's variables.

    Raises:
        ValueError: If a plain variable is missing or is no number.
    """
    told: dict[str, Any] = {}
    for name, argument in ((_COUNT, "num_processes"), (_INDEX, "process_id")):
        if name in environment:
            if not environment[name].isdecimal():
                raise ValueError(f"{name} is {environment[name]!r}, but must be a whole number.")
            told[argument] = int(environment[name])
    # JAX reads the address by itself.
    if _ADDRESS not in environment and told:
        raise ValueError(
            f"{_COUNT} or {_INDEX} is set, but no {_ADDRESS}: set it to HOST:PORT of process 0, or "
            "unset the others."
        )
    known = _is_slurm(environment) or _is_open_mpi(environment) or _is_kubernetes(environment)
    if _ADDRESS in environment and not known and len(told) < 2:
        raise ValueError(
            f"{_ADDRESS} is set, but not both of {_COUNT} and {_INDEX}: set them, or unset it."
        )
    if told.get("num_processes") == 1:
        return None
    return told if known or told else None


def _is_slurm(environment: Mapping[str, str]) -> bool:
    return all(name in environment for name in _SLURM) and environment["SLURM_NTASKS"] != "1"


def _is_open_mpi(environment: Mapping[str, str]) -> bool:
    here = all(name in environment for name in _OPEN_MPI)
    return here and environment["OMPI_COMM_WORLD_SIZE"] != "1"


def _is_kubernetes(environment: Mapping[str, str]) -> bool:
    """Whether it is a pod of an indexed job, and what asks the cluster about that is installed."""
    here = all(name in environment for name in _KUBERNETES)
    return here and importlib.util.find_spec("kubernetes") is not None


def joined(command: str, work: Callable[[], int]) -> int:
    """Do a command's work, with the other processes of a cluster where there are any.

    Arguments:
        command: Its name.
        work: Of which each process does its part; returns the exit status.

    Returns:
        The exit status.
    """
    try:
        found = launched(os.environ)
        if found is None:
            return work()
        import jax

        jax.distributed.initialize(**found)
    except (ValueError, RuntimeError) as error:
        print(f"holoprop {command}: {error}", file=sys.stderr)
        return 1
    try:
        status = work()
    except BaseException:
        traceback.print_exc()
        status = 1
    if status in (1, 2):
        # The others may be waiting for this one to go on: it must not wait for them in turn. When
        # it is gone they are ended, within two minutes at most.
        time.sleep(_PARTING)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    jax.distributed.shutdown()
    return status
