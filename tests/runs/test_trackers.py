"""Trackers: what they are told, once each, and that none of them costs a run."""

import json
import struct
import sys

import pytest

from holoprop.runs import Listener, RunFolder, TrainConfig, check_trackers
from holoprop.runs._json import as_json
from holoprop.runs._trackers import tracked
from holoprop.training import EpochMetrics, Progress

CONFIG = {"preset": "custom"} | as_json(TrainConfig())
PROGRESS = Progress(1, 3, 1, 5, 2.0, 0.5, {}, {}, 100.0)
# What stands in for wandb and trackio: it keeps what it is told in a file.
STUB = """
import json

def write(**told):
    with open({path!r}, "a") as file:
        file.write(json.dumps(told) + "\\n")

class Run:
    def log(self, data, *, step):
        if step in {bad_steps}:
            raise ConnectionError("no network\\nat all")
        write(step=step, data=data)

    def finish(self):
        write(finish=True)

def init(**arguments):
    write(init=arguments)
    return Run()
"""


def metrics(epoch):
    return EpochMetrics(
        epoch=epoch,
        train_loss=1.0 / epoch,
        train_error=0.5,
        validation_loss=float("nan"),
        validation_error=0.25,
        validation_top5_error=None,
        residuals={"free": 1e-4, "nudged": 1e-5},
        steps={"free": 20.0, "nudged": 10.0},
        residual_quartiles={"free": [0.0] * 5},
        step_quartiles={"free": [0.0] * 5},
        unsettled=2,
        validation_unsettled=0,
        untrusted=0,
        gradient_error={"mean": 1e-3, "median": 1e-4, "largest": 0.5},
        images_per_second=1000.0,
        seconds=2.0,
    )


def scalars(epoch):
    return {
        **{"train_loss": 1.0 / epoch, "train_error": 0.5, "validation_error": 0.25},
        **{"residuals/free": 1e-4, "residuals/nudged": 1e-5, "steps/free": 20.0},
        **{"steps/nudged": 10.0, "unsettled": 2, "validation_unsettled": 0, "untrusted": 0},
        **{"gradient_error/mean": 1e-3, "gradient_error/median": 1e-4},
        **{"gradient_error/largest": 0.5, "images_per_second": 1000.0, "seconds": 2.0},
    }


def go(folder, epochs, *trackers, done=0):
    """A run from one epoch to another, as `train` and `resume` tell of it; its warnings."""
    run, warnings, seen = RunFolder(folder), [], []
    told = Listener(on_warning=warnings.append, on_epoch=seen.append)
    history = [metrics(epoch) for epoch in range(1, done + 1)]
    if done:
        run.write_metrics(history)
    else:
        folder.mkdir()
    with tracked(told, run, trackers) as listener:
        if not done:
            run.start(CONFIG)
        for epoch in range(done + 1, epochs + 1):
            listener.on_progress(PROGRESS)
            history.append(metrics(epoch))
            run.write_metrics(history)
            listener.on_epoch(history[-1])
    assert seen == history[done:]
    return warnings


# TensorBoard


def records(file):
    """The records of a file of events: a length, its checksum, as many bytes, their checksum."""
    content, place = file.read_bytes(), 0
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        yield content[place + 12 : place + 12 + length]
        place += 12 + length + 4


def events(folder):
    """Scalars by step, and how many times the settings are there."""
    from tensorboardX.proto.event_pb2 import Event

    found, texts = {}, []
    for file in (folder / "tensorboard").iterdir():
        for record in records(file):
            event = Event.FromString(record)
            for value in event.summary.value:
                if value.HasField("tensor"):
                    texts.append(value.tensor.string_val[0].decode())
                    continue
                step = found.setdefault(event.step, {})
                assert value.tag not in step
                step[value.tag] = value.simple_value
    return found, texts


def test_tensorboard_has_every_epoch_and_the_settings_once(tmp_path):
    assert go(tmp_path / "run", 3, "tensorboard") == []
    found, texts = events(tmp_path / "run")
    assert found == {epoch: pytest.approx(scalars(epoch)) for epoch in (1, 2, 3)}
    assert [json.loads(t.removeprefix("```json\n").removesuffix("\n```")) for t in texts] == [
        CONFIG
    ]


