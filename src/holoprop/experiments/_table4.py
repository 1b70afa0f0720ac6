"""Table 4: training and validation errors on MNIST, of the runs of Table 1."""

from matplotlib.figure import Figure

from holoprop.experiments import _mnist_runs as mnist
from holoprop.experiments._experiment import Experiment
from holoprop.experiments._mnist_runs import MnistRuns
from holoprop.experiments._parts import Numbers
from holoprop.experiments._record import Claim
from holoprop.experiments._style import new_figure
from holoprop.experiments._table1 import CHANCE, validation_rows
from holoprop.experiments._table_rows import Row, beside, draw_rows, legend_entries

# Training errors as the table has them; its validation errors are those of Table 1.
_PAPER = {
    "mnist-ep-0.1": (0.05, 0.02),
    "mnist-ep-0.4": (0.19, 0.05),
    "mnist-hep": (0.02, 0.01),
    "mnist-online": (0.11, 0.01),
    "mnist-ep-0.1-noise": (88.8, 0.0),
    "mnist-ep-0.4-noise": (1.96, 0.2),
    "mnist-hep-noise": (0.14, 0.03),
    "mnist-online-noise": (0.13, 0.03),
}


def _rows(config: MnistRuns, numbers: Numbers) -> list[Row]:
    return mnist.rows(config, numbers, "train", _PAPER, {})


def draw(config: MnistRuns, numbers: Numbers) -> Figure:
    """A row for each cell: training and validation."""
    figure = new_figure(12.4, 3.7)
    axes = figure.subplots(1, 4, width_ratios=(1, 0.9, 1, 0.9))
    training, validation = axes[:2], axes[2:]
    for (panel, words), rows, split in (
        (training, _rows(config, numbers), "training"),
        (validation, validation_rows(config, numbers), "validation"),
    ):
        draw_rows(panel, words, rows, log=True)
        panel.set_xlabel(f"{split} error (%)")
    # The same rows.
    validation[0].tick_params(axis="y", labelleft=False)
    entries = legend_entries(paper_last=True)
    figure.legend(handles=entries, loc="outside lower center", ncols=4)
    return figure


def claims(config: MnistRuns, numbers: Numbers) -> list[Claim]:
    """What the table shows of training, at the last epoch; then the numbers."""
    (lost,) = mnist.last(numbers, "train", "mnist-ep-0.1-noise")
    hep, ep = mnist.last(numbers, "train", "mnist-hep", "mnist-ep-0.4")
    quiet, hep_noise, ep_noise = mnist.last(
        numbers, "train", "mnist-hep", "mnist-hep-noise", "mnist-ep-0.4-noise"
    )
    return [
        Claim(
            "with noise classic EP of nudge 0.1 does not fit the training images either, chance "
            "is 90 % (training error in %)",
            lost,
            lost > 0.9 * CHANCE,
            88.8,
        ),
        Claim(
            "without noise hEP fits the training images better than classic EP of nudge 0.4 "
            "(training error in %, hEP less classic EP)",
            hep - ep,
            hep < ep,
            0.02 - 0.19,
        ),
        Claim(
            "with noise hEP fits them better than classic EP of nudge 0.4 (the same)",
            hep_noise - ep_noise,
            hep_noise < ep_noise,
            0.14 - 1.96,
        ),
        Claim(
            "noise costs hEP less than a point of training error (with noise less without)",
            hep_noise - quiet,
            hep_noise - quiet < 1,
            0.14 - 0.02,
        ),
        *beside(_rows(config, numbers), "training error"),
        *beside(validation_rows(config, numbers), "validation error"),
        mnist.unsettled(config, numbers),
    ]


def caption(config: MnistRuns, numbers: Numbers) -> str:
    """What was run."""
    return "The runs of Table 1. " + mnist.caption(
        config, "Training errors as the images are met, while weights change; validation errors"
    )


TABLE4 = Experiment(
    name="table4",
    title="Table 4: MNIST, training and validation errors",
    configs=mnist.CONFIGS,
    compute=mnist.errors,
    draw=draw,
    claims=claims,
    caption=caption,
)
