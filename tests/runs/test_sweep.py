"""Sweeps: what runs when, what the table says, and how a sweep goes on. Runs are made up."""

import dataclasses
import json
import sys

import pytest

from holoprop.runs import RunFolder, TrainConfig, Trial, Work, sweep
from holoprop.runs._jobs import Ending, _devices, local_jobs
from holoprop.runs._json import as_json


def trials(folder, count):
    return [
        Trial(
            f"seed={seed}",
            {"seed": str(seed)},
            ("--seed", str(seed)),
            TrainConfig(seed=seed, output=str(folder / f"seed={seed}")),
        )
        for seed in range(count)
    ]


@dataclasses.dataclass
class MadeUp:
    """A run that needs so many looks, and fails where that is asked for."""

    work: Work
    machine: "Machine"
    looks: int = 2
    stopped: bool = False

    def poll(self):
        self.looks -= 1
        if self.stopped:
            return self._end(143, "interrupted")
        if self.looks > 0:
            return None
        if self.work.folder.name in self.machine.failing:
            return self._end(1, "a | reason")
        summary = {"epoch": 3, "test_error": 0.25, "total_seconds": 2.0, "machine": "left out"}
        (self.work.folder / "summary.json").write_text(json.dumps(summary))
        return self._end(0, "")

    def _end(self, status, reason):
        self.machine.running.remove(self)
        return Ending(status, reason)

    def stop(self):
        self.stopped = True


class Machine:
    """Keeps what ran, and how much at once."""

    def __init__(self, *, failing=(), configs=()):
        self.failing, self.configs = failing, {c.output: c for c in configs}
        self.running, self.began, self.most = [], [], 0

    def start(self, work, place):
        run = RunFolder(work.folder)
        if not run.holds_run:
            work.folder.mkdir()
            run.start({"preset": "custom"} | as_json(self.configs[str(work.folder)]))
        job = MadeUp(work, self)
        self.running.append(job)
        self.began.append(work.folder.name)
        self.most = max(self.most, len(self.running))
        return job


def run(folder, count=3, *, processes=2, failing=(), **options):
    some = trials(folder, count)
    machine = Machine(failing=failing, configs=[trial.config for trial in some])
    rows = sweep(some, folder, start=machine.start, processes=processes, **options)
    return machine, rows


def statuses(rows):
    return [row.status for row in rows]


def test_as_many_run_at_once_as_asked_for(tmp_path):
    for processes in (1, 2, 5):
        machine, rows = run(tmp_path / str(processes), 4, processes=processes)
        assert statuses(rows) == ["finished"] * 4
        assert machine.most == min(processes, 4)


def test_one_that_fails_does_not_stop_the_others(tmp_path):
    _, rows = run(tmp_path / "sweep", failing=["seed=0"])
    assert statuses(rows) == ["failed", "finished", "finished"]
    assert rows[0].reason == "a | reason"
    assert rows[1].results == {"epoch": 3, "test_error": 0.25, "total_seconds": 2.0}


def test_one_that_cannot_be_started_does_not_stop_the_others(tmp_path):
    some = trials(tmp_path, 2)
    machine = Machine(configs=[trial.config for trial in some])

    def start(work, place):
        if work.folder.name == "seed=0":
            raise OSError(11, "Resource temporarily unavailable")
        return machine.start(work, place)

    rows = sweep(some, tmp_path, start=start, processes=1)
    assert statuses(rows) == ["failed", "finished"]
    assert rows[0].reason == "could not be started: Resource temporarily unavailable"


def test_tables_hold_every_run(tmp_path):
    _, rows = run(tmp_path, failing=["seed=2"])
    content = json.loads((tmp_path / "sweep.json").read_text())
    assert content == {"runs": [dataclasses.asdict(row) for row in rows]}
    lines = (tmp_path / "sweep.md").read_text().splitlines()
    assert (
        lines[0] == "| seed | status | epochs | training | validation | test | seconds | reason |"
    )
    assert lines[2] == "| 0 | finished | 3 |  |  | 25.00 % | 2.0 |  |"
    assert lines[4] == "| 2 | failed |  |  |  |  |  | a \\| reason |"


def test_again_it_goes_on_with_what_did_not_finish(tmp_path):
    run(tmp_path, failing=["seed=1"])
    machine, rows = run(tmp_path)
    assert machine.began == ["seed=1"]
    assert statuses(rows) == ["finished"] * 3
    machine, rows = run(tmp_path, 4)
    assert machine.began == ["seed=3"]


