"""Training: what is drawn on the terminal."""

import sys
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from holoprop import runs, training


def follow(
    work: Callable[[runs.Listener], runs.Outcome | None], *, command: str, console: Console
) -> runs.Outcome | None:
    """Run a training, with a progress bar and closing tables; returns what it came to."""
    with _progress_bar(console) as bar:
        outcome = work(_listener(bar, command, ""))
    if outcome is not None:
        console.print(_summary_table(outcome.last, outcome.test))
        if outcome.summary["best"]["epoch"] < outcome.last.epoch:
            console.print(_best_line(outcome.summary["best"]), soft_wrap=True)
        if outcome.last.gradient_error is not None:
            console.print(_error_line(outcome.last, outcome.last.gradient_error), soft_wrap=True)
        if outcome.before is not None and outcome.after is not None:
            console.print(_gradient_table(outcome.before, outcome.after))
        console.print(f"Run folder: {outcome.folder.path}", soft_wrap=True)
    return outcome


def follow_seeds(
    work: Callable[[Callable[[int], runs.Listener]], runs.SeedsOutcome],
    *,
    command: str,
    console: Console,
) -> runs.SeedsOutcome:
    """The same for several seeds, with a bar for each and one table of all."""
    with _progress_bar(console) as bar:
        told: dict[int, runs.Listener] = {}

        def listener(seed: int) -> runs.Listener:
            if seed not in told:
                told[seed] = _listener(bar, command, f"seed {seed}: ")
            return told[seed]

        outcome = work(listener)
    for seed, fault in outcome.faults.items():
        print(f"holoprop {command}: seed {seed} failed: {fault}", file=sys.stderr)
    console.print(_seeds_table(outcome.summary))
    console.print(f"Run folders: {outcome.folder}/seed-*", soft_wrap=True)
    return outcome


def _listener(bar: Progress, command: str, name: str) -> runs.Listener:
    """Who draws a run's progress on a bar of its own.

    Arguments:
        bar: With all runs' bars.
        command: That was given.
        name: Before everything that is said of the run.
    """
    console, task = bar.console, bar.add_task("", total=None, seen=name)

    def on_stage(words: str) -> None:
        bar.update(task, seen=name + words, refresh=True)
        # Elsewhere than on a terminal there is no bar, and a compiler may take a minute.
        if not console.is_terminal:
            console.print(name + words)

    def on_progress(seen: training.Progress) -> None:
        total = seen.batches * seen.epochs
        done = seen.batches * (seen.epoch - 1) + seen.batch
        bar.update(task, total=total, completed=done, seen=name + _describe(seen))

    def say(sentence: str) -> None:
        console.print(name + sentence, soft_wrap=True)

    return runs.Listener(
        on_stage=on_stage,
        on_warning=lambda sentence: print(f"holoprop {command}: {name}{sentence}", file=sys.stderr),
        on_start=say,
        on_progress=on_progress,
        on_epoch=lambda metrics: say(_epoch_line(metrics)),
    )


def _progress_bar(console: Console) -> Progress:
    return Progress(
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[seen]}"),
        console=console,
        transient=True,
        # Elsewhere than on a terminal even an empty bar leaves a line.
        disable=not console.is_terminal,
    )


def percent(error: float | None) -> str:
    """An error as people read it."""
    return "-" if error is None else f"{100 * error:.2f} %"


def _residuals(residuals: dict[str, float]) -> str:
    """By phase; nothing where there is none to settle."""
    shown = ", ".join(f"{phase} {value:.0e}" for phase, value in residuals.items())
    return f"residual {shown}  " if shown else ""


def _steps(steps: dict[str, float]) -> str:
    """To settle, by phase."""
    shown = ", ".join(f"{phase} {value:.0f}" for phase, value in steps.items())
    return f"steps {shown}  " if shown else ""


def _describe(seen: training.Progress) -> str:
    return (
        f"epoch {seen.epoch}  loss {seen.loss:.3f}  error {percent(seen.error)}  "
        f"{_steps(seen.steps)}{seen.images_per_second:.0f} images/s"
    )


def _epoch_line(m: training.EpochMetrics) -> str:
    return (
        f"epoch {m.epoch:3d}  loss {m.train_loss:.3f}  error {percent(m.train_error)}  "
        f"validation {m.validation_loss:.3f}, {percent(m.validation_error)}  "
        f"{_residuals(m.residuals)}{m.images_per_second:.0f} images/s  {m.seconds:.1f} s"
    )


def _summary_table(last: training.EpochMetrics, test: training.Evaluation | None) -> Table:
    table = Table(title=f"After {last.epoch} epoch{'s' if last.epoch > 1 else ''}")
    table.add_column("split")
    table.add_column("error", justify="right")
    table.add_column("top-5 error", justify="right")
    table.add_column("loss", justify="right")
    table.add_row("training", percent(last.train_error), "", f"{last.train_loss:.4f}")
    held_out = percent(last.validation_error), percent(last.validation_top5_error)
    table.add_row("validation", *held_out, f"{last.validation_loss:.4f}")
    if test is not None:
        table.add_row("test", percent(test.error), percent(test.top5_error), f"{test.loss:.4f}")
    return table


def _seeds_table(summary: dict[str, Any]) -> Table:
    """Mean and deviation over seeds."""
    count = len(summary["seeds"])
    table = Table(title=f"Over {count} seed{'s' if count > 1 else ''}, mean ± deviation")
    table.add_column("error of the split")
    for when in ("last epoch", "best epoch"):
        table.add_column(when, justify="right")
    for split in ("train", "validation", "test"):
        cells = [_spread(summary[when].get(f"{split}_error")) for when in ("last", "best")]
        if any(cells):
            table.add_row("training" if split == "train" else split, *cells)
    return table


def _spread(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    if found["deviation"] is None:
        return percent(found["mean"])
    return f"{100 * found['mean']:.2f} ± {100 * found['deviation']:.2f} %"


def _best_line(best: dict[str, Any]) -> str:
    tested = f", test error {percent(best['test_error'])}" if "test_error" in best else ""
    return (
        f"Best by validation: epoch {best['epoch']}, validation error "
        f"{percent(best['validation_error'])}{tested}; its weights are in best.safetensors."
    )


def _error_line(last: training.EpochMetrics, errors: dict[str, float]) -> str:
    return (
        "Estimated error of an example's gradient in the last epoch: "
        f"median {errors['median']:.0e}, mean {errors['mean']:.0e}, largest "
        f"{errors['largest']:.0e}; not trusted, for nudges too large: {last.untrusted}"
    )


def _gradient_table(before: runs.GradientCheck, after: runs.GradientCheck) -> Table:
    table = Table(
        title="Gradient against the implicit gradient",
        caption=(
            f"on {before.images} training images; left out because they did not settle: "
            f"{before.unsettled} before, {after.unsettled} after training; at rest but not stable: "
            f"{before.unstable} before, {after.unstable} after"
        ),
    )
    table.add_column("", no_wrap=True)
    for when in ("before", "after"):
        table.add_column(f"cosine\n{when}", justify="right")
        table.add_column(f"relative error\n{when}", justify="right")

    def row(name: str, *checks: tuple[Any, Any]) -> None:
        cells = [(f"{float(cosine):.6f}", f"{float(error):.1e}") for cosine, error in checks]
        table.add_row(name, *(cell for pair in cells for cell in pair))

    for name, values in before.alignment.layers.items():
        row(name, values, after.alignment.layers[name])
    table.add_section()
    row("whole", *((c.alignment.cosine, c.alignment.relative_error) for c in (before, after)))
    return table
