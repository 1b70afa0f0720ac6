"""Figure 5: the two holomorphic activations on the real line."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import holoprop as hp
from holoprop.experiments._experiment import Experiment
from holoprop.experiments._parts import Numbers, Parts
from holoprop.experiments._record import Claim
from holoprop.experiments._style import BLUE, letter, new_figure


@dataclasses.dataclass(frozen=True)
class Fig5:
    """Settings of Figure 5.

    Attributes:
        sigmoid: Ends of the axis in panel a.
        dsilu: Ends of the axis in panel b.
        points: Points of each curve, odd, so that both middles are among them.
    """

    sigmoid: tuple[float, float] = (-1.0, 2.0)
    dsilu: tuple[float, float] = (-6.0, 8.0)
    points: int = 281


def compute(config: Fig5, parts: Parts) -> Numbers:
    """Both curves."""

    def curves() -> Numbers:
        found: Numbers = {}
        for name, ends, activation in (
            ("sigmoid", config.sigmoid, hp.ShiftedSigmoid()),
            ("dsilu", config.dsilu, hp.DSiLU()),
        ):
            z = np.linspace(*ends, config.points)
            found |= {f"{name}_input": z, f"{name}": np.asarray(activation(jnp.asarray(z)))}
        return found

    return parts.run("curves", curves)


def draw(config: Fig5, numbers: Numbers) -> Figure:
    """Panels a and b."""
    figure = new_figure(6.4, 2.6)
    panels = figure.subplots(1, 2)
    for panel, name, title, mark in zip(
        panels, ("sigmoid", "dsilu"), ("shifted sigmoid", "dSiLU"), "ab", strict=True
    ):
        panel.axhline(0, color="0.8", lw=0.8)
        panel.plot(numbers[f"{name}_input"], numbers[name], color=BLUE)
        panel.set(xlabel="input z", ylabel="activity")
        letter(panel, mark, title)
    return figure


def claims(config: Fig5, numbers: Numbers) -> list[Claim]:
    """The formulas of Appendix B, written out once more."""
    z, w = numbers["sigmoid_input"], numbers["dsilu_input"]
    sigmoid = 1 / (1 + np.exp(-4 * z + 2))
    dsilu = (w / 2) / (1 + np.exp(-w)) + (1 - w / 2) / (1 + np.exp(-w + 2))
    off = [
        float(np.max(np.abs(numbers[name] - values)))
        for name, values in (("sigmoid", sigmoid), ("dsilu", dsilu))
    ]
    middles = [
        float(np.interp(at, numbers[f"{name}_input"], numbers[name]))
        for name, at in (("sigmoid", 0.5), ("dsilu", 1.0))
    ]
    return [
        Claim("a: 1 / (1 + exp(-4z + 2)) (largest deviation)", off[0], off[0] < 1e-14, 0.0),
        Claim(
            "a: the activity is a half at z = 1/2", middles[0], abs(middles[0] - 0.5) < 1e-9, 0.5
        ),
        Claim("b: the formula of Appendix B.2 (largest deviation)", off[1], off[1] < 1e-13, 0.0),
        Claim("b: the activity is a half at z = 1", middles[1], abs(middles[1] - 0.5) < 1e-9, 0.5),
    ]


def caption(config: Fig5, numbers: Numbers) -> str:
    """What was run."""
    return (
        "The activations of the library, float64, on the real line: a) `ShiftedSigmoid`, used in "
        "multi-layer perceptrons, b) `DSiLU`, used in convolutional networks. Nothing is smaller "
        "than in the paper."
    )


FIG5 = Experiment(
    name="fig5",
    title="Figure 5: activations",
    configs={"smoke": Fig5, "quick": Fig5, "paper": Fig5},
    compute=compute,
    draw=draw,
    claims=claims,
    caption=caption,
)
