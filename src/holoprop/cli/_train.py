"""`holoprop train`: one run, from the data to the summary."""

import dataclasses
import datetime
import math
from typing import Any

import equinox as eqx
import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import holoprop as hp
from holoprop.cli._build import build_method, build_network
from holoprop.cli._config import TrainConfig
from holoprop.data import ImageSet, batches_per_epoch, hold_out, load_images, split_names
from holoprop.training import Examples, Method, evaluate, fit
from holoprop.training._curves import draw_curves
from holoprop.training._fit import EpochMetrics, Evaluation
from holoprop.training._fit import Progress as Seen
from holoprop.training._run_folder import RunFolder, machine, versions

# Images on which the gradient is compared with the implicit one, before and after training.
_ALIGNMENT_BATCH = 100


def train(config: TrainConfig, *, preset: str, console: Console) -> dict[str, Any]:
    """Run a training as configured and return its summary."""
    now = datetime.datetime.now()
    if config.output == "":
        raise ValueError("--output is empty: name a folder, or leave it out for a dated one.")
    run = RunFolder(
        config.output or f"runs/{now:%Y-%m-%d-%H-%M-%S}-{preset}", overwrite=config.overwrite
    )
    layered = build_network(config.network, seed=config.seed)

    train_images, validation_images, test_images = _load(config)
    for images in (train_images, validation_images, test_images):
        if images is not None:
            _check_fit(layered, images)
    if config.batch_size > len(train_images):
        raise ValueError(
            f"--batch-size {config.batch_size} is larger than the training set: choose at most "
            f"{len(train_images)}."
        )
    network: hp.AbstractEnergy = layered
    batches = batches_per_epoch(len(train_images), config.batch_size)
    method = build_method(config, steps=config.epochs * batches)
    train_set, validation = _examples(train_images), _examples(validation_images)
    sample = train_set.take(slice(0, min(_ALIGNMENT_BATCH, len(train_set))))
    before = align(method, network, sample, seed=config.seed)

    run.start(config)
    console.print(
        f"{train_images.name}: {len(train_images)} training and {len(validation_images)} "
        f"validation images; run folder {run.path}",
        soft_wrap=True,
    )
    history: list[EpochMetrics] = []
    with _progress_bar(console) as bar:
        task = bar.add_task("", total=None, seen="compiling")

        def on_progress(seen: Seen) -> None:
            total = seen.batches * config.epochs
            done = seen.batches * (seen.epoch - 1) + seen.batch
            bar.update(task, total=total, completed=done, seen=_describe(seen))

        def on_epoch(metrics: EpochMetrics) -> None:
            history.append(metrics)
            run.add_metrics(metrics)
            bar.console.print(_epoch_line(metrics), soft_wrap=True)
            if not math.isfinite(metrics.train_loss):
                raise RuntimeError(
                    f"the loss is {metrics.train_loss} in epoch {metrics.epoch}: use a smaller "
                    "--optimiser.learning-rate."
                )

        network = fit(
            network,
            train_set,
            validation,
            method=method,
            epochs=config.epochs,
            batch_size=config.batch_size,
            seed=config.seed,
            profile=run.profile if config.profile else None,
            on_progress=on_progress,
            on_epoch=on_epoch,
        )

    sha256 = run.save_weights(network)
    draw_curves(history, run.path / "curves.png")
    after = align(method, network, sample, seed=config.seed)
    test = None
    if test_images is not None:
        test = evaluate(method, network, _examples(test_images), seed=config.seed)
    summary = dataclasses.asdict(history[-1]) | {
        "preset": preset,
        "total_seconds": sum(m.seconds for m in history),
        "alignment": {"before": _as_json(before), "after": _as_json(after)},
        "weights_sha256": sha256,
        "versions": versions(),
        "machine": machine(),
    }
    if test is not None:
        summary |= {"test_error": test.error, "test_loss": test.loss}
    run.write_summary(summary)
    console.print(_summary_table(history[-1], test))
    console.print(_alignment_table(before, after))
    console.print(f"Run folder: {run.path}", soft_wrap=True)
    return summary


def _load(config: TrainConfig) -> tuple[ImageSet, ImageSet, ImageSet | None]:
    """Training, validation and test images; the test split is None where there is none."""
    names = split_names(config.data)
    train_images = load_images(config.data, "train")
    test_images = load_images(config.data, "test") if "test" in names else None
    if config.validation > 0:
        held = round(config.validation * len(train_images))
        if not 0 < held < len(train_images):
            raise ValueError(
                f"--validation {config.validation} holds out {held} of {len(train_images)} images: "
                "choose a share that leaves some on both sides."
            )
        return *hold_out(train_images, fraction=config.validation, seed=config.seed), test_images
    if test_images is None:
        raise ValueError(
            f"{config.data} has no test split to validate on (it has {', '.join(names)}): hold a "
            "share of the training split out, for instance --validation 0.1."
        )
    return train_images, test_images, test_images


