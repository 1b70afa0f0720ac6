"""The page on which one plays with Figure 2: its parts, and the numbers that stand in it."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex

from holoprop.experiments._fig2_numbers import Fig2
from holoprop.experiments._maps import SETTLED, frontier_point
from holoprop.experiments._parts import Numbers
from holoprop.experiments._style import MAP, SERIES

_FOLDER = Path(__file__).parent / "fig2_page"
# Points on a side of the map, so that the page stays small.
_LARGEST_MAP = 301
# Decades of the residual that the map's colours tell apart, below one.
_DECADES = 16


def page(config: Fig2, numbers: Numbers) -> str:
    """One HTML file, which needs nothing else."""

    def part(match: re.Match[str]) -> str:
        if match[1] == "data":
            return json.dumps(_data(config, numbers), allow_nan=False)
        return (_FOLDER / match[1]).read_text(encoding="utf-8")

    text = (_FOLDER / "page.html").read_text(encoding="utf-8")
    # In one pass: what is put in is not looked at again.
    return re.sub(r"\{\{([\w.]+)\}\}", part, text)


def _data(config: Fig2, numbers: Numbers) -> dict[str, Any]:
    edge = frontier_point(numbers["map"], config.width)
    return {
        "seed": int(numbers["seed"]),
        "input": numbers["input"].tolist(),
        "label": int(numbers["label"]),
        "layers": _layers(numbers, ""),
        "gradient": _layers(numbers, "gradient_"),
        "steps": config.map_steps,
        "settled": SETTLED,
        "units": numbers["units"].tolist(),
        "radius": config.star,
        "frontier": None if edge is None else abs(edge),
        "map": _map(config, numbers["map"]),
        "series": [series["color"] for series in SERIES],
    }


def _layers(numbers: Numbers, prefix: str) -> list[dict[str, Any]]:
    """Weights and biases from the lowest coupling to the readout."""
    count = sum(name.startswith("weight_") for name in numbers)
    return [
        {kind: numbers[f"{prefix}{kind}_{layer}"].tolist() for kind in ("weight", "bias")}
        for layer in range(1, count + 1)
    ]


def _map(config: Fig2, residual: np.ndarray) -> dict[str, Any]:
    """The map in bytes, as the picture colours it: a decade of the residual is 16 of them."""
    stride = -(-len(residual) // _LARGEST_MAP)
    axis = np.linspace(-config.width / 2, config.width / 2, len(residual))[::stride]
    least = 10.0**-_DECADES
    decades = np.log10(np.clip(np.nan_to_num(residual[::stride, ::stride], nan=1.0), least, 1.0))
    levels = np.rint(255 * (1 + decades / _DECADES)).astype(np.uint8)
    return {
        "from": axis[0],
        "to": axis[-1],
        "points": len(axis),
        "decades": _DECADES,
        "levels": base64.b64encode(levels.tobytes()).decode(),
        "ramp": [to_hex(colormaps[MAP](level)) for level in range(256)],
    }
