"""`holoprop train`: its arguments, its faults, its exit status."""

import argparse
import dataclasses
import difflib
import sys

import equinox as eqx
from rich.console import Console

from holoprop import runs
from holoprop.cli._drafts import Draft
from holoprop.cli._parse import OF_THE_COMMAND, parse
from holoprop.cli._train import train


def run_train(arguments: list[str]) -> int:
    """Run `holoprop train ARGUMENTS`; returns the exit status."""
    presets = runs.presets()
    if arguments[:1] in (["-h"], ["--help"]):
        print(_help(presets), end="")
        return 0
    given = None
    if arguments and not arguments[0].startswith("-"):
        given, *arguments = arguments
    try:
        start, arguments = _start(given, arguments, presets)
        prog = f"holoprop train {start.name}"
        draft = parse(
            Draft.of(start.config),
            arguments,
            prog=prog,
            description=f"{start.summary} With --scale small it is done in ten minutes on two "
            "cores; with --config FILE settings are those of a run's config.json.",
        )
        config = draft.build()
    except SystemExit as stop:
        return int(stop.code or 0)
    except _UnknownPresetError as error:
        return _refused(str(error), code=2)
    except (ValueError, OSError) as error:
        shown = f"holoprop train {given or next(iter(presets))}"
        return _refused(f"{str(error).rstrip('.')}. {shown} --help lists the options.", code=2)
    console = Console(highlight=False)
    try:
        if start.full is not None:
            console.print(_small(name=start.name, full=start.full, config=config), soft_wrap=True)
        train(config, preset=start.name, console=console)
    except eqx.EquinoxRuntimeError as error:
        return _refused(_raised(error), code=1)
    except (ValueError, OSError, RuntimeError) as error:
        return _refused(str(error).strip().partition("\n\n")[0], code=1)
    except KeyboardInterrupt:
        return _refused("interrupted.", code=130)
    return 0


class _UnknownPresetError(ValueError):
    """A preset's name that is none."""


@dataclasses.dataclass(frozen=True)
class _Start:
    """What options are put on: a preset, its small form, or a file.

    Attributes:
        name: In the run folder's name and the summary.
        summary: One line on what it is.
        config: All settings.
        full: The preset's settings at full scale, where `config` is its small form.
    """

    name: str
    summary: str
    config: runs.TrainConfig
    full: runs.TrainConfig | None = None


def _start(
    given: str | None, arguments: list[str], presets: dict[str, runs.Preset]
) -> tuple[_Start, list[str]]:
    """What the named preset, `--config` and `--scale` come to, and the other arguments."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option in OF_THE_COMMAND:
        parser.add_argument(option, nargs="?", const="")
    known, rest = parser.parse_known_args(arguments)
    for option in OF_THE_COMMAND:
        if getattr(known, option.removeprefix("--")) == "":
            raise ValueError(f"{option} needs a value")
    if known.config is not None:
        if given is not None or known.scale is not None:
            other = f"the preset {given!r}" if given is not None else "--scale"
            raise ValueError(f"--config has every setting: leave out {other}, or --config")
        file = runs.read_config_file(known.config)
        return _Start("custom", f"As in {known.config}.", file), rest
    name = next(iter(presets)) if given is None else given
    if name not in presets:
        near = difflib.get_close_matches(name, presets, n=1)
        raise _UnknownPresetError(
            f"unknown preset {name!r}{f'; did you mean {near[0]}' if near else ''}; the presets "
            f"are: {', '.join(presets)}."
        )
    preset = presets[name]
    if known.scale is None or known.scale == "full":
        return _Start(name, preset.summary, preset.config), rest
    if known.scale != "small":
        raise ValueError(f"--scale is {known.scale!r}, but must be one of full, small")
    return _Start(f"{name}-small", preset.summary, preset.small, preset.config), rest


def _small(name: str, full: runs.TrainConfig, config: runs.TrainConfig) -> str:
    """What is smaller than in the preset, as it will be run."""
    changes = [
        change
        for change in runs.describe_changes(full, config)
        if change.startswith(
            ("images ", "epochs ", "batch_size ", "network.sizes ", "network.channels ")
        )
    ]
    if not changes:
        return f"{name.removesuffix('-small')} is small as it is."
    return f"Small scale: {', '.join(changes)}."


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
            "  holoprop train cifar10-hep --optimiser adam --optimiser.learning-rate 1e-3",
            "  holoprop train --network module:function        an energy of one's own",
            "Smaller networks, less data and fewer epochs, ten minutes at most on two cores:",
            "  holoprop train cifar10-hep --scale small",
            "The settings of an earlier run, and single ones changed:",
            "  holoprop train --config runs/NAME/config.json --output NEW --seed 1",
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
