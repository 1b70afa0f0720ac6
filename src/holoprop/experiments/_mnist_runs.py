"""The runs of Tables 1 and 4: MNIST by four estimators, without noise and with it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from holoprop import runs
from holoprop.experiments._cells import Cell, cell_of, trained
from holoprop.experiments._data import DIGITS, available_set, training_set
from holoprop.experiments._parts import Numbers, Parts
from holoprop.experiments._record import Claim
from holoprop.experiments._table_rows import Row, Stated

# What people call the presets.
NAMES = {
    "mnist-ep-0.1": "classic EP, nudge 0.1, no noise",
    "mnist-ep-0.4": "classic EP, nudge 0.4, no noise",
    "mnist-hep": "hEP, radius 0.4, no noise",
    "mnist-online": "online hEP, radius 0.4, no noise",
    "mnist-ep-0.1-noise": "classic EP, nudge 0.1, noise",
    "mnist-ep-0.4-noise": "classic EP, nudge 0.4, noise",
    "mnist-hep-noise": "hEP, radius 0.4, noise",
    "mnist-online-noise": "online hEP, radius 0.4, noise",
}
# Those that settle to a tolerance; of the others every step is simulated.
_SETTLED = ("mnist-ep-0.1", "mnist-ep-0.4", "mnist-hep")
_PAPER_HIDDEN, _PAPER_EPOCHS = 256, 50
_SET = ("mnist", "ylecun/mnist")


@dataclasses.dataclass(frozen=True)
class MnistRuns:
    """Settings of Tables 1 and 4.

    Attributes:
        presets: Those that are trained, one for each cell.
        data: The set of images.
        images: Of the training split, and at most as many of the test split; None for all.
        hidden: Units of both hidden layers.
        epochs: Of the runs that settle to a tolerance: classic EP and hEP without noise.
        simulated_epochs: Of those whose every step is simulated: online hEP, and all with noise.
        seeds: Runs of each cell.
    """

    presets: tuple[str, ...] = tuple(NAMES)
    data: str = dataclasses.field(default_factory=lambda: available_set(*_SET))
    images: int | None = 2000
    hidden: int = 128
    epochs: int = 5
    simulated_epochs: int = 5
    seeds: int = 3


CONFIGS = {
    # Most of a small run is compilation.
    "smoke": lambda: MnistRuns(
        presets=("mnist-ep-0.4-noise",),
        data=DIGITS,
        images=40,
        hidden=8,
        simulated_epochs=2,
        seeds=2,
    ),
    "quick": MnistRuns,
    "paper": lambda: MnistRuns(
        data=training_set(*_SET),
        images=None,
        hidden=_PAPER_HIDDEN,
        epochs=_PAPER_EPOCHS,
        simulated_epochs=_PAPER_EPOCHS,
    ),
}


def cell(config: MnistRuns, preset: str) -> Cell:
    """One cell."""
    whole = runs.presets()[preset].config
    sizes: Any = {"sizes": (784, config.hidden, config.hidden, 10)}
    changed = dataclasses.replace(
        whole,
        data=dataclasses.replace(whole.data, source=config.data),
        images=config.images,
        epochs=config.epochs if preset in _SETTLED else config.simulated_epochs,
        network=dataclasses.replace(whole.network, **sizes),
    )
    return cell_of(NAMES[preset], changed, seeds=config.seeds)


def errors(config: MnistRuns, parts: Parts) -> Numbers:
    """By "PRESET KIND", the arrays of `trained` of each cell."""
    return {
        f"{preset} {kind}": values
        for preset in config.presets
        for kind, values in trained(cell(config, preset), parts).items()
        if kind != "top5"
    }


def rows(
    config: MnistRuns,
    numbers: Numbers,
    kind: str,
    paper: Mapping[str, Stated],
    paper_last: Mapping[str, Stated],
) -> list[Row]:
    """A row for each cell, with the paper's numbers by preset."""
    return [
        Row(NAMES[preset], numbers[f"{preset} {kind}"], paper[preset], paper_last.get(preset))
        for preset in config.presets
    ]


def last(numbers: Numbers, kind: str, *presets: str) -> list[float]:
    """Means over the seeds at the last epoch that all of some presets have had.

    Not a number where one of them was not trained.
    """
    names = [f"{preset} {kind}" for preset in presets]
    if not set(names) <= set(numbers):
        return [np.nan] * len(names)
    epoch = min(numbers[name].shape[1] for name in names) - 1
    return [float(np.mean(numbers[name][:, epoch])) for name in names]


def unsettled(config: MnistRuns, numbers: Numbers) -> Claim:
    """How many images were left out, which nobody should have to guess."""
    counts = [numbers[f"{preset} unsettled"] for preset in config.presets]
    return Claim(
        "training images that did not settle and were left out, the most in an epoch of a run",
        float(np.nanmax([np.nanmax(c, initial=0) for c in counts])),
        None,
    )


def caption(config: MnistRuns, what: str) -> str:
    """What was run."""
    digits = "the packaged MNIST subset" if config.data == DIGITS else "MNIST"
    count = "all images" if config.images is None else f"{config.images} training images"
    tested = "" if config.images is None else f" (of which at most {config.images} are taken)"
    narrower = "" if config.hidden == _PAPER_HIDDEN else f" (the paper: {_PAPER_HIDDEN})"
    epochs, simulated = config.epochs, config.simulated_epochs
    trained_for = (
        f"{epochs} epochs"
        if epochs == simulated
        else f"{epochs} epochs, and {simulated} online or with noise"
    )
    shorter = "" if {epochs, simulated} == {_PAPER_EPOCHS} else f" (the paper: {_PAPER_EPOCHS})"
    return (
        f"{count[0].upper()}{count[1:]} of {digits}, MLP 784-{config.hidden}-{config.hidden}-10"
        f"{narrower}, {trained_for}{shorter}, batches of 20, learning rate 0.05, float32, seeds 0 "
        f"to {config.seeds - 1}. Without noise classic EP and hEP (N = 10) settle to a tolerance, "
        "their nudged states as deviations, where the paper takes 350 and 350, 200 and 50 steps; "
        "online hEP and all runs with noise take the paper's own synchronous steps, online 30 for "
        "each of N = 10 points over three periods after one that is not read. Noise has a "
        f"deviation of 0.04 on each unit at each step, in validation, too. {what} after each "
        f"epoch on the test images{tested}, which choose nothing: mean and one standard deviation "
        "over the seeds at the last epoch, and beside it of each seed's best epoch, which is what "
        "the paper's table states. Claims compare cells after equally many epochs."
    )