def test_asked_to_stop_it_stops_what_runs_and_begins_nothing(tmp_path):
    seen = []
    machine, rows = run(tmp_path, 4, on_row=seen.append, should_stop=lambda: len(seen) >= 2)
    assert machine.began == ["seed=0", "seed=1"]
    assert statuses(rows) == ["interrupted", "interrupted", "waiting", "waiting"]
    assert statuses(run(tmp_path, 4)[1]) == ["finished"] * 4


def test_a_fault_leaves_nothing_running(tmp_path):
    some = trials(tmp_path, 2)
    machine = Machine(configs=[trial.config for trial in some])

    def fault(row):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(some, tmp_path, start=machine.start, processes=2, on_row=fault)
    assert [job.stopped for job in machine.running] == [True]


def test_a_run_of_other_settings_is_left_alone(tmp_path):
    run(tmp_path, 1)
    other = dataclasses.replace(trials(tmp_path, 1)[0], config=TrainConfig(epochs=3))
    with pytest.raises(FileExistsError, match=r"epochs 3 instead of 10.*choose another --output"):
        sweep([other], tmp_path, start=Machine().start, processes=1)


def test_only_a_folder_of_a_sweep_is_used(tmp_path):
    (tmp_path / "sweep.json").write_text("[]")
    with pytest.raises(FileExistsError, match="is not empty and holds no sweep"):
        run(tmp_path)
    with pytest.raises(FileExistsError, match=r"sweep\.json is a file"):
        run(tmp_path / "sweep.json")
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.json"]


def test_a_second_sweep_is_kept_out(tmp_path):
    def begin_another(row):
        with pytest.raises(FileExistsError, match="is at work in"):
            run(tmp_path, 1)

    run(tmp_path, 1, on_row=begin_another)


# Processes of this machine


@pytest.fixture
def python(tmp_path, monkeypatch):
    """Stands in for Python: a program that does as it is told by the first option."""

    def write(text):
        path = tmp_path / "python"
        path.write_text(f"#!{sys.executable}\n{text}")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return write


def ended(folder, *, stop=False):
    job = local_jobs(1)(Work(folder, ("mnist-subset", "--seed", "3")), 0)
    if stop:
        while not job.work.log.read_text():
            assert job.process.poll() is None
        job.stop()
    job.process.wait()
    return job.poll()


def test_a_process_begins_a_run_or_goes_on_with_it(tmp_path, python):
    python("import sys; print(*sys.argv[1:])")
    folder = tmp_path / "run"
    assert ended(folder) == Ending(0, "")
    folder.mkdir()
    RunFolder(folder).start(TrainConfig())
    assert ended(folder) == Ending(0, "")
    assert (tmp_path / "run.log").read_text() == (
        f"-m holoprop train mnist-subset --seed 3 --output {folder}\n-m holoprop resume {folder}\n"
    )


@pytest.mark.parametrize(
    ("text", "ending"),
    [
        ("print('holoprop train: too large.'); exit(2)", Ending(2, "too large.")),
        ("print('Some\\nError: deep\\n'); exit(1)", Ending(1, "Error: deep")),
        ("exit(1)", Ending(1, "it said nothing")),
        ("import os; os.kill(os.getpid(), 9)", Ending(-9, "ended by SIGKILL")),
    ],
)
def test_why_a_process_failed_is_the_last_that_it_said(tmp_path, python, text, ending):
    python(text)
    assert ended(tmp_path / "run") == ending


def test_a_process_is_stopped_by_its_sweep_alone(tmp_path, python):
    python(
        "import os, signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "print(os.getsid(0) == os.getpid(), flush=True)\n"
        "signal.pause()\n"
    )
    assert ended(tmp_path / "run", stop=True) == Ending(143, "True")


def test_processes_share_out_devices():
    def shares(named, processes):
        environment = {} if named is None else {"CUDA_VISIBLE_DEVICES": named}
        return [
            _devices(environment, place=place, processes=processes).get("CUDA_VISIBLE_DEVICES")
            for place in range(processes)
        ]

    assert shares(None, 2) == shares("", 2) == [None, None]
    assert shares("0,1,2,3", 2) == ["0,2", "1,3"]
    assert shares("GPU-a,GPU-b", 3) == ["GPU-a", "GPU-b", "GPU-a"]
