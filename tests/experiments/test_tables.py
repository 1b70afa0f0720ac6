"""Tables: their cells, how these go on, and claims on numbers that are made up."""

import dataclasses
import json
import signal
import threading

import numpy as np
import pytest
from toys import StopError

import holoprop as hp
from holoprop import runs
from holoprop.experiments import SCALES, Parts, experiments, reproduce
from holoprop.experiments import _cells as cells
from holoprop.experiments import _data as data
from holoprop.experiments import _mnist_runs as mnist
from holoprop.experiments import _table2 as table2
from holoprop.experiments._table_rows import Row, beside, written

# The quickest to compile.
QUICKEST = runs.TrainConfig(
    data=runs.DataConfig(data.DIGITS),
    validation=0.0,
    images=40,
    epochs=2,
    network=runs.Mlp(sizes=(784, 4, 10), activation=hp.ReLU()),
    method="bp",
)


def cell(seeds=2, **changes):
    return cells.cell_of("cell", dataclasses.replace(QUICKEST, **changes), seeds=seeds)


# Cells


def test_cell_is_its_runs(tmp_path):
    """Against runs of one's own, of the same configuration."""
    found = cells.trained(cell(), Parts(tmp_path / "parts", Alone()))
    assert {name: values.shape for name, values in found.items()} == dict.fromkeys(
        ("train", "validation", "top5", "unsettled"), (2, 2)
    )
    for seed in range(2):
        with cells.jax_settings(jax_enable_x64=False):
            own = runs.train(
                dataclasses.replace(
                    QUICKEST,
                    data=runs.DataConfig(),
                    seed=seed,
                    output=str(tmp_path / f"own {seed}"),
                    compilation_cache=False,
                )
            )
        # Together they are the same up to rounding.
        for kind, error in (
            ("validation", own.last.validation_error),
            ("train", own.last.train_error),
        ):
            assert found[kind][seed, -1] == pytest.approx(100 * error, abs=1e-6)


@dataclasses.dataclass(frozen=True)
class Alone:
    """An experiment without settings."""


@pytest.mark.slow
def test_interrupted_cell_goes_on_from_its_checkpoint_with_the_same_bits(tmp_path, monkeypatch):
    whole = cells.trained(cell(), Parts(tmp_path / "whole", Alone()))
    # A checkpoint at every step.
    monkeypatch.setattr(cells, "_MINUTES", 1e-9)
    told = []

    def stop(seen):
        told.append(seen.done)
        # Seeds may be trained at once: each of them is stopped.
        if len(told) >= 3:
            raise StopError

    with pytest.raises(StopError):
        cells.trained(cell(), Parts(tmp_path / "halves", Alone(), stop))
    told.clear()
    halves = cells.trained(cell(), Parts(tmp_path / "halves", Alone(), told.append))
    # The epochs that were done are not trained again.
    assert len([seen for seen in told if seen.total == 4]) <= 2
    for name, values in whole.items():
        np.testing.assert_array_equal(values, halves[name])
    told.clear()
    cells.trained(cell(), Parts(tmp_path / "halves", Alone(), told.append))
    assert [seen.kept for seen in told] == [True]


