"""Runs on the Hugging Face hub: a repository for each."""

import os
import re
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download

from holoprop.runs._files import reason
from holoprop.runs._run_folder import (
    BEST,
    CARD,
    CONFIG,
    CURVES,
    METRICS,
    SUMMARY,
    WEIGHTS,
    RunFolder,
)

_FILES = [BEST, CARD, CONFIG, CURVES, METRICS, SUMMARY, WEIGHTS]


def is_repository(name: str | os.PathLike[str]) -> bool:
    """Whether this may be a repository's name: one of an owner and one of the repository."""
    return isinstance(name, str) and re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name) is not None


def push(run: str | os.PathLike[str], repository: str, *, private: bool = False) -> None:
    """Put a finished run on the hub: settings, metrics, weights, picture and card.

    Arguments:
        run: Its folder.
        repository: `owner/name`; made if missing. You must be logged in (`hf auth login`).
        private: Whether a repository that is made can be seen by its owner alone.

    Raises:
        FileNotFoundError: If there is no run, or it has not ended.
        ValueError: If the name cannot be one, or the hub does not take it.

    Example:
        >>> push("runs/first", "digits")
        Traceback (most recent call last):
        ...
        ValueError: 'digits' is no name of a repository: write owner/name.
    """
    if not is_repository(repository):
        raise ValueError(f"{repository!r} is no name of a repository: write owner/name.")
    folder = RunFolder(run)
    if not (folder.holds_run and folder.is_finished):
        raise FileNotFoundError(f"there is no finished run at {folder.path}: name its folder.")
    try:
        api = HfApi()
        api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            folder_path=folder.path,
            allow_patterns=_FILES,
            commit_message="A run of holoprop",
        )
    # The errors of the hub's HTTP client share no base class but Exception.
    except Exception as error:
        raise ValueError(
            f"{repository} cannot be written to the hub ({reason(error)}): check the network, and "
            "that you are logged in as its owner."
        ) from error


def download(repository: str) -> Path:
    """The folder of a run from the hub, in the user's cache.

    Raises:
        ValueError: If there is no such repository, or the hub cannot be reached.
    """
    try:
        return Path(snapshot_download(repository, allow_patterns=_FILES))
    except Exception as error:
        raise ValueError(
            f"there is no run at {repository} here, and none can be had from the hub "
            f"({reason(error)}): correct the path or the name, or check the network."
        ) from error
