"""Read a split of an image data set into numpy arrays."""

import hashlib
import io
import json
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import PIL
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image, UnidentifiedImageError

from holoprop.data._decoded import Decoded, decoded_once
from holoprop.data._image_set import ImageSet, check_labels, relabelled
from holoprop.data._pixels import as_colour, to_pixels
from holoprop.data._source import Source, open_source

_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "fine_label")
# Of what is kept of decoded images; counted up whenever they would be decoded otherwise.
_FORMAT = 1


class UnlabelledError(ValueError):
    """A split whose images have no labels: none at all, or -1 each.

    Example:
        >>> raise UnlabelledError("the test split has no labels")
        Traceback (most recent call last):
        ...
        holoprop.data._load.UnlabelledError: the test split has no labels
    """


def load_images(
    source: str | os.PathLike[str] | None,
    split: str,
    *,
    image: str | None = None,
    label: str | None = None,
    size: int | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> ImageSet:
    """Read one split of an image data set.

    A local folder is read without the network. A data set of the hub is downloaded once and cached
    by `datasets`. What is decoded is kept in the user's cache folder, in holoprop/images, by the
    contents of what it was decoded from, and mapped into memory from there the next time; whatever
    lies there can be deleted.

    Images are turned upright as their EXIF orientation says, brought from 16 bits to 8, and laid on
    white where they are transparent; `ImageSet.changes` says how many.

    Arguments:
        source: a folder in the layout of the Hugging Face hub (train.parquet and test.parquet, or
            data/train-00000-of-00001.parquet and so on, or images in train/CLASS/ and test/CLASS/);
            or a name on the hub, such as "ylecun/mnist"; or None for the packaged subset of MNIST
            (10,000 training and 2,000 test images).
        split: name of the split, for example "train"; `split_names` lists them.
        image: the column that holds the images. Default `image` or `img`.
        label: the column that holds the labels, whole numbers from 0 or names. Default `label` or
            `fine_label`.
        size: height and width in pixels to which each image is cut around its centre and scaled, 1
            or more. Default None: all must have one size.
        on_warning: told in a sentence where what was decoded cannot be kept. Default: a warning.

    Returns:
        The images in the order of the data set. Grey images have no channel axis; where a set mixes
        grey and colour, all become colour. Whole numbers without class names are their own names.
        Files that declare the classes in another order than the first have their labels mapped by
        name.

    Raises:
        FileNotFoundError: the folder does not exist.
        UnlabelledError: the split has no labels.
        ValueError: the source, the split, a file, a column, an image or a label cannot be used;
            the message names it.

    Example:
        >>> test = load_images(None, "test")
        >>> test.name, test.images.shape, str(test.images.dtype)
        ('mnist_subset test', (2000, 28, 28), 'uint8')
        >>> test.class_names
        ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9')
    """
    if size is not None and size < 1:
        raise ValueError(f"size must be 1 or more; got {size}")
    opened = open_source(source)

    def decode() -> Decoded:
        tables = opened.read(split)
        described = f"split {split!r} of {opened.described}"
        image_column = _column(tables[0], image, _IMAGE_COLUMNS, opened, ValueError)
        label_column = _column(tables[0], label, _LABEL_COLUMNS, opened, UnlabelledError)
        labels, class_names = _labels(tables, label_column, described)
        cells = pa.chunked_array([c for t in tables for c in t.column(image_column).chunks])
        images, changes = _images(cells, image_column, size, described)
        return Decoded(images, labels, class_names, changes)

    found = opened.fingerprint(split)
    if found is None:
        decoded = decode()
    else:
        how = json.dumps([_FORMAT, PIL.__version__, image, label, size])
        key = hashlib.blake2b(f"{found} {how}".encode(), digest_size=16).hexdigest()
        decoded = decoded_once(key, decode, on_warning or _warn)
    name = f"{opened.name} {split}"
    total = len(decoded.images)
    changes = tuple(
        f"{n} of {total} images of {name} {what}" for what, n in decoded.changes.items()
    )
    return ImageSet(decoded.images, decoded.labels, decoded.class_names, name, changes)


def _warn(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=3)


def split_names(source: str | os.PathLike[str] | None) -> tuple[str, ...]:
    """The names of the splits of an image data set.

    Arguments:
        source: a folder, a name on the hub, or None, as for `load_images`.

    Returns:
        The names, in the order of the data set.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: the source cannot be read; the message names it.

    Example:
        >>> split_names(None)
        ('train', 'test')
    """
    return open_source(source).splits


def _column(
    table: pa.Table,
    given: str | None,
    usual: tuple[str, ...],
    opened: Source,
    error: type[ValueError],
) -> str:
    names = usual if given is None else (given,)
    for name in names:
        if name in table.column_names:
            return name
    raise error(
        f"{opened.described} has the columns {table.column_names}, and none is called "
        f"{' or '.join(map(repr, names))}; name the column that holds the {usual[0]}s "
        f"(--data.{usual[0]} on the command line)"
    )


def _labels(
    tables: list[pa.Table], column: str, described: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels int32 [n] and class names, in the order of the first file that declares them."""
    values = pa.chunked_array([c for t in tables for c in t.column(column).chunks])
    of_words = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    if not of_words and not pa.types.is_integer(values.type):
        raise ValueError(
            f"column {column!r} of {described} holds {values.type}; labels must be names, or "
            "whole numbers from 0"
        )
    if values.null_count == len(values) or (not of_words and pc.all(pc.equal(values, -1)).as_py()):
        raise UnlabelledError(f"{described} has no labels in its column {column!r}")
    if values.null_count:
        row = values.is_null().to_numpy().argmax()
        raise ValueError(
            f"row {row} of {described} has no label; give it a label or remove the row"
        )
    if of_words:
        names = sorted(values.unique().to_pylist())
        return pc.index_in(values, pa.array(names)).to_numpy().astype(np.int32), tuple(names)
    declared = [_declared(table, column) for table in tables]
    named = [names for names in declared if names is not None]
    if len(named) < len(declared):
        if named:
            raise ValueError(
                f"some files of {described} declare class names and others do not; give all or none"
            )
        labels = values.cast(pa.int64()).to_numpy()
        class_names = tuple(str(label) for label in range(max(labels.max() + 1, 1)))
        check_labels(labels, len(class_names), described)
        return labels.astype(np.int32), class_names
    first, mapped = named[0], []
    for number, (table, own) in enumerate(zip(tables, named, strict=True), 1):
        name = described if len(tables) == 1 else f"file {number} of {described}"
        labels = table.column(column).cast(pa.int64()).to_numpy()
        check_labels(labels, len(own), name)
        labels = labels.astype(np.int32)
        if own != first:
            labels = relabelled(labels, own, first, name, "the first file")
        mapped.append(labels)
    return np.concatenate(mapped), first


def _declared(table: pa.Table, column: str) -> tuple[str, ...] | None:
    feature = datasets.Features.from_arrow_schema(table.schema)[column]
    return tuple(feature.names) if isinstance(feature, datasets.ClassLabel) else None


def _images(
    values: pa.ChunkedArray, column: str, size: int | None, described: str
) -> tuple[np.ndarray, Counter[str]]:
    """Decoded images uint8 [n, height, width] or [n, height, width, 3], and what was changed.

    Encoded bytes go to Pillow directly, which is several times faster than rows of `datasets`.
    """
    arrays: list[np.ndarray] = []
    changes: Counter[str] = Counter()
    formats: tuple[str, ...] | None = None
    for row, cell in enumerate(_cells(values, column, described)):
        try:
            image = _open(cell, formats)
            pixels = to_pixels(image, size, changes)
        except Exception as error:  # Pillow's decoders raise errors of many unrelated classes.
            raise ValueError(
                f"the image in row {row} of {described} cannot be decoded "
                f"({type(error).__name__}: {error}); replace it or remove the row"
            ) from error
        if arrays and pixels.shape[:2] != arrays[0].shape[:2]:
            raise ValueError(
                f"the image in row {row} of {described} has height and width "
                f"{pixels.shape[:2]}, and the first has {arrays[0].shape[:2]}; choose one size for "
                "all (--data.size on the command line)"
            )
        arrays.append(pixels)
        # Tried first for the next image: otherwise Pillow asks all of its decoders in turn.
        formats = (image.format,) if image.format else None
    grey = [row for row, pixels in enumerate(arrays) if pixels.ndim == 2]
    mixed = 0 < len(grey) < len(arrays)
    if mixed:
        changes["made RGB from grey, as the others are"] += len(grey)
    channels = () if len(grey) == len(arrays) else (3,)
    images = np.empty((len(arrays), *arrays[0].shape[:2], *channels), np.uint8)
    for row, pixels in enumerate(arrays):
        images[row] = as_colour(pixels) if mixed and pixels.ndim == 2 else pixels
    return images, changes


def _cells(values: pa.ChunkedArray, column: str, described: str) -> Iterator[dict[str, Any] | None]:
    """The cells {"bytes", "path"} of an image column."""
    if not pa.types.is_struct(values.type) or not {"bytes", "path"} <= {
        field.name for field in values.type
    }:
        raise ValueError(
            f"column {column!r} of {described} holds {values.type}; store the images with the "
            "`Image` feature of `datasets`, as struct<bytes, path>"
        )
    for chunk in values.chunks:
        yield from chunk.to_pylist()


def _open(cell: dict[str, Any] | None, formats: tuple[str, ...] | None) -> Image.Image:
    if cell is None or (cell["bytes"] is None and cell["path"] is None):
        raise ValueError("the cell is empty")
    encoded = Path(cell["path"]).read_bytes() if cell["bytes"] is None else cell["bytes"]
    try:
        return Image.open(io.BytesIO(encoded), formats=formats)
    except UnidentifiedImageError:
        return Image.open(io.BytesIO(encoded))
