"""Where images come from: a local folder, the Hugging Face hub, or the packaged subset."""

import contextlib
import dataclasses
import errno
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import datasets
import datasets.config as datasets_config
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder
from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

_Contents = TypeVar("_Contents")

_PACKAGED = Path(__file__).parent / "mnist_subset"
_INSTEAD = (
    "give a local folder that holds train.parquet and test.parquet (--data on the command line), "
    "or none at all for the packaged MNIST subset"
)
# A connection is tried once for each address of the hub, so the wait is a few times this.
_PROBE_SECONDS = 3.0
_TABLE_ROWS = 1000
# `datasets` makes and deletes a lock of its progress bars while it looks for files: one at a time.
_OPENING = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set that was found and can be read.

    Arguments:
        name: short name, for records: the folder's or the hub's.
        described: what to call it in an error message.
        builder: the reader that `datasets` chose.
        local: whether it is a folder, to be read in place without a copy in the user's cache.
    """

    name: str
    described: str
    builder: datasets.DatasetBuilder
    local: bool

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits, in the order of the data set."""
        # What a hub data set declares, or, for a folder, what its file names say.
        return tuple(self.builder.info.splits or self._files)

    def read(self, split: str) -> list[pa.Table]:
        """The rows of one split, images still encoded, with the features in the schemas.

        A table for each parquet file of a folder, because each declares classes of its own; one for
        anything else.
        """
        if split not in self.splits:
            raise ValueError(
                f"{self.described} has no split {split!r}; its splits are: {', '.join(self.splits)}"
            )
        # The footers first, of every split: a truncated file is named before the long part begins.
        rows = {file: _checked(file, pq.read_metadata).num_rows for file in self._parquet_files()}
        parquet = [file for file in self._files.get(split, []) if file in rows]
        if parquet and not any(rows[file] for file in parquet):
            raise ValueError(self._no_rows(split))
        try:
            if parquet and len(parquet) == len(self._files[split]):
                tables = [pq.read_table(file) for file in parquet if rows[file]]
                if len({tuple((f.name, str(f.type)) for f in t.schema) for t in tables}) > 1:
                    raise ValueError("its files have different columns")
                return tables
            tables = list(self._tables(split))
        except Exception as error:
            for file in parquet:
                _checked(file, pq.read_table)
            raise ValueError(
                f"split {split!r} of {self.described} cannot be read ({_brief(error)}); check its "
                f"files, or {_INSTEAD}"
            ) from error
        if not tables:
            raise ValueError(self._no_rows(split))
        return [pa.concat_tables(tables)]

    def fingerprint(self, split: str) -> str | None:
        """A name for the contents of a split, or None for what comes with the package."""
        digest = hashlib.blake2b(digest_size=16)
        if not self.local:
            digest.update(f"{self.builder.cache_dir} {split}".encode())
            return digest.hexdigest()
        files = self._files.get(split, [])
        if all(_PACKAGED in Path(file).parents for file in files):
            return None
        if _reads_images(self.builder):
            # Its classes are those of all its splits.
            digest.update(repr(self._folders()).encode(errors="surrogateescape"))
        for file in files:
            digest.update("/".join(Path(file).parts[-3:]).encode(errors="surrogateescape"))
            with open(file, "rb") as stream:
                digest.update(hashlib.file_digest(stream, hashlib.blake2b).digest())
        return digest.hexdigest()

    def check_class_folders(self) -> None:
        """Raise `ValueError` where image files do not lie in folders for their classes."""
        if not _reads_images(self.builder):
            return
        if len(self._folders()) < 2:
            raise ValueError(
                f"{self.described} does not have its images in folders for two classes or more; "
                "put them in train/CLASS/ and test/CLASS/"
            )
        folders = [{Path(file).parent for file in files} for files in self._files.values()]
        whole = {folder.parent for split in folders for folder in split}
        if len(folders) > 1 and len(whole) == 1 and all(len(split) == 1 for split in folders):
            raise ValueError(
                f"{self.described} has its images in {', '.join(sorted(self._files))} without "
                "folders for the classes; put them in train/CLASS/ and test/CLASS/"
            )

    def _folders(self) -> list[str]:
        """The names of the folders that files lie in, of all splits."""
        files = [file for split in self._files.values() for file in split]
        return sorted({Path(file).parent.name for file in files})

    @property
    def _files(self) -> dict[str, list[str]]:
        data_files = self.builder.config.data_files or {}
        return {str(split): list(files) for split, files in data_files.items()}

    def _parquet_files(self) -> list[str]:
        """The parquet files of a local folder."""
        files = [file for files in self._files.values() for file in files]
        return [file for file in files if self.local and file.endswith(".parquet")]

    def _tables(self, split: str) -> Iterator[pa.Table]:
        if self.local:
            dataset = self.builder.as_streaming_dataset(split=split)
        else:
            self.builder.download_and_prepare()
            dataset = self.builder.as_dataset(split=split)
        assert isinstance(dataset, datasets.Dataset | datasets.IterableDataset)
        yield from dataset.with_format("arrow").iter(batch_size=_TABLE_ROWS)

    def _no_rows(self, split: str) -> str:
        return f"split {split!r} of {self.described} has no rows; give a data set with images"


