"""Jobs of a cluster, by Submitit's own stand-in for one; without Submitit there is nothing here."""

import json
import os
import signal
from pathlib import Path

import pytest

from holoprop.runs import TrainConfig, Trial, slurm_jobs, sweep

pytest.importorskip("submitit")
pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


@pytest.fixture
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def jobs(**options):
    return slurm_jobs(Path("slurm"), {"timeout_min": "9", **options}, cluster="local")


def trial(name, *arguments):
    return Trial(name, {}, arguments, TrainConfig(output=name))


def test_jobs_end_in_the_table():
    trials = [trial("a", "--nonsense"), trial("b", "--seed", "-1")]
    rows = sweep(trials, "s", start=jobs(), processes=2)
    assert [row.status for row in rows] == ["failed", "failed"]
    assert rows[0].reason.startswith("unknown option --nonsense")
    assert rows[1].reason.startswith("--seed must be from 0 to")


def test_options_are_those_of_submitit():
    jobs(partition="gpu", gpus_per_node="2", mem_gb="1.5")
    with pytest.raises(ValueError, match=r"--slurm: .*nonsense"):
        jobs(nonsense="3")


@pytest.mark.slow
def test_a_job_whose_time_is_over_is_queued_again_and_goes_on():
    arguments = ("--epochs", "60", "--images", "200", "--network.sizes", "784", "8", "10")
    told = []

    def tell():
        if not told and Path("s/a/metrics.jsonl").exists():
            # As a cluster says that the time is over: to the process that started the run's.
            run = int(Path("s/a/.lock").read_text().split()[1])
            told.append(int(Path(f"/proc/{run}/stat").read_text().rpartition(")")[2].split()[1]))
            os.kill(told[0], signal.SIGUSR2)
        return False

    rows = sweep([trial("a", *arguments)], "s", start=jobs(), processes=1, should_stop=tell)
    assert [row.status for row in rows] == ["finished"], rows
    log = Path("s/a.log").read_text()
    assert "interrupted in epoch" in log
    assert "going on in epoch" in log
    assert len(Path("s/a/metrics.jsonl").read_text().splitlines()) == 60
    assert json.loads(Path("s/sweep.json").read_text())["runs"][0]["results"]["epoch"] == 60