def test_a_run_that_goes_on_has_every_epoch_once(tmp_path):
    go(tmp_path / "run", 4, "tensorboard")
    # From a checkpoint in the third epoch.
    go(tmp_path / "run", 6, "tensorboard", done=2)
    found, texts = events(tmp_path / "run")
    assert sorted(found) == [1, 2, 3, 4, 5, 6]
    assert len(texts) == 1


def test_an_earlier_runs_events_go_with_it(tmp_path):
    go(tmp_path / "run", 2, "tensorboard")
    run = RunFolder(tmp_path / "run")
    with run.begun(overwrite=True):
        run.start(CONFIG)
        assert not (run.path / "tensorboard").exists()
        run.finish({})
    go(tmp_path / "other", 2)
    (tmp_path / "other" / "tensorboard").mkdir()
    (tmp_path / "other" / "tensorboard" / "mine.txt").write_text("mine")
    run = RunFolder(tmp_path / "other")
    with run.begun(overwrite=True):
        run.start(CONFIG)
        run.finish({})
    assert (run.path / "tensorboard" / "mine.txt").read_text() == "mine"


# Others


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """Puts a stand-in in a tracker's place; what it was told is in the list that comes back."""

    def put(name, bad_steps=()):
        folder, path = tmp_path / "stubs", tmp_path / f"{name}.jsonl"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(STUB.format(path=str(path), bad_steps=[*bad_steps]))
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return lambda: [json.loads(line) for line in path.read_text().splitlines()]

    yield put
    for name in ("wandb", "trackio"):
        sys.modules.pop(name, None)


def steps(told):
    return [line["step"] for line in told if "step" in line]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_others_are_told_every_epoch_and_the_settings(tmp_path, stub, name):
    told = stub(name)
    assert go(tmp_path / "run", 2, name) == []
    first, *epochs, last = told()
    assert first["init"]["config"] == CONFIG
    assert first["init"]["project"] == "holoprop"
    assert first["init"]["name"].startswith("run-")
    assert first["init"]["resume"] == "never"
    assert [line["data"] for line in epochs] == [scalars(1), scalars(2)]
    assert last == {"finish": True}


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_run_that_goes_on_is_the_same_one_there(tmp_path, stub, name):
    told = stub(name)
    go(tmp_path / "run", 4, name)
    go(tmp_path / "run", 6, name, done=2)
    assert steps(told()) == [1, 2, 3, 4, 5, 6]
    first, second = (line["init"] for line in told() if "init" in line)
    assert second == first | {"resume": "allow"}
    # Another run in a folder of that name is another run there.
    (tmp_path / "elsewhere").mkdir()
    go(tmp_path / "elsewhere" / "run", 1, name)
    assert told()[-3]["init"]["name"] != first["name"]


def test_two_at_once_keep_their_own_place(tmp_path, stub):
    wandb, trackio = stub("wandb"), stub("trackio", bad_steps=[3])
    (warning,) = go(tmp_path / "run", 4, "wandb", "trackio")
    assert warning == (
        "trackio has failed (no network) and is told nothing more; the run goes on, and "
        f"{tmp_path / 'run' / 'metrics.jsonl'} has every epoch."
    )
    stub("trackio")
    # It has what it missed when the run goes on.
    go(tmp_path / "run", 5, "wandb", "trackio", done=4)
    assert steps(wandb()) == [1, 2, 3, 4, 5]
    assert steps(trackio()) == [1, 2, 3, 4, 5]


def test_one_that_cannot_begin_costs_a_warning(tmp_path, stub):
    stub("wandb")
    (tmp_path / "stubs" / "wandb.py").write_text("def init(**_): raise ValueError('no key')")
    (warning,) = go(tmp_path / "run", 2, "wandb", "tensorboard")
    assert "wandb has failed (no key)" in warning
    assert sorted(events(tmp_path / "run")[0]) == [1, 2]


def test_one_that_is_not_installed_is_named():
    for name in ("tensorboard", "wandb", "trackio"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("importlib.util.find_spec", lambda name: None)
            with pytest.raises(ValueError, match=rf"--track {name} needs .*: pip install .*{name}"):
                check_trackers([name])


def test_without_trackers_nothing_is_written(tmp_path):
    go(tmp_path / "run", 2)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"config.json", "metrics.jsonl"}
