"""A set of examples on the host."""

import dataclasses
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree


@dataclasses.dataclass(frozen=True)
class Examples:
    """Inputs and labels that belong together.

    Attributes:
        inputs: Tree of NumPy arrays with a leading axis over examples, as they are stored.
        labels: Class indices or targets, with the same leading axis.
    """

    inputs: PyTree[Any]
    labels: PyTree[Any]

    def __len__(self) -> int:
        return int(jax.tree.leaves(self.labels)[0].shape[0])

    def take(self, rows: np.ndarray | slice) -> "Examples":
        """The examples of some rows."""
        return Examples(*jax.tree.map(lambda a: a[rows], (self.inputs, self.labels)))
