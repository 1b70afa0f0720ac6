"""Figure 6: Figure 4a layer by layer."""

import dataclasses

import numpy as np
from matplotlib.figure import Figure

from holoprop.experiments._experiment import Experiment
from holoprop.experiments._parts import Numbers, Parts
from holoprop.experiments._record import Claim
from holoprop.experiments._style import letter, new_figure
from holoprop.experiments._vgg import SMOKE, VggGradients, gradient_cosines, setting
from holoprop.experiments._vgg_curves import draw_curves


@dataclasses.dataclass(frozen=True)
class Fig6:
    """Settings of Figure 6.

    Attributes:
        gradients: Those of Figure 4a; what that has computed in the same folder is taken.
    """

    gradients: VggGradients = dataclasses.field(default_factory=VggGradients)


def compute(config: Fig6, parts: Parts) -> Numbers:
    """Cosines by layer."""
    return {
        "radii": np.array(config.gradients.radii),
        "points": np.array(config.gradients.points),
        "clipped_points": np.array(config.gradients.clipped_points),
        **gradient_cosines(config.gradients, parts),
    }


def names(count: int) -> list[str]:
    """Of the layers, from the input upwards."""
    return [*(f"convolution {index + 1}" for index in range(count - 1)), "readout"]


def draw(config: Fig6, numbers: Numbers) -> Figure:
    """A panel for each layer."""
    count = numbers["holomorphic"].shape[2] - 1
    columns = min(4, count)
    figure = new_figure(2.4 * columns, 2.3 * -(-count // columns) + 0.4)
    panels = figure.subplots(-(-count // columns), columns, sharey=True, squeeze=False).reshape(-1)
    for index, (panel, name) in enumerate(zip(panels, names(count), strict=False)):
        draw_curves(panel, numbers, index)
        letter(panel, "", name)
    for panel in panels[::columns]:
        panel.set_ylabel("cosine")
    for panel in panels[count:]:
        panel.set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def claims(config: Fig6, numbers: Numbers) -> list[Claim]:
    """What Appendix C shows."""
    cosines = numbers["holomorphic"]
    largest = int(np.argmax(config.gradients.points))
    first, top = cosines[largest, :, 0], cosines[largest, :, -2]
    small = float(first[0])
    gain = float(np.nanmax(first) - first[0])
    return [
        Claim(
            "the first layer gains from a finite radius (best cosine less that at the smallest "
            "radius, largest N)",
            gain,
            gain > 0,
        ),
        Claim(
            "at the smallest radius the first layer's gradient is worse than the readout's "
            "(difference of the cosines)",
            small - float(top[0]),
            small < float(top[0]),
        ),
        Claim(
            "with the largest N every layer is accurate at its best radius (worst layer's cosine)",
            float(np.min(np.nanmax(cosines[largest, :, :-1], axis=0))),
            bool(np.min(np.nanmax(cosines[largest, :, :-1], axis=0)) > 0.95),
        ),
    ]


def caption(config: Fig6, numbers: Numbers) -> str:
    """What was run."""
    g = config.gradients
    return (
        f"{setting(g)}. Each layer's cosine with the implicit gradient in float64; estimates in "
        f"float32 with plain states, {g.free_steps} free and {g.nudged_steps} nudged synchronous "
        f"steps, as in the paper. N = 1 is classic EP. Dashed: maximum pooling and clipped ReLU, "
        f"with real nudges only (N = 1, 2), since it has no complex derivative. A point is missing "
        f"where not every image settles."
    )


FIG6 = Experiment(
    name="fig6",
    title="Figure 6: cosines of a deep network by layer",
    configs={
        "smoke": lambda: Fig6(SMOKE),
        "quick": Fig6,
        "paper": lambda: Fig6(
            VggGradients(
                channels=(128, 128, 256, 256, 512, 512),
                radii=(0.01, 0.03, 0.1, 0.3, 0.6, 1.0, 1.5, 2.0, 3.0),
            )
        ),
    },
    compute=compute,
    draw=draw,
    claims=claims,
    caption=caption,
)
