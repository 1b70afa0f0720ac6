"""Figure 7: where in the plane of nudges networks settle, by activation and initial weights."""

import dataclasses

import jax
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import holoprop as hp
from holoprop.experiments._data import digits
from holoprop.experiments._experiment import Experiment
from holoprop.experiments._maps import frontier_point, is_settled, residual_map
from holoprop.experiments._parts import Numbers, Parts
from holoprop.experiments._record import Claim
from holoprop.experiments._style import MAP, VERMILION, letter, new_figure

_PANELS = {
    "a": "linear, small weights",
    "b": "shifted sigmoid",
    "c": "sigmoid, small weights",
    "d": "dSiLU",
    "e": "zoom at the frontier of",
    "f": "CNN with dSiLU",
}


@dataclasses.dataclass(frozen=True)
class Fig7:
    """Settings of Figure 7.

    Attributes:
        seed: Of the weights.
        hidden: Units of both hidden layers of the MLP.
        channels: Of the CNN's convolutions.
        gain: Weights' deviation of panels b and d, in units of 1/sqrt(fan-in).
        reduced: The same for panels a and c.
        width: Side of the maps.
        zoom: How much smaller the side of panel e is.
        points: Grid points on a side.
        cnn_points: The same where the CNN is mapped, of which a step takes many times as long.
        steps: Synchronous steps, free and under each nudge.
        lanes: Nudges at once.
    """

    seed: int = 0
    hidden: int = 64
    channels: tuple[int, ...] = (4, 8)
    gain: float = 1.0
    reduced: float = 0.3
    width: float = 12.0
    zoom: float = 12.0
    points: int = 121
    cnn_points: int = 61
    steps: int = 200
    lanes: int = 1000


def _network(config: Fig7, panel: str) -> hp.LayeredNetwork:
    key = jax.random.key(config.seed)
    if panel == "f":
        return hp.vgg(config.channels, input_shape=(28, 28, 1), key=key)
    activation = {"a": hp.Identity(), "b": hp.ShiftedSigmoid(), "c": hp.ShiftedSigmoid()}
    network = hp.mlp(
        (784, config.hidden, config.hidden, 10),
        activation=activation.get(panel, hp.DSiLU()),
        key=key,
    )
    gain = config.reduced if panel in "ac" else config.gain
    return jax.tree.map(lambda w: gain * w, network)


def compute(config: Fig7, parts: Parts) -> Numbers:
    """Five maps, and a zoom into the one that has a frontier nearest to zero."""
    image, label = digits(1)

    def chart(panel: str, name: str, centre: complex, width: float) -> np.ndarray:
        return residual_map(
            _network(config, panel),
            image.reshape(1, 28, 28, 1) if panel == "f" else image,
            label,
            parts,
            name=name,
            centre=centre,
            width=width,
            points=config.cnn_points if panel == "f" else config.points,
            free_steps=config.steps,
            steps=config.steps,
            lanes=config.lanes,
        )

    maps = {panel: chart(panel, f"map {panel}", 0, config.width) for panel in "abcdf"}
    edges = {panel: frontier_point(maps[panel], config.width) for panel in "bcdf"}
    known = {panel: edge for panel, edge in edges.items() if edge is not None}
    # The paper does not say whose frontier it shows.
    chosen = min(known, key=lambda panel: abs(known[panel])) if known else "b"
    centre = known.get(chosen, 0j)
    maps["e"] = chart(chosen, "map e", centre, config.width / config.zoom)
    return {
        **{f"map_{panel}": maps[panel] for panel in _PANELS},
        "zoomed": np.array(chosen),
        "centre": np.array(centre),
    }


