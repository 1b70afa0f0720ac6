"""A run's own gradient against the implicit one."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import numpy as np

import holoprop as hp
from holoprop.training import Examples, Method


@dataclasses.dataclass(frozen=True)
class GradientCheck:
    """How well an estimator's gradient agrees with the implicit one, on examples that settled.

    Attributes:
        images: Examples that were looked at.
        unsettled: Examples that were left out because they did not settle.
        unstable: Of the others, those whose free equilibrium is not found to be stable under the
            plain dynamics (`check_stable`).
        alignment: Cosine and relative error, of the whole gradient and by layer.
    """

    images: int
    unsettled: int
    unstable: int
    alignment: hp.diagnostics.Alignment

    def as_dict(self) -> dict[str, Any]:
        """The numbers, for `summary.json`."""

        def pair(cosine: Any, error: Any) -> dict[str, float]:
            return {"cosine": float(cosine), "relative_error": float(error)}

        return {
            "images": self.images,
            "unsettled": self.unsettled,
            "unstable": self.unstable,
            "whole": pair(self.alignment.cosine, self.alignment.relative_error),
            "layers": {name: pair(*values) for name, values in self.alignment.layers.items()},
        }


def check_gradient(
    method: Method, network: hp.AbstractEnergy, examples: Examples, *, seed: int
) -> GradientCheck:
    """Compare the estimator as it trains with the implicit gradient at well settled states.

    Both are of the same equilibria, of which a network may have several: the reference settles
    from where the estimator's free phase ended. A state that oscillates is no start; then it
    settles from the network's own.
    """
    x = method.transform(jax.numpy.asarray(examples.inputs))
    (_, aux), grads = hp.value_and_grad(
        network,
        x,
        examples.labels,
        estimator=method.estimator,
        free=method.free,
        nudged=method.nudged,
        key=jax.random.key(seed),
    )
    settled = np.asarray(aux.settled)
    free: Any = jax.tree.map(lambda s: s[settled], aux.state)
    if any(map(jax.numpy.iscomplexobj, jax.tree.leaves(free))):
        free = None
    (_, exact), reference = hp.value_and_grad(
        network,
        x[settled],
        examples.labels[settled],
        estimator=hp.Implicit(),
        free=hp.Anderson(hp.Sequential()),
        init=free,
    )
    alignment = eqx.filter_jit(hp.gradient_alignment)(grads, reference)
    state = exact.state if free is None else free
    stable = np.asarray(hp.check_stable(network, x[settled], state).stable)
    return GradientCheck(len(examples), int(aux.unsettled), int(np.sum(~stable)), alignment)
