"""Experiments that tests make up, and the smoke runs that they share."""

import dataclasses

import numpy as np

from holoprop.experiments import Claim, Experiment


@dataclasses.dataclass(frozen=True)
class Squares:
    """Squares of the numbers from zero."""

    count: int = 5
    seed: int = 0


class StopError(Exception):
    """An interruption."""


def squares(*, stop_at=None, seen=None, limit=100.0):
    """An experiment in parts that may be interrupted; `seen` collects what is computed."""

    def square(i):
        if i == stop_at:
            raise StopError
        if seen is not None:
            seen.append(i)
        # Many digits, so that a detour by text would show.
        return {"value": np.array(np.sqrt(np.pi) * i**2)}

    def compute(config, parts):
        found = parts.each("square", range(config.count), square)
        return {"values": np.array([part["value"] for part in found])}

    def draw(config, numbers):
        from holoprop.experiments._style import new_figure

        figure = new_figure(2, 2)
        figure.subplots().plot(numbers["values"])
        return figure

    def claims(config, numbers):
        largest = float(numbers["values"].max())
        return [Claim("the squares stay small", largest, largest < limit, 1.5)]

    return Experiment(
        name="squares",
        title="Squares",
        configs={"smoke": Squares, "quick": lambda: Squares(count=7)},
        compute=compute,
        draw=draw,
        claims=claims,
        caption=lambda config, numbers: f"The first {config.count} squares.",
    )
