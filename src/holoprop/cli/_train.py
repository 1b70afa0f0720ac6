"""`holoprop train`: what is drawn on the terminal."""

import sys
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from holoprop import runs, training


def train(config: runs.TrainConfig, *, preset: str, console: Console) -> None:
    """Run a training as configured, with a progress bar and closing tables."""
    with _progress_bar(console) as bar:
        task = bar.add_task("", total=None, seen="")

        def on_progress(seen: training.Progress) -> None:
            total = seen.batches * config.epochs
            done = seen.batches * (seen.epoch - 1) + seen.batch
            bar.update(task, total=total, completed=done, seen=_describe(seen))

        outcome = runs.train(
            config,
            preset=preset,
            listener=runs.Listener(
                on_stage=lambda words: bar.update(task, seen=words, refresh=True),
                on_warning=lambda sentence: print(f"holoprop train: {sentence}", file=sys.stderr),
                on_start=lambda sentence: bar.console.print(sentence, soft_wrap=True),
                on_progress=on_progress,
                on_epoch=lambda metrics: bar.console.print(_epoch_line(metrics), soft_wrap=True),
            ),
        )
    console.print(_summary_table(outcome.last, outcome.test))
    if outcome.before is not None and outcome.after is not None:
        console.print(_gradient_table(outcome.before, outcome.after))
    console.print(f"Run folder: {outcome.folder.path}", soft_wrap=True)


def _progress_bar(console: Console) -> Progress:
    return Progress(
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[seen]}"),
        console=console,
        transient=True,
        # Elsewhere than on a terminal even an empty bar leaves a line.
        disable=not console.is_terminal,
    )


def _percent(error: float | None) -> str:
    return "-" if error is None else f"{100 * error:.2f} %"


def _residuals(residuals: dict[str, float]) -> str:
    """By phase; nothing where there is none to settle."""
    shown = ", ".join(f"{phase} {value:.0e}" for phase, value in residuals.items())
    return f"residual {shown}  " if shown else ""


def _describe(seen: training.Progress) -> str:
    return (
        f"epoch {seen.epoch}  loss {seen.loss:.3f}  error {_percent(seen.error)}  "
        f"{_residuals(seen.residuals)}{seen.images_per_second:.0f} images/s"
    )


def _epoch_line(m: training.EpochMetrics) -> str:
    return (
        f"epoch {m.epoch:3d}  loss {m.train_loss:.3f}  error {_percent(m.train_error)}  "
        f"validation {m.validation_loss:.3f}, {_percent(m.validation_error)}  "
        f"{_residuals(m.residuals)}{m.images_per_second:.0f} images/s  {m.seconds:.1f} s"
    )


def _summary_table(last: training.EpochMetrics, test: training.Evaluation | None) -> Table:
    table = Table(title=f"After {last.epoch} epoch{'s' if last.epoch > 1 else ''}")
    table.add_column("split")
    table.add_column("error", justify="right")
    table.add_column("loss", justify="right")
    table.add_row("training", _percent(last.train_error), f"{last.train_loss:.4f}")
    table.add_row("validation", _percent(last.validation_error), f"{last.validation_loss:.4f}")
    if test is not None:
        table.add_row("test", _percent(test.error), f"{test.loss:.4f}")
    return table


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
