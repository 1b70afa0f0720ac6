"""Image sets from folders, from the hub (simulated) and from the package; every error message."""

import hashlib
import io
import os
import re
import socket
import struct
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import datasets
import datasets.config
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets.packaged_modules.parquet.parquet import Parquet
from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import holoprop.data
from holoprop.data import (
    ImageSet,
    UnlabelledError,
    as_colour,
    as_grey,
    hold_out,
    load_images,
    split_names,
)
from holoprop.data._source import open_source

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 5, 4), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
LABELS = [1, 0, 2, 2, 1, 0]
NAMES = ("ant", "bee", "cat")


@pytest.fixture(autouse=True)
def network_attempts(monkeypatch, tmp_path_factory):
    """No test reaches the network or the user's cache; the list records each attempt."""
    attempts = []

    def refuse(*arguments, **options):
        attempts.append(arguments)
        raise OSError("no network in tests")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    cache = str(tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    return attempts


@pytest.fixture
def real_data():
    folder = os.environ.get("HOLOPROP_DATA")
    if folder is None:
        pytest.skip("HOLOPROP_DATA does not name a folder with mnist/, cifar10/ and so on")
    return Path(folder)


def encoded(pixels, image_format="PNG", mode=None):
    image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    (image if mode is None else image.convert(mode)).save(buffer, image_format, lossless=True)
    return buffer.getvalue()


def cells(images, image_format="PNG"):
    return [{"bytes": encoded(image, image_format), "path": None} for image in images]


def write(
    file,
    images=None,
    labels=LABELS,
    *,
    image_column="image",
    label_column="label",
    names=NAMES,
    compression="zstd",
):
    """Write a parquet file as the hub has them; images are cells, by default grey ones."""
    images = cells(GREY) if images is None else images
    label = datasets.Value("int64") if names is None else datasets.ClassLabel(names=list(names))
    features = datasets.Features({image_column: datasets.Image(), label_column: label})
    schema = features.arrow_schema
    columns = [pa.array(images, schema.field(0).type), pa.array(labels, pa.int64())]
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns, schema=schema), file, compression=compression)
    return file


def check(image_set, images=GREY, labels=LABELS, class_names=NAMES):
    np.testing.assert_array_equal(image_set.images, images)
    np.testing.assert_array_equal(image_set.labels, labels)
    assert image_set.images.dtype == np.uint8
    assert image_set.labels.dtype == np.int32
    assert image_set.class_names == class_names


def refused(message, source, split="train", error=ValueError):
    """The message is one sentence, and holds these words in this order."""
    with pytest.raises(error, match=message) as caught:
        load_images(source, split)
    assert "\n" not in str(caught.value)


# The packaged subset


@pytest.mark.parametrize(("split", "per_class"), [("train", 1000), ("test", 200)])
def test_packaged_subset_is_balanced(split, per_class):
    image_set = load_images(None, split)
    assert image_set.images.shape == (10 * per_class, 28, 28)
    assert np.bincount(image_set.labels).tolist() == [per_class] * 10
    assert image_set.class_names == tuple("0123456789")
    assert image_set.name == f"mnist_subset {split}"
    assert len(set(image_set.labels[:100])) == 10, "the order should be shuffled"


def test_packaged_subset_is_small():
    folder = Path(holoprop.data.__file__).parent / "mnist_subset"
    assert sum(file.stat().st_size for file in folder.glob("*.parquet")) < 2_900_000


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.quick("test")
def test_packaged_subset_comes_from_the_same_split_of_mnist(real_data, split):
    def examples(source):
        image_set = load_images(source, split)
        return Counter(
            (image.tobytes(), int(label))
            for image, label in zip(image_set.images, image_set.labels, strict=True)
        )

    assert examples(None) <= examples(real_data / "mnist")


