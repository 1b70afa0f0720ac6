"""The command line: `holoprop train`."""

import contextlib
import io
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version

import tyro
from rich.console import Console

_HELP = """usage: holoprop [-h] [--version] COMMAND ...

Exact gradients from finite oscillations: holomorphic equilibrium propagation.

commands:
  train [PRESET] [OPTIONS]   train a network (holoprop train --help lists the presets,
                             holoprop train PRESET --help the options)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    command, *rest = arguments or ["--help"]
    if command in ("-h", "--help"):
        print(_HELP, end="")
        return 0
    if command == "--version":
        print(f"holoprop {version('holoprop')}")
        return 0
    if command != "train":
        print(f"holoprop: unknown command {command!r}; the commands are: train.", file=sys.stderr)
        return 2
    return _run_train(rest)


def _run_train(arguments: list[str]) -> int:
    # JAX is imported only here, so that help and mistyped commands answer at once.
    from holoprop.cli._presets import DEFAULT, PRESETS
    from holoprop.cli._train import train

    named = bool(arguments) and not arguments[0].startswith("-")
    asks_help = arguments[:1] in (["-h"], ["--help"])
    if not named and not asks_help:
        arguments = [DEFAULT, *arguments]
    if named and arguments[0] not in PRESETS:
        print(
            f"holoprop train: unknown preset {arguments[0]!r}; the presets are: "
            f"{', '.join(PRESETS)}.",
            file=sys.stderr,
        )
        return 2
    console = Console(highlight=False)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            config = tyro.extras.overridable_config_cli(
                PRESETS, prog="holoprop train", args=arguments
            )
    except SystemExit as stop:
        if stop.code:
            print(f"holoprop train: {_unboxed(said.getvalue())}", file=sys.stderr)
        return int(stop.code or 0)
    try:
        train(config, preset=arguments[0], console=console)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"holoprop train: {_sentence(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("holoprop train: interrupted.", file=sys.stderr)
        return 130
    return 0


def _sentence(error: Exception) -> str:
    """What happened, without the stack that a compiled program adds for developers."""
    raised = re.findall(r"EquinoxRuntimeError: (.+)", str(error))
    return raised[-1] if raised else str(error).strip().split("\n\n")[0]


def _unboxed(text: str) -> str:
    """A parser's framed message as one sentence; where to find help is said once, at its end."""
    lines = [re.sub("[─━│┃╭╮╰╯┌┐└┘├┤]", " ", line).strip() for line in text.splitlines()]
    words = " ".join(line for line in lines if line)
    message = re.split(r"For full helptext|Full helptext", words)[0]
    message = re.sub(
        r"^(Parsing error|Value error)?\s*(Error parsing TrainConfig:)?\s*", "", message
    )
    message = re.split(r"Argument helptext", message)[0]
    return f"{message.strip().rstrip('.')}. holoprop train --help lists presets and options."
