"""The folder that a run leaves behind."""

import contextlib
import datetime
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import holoprop as hp
from holoprop.runs import _lock
from holoprop.runs._files import make_folders, reason, remove, write_whole
from holoprop.runs._json import as_json
from holoprop.runs._weights import save_weights, weights_sha256

CONFIG, METRICS, SUMMARY = "config.json", "metrics.jsonl", "summary.json"
WEIGHTS, BEST, CURVES, CARD = "weights.safetensors", "best.safetensors", "curves.png", "README.md"
# Of trackers: events of TensorBoard, and what others were told.
TENSORBOARD, TRACKED = "tensorboard", "trackers.json"
_CHECKPOINTS, _PROFILE, _REPLACED = "checkpoints", "profile", "replaced-"
# What tells a run's configuration from any other file of its name, and its card.
_SETTINGS = {"network", "estimator", "free", "nudged", "optimiser", "epochs"}
CARD_MARK = "library_name: holoprop"


class RunFolder:
    """What a run writes, in one place: settings, metrics, weights, checkpoints, a picture.

    Every file is whole or not there.

    Arguments:
        path: The folder; `~` is the user's own.

    Raises:
        ValueError: If `~name` is no user.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = RunFolder(folder)
        ...     with run.begun():
        ...         run.start({"epochs": 1})
        ...     [file.name for file in run.path.iterdir()]
        ['config.json']
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            self.path = Path(path).expanduser()
        except RuntimeError as error:
            raise ValueError(f"--output {path} names a user that is not known.") from error
        self._is_dated = False
        self._aside: Path | None = None

    @staticmethod
    def dated(name: str) -> "RunFolder":
        """A folder under runs/ of the time and a name, and of a number where that is taken."""
        run = RunFolder(f"runs/{datetime.datetime.now():%Y-%m-%d-%H-%M-%S}-{name}")
        run._is_dated = True
        return run

    @property
    def profile(self) -> Path:
        """Where a profile is written, if one is asked for."""
        return self.path / _PROFILE

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints are written."""
        return self.path / _CHECKPOINTS

    @property
    def is_finished(self) -> bool:
        """Whether the run there has ended."""
        return (self.path / SUMMARY).exists()

    @property
    def holds_run(self) -> bool:
        """Whether a run has begun there."""
        try:
            content = self.read_config()
        except ValueError:
            return False
        return set(content) >= _SETTINGS

    @contextlib.contextmanager
    def begun(
        self,
        *,
        overwrite: bool = False,
        on_warning: Callable[[str], None] = lambda sentence: None,
    ) -> Iterator[None]:
        """Make the folder for a new run, and keep other processes out of it.

        If nothing comes of the run, an earlier one is put back, or the folder taken away.

        Arguments:
            overwrite: Whether a run that is there may be replaced. It is kept aside until the new
                one has ended, and nothing but a run's own files is ever removed.
            on_warning: Told where the folder cannot be locked.

        Raises:
            FileExistsError: If the folder is not empty and `overwrite` is not set, or what is there
                is no run, or another process is at work there.
            OSError: If the folder cannot be made or written to.
        """
        for place in (self.path, *self.path.parents):
            if place.exists() and not place.is_dir():
                raise FileExistsError(f"{place} is a file: choose a folder with --output.")
        made = self._make()
        try:
            with _lock.locked(self.path, on_warning):
                self._check(overwrite=overwrite)
                try:
                    yield
                except BaseException:
                    self._put_back()
                    raise
        finally:
            for folder in made:
                # One that is not empty stays, with those above it.
                with contextlib.suppress(OSError):
                    folder.rmdir()

    @contextlib.contextmanager
    def reopened(
        self, *, on_warning: Callable[[str], None] = lambda sentence: None
    ) -> Iterator[None]:
        """Keep other processes out of the folder of a run that goes on.

        Arguments:
            on_warning: Told where the folder cannot be locked.

        Raises:
            FileNotFoundError: If no run is there.
            FileExistsError: If another process is at work there.
            OSError: If the folder cannot be written to.
        """
        if not self.holds_run:
            raise FileNotFoundError(f"there is no run at {self.path}: name a run's folder.")
        with _lock.locked(self.path, on_warning):
            yield

    def _make(self) -> list[Path]:
        first, count = self.path, 1
        while True:
            try:
                made = make_folders(self.path)
            except OSError as error:
                raise OSError(
                    f"the run folder {self.path} cannot be made ({reason(error)}): choose another "
                    "with --output."
                ) from error
            if self.path in made or not self._is_dated:
                return made
            # Another run began in the same second.
            count += 1
            self.path = first.with_name(f"{first.name}-{count}")

    def _check(self, *, overwrite: bool) -> None:
        if not [file for file in self.path.iterdir() if file.name != _lock.NAME]:
            return
        if not overwrite:
            raise FileExistsError(
                f"the run folder {self.path} exists already and is not empty: choose another with "
                "--output, or replace its run with --overwrite."
            )
        if not self.holds_run and not any(self.path.glob(f"{_REPLACED}*")):
            raise FileExistsError(
                f"the folder {self.path} is not empty and holds no run, and --overwrite replaces "
                "runs alone: choose another with --output."
            )

    def start(self, config: Any) -> None:
        """Keep an earlier run aside, and write `config.json`."""
        if self._own():
            self._aside = self.path / f"{_REPLACED}{datetime.datetime.now():%Y-%m-%d-%H-%M-%S-%f}"
            self._aside.mkdir()
            for path in self._own():
                path.rename(self._aside / path.name)
        self._write_json(CONFIG, config)

    def _own(self) -> list[Path]:
        """The files of a run that are there, that by which it is known last."""
        names = (METRICS, SUMMARY, WEIGHTS, BEST, CURVES, TRACKED, _CHECKPOINTS)
        own = [self.path / name for name in names if (self.path / name).exists()]
        # A folder of this name and a file of that one may be the user's own.
        if self.profile.is_dir() and [p.name for p in self.profile.iterdir()] == ["plugins"]:
            own.append(self.profile)
        events = self.path / TENSORBOARD
        if events.is_dir() and all("tfevents" in path.name for path in events.iterdir()):
            own.append(events)
        if self.owns_card() and (self.path / CARD).exists():
            own.append(self.path / CARD)
        return [*own, self.path / CONFIG] if (self.path / CONFIG).exists() else own

    def owns_card(self) -> bool:
        """Whether the place of the run's card is free, or has one."""
        path = self.path / CARD
        return not path.exists() or CARD_MARK in path.read_text(encoding="utf-8", errors="replace")

    def _put_back(self) -> None:
        if self._aside is None or (self.checkpoints.exists() and any(self.checkpoints.iterdir())):
            return
        for path in self._own():
            remove(path)
        for path in self._aside.iterdir():
            path.rename(self.path / path.name)
        self._aside.rmdir()

    def read_config(self) -> dict[str, Any]:
        """What `config.json` holds.

        Raises:
            ValueError: If it cannot be read.
        """
        path = self.path / CONFIG
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} cannot be read ({reason(error)}).") from error
        if not isinstance(content, dict):
            raise ValueError(f"{path} is no run's configuration.")
        return content

    def write_metrics(self, metrics: Sequence[Any]) -> None:
        """Write `metrics.jsonl`, a line for each epoch."""
        lines = "".join(json.dumps(as_json(line)) + "\n" for line in metrics)
        write_whole(self.path / METRICS, lambda part: part.write_text(lines, encoding="utf-8"))

    def save_weights(self, network: hp.AbstractEnergy) -> str:
        """Write `weights.safetensors` and return the sha256 of the network's arrays."""
        write_whole(self.path / WEIGHTS, lambda part: save_weights(network, part))
        return weights_sha256(network)

    def save_best(self, network: hp.AbstractEnergy) -> None:
        """Write `best.safetensors`, the weights of the best epoch so far."""
        write_whole(self.path / BEST, lambda part: save_weights(network, part))

    def draw(self, draw: Callable[[Path], None]) -> None:
        """Write `curves.png` by a function of its path."""
        write_whole(self.path / CURVES, draw)

    def write_card(self, text: str) -> None:
        """Write `README.md`, unless a file of the user's own is there."""
        if self.owns_card():
            write_whole(self.path / CARD, lambda part: part.write_text(text, encoding="utf-8"))

    def finish(self, summary: dict[str, Any]) -> None:
        """Write `summary.json`, and remove what only a run that goes on needs."""
        self._write_json(SUMMARY, summary)
        for path in (self.checkpoints, *self.path.glob(f"{_REPLACED}*")):
            remove(path)

    def _write_json(self, name: str, content: Any) -> None:
        text = json.dumps(as_json(content), indent=2) + "\n"
        write_whole(self.path / name, lambda part: part.write_text(text, encoding="utf-8"))