@pytest.mark.slow
def test_packaged_subset_can_be_made_again(real_data, tmp_path):
    script = Path(__file__).parents[2] / "scripts" / "make_mnist_subset.py"
    command = [sys.executable, str(script), str(real_data / "mnist"), "--output", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    for split in ("train", "test"):
        packaged = load_images(None, split)
        check(load_images(tmp_path, split), packaged.images, packaged.labels, packaged.class_names)


# The real sets


@pytest.mark.parametrize(
    ("split", "images_sum", "labels_sum"),
    [
        (
            "train",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        (
            "test",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ],
)
@pytest.mark.quick("test-*")
def test_mnist_equals_the_published_idx_files(real_data, split, images_sum, labels_sum):
    image_set = load_images(real_data / "mnist", split)
    # IDX headers: a magic number that says uint8 and the number of axes, then the shape.
    images = struct.pack(">4i", 0x803, *image_set.images.shape) + image_set.images.tobytes()
    labels = struct.pack(">2i", 0x801, len(image_set)) + image_set.labels.astype("u1").tobytes()
    assert hashlib.sha256(images).hexdigest() == images_sum
    assert hashlib.sha256(labels).hexdigest() == labels_sum


@pytest.mark.parametrize(
    ("name", "split", "shape", "classes", "mean"),
    [
        ("fashion_mnist", "test", (10_000, 28, 28), 10, 73.147),
        ("cifar10", "train", (50_000, 32, 32, 3), 10, (125.307, 122.950, 113.865)),
        ("cifar10", "test", (10_000, 32, 32, 3), 10, (126.025, 123.709, 114.854)),
        ("cifar100", "test", (10_000, 32, 32, 3), 100, (129.650, 124.195, 112.607)),
        ("imagenet32_sample", "train", (2000, 32, 32, 3), 200, None),
        ("imagenet32_sample", "test", (400, 32, 32, 3), 200, None),
    ],
)
@pytest.mark.quick("cifar10-test-*", "imagenet32_sample-test-*")
def test_real_sets(real_data, name, split, shape, classes, mean):
    image_set = load_images(real_data / name, split)
    assert image_set.images.shape == shape
    assert len(image_set.class_names) == classes
    assert np.bincount(image_set.labels).tolist() == [shape[0] // classes] * classes
    if mean is not None:
        np.testing.assert_allclose(image_set.images.mean(axis=(0, 1, 2)), mean, atol=6e-4)


def test_cifar100_has_fine_labels(real_data):
    assert load_images(real_data / "cifar100", "test").class_names[26] == "crab"


# Folders


def test_splits_of_a_folder(tmp_path):
    write(tmp_path / "train.parquet")
    write(tmp_path / "test.parquet", cells(GREY[::-1]), LABELS[::-1])
    assert split_names(tmp_path) == ("train", "test")
    check(load_images(tmp_path, "train"))
    check(load_images(tmp_path, "test"), GREY[::-1], LABELS[::-1])
    assert load_images(tmp_path, "test").name == f"{tmp_path.name} test"


def test_a_folder_can_be_named_in_every_way(tmp_path, monkeypatch):
    write(tmp_path / "sets" / "mine" / "train.parquet")
    monkeypatch.chdir(tmp_path / "sets")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for source in (
        tmp_path / "sets" / "mine",
        str(tmp_path / "sets" / "mine"),
        "mine",
        "./mine",
        "../sets/mine/",
        "~/sets/mine",
    ):
        image_set = load_images(source, "train")
        check(image_set)
        assert image_set.name == "mine train"


def test_folder_as_downloaded_from_the_hub(tmp_path):
    write(tmp_path / "data" / "train-00000-of-00002.parquet", cells(GREY[:4]), LABELS[:4])
    write(tmp_path / "data" / "train-00001-of-00002.parquet", cells(GREY[4:]), LABELS[4:])
    write(tmp_path / "data" / "validation-00000-of-00001.parquet")
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    assert split_names(tmp_path) == ("train", "validation")
    check(load_images(tmp_path, "train"))


def test_folder_of_image_files(tmp_path):
    for split, images in (("train", COLOUR), ("test", COLOUR[::-1])):
        for number, (pixels, label) in enumerate(zip(images, LABELS, strict=True)):
            file = tmp_path / split / NAMES[label] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encoded(pixels))
    by_class = np.argsort(LABELS, kind="stable")
    assert split_names(tmp_path) == ("train", "test")
    check(load_images(tmp_path, "train"), COLOUR[by_class], np.sort(LABELS))
    check(load_images(tmp_path, "test"), COLOUR[::-1][by_class], np.sort(LABELS))


def test_column_names_of_cifar(tmp_path):
    images = cells(COLOUR, "WEBP")
    write(tmp_path / "train.parquet", images, image_column="img", label_column="fine_label")
    check(load_images(tmp_path, "train"), COLOUR)


def test_labels_without_names_are_named_by_number(tmp_path):
    write(tmp_path / "train.parquet", names=None)
    check(load_images(tmp_path, "train"), class_names=("0", "1", "2"))


def test_formats_and_grey_levels_may_mix(tmp_path):
    black_and_white = np.where(GREY[2] > 127, np.uint8(255), np.uint8(0))
    few_colours = COLOUR[5] // 128 * 128
    mixed = [
        encoded(GREY[0]),
        encoded(COLOUR[1], "WEBP"),
        encoded(black_and_white, mode="1"),
        encoded(COLOUR[3], "BMP"),
        encoded(GREY[4], "TIFF"),
        encoded(few_colours, mode="P"),
    ]
    write(tmp_path / "train.parquet", [{"bytes": image, "path": None} for image in mixed])
    grey = [np.repeat(pixels[..., None], 3, 2) for pixels in (GREY[0], black_and_white, GREY[4])]
    # The palette is Pillow's choice, so its own conversion is what to expect.
    palette = np.asarray(Image.fromarray(few_colours).convert("P").convert("RGB"))
    expected = [grey[0], COLOUR[1], grey[1], COLOUR[3], grey[2], palette]
    check(load_images(tmp_path, "train"), np.stack(expected))


def test_a_folder_is_read_without_network(tmp_path):
    write(tmp_path / "mine" / "train.parquet")
    home = tmp_path / "home"
    home.mkdir()
    code = """
import socket, sys
def refuse(*arguments):
    sys.exit("network used")
socket.socket.connect = socket.getaddrinfo = refuse
from holoprop.data import load_images, split_names
print(split_names(sys.argv[1]), load_images(sys.argv[1], "train").images.shape)
"""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("HF_", "XDG"))
    }
    source = str(Path(holoprop.data.__file__).parents[2])
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "mine")],
        env={**kept, "HOME": str(home), "USERPROFILE": str(home), "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout == "('train',) (6, 5, 4)\n", result.stderr
    # Decoded images are kept, and nothing else.
    kept = {file.relative_to(home).parts[:3] for file in home.rglob("*") if file.is_file()}
    assert kept == {(".cache", "holoprop", "images")}


# Folders that cannot be used


@pytest.mark.parametrize("source", ["./none", "../none", "/none", "~/none", "a/b/none", Path("n")])
def test_missing_folder(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = re.escape(repr(str(Path(source).expanduser())))
    message = f"data folder {shown} does not exist; correct the path, or give no source"
    refused(message, source, error=FileNotFoundError)
    with pytest.raises(FileNotFoundError, match=message):
        split_names(source)


def test_a_file_is_not_a_folder(tmp_path):
    file = write(tmp_path / "train.parquet")
    refused(r"data source .*train.parquet' is a file; give the folder that holds it", file)


def test_folder_name_that_datasets_takes_for_a_pattern(tmp_path):
    write(tmp_path / "copy [1]" / "train.parquet")
    refused(r"copy \[1\]' has one of the characters .*; rename it", tmp_path / "copy [1]")


def test_folder_without_data(tmp_path):
    refused("data folder .* holds no data files; give a folder with train.parquet", tmp_path)


def test_folder_with_a_loading_script(tmp_path):
    write(tmp_path / "mine" / "train.parquet")
    (tmp_path / "mine" / "mine.py").write_text("")
    refused(
        "mine' cannot be read .*scripts.*; give a folder that holds only train", tmp_path / "mine"
    )


@pytest.mark.parametrize("split", ["valid", "Train", ""])
def test_missing_split(tmp_path, split):
    write(tmp_path / "train.parquet")
    write(tmp_path / "test.parquet")
    refused(f"data folder .* has no split {split!r}; its splits are: train, test", tmp_path, split)


@pytest.mark.parametrize("kept", [0, 3, 500])
def test_truncated_file_is_named(tmp_path, kept):
    write(tmp_path / "train-00000-of-00002.parquet")
    file = write(tmp_path / "train-00001-of-00002.parquet")
    file.write_bytes(file.read_bytes()[:kept])
    message = r"parquet file .*train-00001-of-00002.parquet' is truncated or damaged .*; copy or"
    refused(message, tmp_path)


def test_truncated_file_of_another_split_is_named(tmp_path):
    file = write(tmp_path / "train.parquet")
    file.write_bytes(file.read_bytes()[:500])
    write(tmp_path / "test.parquet")
    assert split_names(tmp_path) == ("train", "test")
    refused("parquet file .*train.parquet' is truncated or damaged", tmp_path, "test")


def test_damaged_file_is_named(tmp_path):
    write(tmp_path / "train-00000-of-00002.parquet")
    file = write(tmp_path / "train-00001-of-00002.parquet")
    contents = bytearray(file.read_bytes())
    contents[100:400] = bytes(300)
    file.write_bytes(contents)
    message = r"parquet file .*train-00001-of-00002.parquet' is truncated or damaged .*; copy or"
    refused(message, tmp_path)


def test_files_that_do_not_fit_together(tmp_path):
    write(tmp_path / "train-00000-of-00002.parquet")
    write(tmp_path / "train-00001-of-00002.parquet", label_column="other")
    refused("split 'train' of data folder .* cannot be read .*; check its files, or give", tmp_path)


def test_other_columns(tmp_path):
    write(tmp_path / "a" / "train.parquet", image_column="picture")
    write(tmp_path / "b" / "train.parquet", label_column="digit")
    columns = r"has the columns \['picture', 'label'\], and none is called 'image' or 'img'; name"
    refused(columns, tmp_path / "a")
    columns = r"\['image', 'digit'\], and none is called 'label' or 'fine_label'; name"
    refused(columns, tmp_path / "b")


def test_text_is_not_images(tmp_path):
    (tmp_path / "train.txt").write_text("hello\n")
    refused(r"has the columns \['text'\], and none is called 'image'", tmp_path)


def test_columns_of_other_types(tmp_path):
    table = pa.table({"image": [[1, 2]], "label": [0]})
    (tmp_path / "a").mkdir()
    pq.write_table(table, tmp_path / "a" / "train.parquet")
    refused("column 'image' of .* holds list<.*>; store the images with", tmp_path / "a")
    table = pa.table({"image": cells(GREY[:1]), "label": [0.5]})
    (tmp_path / "b").mkdir()
    pq.write_table(table, tmp_path / "b" / "train.parquet")
    refused("column 'label' of .* holds double; labels must be names, or", tmp_path / "b")


def test_no_rows(tmp_path):
    write(tmp_path / "train.parquet", [], [])
    refused("split 'train' of data folder .* has no rows; give a data set with images", tmp_path)


@pytest.mark.parametrize(
    "cell",
    [
        None,
        {"bytes": None, "path": None},
        {"bytes": b"", "path": None},
        {"bytes": b"not an image", "path": None},
        {"bytes": encoded(GREY[0])[:60], "path": None},
        {"bytes": None, "path": "/none/0.png"},
    ],
)
def test_broken_image_is_named(tmp_path, cell):
    write(tmp_path / "train.parquet", [*cells(GREY[:4]), cell, *cells(GREY[5:])])
    message = r"the image in row 4 of split 'train' of data folder .* cannot be decoded \(.*\); rep"
    refused(message, tmp_path)


def test_images_of_different_sizes(tmp_path):
    write(tmp_path / "train.parquet", cells([*GREY[:5], GREY[5, :4]]))
    message = (
        r"the image in row 5 of .* has height and width \(4, 4\), and the first has \(5, 4\); cho"
    )
    refused(message, tmp_path)


def stored(tmp_path, *images, labels=(0, 1, 2, 1, 2, 0)):
    """The set that some encoded images make."""
    write(tmp_path / "train.parquet", [{"bytes": i, "path": None} for i in images], labels)


def test_image_of_16_bits(tmp_path):
    deep = GREY[0].astype(np.uint16) * 257
    stored(tmp_path, encoded(deep), *(encoded(pixels) for pixels in GREY[1:]))
    found = load_images(tmp_path, "train")
    check(found, labels=[0, 1, 2, 1, 2, 0])
    assert found.changes == (f"1 of 6 images of {tmp_path.name} train brought from 16 bits to 8",)


def test_numbers_of_more_bits_are_refused(tmp_path):
    deep = np.full((5, 4), 70000, np.int32)
    stored(tmp_path, encoded(deep, "TIFF"), labels=[0])
    refused("the image in row 0 of .* its numbers go from 70000 to 70000, not from 0 to", tmp_path)


@pytest.mark.parametrize("grey", [False, True])
def test_transparent_images_are_laid_on_white(tmp_path, grey):
    solid = GREY[0] if grey else COLOUR[0]
    alpha = np.full((5, 4), 255, np.uint8)
    alpha[0] = 0
    layers = np.dstack([solid, alpha])
    stored(tmp_path, encoded(layers), encoded(solid), labels=[0, 1])
    found = load_images(tmp_path, "train")
    expected = solid.copy()
    expected[0] = 255
    np.testing.assert_array_equal(found.images, [expected, solid])
    assert "1 of 2 images of" in found.changes[0]
    assert "laid on white" in found.changes[0]


def test_opaque_layers_change_nothing(tmp_path):
    stored(tmp_path, encoded(np.dstack([COLOUR[0], np.full((5, 4), 255, np.uint8)])), labels=[0])
    found = load_images(tmp_path, "train")
    np.testing.assert_array_equal(found.images, COLOUR[:1])
    assert found.changes == ()


def test_palette_with_a_transparent_colour(tmp_path):
    image = Image.new("P", (4, 5), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((0, 0), 0)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=0)
    stored(tmp_path, buffer.getvalue(), labels=[0])
    expected = np.full((5, 4, 3), (0, 0, 255), np.uint8)
    expected[0, 0] = 255
    np.testing.assert_array_equal(load_images(tmp_path, "train").images, expected[None])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF"])
def test_images_are_turned_upright(tmp_path, orientation, image_format):
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    lossless = {"lossless": True} if image_format == "WEBP" else {}
    Image.fromarray(COLOUR[0]).save(buffer, image_format, exif=exif, **lossless)
    stored(tmp_path, buffer.getvalue(), labels=[0])
    found = load_images(tmp_path, "train")
    # From the EXIF standard: where the stored rows and columns lie.
    upright = {
        1: COLOUR[0],
        2: COLOUR[0][:, ::-1],
        3: COLOUR[0][::-1, ::-1],
        4: COLOUR[0][::-1],
        5: COLOUR[0].swapaxes(0, 1),
        6: COLOUR[0][::-1].swapaxes(0, 1),
        7: COLOUR[0][::-1, ::-1].swapaxes(0, 1),
        8: COLOUR[0][:, ::-1].swapaxes(0, 1),
    }[orientation]
    np.testing.assert_array_equal(found.images, upright[None])
    assert bool(found.changes) == (orientation != 1 and image_format != "TIFF")


def test_sizes_are_made_one(tmp_path):
    wide = np.zeros((6, 18), np.uint8)
    wide[:, 2:16] = 200
    stored(tmp_path, encoded(wide), encoded(GREY[0]), encoded(wide[:3, :3]), labels=[0, 1, 2])
    found = load_images(tmp_path, "train", size=3)
    assert found.images.shape == (3, 3, 3)
    # Cut around the centre.
    np.testing.assert_array_equal(found.images[0], np.full((3, 3), 200))
    np.testing.assert_array_equal(found.images[2], wide[:3, :3])
    assert found.changes == (
        f"2 of 3 images of {tmp_path.name} train cut to squares and scaled to 3 x 3",
    )
    with pytest.raises(ValueError, match="size must be 1 or more; got 0"):
        load_images(tmp_path, "train", size=0)


def test_columns_by_name(tmp_path):
    write(tmp_path / "train.parquet", image_column="picture", label_column="kind")
    check(load_images(tmp_path, "train", image="picture", label="kind"))
    with pytest.raises(
        ValueError, match=r"none is called 'photo'; name the column .*--data\.image"
    ):
        load_images(tmp_path, "train", image="photo", label="kind")


def test_labels_that_are_words(tmp_path):
    words = [NAMES[label] for label in LABELS]
    pq.write_table(pa.table({"image": cells(GREY), "label": words}), tmp_path / "train.parquet")
    check(load_images(tmp_path, "train"))


def test_files_with_their_classes_in_another_order_are_mapped_by_name(tmp_path):
    other = ("cat", "ant", "bee")
    labels = [other.index(NAMES[label]) for label in LABELS[4:]]
    write(tmp_path / "train-00000-of-00002.parquet", cells(GREY[:4]), LABELS[:4])
    write(tmp_path / "train-00001-of-00002.parquet", cells(GREY[4:]), labels, names=other)
    check(load_images(tmp_path, "train"))


def test_files_with_other_classes(tmp_path):
    write(tmp_path / "train-00000-of-00002.parquet", cells(GREY[:4]), LABELS[:4])
    two = write(
        tmp_path / "train-00001-of-00002.parquet", cells(GREY[4:]), [0, 1], names=("ant", "dog")
    )
    refused("file 2 of split 'train' of .* has images of class 'dog' .*, which the first", tmp_path)
    write(two, cells(GREY[4:]), [0, 1], names=None)
    refused("some files of split 'train' .* declare class names and others do not", tmp_path)


def test_grey_and_colour():
    shades = np.stack([np.asarray(Image.fromarray(pixels).convert("L")) for pixels in COLOUR])
    np.testing.assert_array_equal(as_grey(COLOUR), shades)
    np.testing.assert_array_equal(as_grey(as_colour(GREY)), GREY)


def test_classes_of_another_set():
    own = ImageSet(GREY, np.array(LABELS, np.int32), NAMES, "own")
    mapped = own.with_classes(("cat", "bee", "ant", "dog"), "the other")
    assert [mapped.class_names[label] for label in mapped.labels] == [NAMES[i] for i in LABELS]
    with pytest.raises(
        ValueError, match=r"own has images of class 'bee' \(the first in row 0\), wh"
    ):
        own.with_classes(("ant", "cat"), "the other")
    with pytest.raises(ValueError, match="the other has two classes named 'ant'"):
        own.with_classes(("ant", "ant", "bee", "cat"), "the other")


@pytest.mark.parametrize("labels", [[-1] * 6, [None] * 6])
def test_unlabelled_split(tmp_path, labels):
    write(tmp_path / "test.parquet", labels=labels)
    refused("split 'test' of .* has no labels", tmp_path, "test", error=UnlabelledError)


def write_files(folder, images=COLOUR):
    folder.mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(images):
        (folder / f"{number}.png").write_bytes(encoded(pixels))


def test_splits_are_no_classes(tmp_path):
    write_files(tmp_path / "train")
    write_files(tmp_path / "test")
    refused("has its images in test, train without folders for the classes; put them", tmp_path)


def test_one_class_is_none_to_tell_from_another(tmp_path):
    write_files(tmp_path / "train" / "ant")
    write_files(tmp_path / "test" / "ant")
    refused("does not have its images in folders for two classes or more; put them", tmp_path)


def test_what_may_not_be_read_is_named(tmp_path, monkeypatch):
    write_files(tmp_path / "train" / "ant")
    write_files(tmp_path / "train" / "bee")
    hidden = str(tmp_path / "train" / "bee" / "3.png")
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != hidden and may(path, mode))
    refused(r"bee/3.png' cannot be read \(Permission denied\); give yourself the perm", tmp_path)
    monkeypatch.setattr(os, "access", may)
    scan = os.scandir

    def scandir(path):
        if str(path).endswith("bee"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    refused(r"bee' cannot be read \(Permission denied\); give yourself the permission", tmp_path)


@pytest.mark.parametrize("label", [-1, 3, 2**40])
def test_label_out_of_range(tmp_path, label):
    write(tmp_path / "train.parquet", labels=[0, 1, label, 1, 2, 0])
    refused(f"label {label} in row 2 of .* outside the range 0..2 of its 3 classes;", tmp_path)


def test_negative_label_without_names(tmp_path):
    write(tmp_path / "train.parquet", labels=[0, 1, 2, 1, 2, -1], names=None)
    refused("label -1 in row 5 of .* is outside the range 0..2 of its 3 classes;", tmp_path)


def test_missing_label(tmp_path):
    write(tmp_path / "train.parquet", labels=[0, 1, 2, None, 2, 0])
    refused("row 3 of split 'train' of .* has no label; give it a label or remove", tmp_path)


# The hub


def test_hub_without_network(network_attempts, monkeypatch):
    offline = []
    load_builder = datasets.load_dataset_builder

    def load(name):
        offline.append(datasets.config.HF_HUB_OFFLINE)
        return load_builder(name)

    monkeypatch.setattr(datasets, "load_dataset_builder", load)
    message = (
        "no folder 'ylecun/mnist' here, and the Hugging Face hub cannot be reached .*; check the "
        "network, or give a local folder .*--data .*, or none at all .* the packaged MNIST subset"
    )
    refused(message, "ylecun/mnist")
    assert network_attempts
    # Online, `datasets` would try again for half a minute.
    assert offline == [True]
    assert datasets.config.HF_HUB_OFFLINE is False


def test_hub_name_without_owner(network_attempts):
    refused("no folder 'mnist' here, and the Hugging Face hub cannot be reached", "mnist")


def test_hub_name_that_does_not_exist(monkeypatch):
    def answer(self, name, *, timeout):
        raise RepositoryNotFoundError("404", response=Mock(headers={}))

    monkeypatch.setattr(HfApi, "dataset_info", answer)
    refused("no public data set of that name on the Hugging Face hub; correct the name", "me/none")


@pytest.mark.parametrize("name", ["", "no name", "a/b c"])
def test_impossible_hub_name(network_attempts, name):
    message = f"{name!r} is neither an existing folder nor a possible name on the Hugging Face hub"
    refused(message, name)
    assert not network_attempts


def test_hub_data_set_is_read(monkeypatch, tmp_path):
    write(tmp_path / "train.parquet")
    write(tmp_path / "test.parquet", cells(COLOUR), LABELS)
    load_folder = datasets.load_dataset_builder
    monkeypatch.setattr(HfApi, "dataset_info", lambda self, name, *, timeout: None)
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda name: load_folder(str(tmp_path)))
    assert split_names("me/insects") == ("train", "test")
    check(load_images("me/insects", "train"))
    check(load_images("me/insects", "test"), COLOUR)
    assert load_images("me/insects", "test").name == "me/insects test"
    refused(
        "hub data set 'me/insects' has no split 'dev'; its splits are: train", "me/insects", "dev"
    )


def test_hub_data_set_that_is_no_data_set_of_images(monkeypatch, tmp_path):
    load_folder = datasets.load_dataset_builder
    monkeypatch.setattr(HfApi, "dataset_info", lambda self, name, *, timeout: None)
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda name: load_folder(str(tmp_path)))
    refused("hub data set 'me/insects' cannot be opened .*; choose another, or give", "me/insects")


