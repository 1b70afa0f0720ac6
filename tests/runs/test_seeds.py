"""Runs with several seeds."""

import dataclasses
import json
import threading

import pytest

import holoprop as hp
from holoprop import runs
from holoprop.runs import TrainConfig
from holoprop.runs._networks import Mlp

FIXED = {
    "free": hp.Synchronous(steps=8),
    "nudged": hp.Synchronous(steps=6),
    "estimator": hp.Holomorphic(0.4, 2),
}
TO_A_TOLERANCE = {
    "free": hp.Sequential(tolerance=1e-4, max_steps=60),
    "nudged": hp.Sequential(tolerance=1e-4, max_steps=60),
    "estimator": hp.Holomorphic(0.4, 2),
}


def config(output, phases, **settings):
    return TrainConfig(
        output=str(output),
        images=80,
        epochs=2,
        batch_size=20,
        network=Mlp((784, 6, 10)),
        checked_images=0,
        compilation_cache=False,
        **phases,
        **settings,
    )


def weights(folder):
    return json.loads((folder / "summary.json").read_text())["weights_sha256"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    return runs.train_seeds(config(folder, FIXED, seed=3), seeds=2)


def test_each_seed_is_what_it_is_alone(whole, tmp_path):
    assert list(whole.summaries) == [3, 4]
    alone = runs.train(config(tmp_path / "4", FIXED, seed=4))
    for name in ("train_loss", "validation_loss", "test_loss"):
        assert whole.summaries[4][name] == pytest.approx(alone.summary[name], rel=1e-5)
    assert whole.summaries[3]["train_loss"] != pytest.approx(alone.summary["train_loss"], rel=1e-5)
    assert isinstance(runs.load(whole.folder / "seed-4"), hp.LayeredNetwork)


def test_summary_is_over_the_seeds(whole):
    values = [whole.summaries[seed]["test_error"] for seed in (3, 4)]
    found = json.loads((whole.folder / "summary.json").read_text())["last"]["test_error"]
    assert found["values"] == values
    assert found["mean"] == pytest.approx(sum(values) / 2)
    assert found["deviation"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)


@pytest.mark.parametrize("stop_after", [0, 9])
@pytest.mark.quick("9")
def test_interrupted_seeds_go_on_to_the_same_bits(whole, tmp_path, stop_after):
    asked = []

    def should_stop():
        asked.append(threading.get_ident())
        return len(asked) > stop_after

    def train():
        return runs.train_seeds(
            config(tmp_path / "run", FIXED, seed=3), seeds=2, should_stop=should_stop
        )

    if stop_after == 0:
        with pytest.raises(runs.InterruptedRunError, match="first step: nothing was written"):
            train()
        assert not (tmp_path / "run").exists()
        return
    with pytest.raises(runs.InterruptedRunError, match=r"go on with: holoprop resume .*run"):
        train()
    again = runs.resume_seeds(tmp_path / "run")
    assert again.faults == {}
    for seed in (3, 4):
        assert weights(tmp_path / "run" / f"seed-{seed}") == weights(whole.folder / f"seed-{seed}")


@pytest.mark.slow
def test_phases_that_settle_give_each_seed_its_own_bits(tmp_path):
    together = runs.train_seeds(config(tmp_path / "run", TO_A_TOLERANCE), seeds=2)
    for seed in (0, 1):
        alone = runs.train(config(tmp_path / f"{seed}", TO_A_TOLERANCE, seed=seed))
        assert together.summaries[seed]["weights_sha256"] == alone.summary["weights_sha256"]


def test_bad_settings_are_refused_and_nothing_is_left(tmp_path, whole):
    place = tmp_path / "run"
    with pytest.raises(ValueError, match="--batch-size 81 is larger than the training set"):
        runs.train_seeds(dataclasses.replace(config(place, FIXED), batch_size=81), seeds=2)
    assert not place.exists()
    with pytest.raises(FileExistsError, match="exists already and is not empty"):
        runs.train_seeds(config(whole.folder, FIXED, seed=3), seeds=2)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.tex").write_text("")
    with pytest.raises(FileExistsError, match="holds no runs of several seeds"):
        runs.train_seeds(config(tmp_path / "own", FIXED, overwrite=True), seeds=2)
    with pytest.raises(ValueError, match="leaves no room for 2 seeds"):
        runs.train_seeds(config(place, FIXED, seed=2**32 - 1), seeds=2)


@pytest.mark.slow
def test_a_run_that_was_to_be_replaced_is_not_gone_on_with(tmp_path):
    place = tmp_path / "run"
    runs.train_seeds(config(place, TO_A_TOLERANCE), seeds=2)
    longer = dataclasses.replace(config(place, TO_A_TOLERANCE, overwrite=True), epochs=3)
    steps = []

    def should_stop():
        steps.append(1)
        return len(steps) > 6

    with pytest.raises(runs.InterruptedRunError):
        runs.train_seeds(longer, seeds=2, should_stop=should_stop)
    again = runs.resume_seeds(place)
    assert [summary["epoch"] for summary in again.summaries.values()] == [3, 3]
    with pytest.raises(FileExistsError, match="holds seed-1 beside the runs"):
        runs.train_seeds(longer, seeds=1)
