"""The command line: `holoprop train`.

Here arguments are parsed, and what a run reports is drawn on the terminal. It may import everything
below it. What a run is and does belongs to `holoprop.runs`.
"""

import sys
from collections.abc import Sequence
from importlib.metadata import version

_HELP = """usage: holoprop [-h] [--version] COMMAND ...

Exact gradients from finite oscillations: holomorphic equilibrium propagation.

commands:
  train [PRESET] [OPTIONS]   train a network and leave a run folder
  presets                    list what has a name, and what it reached

Try first:
  holoprop train             train on packaged digits, in about a minute
  holoprop train --help      what can be trained: the presets
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Arguments:
        arguments: What follows `holoprop`; default those of the process.

    Returns:
        The exit status: 0, or 1 for what a run met, 2 for arguments that cannot be understood, 130
        for an interruption.

    Example:
        >>> main(["tarin"])
        2
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    command, *rest = arguments or ["--help"]
    if command in ("-h", "--help"):
        print(_HELP, end="")
        return 0
    if command == "--version":
        print(f"holoprop {version('holoprop')}")
        return 0
    if command not in ("train", "presets"):
        print(
            f"holoprop: unknown command {command!r}; the commands are: train, presets.",
            file=sys.stderr,
        )
        return 2
    from rich.console import Console

    if command == "presets":
        from holoprop.cli._presets import run_presets

        return run_presets(rest)

    # What trains is imported only here, and while something is seen to happen on a terminal.
    with Console().status("loading"):
        from holoprop.cli._command import run_train
    return run_train(rest)


__all__ = ["main"]