@pytest.fixture
def interruptible():
    """Python's own way with Ctrl-C, which a process in the background is without."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_what_interrupts_a_cell_lets_its_runs_save_where_they_are(tmp_path, monkeypatch):
    """As Ctrl-C does, which reaches the main thread alone."""
    once = iter([threading.main_thread().ident])

    def interrupt(seen):
        for main in once:
            signal.pthread_kill(main, signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        cells.trained(cell(epochs=500), Parts(tmp_path, Alone(), interrupt))
    assert not list(tmp_path.rglob("*.npz"))
    for seed in range(2):
        (checkpoint,) = tmp_path.rglob(f"seed-{seed}/checkpoints/*")
        assert json.loads((checkpoint / "record.json").read_text())["double"] is False


def test_seed_that_diverges_leaves_no_numbers_and_stops_no_other(tmp_path):
    wild = runs.OptimiserConfig(learning_rate=1e30)
    found = cells.trained(cell(optimiser=wild), Parts(tmp_path, Alone()))
    assert np.isnan(found["validation"][:, -1]).all()
    assert Row("cell", found["validation"]).diverged == 2


def test_cells_say_nothing_of_the_machine():
    settings = json.loads(mnist.cell(mnist.MnistRuns(data="mnist"), "mnist-hep").settings)
    assert settings["data"]["source"] == "mnist"
    assert settings["output"] is None


def test_cells_that_differ_have_parts_of_their_own(tmp_path):
    parts = Parts(tmp_path, Alone())
    folders = {
        parts.under(mnist.cell(mnist.MnistRuns(data="mnist"), preset)).folder
        for preset in mnist.NAMES
    }
    assert len(folders) == len(mnist.NAMES)


# Data


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("on_hub", [True, False])
def test_images_come_from_the_folder_else_the_hub_else_the_package(
    tmp_path, monkeypatch, there, on_hub
):
    monkeypatch.setenv("HOLOPROP_DATA", str(tmp_path))
    monkeypatch.setattr(data, "_is_on_hub", lambda name: on_hub)
    if there:
        (tmp_path / "mnist").mkdir()
    found = data.available_set("mnist", "ylecun/mnist")
    assert found == ("mnist" if there else "ylecun/mnist" if on_hub else data.DIGITS)
    source = {"mnist": str(tmp_path / "mnist"), data.DIGITS: None}.get(found, found)
    assert data.training_source(found) == source
    assert data.training_set("mnist", "ylecun/mnist") == ("mnist" if there else "ylecun/mnist")


def test_what_stands_in_for_imagenet_is_said(tmp_path, monkeypatch):
    table = experiments()["table2"]
    monkeypatch.setenv("HOLOPROP_DATA", str(tmp_path))
    for name, words in (
        ("cifar10", None),
        ("cifar100", "for ImageNet 32x32, which was not to be had, CIFAR-100"),
        ("imagenet32_sample", "for ImageNet 32x32, which was not to be had, a sample"),
        ("imagenet32", None),
    ):
        (tmp_path / name).mkdir()
        config = table.configs["paper"]()
        caption = table.caption(config, {})
        if words is not None:
            assert words in caption
        assert ("not to be had" in caption) == (name != "imagenet32")


# Scales


@pytest.mark.parametrize("name", ["table1", "table4", "table2"])
def test_captions_say_what_is_smaller_than_in_the_paper(name):
    table = experiments()[name]
    for scale in SCALES:
        config = table.configs[scale]()
        caption = table.caption(config, {})
        assert ("(the paper:" in caption) == (scale != "paper")
        assert f"{config.epochs} epochs" in caption or scale == "smoke"
        assert f"seeds 0 to {config.seeds - 1}" in caption


@pytest.mark.parametrize("preset", mnist.NAMES)
def test_paper_scale_of_mnist_is_the_preset(preset):
    same(mnist.cell(mnist.CONFIGS["paper"](), preset), preset)


@pytest.mark.parametrize("column", ["cifar10", "cifar100", "imagenet32"])
@pytest.mark.parametrize("method", ["bp", "hep"])
def test_paper_scale_of_larger_sets_is_the_preset(column, method):
    config = dataclasses.replace(
        experiments()["table2"].configs["paper"](), data=("cifar10", "cifar100", "imagenet32")
    )
    source = dict(table2._columns(config))[column]
    same(table2.cell(config, column, source, method), f"{column}-{method}")


def same(found, preset):
    """Whether a cell is a preset as the paper has it, but for where its images come from."""
    config = runs.presets()[preset].config
    read = runs.read_config(json.loads(found.settings))
    assert dataclasses.replace(read, data=config.data) == config
    assert found.seeds == 3


# Rows


def test_rows_have_the_last_epoch_and_each_seed_s_best():
    values = np.array([[5.0, 1.0, 3.0], [4.0, 3.0, 2.0]])
    row = Row("cell", values, (1.0, 0.1))
    assert row.last == (2.5, 0.5)
    assert row.best == (1.5, 0.5)
    assert Row("cell", values, gains=True).best == (4.5, 0.5)
    assert row.diverged == 0
    last, best = beside([row], "error")
    assert (last.ours, last.paper, last.holds) == (2.5, None, None)
    assert (best.ours, best.difference, best.holds) == (1.5, 0.5, None)
    assert "last epoch" in last.statement
    assert "best epoch" in best.statement


def test_row_of_a_run_that_diverged():
    row = Row("cell", np.array([[5.0, 1.0, np.nan], [4.0, 3.0, 2.0]]))
    assert row.diverged == 1
    assert np.isnan(row.last[0])
    assert row.best == (1.5, 0.5)


@pytest.mark.parametrize(
    ("stated", "text"),
    [((1.974, 0.08), "1.97 ± 0.08"), ((88.7, 0.0), "88.7 ± 0.0"), (None, "")],
)
def test_numbers_are_written_as_the_paper_does(stated, text):
    assert written(stated) == text


# Claims


# Validation errors in percent at the last epoch, as the paper's logs have them.
VALIDATION = {
    "mnist-ep-0.1": 1.97,
    "mnist-ep-0.4": 2.35,
    "mnist-hep": 2.33,
    "mnist-online": 2.32,
    "mnist-ep-0.1-noise": 88.7,
    "mnist-ep-0.4-noise": 3.59,
    "mnist-hep-noise": 2.2,
    "mnist-online-noise": 2.2,
}
TRAIN = {
    "mnist-ep-0.1": 0.05,
    "mnist-ep-0.4": 0.19,
    "mnist-hep": 0.02,
    "mnist-online": 0.11,
    "mnist-ep-0.1-noise": 88.8,
    "mnist-ep-0.4-noise": 1.96,
    "mnist-hep-noise": 0.14,
    "mnist-online-noise": 0.13,
}
ACCURACY = {
    "cifar10-bp": 88.3,
    "cifar10-hep": 88.6,
    "cifar100-bp": 62.0,
    "cifar100-hep": 61.6,
    "imagenet32-bp": 37.2,
    "imagenet32-hep": 36.5,
}
PAPER2 = table2.Table2(data=("cifar10", "cifar100", "imagenet32"))


def curves(last, *, shift=0.5):
    """Two seeds about a last value, after a first epoch that does not count."""
    return np.array([[50.0, last - shift], [70.0, last + shift]])


def mnist_numbers(changed=()):
    """Numbers of Tables 1 and 4, some of them changed."""
    numbers = {f"{preset} unsettled": np.zeros((2, 2)) for preset in mnist.NAMES}
    for kind, table in (("validation", VALIDATION), ("train", TRAIN)):
        for preset, value in (table | dict(changed)).items():
            numbers[f"{preset} {kind}"] = curves(value, shift=min(value, 0.5))
    return numbers


def table2_numbers(changed=()):
    numbers = {}
    for cell_, accuracy in (ACCURACY | dict(changed)).items():
        numbers[f"{cell_} validation"] = curves(100 - accuracy)
        numbers[f"{cell_} top5"] = curves((100 - accuracy) / 2)
        numbers[f"{cell_} unsettled"] = np.zeros((2, 2))
    return numbers


def verdicts(name, config, numbers):
    found = experiments()[name].claims(config, numbers)
    return {claim.statement: bool(claim.holds) for claim in found if claim.holds is not None}


@pytest.mark.parametrize("name", ["table1", "table4"])
def test_claims_of_mnist_hold_for_the_paper_s_numbers(name):
    config = mnist.MnistRuns(data=data.DIGITS)
    found = verdicts(name, config, mnist_numbers())
    assert len(found) > 3
    assert all(found.values()), found
    # What is compared is what the paper has.
    for claim in experiments()[name].claims(config, mnist_numbers()):
        if claim.holds is not None:
            assert claim.difference == pytest.approx(0, abs=1e-9), claim.statement


@pytest.mark.parametrize(
    ("name", "preset", "value", "opening"),
    [
        ("table1", "mnist-ep-0.1-noise", 20.0, "with noise classic EP of nudge 0.1"),
        ("table1", "mnist-hep-noise", 3.5, "noise costs hEP less"),
        ("table1", "mnist-ep-0.4-noise", 2.1, "noise costs classic EP"),
        ("table1", "mnist-hep-noise", 3.7, "with noise hEP beats"),
        ("table1", "mnist-ep-0.4", 3.4, "without noise hEP and classic"),
        ("table1", "mnist-ep-0.1", 1.2, "without noise hEP and classic"),
        ("table1", "mnist-online", 3.5, "online hEP is within"),
        ("table1", "mnist-online", 1.2, "online hEP is within"),
        ("table1", "mnist-hep", np.nan, "online hEP is within"),
        ("table1", "mnist-ep-0.1", np.nan, "without noise hEP and classic"),
        ("table1", "mnist-hep", np.nan, "without noise hEP and classic"),
        ("table4", "mnist-ep-0.1-noise", 20.0, "with noise classic EP of nudge 0.1"),
        ("table4", "mnist-hep", 0.3, "without noise hEP fits"),
        ("table4", "mnist-hep-noise", 2.0, "with noise hEP fits"),
        ("table4", "mnist-hep-noise", 1.1, "noise costs hEP"),
    ],
)
def test_claims_of_mnist_fail_where_the_numbers_do_not_bear_them_out(name, preset, value, opening):
    config = mnist.MnistRuns(data=data.DIGITS)
    found = verdicts(name, config, mnist_numbers({preset: value}))
    assert [holds for statement, holds in found.items() if statement.startswith(opening)] == [False]


def test_cells_are_compared_after_equally_many_epochs():
    numbers = mnist_numbers()
    longer = np.array([[50.0, 2.0, 80.0], [70.0, 4.0, 90.0]])
    numbers["mnist-hep validation"] = longer
    assert mnist.last(numbers, "validation", "mnist-hep", "mnist-online") == [3.0, 2.32]
    assert mnist.last(numbers, "validation", "mnist-hep") == [85.0]
    assert all(np.isnan(mnist.last({}, "validation", "mnist-hep", "mnist-online")))


def test_claims_of_larger_sets_hold_for_the_paper_s_numbers():
    found = verdicts("table2", PAPER2, table2_numbers())
    assert len(found) == 6
    assert all(found.values()), found


@pytest.mark.parametrize(
    ("changed", "failing"),
    [
        ({"cifar10-hep": 86.0}, ["CIFAR-10: hEP is within"]),
        ({"cifar10-hep": 90.5}, ["CIFAR-10: hEP is within"]),
        ({"cifar100-hep": 1.9, "cifar100-bp": 1.9}, ["CIFAR-100: both have learned"]),
        (
            {"imagenet32-hep": np.nan},
            ["ImageNet 32x32: hEP is within", "ImageNet 32x32: both have learned"],
        ),
    ],
)
def test_claims_of_larger_sets_fail_where_the_numbers_do_not_bear_them_out(changed, failing):
    found = verdicts("table2", PAPER2, table2_numbers(changed))
    fails = [statement for statement, holds in found.items() if not holds]
    assert len(fails) == len(failing)
    for statement, opening in zip(fails, failing, strict=True):
        assert statement.startswith(opening)


def test_top_5_is_told_where_the_paper_has_it():
    found = experiments()["table2"].claims(PAPER2, table2_numbers())
    told = [claim.statement for claim in found if "top-5" in claim.statement]
    assert len(told) == 8
    assert not any("CIFAR-10," in statement for statement in told)


# Both tables of MNIST


@pytest.mark.slow
def test_table_4_is_drawn_from_the_runs_of_table_1(smoke):
    _, numbers, done = smoke("table1")
    seen = []
    again = reproduce(
        experiments()["table4"],
        scale="smoke",
        output=done.folder.parent,
        on_part=lambda part: seen.append(part.kept),
    )
    assert seen
    assert all(seen)
    written_numbers = json.loads((again.folder / "numbers.json").read_text())
    np.testing.assert_array_equal(
        written_numbers["mnist-ep-0.4-noise train"], numbers["mnist-ep-0.4-noise train"]
    )