def open_source(source: str | os.PathLike[str] | None) -> Source:
    """Find a data set and choose its reader; reads no images."""
    with _OPENING:
        return _open(source)


def _open(source: str | os.PathLike[str] | None) -> Source:
    if source is None:
        return _open_folder(_PACKAGED)
    folder = Path(source).expanduser()
    if source != "" and folder.exists():
        return _open_folder(folder)
    if isinstance(source, os.PathLike) or _is_path(source):
        raise FileNotFoundError(
            f"data folder {str(folder)!r} does not exist; correct the path, or give no source "
            "(None) for the packaged MNIST subset"
        )
    return _open_hub(source)


def _reads_images(builder: datasets.DatasetBuilder) -> bool:
    """Whether a folder holds image files, and no file that says of which class they are."""
    files = builder.config.data_files or {}
    names = {Path(file).name for split in files.values() for file in split}
    described = any(name.startswith("metadata.") for name in names)
    return isinstance(builder, ImageFolder) and not described


def _check_readable(folder: Path) -> None:
    """Raise `ValueError` where a file or folder would be passed over for want of permission."""

    def refuse(error: OSError) -> None:
        raise ValueError(
            f"{error.filename!r} cannot be read ({error.strerror}); give yourself the permission, "
            "or leave it out of the data folder"
        ) from error

    for parent, folders, names in os.walk(folder, onerror=refuse):
        # What is hidden is nobody's data.
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            file = os.path.join(parent, name)
            if not name.startswith(".") and not os.access(file, os.R_OK):
                refuse(PermissionError(errno.EACCES, os.strerror(errno.EACCES), file))


def _is_path(source: str) -> bool:
    # A name on the hub has at most one slash, inside: "mnist" or "ylecun/mnist".
    return source.startswith((".", "~")) or os.path.isabs(source) or source.count("/") > 1


def _open_folder(folder: Path) -> Source:
    described = f"data folder {str(folder)!r}"
    absolute = str(folder.resolve())
    if not folder.is_dir():
        raise ValueError(f"data source {str(folder)!r} is a file; give the folder that holds it")
    if set(absolute) & set("*?[]"):
        # `datasets` takes the whole path for a pattern and would find no files, or wrong ones.
        raise ValueError(
            f"{described} has one of the characters * ? [ ] in its full path {absolute!r}, which "
            "`datasets` cannot read; rename it or give a copy elsewhere"
        )
    _check_readable(folder)
    try:
        # The reader leaves a lock file in its cache folder, and nothing else.
        with tempfile.TemporaryDirectory() as scratch:
            builder = datasets.load_dataset_builder(absolute, cache_dir=scratch)
    except FileNotFoundError as error:
        raise ValueError(
            f"{described} holds no data files; give a folder with train.parquet and test.parquet, "
            "or with images in train/CLASS/ and test/CLASS/"
        ) from error
    except Exception as error:
        raise ValueError(
            f"{described} cannot be read ({_brief(error)}); give a folder that holds only "
            "train.parquet and test.parquet"
        ) from error
    found = Source(Path(absolute).name, described, builder, local=True)
    found.check_class_folders()
    return found


def _open_hub(name: str) -> Source:
    described = f"hub data set {name!r}"
    try:
        # Asked first, because `datasets` retries for half a minute where there is no network.
        HfApi().dataset_info(name, timeout=_PROBE_SECONDS)
    except HFValidationError as error:
        raise ValueError(
            f"{name!r} is neither an existing folder nor a possible name on the Hugging Face hub; "
            f"{_INSTEAD}"
        ) from error
    except RepositoryNotFoundError as error:
        raise ValueError(
            f"there is no folder {name!r} here and no public data set of that name on the Hugging "
            f"Face hub; correct the name, or {_INSTEAD}"
        ) from error
    except Exception as error:
        # The errors of the hub's HTTP client share no base class but Exception.
        try:
            with _hub_offline():
                builder = datasets.load_dataset_builder(name)
        except Exception:
            raise ValueError(
                f"there is no folder {name!r} here, and the Hugging Face hub cannot be reached for "
                f"a data set of that name ({_brief(error)}); check the network, or {_INSTEAD}"
            ) from error
        return Source(name, described, builder, local=False)
    try:
        builder = datasets.load_dataset_builder(name)
    except Exception as error:
        raise ValueError(
            f"{described} cannot be opened ({_brief(error)}); choose another, or {_INSTEAD}"
        ) from error
    return Source(name, described, builder, local=False)


@contextlib.contextmanager
def _hub_offline() -> Iterator[None]:
    """Let `datasets` look in its cache alone, as if HF_DATASETS_OFFLINE had been set."""
    before = datasets_config.HF_HUB_OFFLINE
    datasets_config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets_config.HF_HUB_OFFLINE = before


def _checked(file: str, read: Callable[[str], _Contents]) -> _Contents:
    """What `read(file)` returns, or a ValueError that names the damaged file."""
    try:
        return read(file)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(
            f"parquet file {file!r} is truncated or damaged ({_brief(error)}); copy or download it "
            "again"
        ) from error


def _brief(error: Exception) -> str:
    """The kind of an error and the first line of its message."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0].rstrip('.')}"
