"""Table 1: validation errors on MNIST, without noise and with it."""

import numpy as np
from matplotlib.figure import Figure

from holoprop.experiments import _mnist_runs as mnist
from holoprop.experiments._experiment import Experiment
from holoprop.experiments._mnist_runs import MnistRuns
from holoprop.experiments._parts import Numbers
from holoprop.experiments._record import Claim
from holoprop.experiments._style import new_figure
from holoprop.experiments._table_rows import Row, beside, draw_rows, legend_entries

# As the table has them: the best epoch.
_PAPER = {
    "mnist-ep-0.1": (1.87, 0.01),
    "mnist-ep-0.4": (2.24, 0.05),
    "mnist-hep": (1.97, 0.08),
    "mnist-online": (2.05, 0.02),
    "mnist-ep-0.1-noise": (88.7, 0.0),
    "mnist-ep-0.4-noise": (3.01, 0.1),
    "mnist-hep-noise": (1.96, 0.07),
    "mnist-online-noise": (1.91, 0.16),
}
# From the authors' logs. Online with noise two seeds come to 2.2 and 2.0, and the third collapses.
_PAPER_LAST = {
    "mnist-ep-0.1": (1.97, 0.08),
    "mnist-ep-0.4": (2.35, 0.07),
    "mnist-hep": (2.33, 0.26),
    "mnist-online": (2.32, 0.06),
    "mnist-ep-0.4-noise": (3.59, 0.35),
    "mnist-hep-noise": (2.20, 0.24),
}
CHANCE = 90.0


def validation_rows(config: MnistRuns, numbers: Numbers) -> list[Row]:
    return mnist.rows(config, numbers, "validation", _PAPER, _PAPER_LAST)


def draw(config: MnistRuns, numbers: Numbers) -> Figure:
    """A row for each cell."""
    figure = new_figure(8.6, 3.7)
    panel, words = figure.subplots(1, 2, width_ratios=(1, 0.8))
    draw_rows(panel, words, validation_rows(config, numbers), log=True)
    panel.set_xlabel("validation error (%)")
    entries = legend_entries(paper_last=True)
    figure.legend(handles=entries, loc="outside lower center", ncols=4)
    return figure


def claims(config: MnistRuns, numbers: Numbers) -> list[Claim]:
    """What the paper says of them, at the last epoch; then the numbers."""
    (lost,) = mnist.last(numbers, "validation", "mnist-ep-0.1-noise")
    hep, hep_noise, ep, ep_noise = mnist.last(
        numbers, "validation", "mnist-hep", "mnist-hep-noise", "mnist-ep-0.4", "mnist-ep-0.4-noise"
    )
    settled = mnist.last(numbers, "validation", "mnist-ep-0.1", "mnist-ep-0.4", "mnist-hep")
    spread = float(np.ptp(settled))
    same, online = mnist.last(numbers, "validation", "mnist-hep", "mnist-online")
    return [
        Claim(
            "with noise classic EP of nudge 0.1 stays near chance, 90 % (validation error in %)",
            lost,
            lost > 0.9 * CHANCE,
            88.7,
        ),
        Claim(
            "noise costs hEP less than a point (validation error in %, with noise less without)",
            hep_noise - hep,
            hep_noise - hep < 1,
            2.20 - 2.33,
        ),
        Claim(
            "noise costs classic EP of nudge 0.4 more than hEP (points, classic EP less hEP)",
            (ep_noise - ep) - (hep_noise - hep),
            ep_noise - ep > hep_noise - hep,
            (3.59 - 2.35) - (2.20 - 2.33),
        ),
        Claim(
            "with noise hEP beats classic EP of nudge 0.4 (validation error in %, hEP less "
            "classic EP)",
            hep_noise - ep_noise,
            hep_noise < ep_noise,
            2.20 - 3.59,
        ),
        Claim(
            "without noise hEP and classic EP of both nudges are within a point (validation error "
            "in %, worst less best)",
            spread,
            spread < 1,
            2.35 - 1.97,
        ),
        Claim(
            "online hEP is within a point of hEP, without noise (validation error in %, online "
            "less hEP)",
            online - same,
            abs(online - same) < 1,
            2.32 - 2.33,
        ),
        *beside(validation_rows(config, numbers), "validation error"),
        mnist.unsettled(config, numbers),
    ]


def caption(config: MnistRuns, numbers: Numbers) -> str:
    """What was run."""
    return mnist.caption(config, "Errors")


TABLE1 = Experiment(
    name="table1",
    title="Table 1: MNIST, validation errors",
    configs=mnist.CONFIGS,
    compute=mnist.errors,
    draw=draw,
    claims=claims,
    caption=caption,
)
