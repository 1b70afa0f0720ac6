"""`holoprop train`: its arguments, its faults, its exit status."""

import sys

import equinox as eqx
from rich.console import Console

from holoprop import runs
from holoprop.cli._drafts import Draft
from holoprop.cli._parse import parse
from holoprop.cli._train import train


def run_train(arguments: list[str]) -> int:
    """Run `holoprop train ARGUMENTS`; returns the exit status."""
    presets = runs.presets()
    if arguments[:1] in (["-h"], ["--help"]):
        print(_help(presets), end="")
        return 0
    name = next(iter(presets))
    if arguments and not arguments[0].startswith("-"):
        name, *arguments = arguments
    if name not in presets:
        return _refused(f"unknown preset {name!r}; the presets are: {', '.join(presets)}.", code=2)
    prog = f"holoprop train {name}"
    try:
        draft = parse(
            Draft.of(presets[name].config),
            arguments,
            prog=prog,
            description=presets[name].summary,
        )
        config = draft.build()
    except SystemExit as stop:
        return int(stop.code or 0)
    except ValueError as error:
        return _refused(f"{str(error).rstrip('.')}. {prog} --help lists the options.", code=2)
    console = Console(highlight=False)
    try:
        train(config, preset=name, console=console)
    except eqx.EquinoxRuntimeError as error:
        return _refused(_raised(error), code=1)
    except (ValueError, OSError, RuntimeError) as error:
        return _refused(str(error).strip().partition("\n\n")[0], code=1)
    except KeyboardInterrupt:
        return _refused("interrupted.", code=130)
    return 0


def _help(presets: dict[str, runs.Preset]) -> str:
    width = max(map(len, presets))
    lines = (f"  {name:{width}}  {preset.summary}" for name, preset in presets.items())
    return "\n".join(
        (
            "usage: holoprop train [-h] [PRESET] [OPTIONS]",
            "",
            "Train a network and leave a run folder with its settings, metrics and weights.",
            "",
            "presets:",
            *lines,
            "",
            "Options change single settings of a preset, for instance",
            "  holoprop train --epochs 2 --estimator.points 4 --nudged.tolerance 1e-3",
            "and choose other methods, which keep the settings that both have, for instance",
            "  holoprop train --estimator centred --estimator.nudge 0.1 --free synchronous",
            "All of them, with what the preset sets and what can be chosen:",
            f"  holoprop train {next(iter(presets))} --help",
            "",
        )
    )


def _refused(sentence: str, *, code: int) -> int:
    print(f"holoprop train: {sentence}", file=sys.stderr)
    return code


def _raised(error: eqx.EquinoxRuntimeError) -> str:
    """The message of a compiled program's fault: the line above the advice for developers."""
    line = str(error).partition("\n\n---")[0].splitlines()[-1]
    return line.partition(": ")[2]
