"""The commands: their arguments, their faults, their exit status."""

import argparse
from collections.abc import Callable
from typing import NoReturn

from rich.console import Console

from holoprop import runs, training
from holoprop.cli._configured import Start, carry_out
from holoprop.cli._faults import guarded, refused
from holoprop.cli._signals import Stop, stoppable
from holoprop.cli._train import follow, follow_seeds, percent


def run_train(arguments: list[str]) -> int:
    """Run `holoprop train ARGUMENTS`; returns the exit status."""
    if arguments[:1] in (["-h"], ["--help"]):
        print(_help(runs.presets()), end="")
        return 0
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--seeds", nargs="?", const="")
    given, arguments = parser.parse_known_args(arguments)
    if given.seeds is not None and not (given.seeds.isdecimal() and int(given.seeds) > 0):
        sentence = f"--seeds must be a whole number, 1 or more; got {given.seeds!r}."
        return refused("train", sentence, code=2)

    def work(start: Start, config: runs.TrainConfig) -> int:
        if start.full is not None and runs.is_first():
            print(_small(name=start.name, full=start.full, config=config))
        if given.seeds is not None:
            return _trained_seeds(
                "train",
                lambda listener, stop: runs.train_seeds(
                    config,
                    seeds=int(given.seeds),
                    preset=start.name,
                    listener=listener,
                    should_stop=stop.is_asked,
                ),
            )
        return _trained(
            "train",
            lambda listener, stop: runs.train(
                config, preset=start.name, listener=listener, should_stop=stop.is_asked
            ),
        )

    return carry_out(
        "train",
        arguments,
        settings=lambda config: config,
        description=lambda start: (
            f"{start.summary} With --scale small it is done in ten minutes on two cores; with "
            "--config FILE settings are those of a run's config.json; with --seeds 3 three runs "
            "are trained, from --seed on, and summed up."
        ),
        work=work,
    )


def run_resume(arguments: list[str]) -> int:
    """Run `holoprop resume RUN`; returns the exit status."""
    parser = _Parser("resume", "Go on with a run that was interrupted, as if it never had been.")
    parser.add_argument("run", metavar="RUN", help="its folder, or that of several seeds")

    def resume(given: argparse.Namespace) -> int:
        if runs.holds_seeds(given.run):
            return _trained_seeds(
                "resume",
                lambda listener, stop: runs.resume_seeds(
                    given.run, listener=listener, should_stop=stop.is_asked
                ),
            )
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
        top5 = "" if found.top5_error is None else f"  top-5 error {percent(found.top5_error)}"
        print(
            f"{given.split}  error {percent(found.error)}{top5}  loss {found.loss:.4f}{unsettled}"
        )
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


def run_report(arguments: list[str]) -> int:
    """Run `holoprop report RUN...`; returns the exit status."""
    parser = _Parser("report", "A page on runs, beside each other, that needs no network.")
    parser.add_argument("runs", metavar="RUN", nargs="+", help="its folder")
    parser.add_argument("--output", default="report.html", help="default report.html")

    def report(given: argparse.Namespace) -> int:
        print(f"Report: {runs.report(given.runs, given.output)}")
        return 0

    return parser.carry_out(report, arguments)


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
            return refused(self.command, sentence, code=2)
        except SystemExit as stop:
            return int(stop.code or 0)
        return guarded(self.command, lambda: work(given))


def _trained(command: str, start: Callable[[runs.Listener, Stop], runs.Outcome | None]) -> int:
    """Train, shown on the terminal and stopped by signals; returns the exit status."""

    def work(stop: Stop, console: Console) -> int:
        outcome = follow(lambda listener: start(listener, stop), command=command, console=console)
        if outcome is None and runs.is_first():
            print("This run has ended already: nothing is left to do.")
        return 0

    return _until_stopped(command, work)


def _trained_seeds(
    command: str, start: Callable[[Callable[[int], runs.Listener], Stop], runs.SeedsOutcome]
) -> int:
    """The same for several seeds; 1 if one of them failed."""

    def work(stop: Stop, console: Console) -> int:
        outcome = follow_seeds(
            lambda listener: start(listener, stop), command=command, console=console
        )
        return 1 if outcome.faults else 0

    return _until_stopped(command, work)


def _until_stopped(command: str, work: Callable[[Stop, Console], int]) -> int:
    """Do what signals stop; returns the exit status."""
    try:
        with stoppable() as stop:
            return work(stop, Console(highlight=False, quiet=not runs.is_first()))
    except runs.InterruptedRunError as error:
        return _ended(command, error, code=stop.status)
    except training.DivergedError as error:
        return _ended(command, error, code=1)


def _ended(command: str, error: Exception, *, code: int) -> int:
    """Say once why all processes of a run end; returns the exit status that is given."""
    return refused(command, str(error), code=code) if runs.is_first() else code


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
            "Several seeds, summed up:",
            "  holoprop train mnist-hep --seeds 3",
            "Smaller networks, less data and fewer epochs, ten minutes at most on two cores:",
            "  holoprop train cifar10-hep --scale small",
            "The settings of an earlier run, and single ones changed:",
            "  holoprop train --config runs/NAME/config.json --output NEW --seed 1",
            "All of them, with what the preset sets and what can be chosen:",
            f"  holoprop train {next(iter(presets))} --help",
            "",
        )
    )
