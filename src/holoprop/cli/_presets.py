"""`holoprop presets`: the training runs that have a name, in a table."""

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

import holoprop as hp
from holoprop import runs

_USAGE = """usage: holoprop presets [-h]

List the presets: data, network, how gradients are had, and accuracy on the test
split in %, as the paper has it and where holoprop ran it.
"""
_WIDTH = 80


def run_presets(arguments: list[str]) -> int:
    """Run `holoprop presets`; returns the exit status."""
    if arguments[:1] in (["-h"], ["--help"]):
        print(_USAGE, end="")
        return 0
    if arguments:
        print(f"holoprop presets: {arguments[0]!r} is one argument too many.", file=sys.stderr)
        return 2
    # A width of its own: a log has no other, and each line is to be found whole in it.
    console = Console(highlight=False, width=_WIDTH)
    console.print(_table(runs.presets()))
    console.print(
        "Accuracy on the test split in %, at the last epoch; paper: mean of 3 seeds (*: at the "
        "best epoch of each); small: at --scale small. What was run stands in the preset's file.",
    )
    return 0


def _table(presets: dict[str, runs.Preset]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for title in ("preset", "data", "network", "gradient", "paper", "holoprop"):
        table.add_column(title, no_wrap=True)
    for name, preset in presets.items():
        config = preset.config
        cells = (
            name,
            _data(config),
            _network(config.network),
            _gradient(config),
            preset.paper,
            preset.reached,
        )
        table.add_row(*map(Text, cells))
    return table


def _data(config: runs.TrainConfig) -> str:
    source = config.data.source
    return "mnist_subset" if source is None else source.rpartition("/")[2]


def _network(network: runs.AbstractNetwork) -> str:
    if isinstance(network, runs.Mlp):
        return f"MLP {'-'.join(map(str, network.sizes[1:-1]))}"
    if isinstance(network, runs.Vgg):
        return f"CNN-{len(network.channels) + 1}"
    return "own"


def _gradient(config: runs.TrainConfig) -> str:
    estimator, noise = config.estimator, ""
    if config.nudged is not None and config.nudged.noise:
        noise = " noise"
    if isinstance(estimator, hp.Holomorphic):
        return f"hEP N={estimator.points}{noise}"
    if isinstance(estimator, hp.Online):
        return f"online{noise}"
    if isinstance(estimator, hp.OneSided):
        return f"EP {estimator.nudge}{noise}"
    return "BP" if estimator is None else type(estimator).__name__
