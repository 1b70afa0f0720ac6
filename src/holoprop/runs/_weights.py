"""Weights in a file, and their fingerprint."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

import holoprop as hp
from holoprop._tree import as_arrays

_FILE = "weights.safetensors"


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
    """Write a safetensors file with one array for each of a network's, and what it is made of.

    Raises:
        ValueError: If an array is complex, which the format does not hold.
    """
    arrays = {n: np.asarray(a, order="C") for n, a in named_arrays(network).items()}
    for name, array in arrays.items():
        if np.iscomplexobj(array):
            raise ValueError(f"{name} is {array.dtype.name}: only real weights can be saved.")
    Path(path).write_bytes(save(arrays, {"network": json.dumps(described(network))}))


def load_weights(network: hp.AbstractEnergy, path: str | os.PathLike[str]) -> hp.AbstractEnergy:
    """A network of the same structure with the weights of a run, in its own precision.

    Arguments:
        network: Built as the run's was.
        path: The run folder, or the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or of another format, its arrays have other names or
            shapes than the network's or are not finite, or it was written by a network of other
            parts, such as another activation.

    Example:
        >>> import tempfile
        >>> network = hp.mlp([4, 3, 2], key=jax.random.key(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_weights(network, f"{folder}/weights.safetensors")
        ...     loaded = load_weights(hp.mlp([4, 3, 2], key=jax.random.key(1)), folder)
        >>> weights_sha256(loaded) == weights_sha256(network)
        True
    """
    return with_weights(network, path)


def with_weights(
    network: hp.AbstractEnergy, path: str | os.PathLike[str], *, as_stored: bool = False
) -> hp.AbstractEnergy:
    """As `load_weights`; with `as_stored` in the precision of the file."""
    file = Path(path).expanduser()
    file = file / _FILE if file.is_dir() else file
    if not file.is_file():
        raise FileNotFoundError(f"there are no weights at {file}: give a finished run's folder.")
    arrays, parts = _read(file)
    own = named_arrays(network)
    expected, found = ({n: a.shape for n, a in some.items()} for some in (own, arrays))
    if expected != found:
        raise ValueError(
            f"{file} holds arrays {found}, but the network has {expected}: build the network as "
            "the run did (its config.json)."
        )
    for name, array in arrays.items():
        if not jnp.issubdtype(array.dtype, jnp.floating) or np.iscomplexobj(own[name]):
            raise ValueError(
                f"{name} in {file} is {array.dtype.name}, but the network's is "
                f"{own[name].dtype.name}: give real weights for a network of real weights."
            )
        if not np.all(np.isfinite(array.astype(np.float64))):
            raise ValueError(
                f"{name} in {file} has values that are not finite: take an earlier checkpoint."
            )
    for place, part in described(network).items():
        if parts.get(place, part) != part:
            raise ValueError(
                f"{file} was written by a network whose {place} is {parts[place]}, but this one's "
                f"is {part}: build the network as the run did (its config.json)."
            )

    def replace(key_path: Any, leaf: Any) -> Any:
        array = arrays[jax.tree_util.keystr(key_path).lstrip(".")]
        return jnp.asarray(array, array.dtype if as_stored else leaf.dtype)

    trainable, fixed = eqx.partition(as_arrays(network), eqx.is_inexact_array)
    loaded: PyTree[Any] = jax.tree_util.tree_map_with_path(replace, trainable)
    return eqx.combine(loaded, fixed)


def _read(file: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a file, and what the network that wrote it was made of."""
    try:
        with safe_open(file, framework="numpy") as stored:
            # An open file is no mapping: it has names, and is not iterable.
            names = stored.keys()
            arrays = {name: stored.get_tensor(name) for name in names}
            parts = json.loads((stored.metadata() or {}).get("network", "{}"))
    # What it raises for a dtype that NumPy does not have differs by version.
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise ValueError(
            f"{file} is damaged or no safetensors file ({error}): train again or take a copy."
        ) from error
    return arrays, parts


def described(network: hp.AbstractEnergy) -> dict[str, Any]:
    """What a network is made of beside its arrays: classes and settings by their place in it.

    Example:
        >>> described(hp.mlp([4, 3, 2], key=jax.random.key(0)))["activation"]
        'ShiftedSigmoid'
    """
    return dict(_parts("", as_arrays(network)))


def _parts(place: str, thing: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(thing, jax.Array | np.ndarray):
        return
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        yield place or "class", type(thing).__name__
        for field in dataclasses.fields(thing):
            name = f"{place}.{field.name}" if place else field.name
            yield from _parts(name, getattr(thing, field.name, None))
    elif isinstance(thing, list | tuple):
        for index, entry in enumerate(thing):
            yield from _parts(f"{place}[{index}]", entry)
    elif isinstance(thing, dict):
        for key, entry in thing.items():
            yield from _parts(f"{place}[{key!r}]", entry)
    elif thing is None or isinstance(thing, bool | int | float | str):
        yield place, thing
    else:
        yield place, getattr(thing, "__qualname__", type(thing).__name__)