def _check_fit(network: hp.LayeredNetwork, images: ImageSet) -> None:
    """Raise `ValueError` where data and network do not fit, before anything is compiled."""
    size = math.prod(images.images.shape[1:])
    if size != math.prod(network.input_shape):
        raise ValueError(
            f"images of {images.name} have shape {images.images.shape[1:]}, {size} numbers each, "
            f"but the network takes {math.prod(network.input_shape)}: set --network.sizes to begin "
            f"with {size}."
        )
    if len(images.class_names) > network.classes:
        raise ValueError(
            f"{images.name} has {len(images.class_names)} classes, but the network predicts "
            f"{network.classes}: set --network.sizes to end with {len(images.class_names)}."
        )


def _examples(images: ImageSet) -> Examples:
    return Examples(images.images, images.labels)


@dataclasses.dataclass(frozen=True)
class GradientCheck:
    """A run's own gradient against the implicit one, on the images that settled."""

    images: int
    unsettled: int
    alignment: hp.diagnostics.Alignment


def align(
    method: Method, network: hp.AbstractEnergy, examples: Examples, *, seed: int
) -> GradientCheck:
    """Compare the estimator as it trains with the implicit gradient at well settled states."""
    x = method.transform(jax.numpy.asarray(examples.inputs))
    key = jax.random.key(seed)
    (_, aux), grads = hp.value_and_grad(
        network,
        x,
        examples.labels,
        estimator=method.estimator,
        free=method.free,
        nudged=method.nudged,
        key=key,
    )
    settled = np.asarray(aux.settled)
    _, reference = hp.value_and_grad(
        network, x[settled], examples.labels[settled], estimator=hp.Implicit(),
        free=hp.Anderson(hp.Sequential()),
    )  # fmt: skip
    alignment = eqx.filter_jit(hp.gradient_alignment)(grads, reference)
    return GradientCheck(len(examples), int(aux.unsettled), alignment)


def _as_json(check: GradientCheck) -> dict[str, Any]:
    def pair(cosine: Any, error: Any) -> dict[str, float]:
        return {"cosine": float(cosine), "relative_error": float(error)}

    return {
        "images": check.images,
        "unsettled": check.unsettled,
        "whole": pair(check.alignment.cosine, check.alignment.relative_error),
        "layers": {name: pair(*values) for name, values in check.alignment.layers.items()},
    }


def _progress_bar(console: Console) -> Progress:
    return Progress(
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[seen]}"),
        console=console,
        transient=True,
    )


def _percent(error: float | None) -> str:
    return "-" if error is None else f"{100 * error:.2f} %"


def _describe(seen: Seen) -> str:
    residuals = ", ".join(f"{phase} {value:.0e}" for phase, value in seen.residuals.items())
    return (
        f"epoch {seen.epoch}  loss {seen.loss:.3f}  error {_percent(seen.error)}  "
        f"residual {residuals}  {seen.images_per_second:.0f} images/s"
    )


def _epoch_line(m: EpochMetrics) -> str:
    residuals = ", ".join(f"{phase} {value:.0e}" for phase, value in m.residuals.items())
    return (
        f"epoch {m.epoch:3d}  loss {m.train_loss:.3f}  error {_percent(m.train_error)}  "
        f"validation {m.validation_loss:.3f}, {_percent(m.validation_error)}  "
        f"residual {residuals}  {m.images_per_second:.0f} images/s  {m.seconds:.1f} s"
    )


def _summary_table(last: EpochMetrics, test: Evaluation | None) -> Table:
    table = Table(title=f"After {last.epoch} epochs")
    table.add_column("split")
    table.add_column("error", justify="right")
    table.add_column("loss", justify="right")
    table.add_row("training", _percent(last.train_error), f"{last.train_loss:.4f}")
    table.add_row("validation", _percent(last.validation_error), f"{last.validation_loss:.4f}")
    if test is not None:
        table.add_row("test", _percent(test.error), f"{test.loss:.4f}")
    return table


def _alignment_table(before: GradientCheck, after: GradientCheck) -> Table:
    table = Table(
        title="Gradient against the implicit gradient",
        caption=(
            f"on {before.images} training images; left out because they did not settle: "
            f"{before.unsettled} before, {after.unsettled} after training"
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
    row(
        "whole",
        *((c.alignment.cosine, c.alignment.relative_error) for c in (before, after)),
    )
    return table
