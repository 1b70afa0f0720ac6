"""A report on runs: one page of HTML with everything in it, that needs no network."""

import base64
import dataclasses
import html
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from holoprop.runs._files import write_whole
from holoprop.runs._open import Sample, sample
from holoprop.runs._report_figures import draw_gradients, draw_history
from holoprop.runs._run_folder import METRICS, SUMMARY, RunFolder

# By which a report is known from any other page.
_MARK = "<!-- holoprop report -->"
_IMAGES = 20
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { font-weight: 600; line-height: 1.2; } h2 { margin-top: 2.2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; } td, th { padding: .25rem .8rem .25rem 0; text-align: left; }
th { border-bottom: 1px solid #999; font-weight: 600; } td.n { text-align: right; }
svg { max-width: 100%; height: auto; }
figure { display: inline-block; margin: 0 .7rem .7rem 0; text-align: center; font-size: 13px; }
figure img { width: 72px; height: 72px; image-rendering: pixelated; display: block; margin: auto; }
.wrong { color: #b3261e; } .note { color: #555; }
pre { overflow-x: auto; background: #f4f4f4; padding: .8rem; }
"""


@dataclasses.dataclass(frozen=True)
class ReportedRun:
    """What a run has left behind so far.

    Attributes:
        name: Of its folder.
        config: As `config.json` has it.
        history: The lines of `metrics.jsonl`.
        summary: As `summary.json` has it; empty before the run has ended.
        sample: Some images with predictions, or None.
        without: Why there is no sample; empty where there is one.
    """

    name: str
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    sample: Sample | None
    without: str


def report(runs: Sequence[str | os.PathLike[str]], path: str | os.PathLike[str]) -> Path:
    """Write a page on some runs: results, curves on common axes, gradients, images, settings.

    Arguments:
        runs: Their folders, one or more; runs that have not ended are shown as far as they are.
        path: Of the page; a report that is there is replaced.

    Returns:
        The path.

    Raises:
        FileNotFoundError: If there is no run in a folder, or its metrics are not there yet.
        FileExistsError: If something else than a report is at the path.
        ValueError: If no run is given, or a file of one is damaged.

    Example:
        >>> report(["nowhere"], "report.html")
        Traceback (most recent call last):
        ...
        FileNotFoundError: there is no run at nowhere: name a run's folder.
    """
    page = Path(path).expanduser()
    if page.is_dir() or (page.exists() and not page.read_bytes().startswith(_MARK.encode())):
        raise FileExistsError(f"{page} exists already and is no report: choose another --output.")
    if not runs:
        raise ValueError("no run is given: name one run's folder or more.")
    found = [_read(run) for run in runs]
    text = _page(found)
    write_whole(page, lambda part: part.write_text(text, encoding="utf-8"))
    return page


def _read(run: str | os.PathLike[str]) -> ReportedRun:
    folder = RunFolder(run)
    if not folder.holds_run:
        raise FileNotFoundError(f"there is no run at {folder.path}: name a run's folder.")
    history = [json.loads(line) for line in _lines(folder.path / METRICS)]
    if not history:
        raise FileNotFoundError(
            f"the run at {folder.path} has not ended an epoch yet: wait for it."
        )
    summary = json.loads("".join(_lines(folder.path / SUMMARY)) or "{}")
    pictures, without = None, ""
    try:
        pictures = sample(folder.path, _IMAGES)
    # A page without images is better than none, whatever has become of the data.
    except (OSError, ValueError) as error:
        without = f"No images: {error}"
    name = folder.path.resolve().name
    return ReportedRun(name, folder.read_config(), history, summary, pictures, without)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []


def _page(runs: list[ReportedRun]) -> str:
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    gradients = draw_gradients({run.name: run.summary.get("alignment") for run in runs})
    parts = [
        _MARK,
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>{_text(title)}</h1>",
        _results(runs),
        "<h2>Training</h2>",
        draw_history({run.name: run.history for run in runs}),
        '<p class="note">Errors and losses by epoch; the estimated relative error of an example\'s '
        "gradient, median (line) and largest (thin line); residuals and steps to settle of the "
        "batches: median, and between smallest and largest.</p>",
    ]
    if gradients is not None:
        parts += [
            "<h2>Gradients against the implicit gradient</h2>",
            gradients,
            '<p class="note">True relative error on some training images by layer, before and '
            "after training.</p>",
        ]
    for run in runs:
        parts += [f"<h2>Images: {_text(run.name)}</h2>", _images(run)]
    parts.append("<h2>Settings</h2>")
    parts += [_differences(runs)] if len(runs) > 1 else []
    for run in runs:
        settings = json.dumps(run.config, indent=2)
        parts.append(
            f"<details><summary>{_text(run.name)}</summary><pre>{_text(settings)}</pre></details>"
        )
    return "\n".join((*parts, "</body></html>", ""))


def _results(runs: list[ReportedRun]) -> str:
    heads = ("run", "epochs", "training", "validation", "best validation", "test", "left out")
    rows = []
    for run in runs:
        last, best = run.history[-1], run.summary.get("best", {})
        epoch = f" (epoch {best['epoch']})" if best else ""
        ended = "" if run.summary else " (not ended)"
        rows.append(
            (
                run.name + ended,
                f"{last['epoch']} of {run.config['epochs']}",
                _percent(last["train_error"]),
                _percent(last["validation_error"]),
                _percent(best.get("validation_error")) + epoch,
                _percent(run.summary.get("test_error")),
                str(sum(line["unsettled"] for line in run.history)),
                f"{sum(line['seconds'] for line in run.history):.0f} s",
                _machine(run.summary.get("machine")),
            )
        )
    return _table((*heads, "time", "machine"), rows)


def _machine(machine: dict[str, Any] | None) -> str:
    if machine is None:
        return "-"
    return f"{machine['devices']} x {machine['device']}, {machine['processors']} processors"


def _differences(runs: list[ReportedRun]) -> str:
    """The settings in which runs differ."""
    flat = [_flat(run.config) for run in runs]
    names = sorted({name for settings in flat for name in settings})
    rows = [
        (name, *(_shown(settings.get(name)) for settings in flat))
        for name in names
        if len({_shown(settings.get(name)) for settings in flat}) > 1
    ]
    return _table(("setting", *(run.name for run in runs)), rows)


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        inner = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{name}.") if inner else {prefix + name: value}
    return flat


def _images(run: ReportedRun) -> str:
    if run.sample is None:
        return f'<p class="note">{_text(run.without)}</p>'
    figures = []
    for index, (pixels, truth) in enumerate(zip(run.sample.images, run.sample.truth, strict=True)):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        data = base64.b64encode(stream.getvalue()).decode()
        said = run.sample.predictions[index] if run.sample.predictions else truth
        words = _text(truth) if said == truth else f"{_text(said)}, not {_text(truth)}"
        kind = "" if said == truth else ' class="wrong"'
        figures.append(
            f'<figure><img alt="{_text(truth)}" src="data:image/png;base64,{data}">'
            f"<figcaption{kind}>{words}</figcaption></figure>"
        )
    return "".join(figures)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{_text(cell)}</th>" for cell in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _percent(error: float | None) -> str:
    return "-" if error is None else f"{100 * error:.2f} %"


def _shown(value: Any) -> str:
    return "-" if value is None else json.dumps(value)


def _text(words: str) -> str:
    return html.escape(words)