def test_cached_hub_data_set_is_read_without_network(tmp_path, network_attempts):
    files = {"train": [str(write(tmp_path / "train.parquet"))]}
    cached = Path(datasets.config.HF_DATASETS_CACHE) / "me___insects" / "default" / "0.0.0" / "0"
    builder = Parquet(cache_dir=str(tmp_path), dataset_name="insects", data_files=files)
    builder.download_and_prepare(output_dir=str(cached))
    assert split_names("me/insects") == ("train",)
    check(load_images("me/insects", "train"))
    assert network_attempts


# Image sets in memory


def image_set(labels, class_count):
    labels = np.asarray(labels, np.int32)
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None]
    return ImageSet(images, labels, tuple(map(str, range(class_count))), name="mine")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (GREY.astype(np.int32), LABELS, r"images of mine are int32 \[6, 5, 4\]; give uint8"),
        (GREY[0], LABELS, r"images of mine are uint8 \[5, 4\]; give uint8"),
        (COLOUR[..., :2], LABELS, r"images of mine are uint8 \[6, 5, 4, 2\]; give uint8"),
        (GREY[:0], [], "mine has no images; give at least one"),
        (GREY, LABELS[:5], r"labels of mine are int32 \[5\]; give int32 \[6\]"),
        (GREY, [0, 1, 2, 3, 0, 0], "label 3 in row 3 of mine is outside the range 0..2 of its 3"),
    ],
)
def test_inconsistent_image_set(images, labels, message):
    with pytest.raises(ValueError, match=message):
        ImageSet(images, np.array(labels, np.int32), NAMES, name="mine")


