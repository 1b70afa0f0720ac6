"""Commands with a run's settings: `[PRESET] [OPTIONS]`, `--scale` and `--config`."""

import argparse
import dataclasses
import difflib
from collections.abc import Callable
from typing import Any

from holoprop import runs
from holoprop.cli._drafts import Draft
from holoprop.cli._faults import guarded, refused
from holoprop.cli._parse import OF_THE_COMMAND, parse


@dataclasses.dataclass(frozen=True)
class Start:
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


class _UnknownPresetError(ValueError):
    """A preset's name that is none."""


def carry_out(
    command: str,
    arguments: list[str],
    *,
    settings: Callable[[runs.TrainConfig], Any],
    description: Callable[[Start], str],
    work: Callable[[Start, Any], int],
) -> int:
    """Do a command's work with the settings that its arguments come to.

    Arguments:
        command: Its name.
        arguments: What follows it.
        settings: From a run's to the command's own, which are its options.
        description: Above the list of options.
        work: With what the options were put on, and the settings; returns the exit status.

    Returns:
        The exit status.
    """
    try:
        start, config = configured(command, arguments, settings=settings, description=description)
    except SystemExit as stop:
        return int(stop.code or 0)
    except ValueError as error:
        return refused(command, str(error), code=2)
    return guarded(command, lambda: work(start, config))


def configured(
    command: str,
    arguments: list[str],
    *,
    settings: Callable[[runs.TrainConfig], Any],
    description: Callable[[Start], str],
) -> tuple[Start, Any]:
    """What the options of some arguments were put on, and the settings that they come to.

    Arguments:
        command: As for `carry_out`; so are the others.

    Raises:
        ValueError: For arguments that cannot be understood, in a sentence for the terminal.
        SystemExit: After help, if that is asked for.
    """
    presets = runs.presets()
    given = None
    if arguments and not arguments[0].startswith("-"):
        given, *arguments = arguments
    prog = f"holoprop {command} {given or next(iter(presets))}"
    try:
        start, arguments = _start(given, arguments, presets)
        draft = Draft.of(settings(start.config))
        draft = parse(draft, arguments, prog=prog, description=description(start))
        return start, draft.build()
    except _UnknownPresetError:
        raise
    except (ValueError, OSError) as error:
        sentence = f"{str(error).rstrip('.')}. {prog} --help lists the options."
        raise ValueError(sentence) from error


def _start(
    given: str | None, arguments: list[str], presets: dict[str, runs.Preset]
) -> tuple[Start, list[str]]:
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
        return Start("custom", f"As in {known.config}.", file), rest
    name = next(iter(presets)) if given is None else given
    if name not in presets:
        near = difflib.get_close_matches(name, presets, n=1)
        raise _UnknownPresetError(
            f"unknown preset {name!r}{f'; did you mean {near[0]}' if near else ''}; the presets "
            f"are: {', '.join(presets)}."
        )
    preset = presets[name]
    if known.scale is None or known.scale == "full":
        return Start(name, preset.summary, preset.config), rest
    if known.scale != "small":
        raise ValueError(f"--scale is {known.scale!r}, but must be one of full, small")
    return Start(f"{name}-small", preset.summary, preset.small, preset.config), rest
