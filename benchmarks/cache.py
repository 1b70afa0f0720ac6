"""Arrays that take long to compute and are the same in every run: kept as npz beside the code."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

FOLDER = Path(__file__).parent / "cache"


def cached(name: str, depends_on: Any, compute: Callable[[], Any]) -> list[np.ndarray]:
    """The floating-point arrays of a computed tree, from the cache if they are in it.

    Arguments:
        name: Of the file.
        depends_on: A tree of arrays; the file's name carries a digest of their values, so that a
            file never answers for other weights or images than its own.
        compute: Makes the tree where there is no file.
    """
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(eqx.filter(depends_on, eqx.is_array_like)):
        array = np.asarray(leaf)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    path = FOLDER / f"{name}-{digest.hexdigest()[:12]}.npz"
    if not path.exists():
        arrays = jax.tree.leaves(eqx.filter(compute(), eqx.is_inexact_array))
        path.parent.mkdir(exist_ok=True)
        np.savez(path, *(np.asarray(array) for array in arrays))
    with np.load(path) as stored:
        return [stored[f"arr_{index}"] for index in range(len(stored.files))]
