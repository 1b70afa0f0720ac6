"""Read a split of an image data set into numpy arrays."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from PIL import Image, UnidentifiedImageError

from holoprop.data._image_set import ImageSet, check_labels
from holoprop.data._source import Source, open_source

_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "fine_label")
# Pillow's modes with 8 bits a channel and no transparency, and what each becomes.
_MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB", "CMYK": "RGB"}


def load_images(source: str | os.PathLike[str] | None, split: str) -> ImageSet:
    """Read one split of an image data set.

    A local folder is read in place: nothing is copied to the user's cache and the network is never
    used. A data set of the hub is downloaded once and cached by `datasets`.

    Arguments:
        source: a folder in the layout of the Hugging Face hub (train.parquet and test.parquet, or
            data/train-00000-of-00001.parquet and so on, or images in train/CLASS/ and test/CLASS/);
            or a name on the hub, such as "ylecun/mnist"; or None for the packaged subset of MNIST
            (10,000 training and 2,000 test images). The data must have a column `image` or `img`,
            and a column `label` or `fine_label` of integers.
        split: name of the split, for example "train"; `split_names` lists them.

    Returns:
        The images in the order of the data set. Grey images have no channel axis; where a set mixes
        grey and colour, all become colour. Labels without class names get their numbers as names.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: the source, the split, a file, a column, an image or a label cannot be used;
            the message names it.

    Example:
        >>> test = load_images(None, "test")
        >>> test.name, test.images.shape, str(test.images.dtype)
        ('mnist_subset test', (2000, 28, 28), 'uint8')
        >>> test.class_names
        ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9')
    """
    opened = open_source(source)
    table = opened.read(split)
    image_column = _column(table, _IMAGE_COLUMNS, opened)
    label_column = _column(table, _LABEL_COLUMNS, opened)
    described = f"split {split!r} of {opened.described}"
    labels, class_names = _labels(table, label_column, described)
    images = _images(table, image_column, described)
    return ImageSet(images, labels, class_names, name=f"{opened.name} {split}")


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


def _column(table: pa.Table, names: tuple[str, ...], opened: Source) -> str:
    for name in names:
        if name in table.column_names:
            return name
    raise ValueError(
        f"{opened.described} has the columns {table.column_names}, and none is called "
        f"{' or '.join(map(repr, names))}; rename the column that holds the {names[0]}s"
    )


def _labels(table: pa.Table, column: str, described: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels int32 [n] and class names, checked against each other."""
    values = table.column(column)
    if not pa.types.is_integer(values.type):
        raise ValueError(
            f"column {column!r} of {described} holds {values.type}; labels must be integers, "
            "numbered from 0"
        )
    if values.null_count:
        row = values.is_null().to_numpy().argmax()
        raise ValueError(
            f"row {row} of {described} has no label; give it a label or remove the row"
        )
    labels = values.cast(pa.int64()).to_numpy()
    feature = datasets.Features.from_arrow_schema(table.schema)[column]
    if isinstance(feature, datasets.ClassLabel):
        class_names = tuple(feature.names)
    else:
        class_names = tuple(str(label) for label in range(max(labels.max() + 1, 1)))
    check_labels(labels, len(class_names), described)
    return labels.astype(np.int32), class_names


def _images(table: pa.Table, column: str, described: str) -> np.ndarray:
    """Decoded images uint8 [n, height, width] or [n, height, width, 3].

    Encoded bytes go to Pillow directly, which is several times faster than rows of `datasets`.
    """
    arrays: list[np.ndarray] = []
    formats: tuple[str, ...] | None = None
    for row, cell in enumerate(_cells(table.column(column), column, described)):
        try:
            image = _open(cell, formats)
            image.load()
        except Exception as error:  # Pillow's decoders raise errors of many unrelated classes.
            raise ValueError(
                f"the image in row {row} of {described} cannot be decoded "
                f"({type(error).__name__}: {error}); replace it or remove the row"
            ) from error
        if image.mode not in _MODES:
            raise ValueError(
                f"the image in row {row} of {described} has Pillow's mode {image.mode!r}; convert "
                "the images to 8-bit grey or RGB"
            )
        pixels = np.asarray(image.convert(_MODES[image.mode]))
        if arrays and pixels.shape[:2] != arrays[0].shape[:2]:
            raise ValueError(
                f"the image in row {row} of {described} has height and width "
                f"{pixels.shape[:2]}, and the first has {arrays[0].shape[:2]}; resize all images "
                "to one size"
            )
        arrays.append(pixels)
        # Tried first for the next image: otherwise Pillow asks all of its decoders in turn.
        formats = (image.format,) if image.format else None
    channels = (3,) if any(pixels.ndim == 3 for pixels in arrays) else ()
    images = np.empty((len(arrays), *arrays[0].shape[:2], *channels), np.uint8)
    for row, pixels in enumerate(arrays):
        images[row] = pixels if pixels.ndim == images.ndim - 1 else pixels[..., None]
    return images


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