def draw(config: Fig7, numbers: Numbers) -> Figure:
    """Six maps, as the paper has them."""
    figure = new_figure(8.4, 5.6)
    panels = figure.subplots(2, 3)
    centre, zoomed = complex(numbers["centre"]), str(numbers["zoomed"])
    small = config.width / config.zoom / 2
    for name, panel in zip(_PANELS, panels.flat, strict=True):
        residual = np.nan_to_num(numbers[f"map_{name}"], nan=1.0)
        half, middle = (small, centre) if name == "e" else (config.width / 2, 0j)
        image = panel.imshow(
            np.log10(np.clip(residual, 1e-16, 1.0)),
            origin="lower",
            extent=(middle.real - half, middle.real + half, middle.imag - half, middle.imag + half),
            cmap=MAP,
            vmin=-16,
            vmax=0,
        )
        if name == zoomed:
            corner = (centre.real - small, centre.imag - small)
            panel.add_patch(_frame(corner, 2 * small))
        panel.set(xlabel="Re nudge", ylabel="Im nudge")
        letter(panel, name, _PANELS[name] + (f" {zoomed}" if name == "e" else ""))
    figure.colorbar(image, ax=panels, shrink=0.7, label="log10 residual")
    return figure


def _frame(corner: tuple[float, float], side: float) -> Rectangle:
    return Rectangle(corner, side, side, fill=False, edgecolor=VERMILION, linewidth=1.4)


def claims(config: Fig7, numbers: Numbers) -> list[Claim]:
    """What Appendix D says."""
    share = {panel: float(np.mean(is_settled(numbers[f"map_{panel}"]))) for panel in _PANELS}
    reach = {panel: _reach(numbers[f"map_{panel}"], config.width) for panel in "abcdf"}
    return [
        Claim(
            "a: with linear activation and small weights it settles under every nudge (settled "
            "share of the map)",
            share["a"],
            share["a"] == 1.0,
            1.0,
        ),
        Claim(
            "b, c: smaller weights widen the stable region (settled share, c less b)",
            share["c"] - share["b"],
            share["c"] > share["b"],
        ),
        Claim(
            "b, d: the stable region depends on the activation (settled share, d less b)",
            share["d"] - share["b"],
            share["d"] != share["b"],
        ),
        Claim(
            "e: the zoom shows both stable and unstable nudges (settled share)",
            share["e"],
            0 < share["e"] < 1,
        ),
        Claim(
            "a to d, f: there is a stable region round zero that is wide enough for the paper's "
            "largest training radius, 1 (smallest radius of an unsettled nudge)",
            min(reach.values()),
            min(reach.values()) > 1.0,
        ),
    ]


def _reach(residual: np.ndarray, width: float) -> float:
    edge = frontier_point(residual, width)
    return width / 2 if edge is None else abs(edge)


def caption(config: Fig7, numbers: Numbers) -> str:
    """What was run."""
    size = f"784-{config.hidden}-{config.hidden}-10"
    smaller = "" if config.hidden == 256 else " (the paper's other MLPs have hidden layers of 256)"
    centre = complex(numbers["centre"])
    return (
        f"One digit of the packaged MNIST subset, float64, seed {config.seed}; residual after "
        f"{config.steps} free and {config.steps} nudged synchronous steps, {config.points} x "
        f"{config.points} nudges (CNN {config.cnn_points} x {config.cnn_points}) in a window "
        f"{config.width:g} wide (the paper does not state its own). MLP {size}{smaller}, truncated "
        f"normal weights of deviation gain/sqrt(fan-in), gain {config.gain:g} in b and d and "
        f"{config.reduced:g} in a and c; e zooms {config.zoom:g} "
        f"times into {numbers['zoomed']} at {centre:.3g}, its unsettled nudge nearest to zero "
        f"(framed); f is a CNN of channels {', '.join(map(str, config.channels))}, each pooled "
        f"2 x 2 at temperature 1. The scale ends at 1, where what diverged stands, too."
    )


FIG7 = Experiment(
    name="fig7",
    title="Figure 7: stability in the complex plane",
    configs={
        "smoke": lambda: Fig7(
            hidden=6, channels=(2,), points=12, cnn_points=12, steps=50, lanes=144
        ),
        "quick": Fig7,
        "paper": lambda: Fig7(hidden=256, channels=(32, 64), points=301, cnn_points=301),
    },
    compute=compute,
    draw=draw,
    claims=claims,
    caption=caption,
)
