"""Table 2: accuracies of BP and hEP on CIFAR-10, CIFAR-100 and ImageNet 32x32."""

import dataclasses
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from holoprop import runs
from holoprop.experiments._cells import Cell, cell_of, trained
from holoprop.experiments._data import (
    DIGITS,
    available_pictures,
    available_set,
    training_set,
)
from holoprop.experiments._experiment import Experiment
from holoprop.experiments._parts import Numbers, Parts
from holoprop.experiments._record import Claim
from holoprop.experiments._style import new_figure
from holoprop.experiments._table_rows import Row, beside, draw_rows, legend_entries

_METHODS = {"bp": "BP", "hep": "hEP"}
_COLUMNS = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet32": "ImageNet 32x32"}
# As the table has them: the best epoch.
_PAPER = {
    "validation": {
        "cifar10-bp": (88.3, 0.1),
        "cifar10-hep": (88.6, 0.2),
        "cifar100-bp": (62.0, 0.5),
        "cifar100-hep": (61.6, 0.1),
        "imagenet32-bp": (37.2, 0.4),
        "imagenet32-hep": (36.5, 0.3),
    },
    "top5": {
        "cifar100-bp": (86.2, 0.1),
        "cifar100-hep": (86.0, 0.1),
        "imagenet32-bp": (60.9, 0.1),
        "imagenet32-hep": (60.8, 0.4),
    },
}
_TITLES = ("top-1", "top-5")
_CHANNELS, _EPOCHS = (128, 256, 512, 512), 90
# Of the sets: how many classes, and what a caption calls them.
_SETS = {
    "cifar10": (10, "CIFAR-10"),
    "uoft-cs/cifar10": (10, "CIFAR-10"),
    "cifar100": (100, "CIFAR-100"),
    "uoft-cs/cifar100": (100, "CIFAR-100"),
    "imagenet32": (1000, "ImageNet 32x32"),
    "imagenet32_sample": (
        200,
        "a sample of ImageNet, 32x32 pixels, of 200 classes with 10 training images each, far too "
        "few to learn it by",
    ),
    DIGITS: (10, "the packaged MNIST subset"),
}


def _imagenet(otherwise: str) -> str:
    """What there is of it, or what stands in."""
    found = available_pictures("imagenet32", "imagenet32_sample")
    return otherwise if found == DIGITS else found


def _available() -> tuple[str, ...]:
    cifar10, cifar100 = (available_set(name, f"uoft-cs/{name}") for name in ("cifar10", "cifar100"))
    return cifar10, cifar100, _imagenet(cifar100)


def _the_papers() -> tuple[str, ...]:
    cifar10, cifar100 = (training_set(name, f"uoft-cs/{name}") for name in ("cifar10", "cifar100"))
    return cifar10, cifar100, _imagenet(cifar100)


@dataclasses.dataclass(frozen=True)
class Table2:
    """Settings of Table 2.

    Attributes:
        data: The set of images of each column; so many columns from the left as there are sets.
        side: To which images are brought; None for as they are.
        channels: Of the convolutions, four or fewer.
        images: Of the training split, and at most as many of the test split; None for all.
        batch: Images in a step; None for the paper's.
        epochs: Passes over them.
        seeds: Runs of each cell.
    """

    data: tuple[str, ...] = dataclasses.field(default_factory=_available)
    side: int | None = None
    channels: tuple[int, ...] = (16, 32, 64, 64)
    images: int | None = 3000
    batch: int | None = 32
    epochs: int = 4
    seeds: int = 2


def cell(config: Table2, column: str, data: str, method: str) -> Cell:
    """One cell."""
    preset = runs.presets()[f"{column}-{method}"].config
    classes, _ = _SETS[data]
    side = 32 if config.side is None and data == DIGITS else config.side
    rates = preset.optimiser.learning_rates
    assert rates is not None
    network: Any = {
        "channels": config.channels,
        "classes": classes,
        "input_shape": (side or 32, side or 32, 3),
    }
    changed = dataclasses.replace(
        preset,
        data=dataclasses.replace(preset.data, source=data, size=side),
        images=config.images,
        epochs=config.epochs,
        batch_size=config.batch or preset.batch_size,
        network=dataclasses.replace(preset.network, **network),
        # Of fewer layers, the first have theirs.
        optimiser=dataclasses.replace(
            preset.optimiser, learning_rates=rates[: len(config.channels) + 1]
        ),
    )
    return cell_of(name(column, method), changed, seeds=config.seeds)


def name(column: str, method: str) -> str:
    """What people call a cell."""
    return f"{_COLUMNS[column]}, {_METHODS[method]}"


def _columns(config: Table2) -> list[tuple[str, str]]:
    return list(zip(_COLUMNS, config.data, strict=False))


def compute(config: Table2, parts: Parts) -> Numbers:
    """By "COLUMN-METHOD KIND", the arrays of `trained` of each cell."""
    return {
        f"{column}-{method} {kind}": values
        for column, data in _columns(config)
        for method in _METHODS
        for kind, values in trained(cell(config, column, data, method), parts).items()
    }


