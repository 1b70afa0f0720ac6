"""The commands: their arguments, their faults, their exit status."""

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

import equinox as eqx
from rich.console import Console

from holoprop import runs
from holoprop.cli._drafts import Draft
from holoprop.cli._parse import parse
from holoprop.cli._signals import Stop, stoppable
from holoprop.cli._train import follow, percent


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
        sentence = f"unknown preset {name!r}; the presets are: {', '.join(presets)}."
        return _refused("train", sentence, code=2)
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
        sentence = f"{str(error).rstrip('.')}. {prog} --help lists the options."
        return _refused("train", sentence, code=2)

    return _trained(
        "train",
        lambda listener, stop: runs.train(
            config, preset=name, listener=listener, should_stop=stop.is_asked
        ),
    )


def run_resume(arguments: list[str]) -> int:
    """Run `holoprop resume RUN`; returns the exit status."""
    parser = _Parser("resume", "Go on with a run that was interrupted, as if it never had been.")
    parser.add_argument("run", metavar="RUN", help="its folder")

    def resume(given: argparse.Namespace) -> int:
        return _trained(
            "resume",
            lambda listener, stop: runs.resume(
                given.run, listener=listener, should_stop=stop.is_asked
            ),
        )

    return parser.carry_out(resume, arguments)


def run_evaluate(arguments: list[str]) -> int:
    """Run `holoprop evaluate RUN`; returns the exit status."""
    parser = _Parser("evaluate", "Loss and error of a run's network.")
    parser.add_argument("run", metavar="RUN", help="its folder, or owner/name on the hub")
    parser.add_argument("--data", help="a folder or a name on the hub; default the run's own")
    parser.add_argument("--split", default="test", help="of the data; default test")

    def evaluate(given: argparse.Namespace) -> int:
        found = runs.evaluate(given.run, data=given.data, split=given.split)
        unsettled = f"  {found.unsettled} did not settle" if found.unsettled else ""
        print(f"{given.split}  error {percent(found.error)}  loss {found.loss:.4f}{unsettled}")
        return 0

    return parser.carry_out(evaluate, arguments)


def run_predict(arguments: list[str]) -> int:
    """Run `holoprop predict RUN IMAGE...`; returns the exit status."""
    parser = _Parser("predict", "What a run's network makes of images.")
    parser.add_argument("run", metavar="RUN", help="its folder, or owner/name on the hub")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="an image file")

    def predict(given: argparse.Namespace) -> int:
        for found in runs.predict(given.run, given.images):
            print(f"{found.file}  {found.label}" + ("" if found.settled else "  (not settled)"))
        return 0

    return parser.carry_out(predict, arguments)


def run_push(arguments: list[str]) -> int:
    """Run `holoprop push RUN REPOSITORY`; returns the exit status."""
    parser = _Parser("push", "Put a finished run on the Hugging Face hub.")
    parser.add_argument("run", metavar="RUN", help="its folder")
    parser.add_argument("repository", metavar="REPOSITORY", help="owner/name; made if missing")
    parser.add_argument("--private", action="store_true", help="make it for its owner alone")

    def push(given: argparse.Namespace) -> int:
        runs.push(given.run, given.repository, private=given.private)
        print(f"{given.run} is on the hub as {given.repository}.")
        return 0

    return parser.carry_out(push, arguments)


class _Parser(argparse.ArgumentParser):
    """A command's arguments; what is wrong with them is one sentence."""

    def __init__(self, command: str, description: str) -> None:
        self.command = command
        super().__init__(prog=f"holoprop {command}", description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)

    def carry_out(self, work: Callable[[argparse.Namespace], int], arguments: list[str]) -> int:
        """Do the command's work with what was given; returns the exit status."""
        try:
            given = self.parse_args(arguments)
        except ValueError as error:
            sentence = f"{error}. {self.prog} --help lists the arguments."
            return _refused(self.command, sentence, code=2)
        except SystemExit as stop:
            return int(stop.code or 0)
        return _guarded(self.command, lambda: work(given))


def _trained(command: str, start: Callable[[runs.Listener, Stop], runs.Outcome | None]) -> int:
    """Train, shown on the terminal and stopped by signals; returns the exit status."""

    def work() -> int:
        try:
            with stoppable() as stop:
                outcome = follow(
                    lambda listener: start(listener, stop),
                    command=command,
                    console=Console(highlight=False),
                )
        except runs.InterruptedRunError as error:
            return _refused(command, str(error), code=stop.status)
        if outcome is None:
            print("This run has ended already: nothing is left to do.")
        return 0

    return _guarded(command, work)


def _guarded(command: str, work: Callable[[], int]) -> int:
    """Do what a command is for; what it meets is one sentence and an exit status."""
    try:
        return work()
    except eqx.EquinoxRuntimeError as error:
        return _refused(command, _raised(error), code=1)
    except (ValueError, OSError, RuntimeError) as error:
        return _refused(command, str(error).strip().partition("\n\n")[0], code=1)
    except KeyboardInterrupt:
        return _refused(command, "interrupted.", code=130)


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


def _refused(command: str, sentence: str, *, code: int) -> int:
    print(f"holoprop {command}: {sentence}", file=sys.stderr)
    return code


def _raised(error: eqx.EquinoxRuntimeError) -> str:
    """The message of a compiled program's fault: the line above the advice for developers."""
    line = str(error).partition("\n\n---")[0].splitlines()[-1]
    return line.partition(": ")[2]
