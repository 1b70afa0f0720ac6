"""The folder that a run leaves behind."""

import dataclasses
import hashlib
import json
import math
import os
import platform
import shutil
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from holoprop._types import PyTree
from holoprop.energies import AbstractEnergy

_FILES = ("config.json", "metrics.jsonl", "summary.json", "weights.npz", "curves.png")


class RunFolder:
    """config.json, metrics.jsonl, summary.json, weights.npz and curves.png in one place.

    Arguments:
        path: The folder; made if missing.
        overwrite: Whether files of an earlier run there may be replaced.

    Raises:
        FileExistsError: If something is there already and `overwrite` is not set.
    """

    def __init__(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        self.path, self.overwrite = Path(path), overwrite
        self._check()

    @property
    def profile(self) -> Path:
        """Where a profile is written, if one is asked for."""
        return self.path / "profile"

    def _check(self) -> None:
        for place in (self.path, *self.path.parents):
            if place.exists() and not place.is_dir():
                raise FileExistsError(f"{place} is a file: choose a folder with --output.")
        if self.path.exists() and any(self.path.iterdir()) and not self.overwrite:
            raise FileExistsError(
                f"the run folder {self.path} exists already and is not empty: choose another with "
                "--output, or replace its run with --overwrite."
            )

    def start(self, config: Any) -> None:
        """Make the folder, drop the files of a run to be replaced, and write `config.json`."""
        # Once more: another run may have taken the folder since.
        self._check()
        self.path.mkdir(parents=True, exist_ok=True)
        for name in _FILES:
            (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.profile, ignore_errors=True)
        self._write("config.json", dataclasses.asdict(config))

    def add_metrics(self, metrics: Any) -> None:
        """Append a line to `metrics.jsonl`."""
        with open(self.path / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(_finite(dataclasses.asdict(metrics))) + "\n")

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write `summary.json`."""
        self._write("summary.json", summary)

    def save_weights(self, network: AbstractEnergy) -> str:
        """Write `weights.npz`, one array for each of the network's, and return their sha256."""
        arrays: dict[str, Any] = dict(named_arrays(network))
        np.savez(self.path / "weights.npz", **arrays)
        return weights_sha256(network)

    def _write(self, name: str, content: dict[str, Any]) -> None:
        # Written beside and moved into place: a reader never sees half a file.
        part = self.path / f"{name}.part"
        part.write_text(json.dumps(_finite(content), indent=2) + "\n", encoding="utf-8")
        part.replace(self.path / name)


def _finite(content: Any) -> Any:
    """Numbers that JSON has no name for as null."""
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def named_arrays(network: AbstractEnergy) -> dict[str, np.ndarray]:
    """A network's floating-point arrays by their place in it, such as `couplings[0].weight`."""
    leaves = jax.tree_util.tree_leaves_with_path(eqx.filter(network, eqx.is_inexact_array))
    return {jax.tree_util.keystr(path).lstrip("."): np.asarray(leaf) for path, leaf in leaves}


def weights_sha256(network: AbstractEnergy) -> str:
    """sha256 over names, dtypes, shapes and bytes of a network's arrays, in the tree's order."""
    digest = hashlib.sha256()
    for name, array in named_arrays(network).items():
        digest.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def load_weights(network: AbstractEnergy, path: str | os.PathLike[str]) -> AbstractEnergy:
    """A network of the same structure with the weights of a run's `weights.npz`.

    Arguments:
        network: Built as the run's was.
        path: The run folder, or the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, or the arrays' names or shapes are not the network's.

    Example:
        >>> import holoprop as hp, tempfile
        >>> network = hp.mlp([4, 3, 2], key=jax.random.key(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sha256 = RunFolder(folder).save_weights(network)
        ...     loaded = load_weights(hp.mlp([4, 3, 2], key=jax.random.key(1)), folder)
        >>> weights_sha256(loaded) == sha256
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

    trainable, fixed = eqx.partition(network, eqx.is_inexact_array)
    loaded: PyTree[Any] = jax.tree_util.tree_map_with_path(replace, trainable)
    return eqx.combine(loaded, fixed)


def versions() -> dict[str, str]:
    """Of Python and the packages that decide a result."""
    packages = ("holoprop", "jax", "jaxlib", "equinox", "optax", "numpy")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def machine() -> dict[str, Any]:
    """What a run ran on."""
    device = jax.devices()[0]
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processors": os.cpu_count(),
        "device": device.device_kind,
        "devices": jax.device_count(),
    }