def rows(config: Table2, numbers: Numbers, kind: str) -> list[Row]:
    """A row for each cell that the table has: accuracies, "validation" for top-1, or "top5"."""
    paper = _PAPER[kind]
    return [
        Row(
            name(column, method),
            100 - numbers[f"{column}-{method} {kind}"],
            paper[f"{column}-{method}"],
            gains=True,
        )
        for column, _ in _columns(config)
        for method in _METHODS
        if f"{column}-{method}" in paper
    ]


def draw(config: Table2, numbers: Numbers) -> Figure:
    """Top-1, and top-5 where the table has it."""
    figure = new_figure(11.5, 3.1)
    axes = figure.subplots(1, 4, width_ratios=(1, 1, 1, 1))
    for (panel, words), kind, title in zip((axes[:2], axes[2:]), _PAPER, _TITLES, strict=True):
        draw_rows(panel, words, rows(config, numbers, kind))
        panel.set_xlim(0, 100)
        panel.set_xlabel(f"{title} validation accuracy (%)")
    figure.legend(handles=legend_entries(paper_last=False), loc="outside lower center", ncols=3)
    return figure


def claims(config: Table2, numbers: Numbers) -> list[Claim]:
    """What the paper says of them, at the last epoch; then the numbers."""
    found = []
    for column, data in _columns(config):
        bp, hep = (
            100 - float(np.mean(numbers[f"{column}-{method} validation"][:, -1]))
            for method in _METHODS
        )
        paper = {m: _PAPER["validation"][f"{column}-{m}"][0] for m in _METHODS}
        chance, lower = 100 / _SETS[data][0], float(np.min([bp, hep]))
        found += [
            Claim(
                f"{_COLUMNS[column]}: hEP is within two points of BP (top-1 accuracy in %, hEP "
                "less BP)",
                hep - bp,
                abs(hep - bp) < 2,
                paper["hep"] - paper["bp"],
            ),
            Claim(
                f"{_COLUMNS[column]}: both have learned, twice what chance gives at the least "
                f"(the lower top-1 accuracy in %; chance gives {chance:g})",
                lower,
                lower > 2 * chance,
                min(paper.values()),
            ),
        ]
    left_out = [numbers[f"{column}-hep unsettled"] for column, _ in _columns(config)]
    return [
        *found,
        *beside(rows(config, numbers, "validation"), "top-1 accuracy"),
        *beside(rows(config, numbers, "top5"), "top-5 accuracy"),
        Claim(
            "training images that did not settle and were left out, the most in an epoch of a run",
            float(np.nanmax([np.nanmax(c, initial=0) for c in left_out])),
            None,
        ),
    ]


def caption(config: Table2, numbers: Numbers) -> str:
    """What was run."""
    stands = "; ".join(
        f"for {_COLUMNS[column]}, which was not to be had, {_SETS[data][1]}"
        for column, data in _columns(config)
        if _SETS[data][1] != _COLUMNS[column]
    )
    images = (
        "All images"
        if config.images is None
        else f"{config.images} training and {config.images} test images of each set, or all where "
        "there are fewer"
    )
    smaller = "" if config.channels == _CHANNELS else f" (the paper: {_words(_CHANNELS)})"
    shorter = "" if config.epochs == _EPOCHS else f" (the paper: {_EPOCHS})"
    batch = "of 128, of 256 for ImageNet 32x32"
    batches = batch if config.batch is None else f"of {config.batch} (the paper: {batch})"
    return (
        f"{images}{f'; {stands}' if stands else ''}. CNN of channels {_words(config.channels)}"
        f"{smaller} with a readout, softmax pooling at temperature 1 after every convolution, "
        f"{config.epochs} epochs{shorter} in batches {batches}, float32, seeds 0 to "
        f"{config.seeds - 1}; learning rates, decay, momentum and augmentation as in Table 5. hEP: "
        "N = 2, radius 1, dSiLU, settled to the tolerance that the gradient needs in at most 250 "
        "and 60 sequential sweeps, nudged states as deviations, where the paper takes 250 and 60 "
        "steps. BP: the feed-forward network with ReLUs and the same pooling. Accuracies after "
        "each epoch on the test images, which choose nothing: mean and one standard deviation over "
        "the seeds at the last epoch, and beside it of each seed's best epoch, which is what the "
        "paper's table states."
    )


def _words(channels: tuple[int, ...]) -> str:
    return ", ".join(map(str, channels))


TABLE2 = Experiment(
    name="table2",
    title="Table 2: BP and hEP on larger sets",
    configs={
        "smoke": lambda: Table2(
            data=(DIGITS,), side=8, channels=(2,), images=20, batch=10, epochs=2, seeds=1
        ),
        "quick": Table2,
        "paper": lambda: Table2(
            data=_the_papers(),
            channels=_CHANNELS,
            images=None,
            batch=None,
            epochs=_EPOCHS,
            seeds=3,
        ),
    },
    compute=compute,
    draw=draw,
    claims=claims,
    caption=caption,
)
