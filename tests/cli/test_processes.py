"""Several processes at one run: how they find each other, agree, and end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from holoprop.cli._join import launched
from holoprop.runs import _processes
from holoprop.runs._checkpoints import Checkpoints

PLAIN = {
    "JAX_COORDINATOR_ADDRESS": "host:1234",
    "JAX_NUM_PROCESSES": "4",
    "JAX_PROCESS_ID": "2",
}
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "node[001-002]",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
}
OPEN_MPI = {"OMPI_MCA_orte_hnp_uri": "1.0;tcp://10.0.0.1:5", "OMPI_COMM_WORLD_SIZE": "2"}


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, None),
        (PLAIN, {"num_processes": 4, "process_id": 2}),
        (PLAIN | {"JAX_NUM_PROCESSES": "1", "JAX_PROCESS_ID": "0"}, None),
        (SLURM, {}),
        # A batch script, a shell in an allocation, and a task by itself are no steps of several.
        ({n: v for n, v in SLURM.items() if n != "SLURM_STEP_NODELIST"}, None),
        (SLURM | {"SLURM_NTASKS": "1"}, None),
        (SLURM | {"JAX_COORDINATOR_ADDRESS": "host:1234"}, {}),
        (OPEN_MPI, {}),
        (OPEN_MPI | {"OMPI_COMM_WORLD_SIZE": "1"}, None),
        # A pod of no indexed job.
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, None),
    ],
)
def test_processes_of_a_cluster_are_recognised(environment, told):
    assert launched(environment) == told


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"JAX_COORDINATOR_ADDRESS": "host:1234"}, "JAX_PROCESS_ID"),
        ({"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"}, "JAX_COORDINATOR_ADDRESS"),
        (PLAIN | {"JAX_NUM_PROCESSES": "two"}, "'two'"),
    ],
)
def test_half_an_address_is_refused(environment, name):
    with pytest.raises(ValueError, match=name):
        launched(environment)


@pytest.mark.parametrize(
    ("batch", "devices", "used", "words"),
    [
        (20, 1, 0, None),
        (20, 4, 4, "4 devices share each batch: 5 images each"),
        (20, 8, 5, "3 more would need a --batch-size that is a multiple of 8"),
        (7, 2, 0, "one of 2 devices is used"),
    ],
)
def test_one_process_takes_the_devices_that_share_a_batch_evenly(
    monkeypatch, batch, devices, used, words
):
    monkeypatch.setattr("jax.devices", lambda: list(range(devices)))
    found, sentence = _processes.devices_for(batch)
    assert len(found) == used
    assert sentence is None if words is None else words in sentence


def test_several_processes_take_all_devices_or_say_why_not(monkeypatch):
    monkeypatch.setattr("jax.devices", lambda: list(range(8)))
    monkeypatch.setattr("jax.process_count", lambda: 2)
    assert len(_processes.devices_for(16)[0]) == 8
    with pytest.raises(ValueError, match="--batch-size 20 cannot be shared evenly by the 8 dev"):
        _processes.devices_for(20)


# Of a network that settles at once.
TINY = (
    *("train", "--network.sizes", "784", "6", "10", "--estimator", "centred"),
    *("--estimator.nudge", "0.4", "--free", "sequential", "--free.steps", "5"),
    *("--nudged", "sequential", "--nudged.steps", "5", "--images", "120", "--batch-size", "30"),
)


def started(folder, *commands):
    """A process for each command, all of one run where there are several."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{found.getsockname()[1]}"
    processes = []
    for index, command in enumerate(commands):
        own = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": str(len(commands))}
        own |= {"JAX_PROCESS_ID": str(index)}
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "holoprop", *command],
                cwd=folder,
                env=os.environ | own,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return processes


def ended(processes):
    """Exit statuses and error outputs, and the output of all but the first."""
    answers = [process.communicate() for process in processes]
    # What gloo itself prints is no word of the run's.
    said = [line for out, _ in answers[1:] for line in out.splitlines() if "Gloo" not in line]
    return [process.returncode for process in processes], [err for _, err in answers], said


def until_it_trains(folder, processes):
    while not (folder / "run" / "metrics.jsonl").exists():
        assert all(process.poll() is None for process in processes)
        time.sleep(0.1)


def distance(one, two):
    weights, others = (load_file(folder / "weights.safetensors") for folder in (one, two))
    return max(float(np.max(np.abs(weights[name] - others[name]))) for name in weights)


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), [(2, 1), (1, 2)])
def test_run_of_one_number_of_processes_goes_on_with_another(tmp_path, first, second):
    long = (*TINY, "--epochs", "60", "--checkpoints.steps", "7")
    processes = started(tmp_path, *[(*long, "--output", "run")] * first)
    until_it_trains(tmp_path, processes)
    # To the last of them alone: they agree.
    processes[-1].send_signal(signal.SIGTERM)
    codes, errors, said = ended(processes)
    assert codes[-1] == 143
    assert set(codes) <= {130, 143}
    assert "go on from step" in errors[0]
    assert said == []
    assert Checkpoints(tmp_path / "run" / "checkpoints", keep=3).steps
    codes, errors, said = ended(started(tmp_path, *[("resume", "run")] * second))
    assert codes == [0] * second, errors
    assert said == []
    assert ended(started(tmp_path, (*long, "--output", "whole")))[0] == [0]
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert distance(whole, run) < 1e-4
    lines = [len((folder / "metrics.jsonl").read_text().splitlines()) for folder in (whole, run)]
    assert lines == [60, 60]
    best = [json.loads((folder / "summary.json").read_text())["best"] for folder in (whole, run)]
    assert best[0]["epoch"] == best[1]["epoch"]
    assert not (run / ".lock").exists()


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_where_a_process_is_lost_all_end_and_the_run_goes_on_later(tmp_path, lost):
    long = (*TINY, "--epochs", "2000", "--output", "run", "--checkpoints.steps", "3")
    processes = started(tmp_path, long, long)
    until_it_trains(tmp_path, processes)
    while not Checkpoints(tmp_path / "run" / "checkpoints", keep=3).steps:
        time.sleep(0.1)
    processes[lost].kill()
    codes, _, _ = ended(processes)
    assert 0 not in codes
    said = []
    assert Checkpoints(tmp_path / "run" / "checkpoints", keep=3).newest(said.append) is not None
    assert said == []


@pytest.mark.slow
def test_processes_that_cannot_begin_say_why_and_leave_nothing(tmp_path):
    whole = (*TINY, "--output", "run")
    codes, errors, _ = ended(started(tmp_path, whole, (*whole, "--data", "nowhere")))
    assert codes == [1, 1]
    assert "process 1 of 2" in errors[0]
    assert "nowhere" in errors[1]
    codes, errors, _ = ended(started(tmp_path, whole, (*whole, "--seed", "1")))
    assert codes == [1, 1]
    assert all("other settings" in error for error in errors)
    (tmp_path / "taken").write_text("")
    whole = (*TINY, "--output", "taken")
    codes, errors, _ = ended(started(tmp_path, whole, whole))
    assert codes == [1, 1]
    assert "taken is a file" in errors[0]
    assert [path.name for path in Path(tmp_path).iterdir()] == ["taken"]