def test_labels_must_be_int32():
    with pytest.raises(ValueError, match=r"labels of mine are int64 \[6\]; give int32 \[6\]"):
        ImageSet(GREY, np.array(LABELS), NAMES, name="mine")


held_out = st.lists(st.integers(0, 4), min_size=2, max_size=200).flatmap(
    lambda labels: st.tuples(st.just(labels), st.integers(1, len(labels) - 1))
)


@settings(deadline=None)
@given(held_out, st.integers(0, 2**40), st.booleans())
def test_hold_out_is_a_partition_in_order(labels_and_count, seed, stratified):
    labels, count = labels_and_count
    whole = image_set(labels, 5)
    train, validation = hold_out(whole, seed=seed, count=count, stratified=stratified)
    rows = [part.images[:, 0, 0].astype(int) for part in (train, validation)]
    assert len(validation) == count
    assert sorted(np.concatenate(rows)) == list(range(len(labels)))
    for part, chosen in zip((train, validation), rows, strict=True):
        assert np.all(np.diff(chosen) > 0)
        np.testing.assert_array_equal(part.labels, np.asarray(labels)[chosen])
        assert part.class_names == whole.class_names
    assert (train.name, validation.name) == ("mine, kept", "mine, held out")
    if stratified:
        ideal = np.bincount(labels, minlength=5) * count / len(labels)
        assert np.all(np.abs(np.bincount(validation.labels, minlength=5) - ideal) < 1)


