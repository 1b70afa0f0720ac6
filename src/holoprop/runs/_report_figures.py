"""The figures of a report, as SVG to stand in a page."""

import io
from typing import Any

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00")
_TINY = 1e-17


def draw_history(histories: dict[str, list[dict[str, Any]]]) -> str:
    """Loss, error, estimated gradient error, residuals and steps of runs, over their epochs.

    Arguments:
        histories: The lines of `metrics.jsonl` of each run, by its name.
    """
    figure = _figure(11, 6.4)
    panels = figure.subplots(2, 3).ravel()
    loss, error, gradient, residual, steps, names = panels
    for colour, (name, lines) in zip(_cycle(len(histories)), histories.items(), strict=True):
        epochs = [line["epoch"] for line in lines]
        for panel, key, scale in ((loss, "loss", 1), (error, "error", 100)):
            for part, style in (("train", "--"), ("validation", "-")):
                values = [line[f"{part}_{key}"] for line in lines]
                if None not in values:
                    panel.plot(epochs, [scale * v for v in values], style, color=colour, marker=".")
        if all(line["gradient_error"] for line in lines):
            for kind, width in (("median", 1.6), ("largest", 0.7)):
                values = [max(line["gradient_error"][kind], _TINY) for line in lines]
                gradient.plot(epochs, values, color=colour, lw=width, marker=".")
        for panel, key in ((residual, "residual_quartiles"), (steps, "step_quartiles")):
            for phase, style in (("free", "--"), ("nudged", "-")):
                if any(phase not in line[key] for line in lines):
                    continue
                least, _, median, _, most = zip(*(line[key][phase] for line in lines), strict=True)
                panel.plot(epochs, [max(v, _TINY) for v in median], style, color=colour, marker=".")
                floor = [max(v, _TINY) for v in least]
                panel.fill_between(epochs, floor, most, color=colour, alpha=0.12, lw=0)
        names.plot([], [], color=colour, lw=3, label=name if len(name) < 40 else f"{name[:39]}…")
    loss.set(ylabel="loss: training dashed, validation", yscale="log")
    error.set(ylabel="error (%): training dashed, validation", ylim=(0, None))
    gradient.set(ylabel="estimated gradient error", yscale="log")
    residual.set(ylabel="residual: free dashed, nudged", yscale="log")
    steps.set(ylabel="steps: free dashed, nudged", ylim=(0, None))
    names.axis("off")
    names.legend(frameon=False, loc="upper left")
    for panel in panels[:5]:
        panel.set_xlabel("epoch")
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def draw_gradients(alignments: dict[str, dict[str, Any] | None]) -> str | None:
    """True relative errors of gradients by layer, before and after training.

    Arguments:
        alignments: `alignment` of each run's summary, by its name; None where it has none.

    Returns:
        The figure, or None where no run has any.
    """
    known = {name: a for name, a in alignments.items() if a is not None}
    if not known:
        return None
    layers = list(dict.fromkeys(n for a in known.values() for n in a["after"]["layers"]))
    figure = _figure(9, 1.2 + 0.28 * len(layers))
    panel = figure.subplots()
    for colour, alignment in zip(_cycle(len(known)), known.values(), strict=True):
        for when, marker, fill in (("before", "o", "none"), ("after", "o", colour)):
            found = alignment[when]["layers"]
            rows = [row for row, name in enumerate(layers) if name in found]
            errors = [max(found[layers[row]]["relative_error"] or _TINY, _TINY) for row in rows]
            panel.plot(errors, rows, marker, color=colour, markerfacecolor=fill, linestyle="none")
    panel.plot([], [], "o", color="0.4", markerfacecolor="none", label="before training")
    panel.plot([], [], "o", color="0.4", label="after")
    panel.set(xscale="log", xlabel="relative error", yticks=range(len(layers)))
    panel.set_yticklabels(layers)
    panel.invert_yaxis()
    panel.grid(axis="y", color="0.9")
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return _svg(figure)


def _cycle(count: int) -> list[str]:
    return [_COLOURS[index % len(_COLOURS)] for index in range(count)]


def _figure(width: float, height: float) -> Any:
    # Imported here, because it takes half a second.
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure


def _svg(figure: Any) -> str:
    """Without what stands before the element, which a page has no use for."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]
