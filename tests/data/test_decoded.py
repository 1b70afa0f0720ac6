"""Decoded images on disk: read once, whole or not at all, and never instead of the data."""

import errno
import multiprocessing
import os
import warnings
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from holoprop.data import ImageSet, load_images
from holoprop.data import _decoded as decoded_module

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 6, 5)).astype(np.uint8)
LABELS = np.arange(20) % 3


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "holoprop" / "images"


def write(folder: Path, images=IMAGES, labels=LABELS) -> Path:
    for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        file = folder / "train" / "abc"[label] / f"{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    return folder


def check(found: ImageSet, images=IMAGES, labels=LABELS) -> None:
    order = np.argsort(labels, kind="stable")
    np.testing.assert_array_equal(found.images, images[order])
    np.testing.assert_array_equal(found.labels, labels[order])
    assert found.class_names == ("a", "b", "c")
    assert (found.images.dtype, found.labels.dtype) == (np.uint8, np.int32)


@pytest.fixture
def decoding(monkeypatch):
    """How many images are decoded from here on."""
    opened = []
    original = Image.open
    monkeypatch.setattr(Image, "open", lambda *a, **o: opened.append(1) or original(*a, **o))
    return opened


def test_images_are_decoded_once(tmp_path, cache, decoding):
    source = write(tmp_path / "mine")
    first = load_images(source, "train")
    assert len(decoding) == 20
    second = load_images(source, "train")
    assert len(decoding) == 20
    for found in (first, second):
        check(found)
        # In memory as far as they are looked at.
        assert isinstance(found.images, np.memmap)
    (kept,) = cache.iterdir()
    assert {file.name for file in kept.iterdir()} == {"about.json", "images.npy", "labels.npy"}


def test_what_was_done_is_said_again(tmp_path):
    source = write(tmp_path / "mine")
    said = [load_images(source, "train", size=4).changes for _ in range(2)]
    assert said[0] == ("20 of 20 images of mine train cut to squares and scaled to 4 x 4",)
    assert said[1] == said[0]


def test_a_folder_of_another_name_has_a_name_of_its_own(tmp_path, decoding):
    load_images(write(tmp_path / "mine"), "train")
    (tmp_path / "mine").rename(tmp_path / "yours")
    assert load_images(tmp_path / "yours", "train").name == "yours train"
    assert len(decoding) == 20


@pytest.mark.parametrize("change", ["pixel", "label", "size"])
def test_other_contents_are_decoded_anew(tmp_path, cache, change):
    source = write(tmp_path / "mine")
    load_images(source, "train")
    images, labels = IMAGES.copy(), LABELS.copy()
    if change == "pixel":
        images[3, 2, 2] ^= 1
        Image.fromarray(images[3]).save(source / "train" / "a" / "03.png")
        check(load_images(source, "train"), images)
    elif change == "label":
        (source / "train" / "a" / "03.png").rename(source / "train" / "b" / "03.png")
        labels[3] = 1
        check(load_images(source, "train"), labels=labels)
    else:
        assert load_images(source, "train", size=3).images.shape == (20, 3, 3)
    assert len(list(cache.iterdir())) == 2


def test_a_class_that_another_split_gains_is_known(tmp_path):
    source = write(tmp_path / "mine")
    load_images(source, "train")
    file = source / "test" / "d" / "0.png"
    file.parent.mkdir(parents=True)
    Image.fromarray(IMAGES[0]).save(file)
    assert load_images(source, "train").class_names == ("a", "b", "c", "d")


@pytest.mark.parametrize("name", ["about.json", "images.npy", "labels.npy"])
@pytest.mark.parametrize("damage", ["missing", "half", "flipped", "empty"])
def test_damaged_images_are_decoded_anew(tmp_path, cache, name, damage):
    source = write(tmp_path / "mine")
    load_images(source, "train")
    (kept,) = cache.iterdir()
    file = kept / name
    content = bytearray(file.read_bytes())
    if damage == "missing":
        file.unlink()
    elif damage == "flipped":
        content[-3] ^= 4
        file.write_bytes(content)
    else:
        file.write_bytes(content[: len(content) // 2 if damage == "half" else 0])
    check(load_images(source, "train"))
    check(load_images(source, "train"))
    assert [folder.name for folder in cache.iterdir()] == [kept.name]


def test_half_of_a_folder_is_never_there(tmp_path, cache, monkeypatch):
    source = write(tmp_path / "mine")

    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(decoded_module.json, "dumps", stop, raising=True)
    with pytest.raises(KeyboardInterrupt):
        decoded_module._keep(
            cache / "key", decoded_module.Decoded(IMAGES, LABELS.astype(np.int32), ("a",), {})
        )
    assert list(cache.iterdir()) == []
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    check(load_images(source, "train"))


@pytest.mark.parametrize("fault", [errno.EROFS, errno.ENOSPC, errno.EACCES])
def test_a_folder_that_cannot_be_written_costs_a_warning(tmp_path, monkeypatch, fault):
    source = write(tmp_path / "mine")

    def fail(*arguments, **options):
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(np, "save", fail)
    with pytest.warns(UserWarning, match="cannot be kept in .*images .*decoded again"):
        check(load_images(source, "train"))
    told = []
    check(load_images(source, "train", on_warning=told.append))
    assert len(told) == 1
    assert os.strerror(fault) in told[0]


def test_a_cache_that_is_a_file_costs_a_warning(tmp_path, cache):
    cache.parent.mkdir(parents=True)
    cache.write_text("not a folder")
    told = []
    check(load_images(write(tmp_path / "mine"), "train", on_warning=told.append))
    assert len(told) == 1


def _load(source: str, waiting, queue) -> None:
    waiting.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        queue.put(load_images(source, "train").images.tobytes())


def test_processes_that_begin_at_once(tmp_path, cache):
    source = write(tmp_path / "mine")
    fresh = multiprocessing.get_context("spawn")
    waiting, queue = fresh.Barrier(2), fresh.Queue()
    both = [fresh.Process(target=_load, args=(str(source), waiting, queue)) for _ in range(2)]
    for process in both:
        process.start()
    found = {queue.get(timeout=60) for _ in both}
    for process in both:
        process.join()
    assert found == {IMAGES[np.argsort(LABELS, kind="stable")].tobytes()}
    assert len(list(cache.iterdir())) == 1


def test_parquet_files_are_kept_by_split(tmp_path, cache):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    for split in ("train", "test"):
        (tmp_path / "mine").mkdir(exist_ok=True)
        file = tmp_path / split
        Image.fromarray(IMAGES[0 if split == "train" else 1]).save(file, "PNG")
        cells = pa.array([{"bytes": file.read_bytes(), "path": None}])
        table = pa.table({"image": cells, "label": [0]}).replace_schema_metadata(
            features.arrow_schema.metadata
        )
        pq.write_table(table, tmp_path / "mine" / f"{split}.parquet")
    for _ in range(2):
        for number, split in enumerate(("train", "test")):
            found = load_images(tmp_path / "mine", split)
            np.testing.assert_array_equal(found.images[0], IMAGES[number])
    assert len(list(cache.iterdir())) == 2


def test_what_comes_with_the_package_is_not_kept(cache):
    load_images(None, "test")
    assert not cache.exists()
