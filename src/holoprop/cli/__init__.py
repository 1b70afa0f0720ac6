"""The command line: `holoprop train`, what can be done with a run, and `holoprop reproduce`.

Here arguments are parsed, and what a run reports is drawn on the terminal. It may import everything
below it. What a run is and does belongs to `holoprop.runs`, figures to `holoprop.experiments`.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import version

from holoprop.cli._join import joined
from holoprop.cli._output import steady_output

# Each is a function `run_NAME` in one of this package's files.
_COMMANDS = {
    "train": "_command",
    "sweep": "_sweep",
    "presets": "_presets",
    "resume": "_command",
    "evaluate": "_command",
    "predict": "_command",
    "report": "_command",
    "push": "_command",
    "tune": "_tune",
    "reproduce": "_reproduce",
}
# What several processes of a cluster do together.
_SHARED = ("train", "resume")
_HELP = """usage: holoprop [-h] [--version] COMMAND ...

Exact gradients from finite oscillations: holomorphic equilibrium propagation.

commands:
  train [PRESET] [OPTIONS]   train a network and leave a run folder
  sweep [PRESET] [OPTIONS]   train with each of several settings, into one table
  presets                    list what has a name, and what it reached
  resume RUN                 go on with a run that was interrupted
  evaluate RUN               loss and error of a run's network, on any data
  predict RUN IMAGE...       what a run's network makes of images
  report RUN...              a page on runs: curves, gradients, images
  push RUN REPOSITORY        put a run on the Hugging Face hub
  tune [PRESET] [OPTIONS]    propose radius and number of points
  reproduce NAME [OPTIONS]   compute a figure or table of the paper, and compare

Try first:
  holoprop train             train on packaged digits, in about a minute
  holoprop train --help      what can be trained: the presets
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Arguments:
        arguments: What follows `holoprop`; default those of the process.

    Returns:
        The exit status: 0, or 1 for what a run met, 2 for arguments that cannot be understood, 128
        and the signal's number for an interruption.

    Example:
        >>> main(["tarin"])
        2
    """
    with steady_output():
        try:
            return _run(list(sys.argv[1:] if arguments is None else arguments))
        except KeyboardInterrupt:
            print("holoprop: interrupted.", file=sys.stderr)
            return 130


def _run(arguments: list[str]) -> int:
    command, *rest = arguments or ["--help"]
    if command in ("-h", "--help"):
        print(_HELP, end="")
        return 0
    if command == "--version":
        print(f"holoprop {version('holoprop')}")
        return 0
    if command not in _COMMANDS:
        print(
            f"holoprop: unknown command {command!r}; the commands are: {', '.join(_COMMANDS)}.",
            file=sys.stderr,
        )
        return 2
    from rich.console import Console

    # What computes is imported only here, and while something is seen to happen on a terminal.
    def carry_out() -> int:
        with Console().status("loading"):
            module = importlib.import_module(f"holoprop.cli.{_COMMANDS[command]}")
        return int(getattr(module, f"run_{command}")(rest))

    return joined(command, carry_out) if command in _SHARED else carry_out()


__all__ = ["main"]
