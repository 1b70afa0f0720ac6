"""Training on eight simulated devices and in two processes, against one device."""

import functools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import one_of_two
import pytest

HERE = Path(__file__).parent


@functools.cache
def on_eight_devices(*cases):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    answer = subprocess.run(
        [sys.executable, str(HERE / "on_eight_devices.py"), *cases],
        env=os.environ | {"XLA_FLAGS": flags},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def quick(name):
    """Of the cases that run in every suite, in one process."""
    return on_eight_devices("float64", "program", "refused")[name]


def slow(name):
    cases = (
        "float32",
        "program_of_all_points",
        "unsettled",
        "augmented",
        "by_the_user",
        "evaluation",
    )
    return on_eight_devices(*cases)[name]


@pytest.mark.parametrize(
    ("found", "dtype", "tolerance"),
    [
        (quick, "float64", 1e-12),
        pytest.param(slow, "float32", 1e-5, marks=pytest.mark.slow),
    ],
)
def test_eight_devices_train_as_one(found, dtype, tolerance):
    answer = found(dtype)
    assert answer["dtype"] == dtype
    assert answer["weights"] < tolerance
    assert answer["reported"] < tolerance
    one, eight = answer["steps"]
    assert one == eight
    one, eight = answer["error"]
    assert one == pytest.approx(eight, rel=1e-2)


@pytest.mark.parametrize(
    ("found", "name"),
    [(quick, "program"), pytest.param(slow, "program_of_all_points", marks=pytest.mark.slow)],
)
def test_one_sum_a_step_is_all_that_crosses(found, name):
    answer = found(name)
    assert answer["all"] == ["all-reduce"]
    # A loop's body is a computation of its own.
    assert answer["entry"] == ["all-reduce"]
    assert answer["loops"] > 0


def test_batch_that_cannot_be_shared_evenly_is_refused():
    assert "batch_size 20 cannot be shared evenly by 8 devices" in quick("refused")
    assert "16" in quick("refused")


@pytest.mark.slow
def test_examples_that_do_not_settle_bias_no_gradient():
    answer = slow("unsettled")
    assert len(set(answer["counts"])) > 1
    assert answer["unsettled"] == 16 - sum(answer["counts"])
    assert answer["weighted"] < 1e-12
    assert answer["unweighted"] > 1e-3


@pytest.mark.slow
def test_augmentation_is_that_of_one_device():
    answer = slow("augmented")
    assert answer["same"] < 1e-12
    assert answer["plain"] > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("how", ["tracked", "untracked", "explicit", "equilibrium"])
def test_gradients_of_a_users_own_shards(how):
    assert slow("by_the_user")[how] < 1e-12


@pytest.mark.slow
def test_evaluation_is_that_of_one_device():
    answer = slow("evaluation")
    assert answer["loss"] < 1e-12
    assert answer["same"]


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_two_processes_train_as_one_and_go_on_from_each_others_checkpoints(tmp_path):
    alone = one_of_two.train(tmp_path, "one")
    command = [sys.executable, str(HERE / "one_of_two.py"), str(tmp_path)]
    address = f"127.0.0.1:{free_port()}"
    processes = [
        subprocess.Popen([*command, address, str(i)], stderr=subprocess.PIPE, text=True)
        for i in range(2)
    ]
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    with np.load(tmp_path / "two.npz") as stored:
        found = list(stored.values())
    whole, continued = found[: len(alone)], found[len(alone) :]
    back = one_of_two.train(tmp_path, "two", start=one_of_two.left_at(tmp_path, "two"))
    for together in (whole, continued, back):
        for one, two in zip(alone, together, strict=True):
            np.testing.assert_allclose(two, one, rtol=0, atol=1e-12)
