"""The model card of a run: its `README.md`, as the hub shows it."""

from typing import Any

from holoprop.runs._config import TrainConfig
from holoprop.runs._run_folder import CARD_MARK


def card(config: TrainConfig, summary: dict[str, Any]) -> str:
    """What was trained, on what, how well it does, and how it is used."""
    rows = [
        f"| {split} | {_percent(summary[f'{key}_error'])} | {summary[f'{key}_loss']:.4f} |"
        for split, key in (("training", "train"), ("validation", "validation"), ("test", "test"))
        if f"{key}_loss" in summary
    ]
    data, network = summary["data"], type(config.network).__name__
    return "\n".join(
        (
            "---",
            CARD_MARK,
            "tags: [equilibrium-propagation, image-classification]",
            "---",
            "",
            f"# {summary['preset']}",
            "",
            f"A network ({network}) for images of shape {tuple(data['image_shape'])} in "
            f"{len(data['classes'])} classes, trained on {data['name']} by {_method(config)} for "
            f"{config.epochs} epochs, seed {config.seed}. `config.json` holds every setting.",
            "",
            "| split | error | loss |",
            "|---|---|---|",
            *rows,
            "",
            "Errors are those of the last epoch.",
            "",
            "    import holoprop",
            "    network = holoprop.load(FOLDER_OR_REPOSITORY)",
            "",
            f"sha256 of the weights: `{summary['weights_sha256']}`",
            "",
        )
    )


def _method(config: TrainConfig) -> str:
    if config.method == "bp":
        return "backpropagation, as a feed-forward network,"
    return type(config.estimator).__name__


def _percent(error: float | None) -> str:
    return "-" if error is None else f"{100 * error:.2f} %"