@pytest.mark.parametrize("stratified", [True, False])
def test_hold_out_depends_on_the_seed_alone(stratified):
    def draw(seed, **size):
        whole = image_set(np.arange(200) % 5, 5)
        return hold_out(whole, seed=seed, stratified=stratified, **size)[1].images.ravel().tolist()

    assert draw(1, count=50) == draw(1, count=50) == draw(1, fraction=0.25)
    assert draw(1, count=50) != draw(2, count=50)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "count=None and fraction=None do not say how much .*; give exactly one of them"),
        ({"count": 1, "fraction": 0.5}, "count=1 and fraction=0.5 do not say how much"),
        ({"count": 0}, r"holding out 0 of the 6 images of mine .*; give a count in 1..5"),
        ({"count": 6}, "holding out 6 of the 6 images"),
        ({"fraction": 0.01}, "holding out 0 of the 6 images"),
        ({"fraction": 0.0}, "fraction=0.0 is outside 0..1; give a part of the set"),
        ({"fraction": 1.0}, "fraction=1.0 is outside 0..1"),
        ({"fraction": float("nan")}, "fraction=nan is outside 0..1"),
        ({"count": 2, "seed": -1}, "seed=-1 is negative; give 0 or more"),
    ],
)
def test_hold_out_refuses_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        hold_out(image_set(LABELS, 3), **{"seed": 0, **options})


def test_threads_look_for_files_one_at_a_time(monkeypatch):
    """`datasets` deletes the lock of its progress bars while others may use it."""
    inside, most = [], []
    real = datasets.load_dataset_builder

    def watched(*arguments, **options):
        inside.append(None)
        most.append(len(inside))
        try:
            return real(*arguments, **options)
        finally:
            inside.pop()

    monkeypatch.setattr(datasets, "load_dataset_builder", watched)
    with ThreadPoolExecutor(4) as pool:
        sources = list(pool.map(open_source, [None] * 8))
    assert len({source.name for source in sources}) == 1
    assert most == [1] * 8
