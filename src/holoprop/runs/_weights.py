"""Weights in a file, and their fingerprint."""

import hashlib
import os
import zipfile
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

import holoprop as hp
from holoprop._tree import as_arrays


def named_arrays(network: hp.AbstractEnergy) -> dict[str, np.ndarray]:
    """A network's floating-point arrays by their place in it, such as `couplings[0].weight`."""
    leaves = jax.tree_util.tree_leaves_with_path(
        eqx.filter(as_arrays(network), eqx.is_inexact_array)
    )
    return {jax.tree_util.keystr(path).lstrip("."): np.asarray(leaf) for path, leaf in leaves}


def weights_sha256(network: hp.AbstractEnergy) -> str:
    """sha256 over names, dtypes, shapes and bytes of a network's arrays, in the tree's order."""
    digest = hashlib.sha256()
    for name, array in named_arrays(network).items():
        digest.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def save_weights(network: hp.AbstractEnergy, path: str | os.PathLike[str]) -> None:
    """Write an npz file with one array for each of a network's."""
    arrays: dict[str, Any] = dict(named_arrays(network))
    np.savez(Path(path), **arrays)


def load_weights(network: hp.AbstractEnergy, path: str | os.PathLike[str]) -> hp.AbstractEnergy:
    """A network of the same structure with the weights of a run's `weights.npz`.

    Arguments:
        network: Built as the run's was.
        path: The run folder, or the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, or the arrays' names or shapes are not the network's.

    Example:
        >>> import tempfile
        >>> network = hp.mlp([4, 3, 2], key=jax.random.key(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_weights(network, f"{folder}/weights.npz")
        ...     loaded = load_weights(hp.mlp([4, 3, 2], key=jax.random.key(1)), folder)
        >>> weights_sha256(loaded) == weights_sha256(network)
        True
    """
    file = Path(path)
    file = file / "weights.npz" if file.is_dir() else file
    if not file.is_file():
        raise FileNotFoundError(f"there are no weights at {file}: give a finished run's folder.")
    try:
        with open(file, "rb") as opened, np.load(opened) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        raise ValueError(f"{file} is damaged ({error}): train again or take a copy.") from error
    expected = {name: array.shape for name, array in named_arrays(network).items()}
    found = {name: array.shape for name, array in arrays.items()}
    if expected != found:
        raise ValueError(
            f"{file} holds arrays {found}, but the network has {expected}: build the network as "
            "the run did (its config.json)."
        )

    def replace(key_path: Any, leaf: Any) -> Any:
        name = jax.tree_util.keystr(key_path).lstrip(".")
        return jnp.asarray(arrays[name], leaf.dtype) if name in arrays else leaf

    trainable, fixed = eqx.partition(as_arrays(network), eqx.is_inexact_array)
    loaded: PyTree[Any] = jax.tree_util.tree_map_with_path(replace, trainable)
    return eqx.combine(loaded, fixed)
