"""Small functions that many tests share."""

from typing import Any

import jax
import numpy as np


def error(a: Any, b: Any) -> float:
    """|a - b| / |b| over all arrays of two trees, in float64."""
    a, b = (
        np.concatenate([np.asarray(leaf, np.complex128).ravel() for leaf in jax.tree.leaves(tree)])
        for tree in (a, b)
    )
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))
