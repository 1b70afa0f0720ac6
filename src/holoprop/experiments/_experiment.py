"""An experiment: a configuration for each scale, and from it numbers, a picture and verdicts."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from holoprop import runs
from holoprop.experiments._parts import Numbers, Parts, PartSeen, config_hash
from holoprop.experiments._record import (
    Claim,
    comparison,
    read_numbers,
    write_json,
    write_numbers,
    write_text,
)
from holoprop.experiments._settings import jax_settings
from holoprop.experiments._style import save, style

SCALES = ("smoke", "quick", "paper")


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A figure as one record; each of its functions can be called alone.

    Attributes:
        name: As the command line has it.
        title: One line.
        configs: By scale, what makes its configuration, a frozen dataclass of plain values.
        compute: From a configuration to numbers, by parts.
        draw: From a configuration and numbers to a picture, and nothing else.
        claims: From a configuration and numbers to verdicts.
        caption: What was run, in words.
        page: From a configuration and numbers to an HTML page that one can play with, or None.
    """

    name: str
    title: str
    configs: Mapping[str, Callable[[], Any]]
    compute: Callable[[Any, Parts], Numbers]
    draw: Callable[[Any, Numbers], Figure]
    claims: Callable[[Any, Numbers], list[Claim]]
    caption: Callable[[Any, Numbers], str]
    page: Callable[[Any, Numbers], str] | None = None


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """What came of an experiment.

    Attributes:
        folder: Where it lies.
        claims: The verdicts.
    """

    folder: Path
    claims: list[Claim]


def reproduce(
    experiment: Experiment,
    *,
    scale: str,
    output: Path,
    on_part: Callable[[PartSeen], None] = lambda seen: None,
) -> Reproduction:
    """Compute, draw and compare; leave a folder.

    `OUTPUT/NAME` gets NAME.png, NAME.svg, numbers.json, config.json and comparison.md, and where
    the experiment has a page interactive.html; `OUTPUT/parts` keeps what has been computed, so that
    the same call goes on where an earlier one stopped.

    Arguments:
        experiment: One of `experiments()`.
        scale: "smoke", "quick" or "paper".
        output: A folder; made if missing.
        on_part: Called after each part of the computation.

    Raises:
        ValueError: If the scale is none.
    """
    if scale not in experiment.configs:
        raise ValueError(f"scale is {scale!r}, but must be one of {', '.join(experiment.configs)}.")
    config = experiment.configs[scale]()
    folder = output / experiment.name
    folder.mkdir(parents=True, exist_ok=True)
    # Small runs are too short to gain by programs that are optimised.
    quickly = {"jax_disable_most_optimizations": True} if scale == "smoke" else {}
    # Float64 where nothing says otherwise: references must not round.
    with jax_settings(jax_enable_x64=True, **quickly):
        numbers = experiment.compute(config, Parts(output / "parts", config, on_part))
    write_json(
        folder / "config.json",
        {
            "experiment": experiment.name,
            "scale": scale,
            "config": dataclasses.asdict(config),
            "hash": config_hash(config),
            "versions": runs.versions(),
            "machine": runs.machine(),
        },
    )
    write_numbers(folder / "numbers.json", numbers)
    return redraw(experiment, config, folder)


def redraw(experiment: Experiment, config: Any, folder: Path) -> Reproduction:
    """Picture, comparison and page again, from the numbers that a folder holds."""
    numbers = read_numbers(folder / "numbers.json")
    claims = experiment.claims(config, numbers)
    with style():
        save(experiment.draw(config, numbers), folder / experiment.name)
    compared = comparison(experiment.title, experiment.caption(config, numbers), claims)
    write_text(folder / "comparison.md", compared)
    if experiment.page is not None:
        write_text(folder / "interactive.html", experiment.page(config, numbers))
    return Reproduction(folder, claims)
