"""The picture of a run: loss, error and residuals over its epochs."""

import os
from pathlib import Path

from holoprop.training import EpochMetrics


def draw_curves(metrics: list[EpochMetrics], path: str | os.PathLike[str]) -> None:
    """Write a PNG with three panels side by side.

    Arguments:
        metrics: One entry or more, in the order of epochs.
        path: Of the file.
    """
    # Imported here, at the end of a run, because it takes half a second.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    epochs = [m.epoch for m in metrics]
    # Without pyplot: no global state, no display.
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    loss, error, residual = figure.subplots(1, 3)
    loss.plot(epochs, [max(m.train_loss, 1e-12) for m in metrics], "o-", label="training")
    loss.plot(epochs, [max(m.validation_loss, 1e-12) for m in metrics], "s-", label="validation")
    loss.set(ylabel="loss", yscale="log")
    if metrics[0].validation_error is not None:
        for name, style in (("train", "o-"), ("validation", "s-")):
            errors = [100 * getattr(m, f"{name}_error") for m in metrics]
            error.plot(epochs, errors, style, label="training" if name == "train" else name)
        error.set(ylabel="error (%)", ylim=(0, None))
    for phase in metrics[0].residuals:
        values = [max(m.residuals[phase], 1e-12) for m in metrics]
        residual.plot(epochs, values, "o-", label=f"{phase} phase")
    residual.set(ylabel="residual (median)", yscale="log")
    # Backpropagation has none.
    residual.set_visible(bool(metrics[0].residuals))
    for panel in (loss, error, residual):
        panel.set_xlabel("epoch")
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.spines[["top", "right"]].set_visible(False)
        if panel.get_legend_handles_labels()[0]:
            panel.legend(frameon=False)
    figure.savefig(Path(path), dpi=110, format="png")
