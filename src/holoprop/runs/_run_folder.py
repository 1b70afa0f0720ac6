"""The folder that a run leaves behind."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import holoprop as hp
from holoprop.runs._json import as_json
from holoprop.runs._weights import save_weights, weights_sha256

_FILES = ("config.json", "metrics.jsonl", "summary.json", "weights.npz", "curves.png")


class RunFolder:
    """config.json, metrics.jsonl, summary.json, weights.npz and curves.png in one place.

    Arguments:
        path: The folder; made if missing.
        overwrite: Whether files of an earlier run there may be replaced.

    Raises:
        FileExistsError: If something is there already and `overwrite` is not set.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = RunFolder(folder)
        ...     run.start({"epochs": 1})
        ...     [file.name for file in run.path.iterdir()]
        ['config.json']
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
        self._write("config.json", config)

    def add_metrics(self, metrics: Any) -> None:
        """Append a line to `metrics.jsonl`."""
        with open(self.path / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(as_json(metrics)) + "\n")

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write `summary.json`."""
        self._write("summary.json", summary)

    def save_weights(self, network: hp.AbstractEnergy) -> str:
        """Write `weights.npz`, one array for each of the network's, and return their sha256."""
        save_weights(network, self.path / "weights.npz")
        return weights_sha256(network)

    def _write(self, name: str, content: Any) -> None:
        # Written beside and moved into place: a reader never sees half a file.
        part = self.path / f"{name}.part"
        part.write_text(json.dumps(as_json(content), indent=2) + "\n", encoding="utf-8")
        part.replace(self.path / name)
