"""A stranger's images: folders of classes, of all sizes and modes, splits of their own."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from terminal import CENTRED, call, parse, refuses, write_digits, write_split

from holoprop.data import load_images
from holoprop.runs import presets

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "compiled_quickly")
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def stored(pixels: np.ndarray, number: int) -> tuple[Image.Image, str, dict]:
    """A digit as people keep pictures: grey, in colour, transparent, deep, turned, of any size."""
    image = Image.fromarray(255 - pixels)
    match number % 6:
        case 0:
            return image.convert("RGB").resize((40, 40)), "jpg", {}
        case 1:
            layers = Image.new("RGBA", image.size, "black")
            layers.putalpha(Image.fromarray(pixels))
            return layers, "png", {}
        case 2:
            return image.convert("P"), "gif", {}
        case 3:
            return Image.fromarray((255 - pixels).astype(np.uint16) * 257), "png", {}
        case 4:
            exif = Image.Exif()
            exif[0x0112] = 6
            return image.transpose(Image.Transpose.ROTATE_90), "png", {"exif": exif}
        case _:
            return image.resize((56, 42)), "bmp", {}


def write_folders(folder: Path, split: str, *, first: int, count: int) -> None:
    subset = load_images(None, "test")
    for number in range(first, first + count):
        image, kind, options = stored(subset.images[number], number)
        file = folder / split / WORDS[subset.labels[number]] / f"{number}.{kind}"
        file.parent.mkdir(parents=True, exist_ok=True)
        image.save(file, **options)


def test_folder_of_images_of_all_kinds_trains():
    write_folders(Path("mine"), "train", first=0, count=160)
    write_folders(Path("mine"), "test", first=160, count=60)
    answer = call("train", "--data", "mine", "--data.size", 28, *CENTRED, "--output", "run")
    assert (answer.code, answer.err) == (0, "")
    said = answer.out
    for words in (
        "26 of 160 images of mine train turned upright",
        "27 of 160 images of mine train brought from 16 bits to 8",
        "27 of 160 images of mine train laid on white",
        "53 of 160 images of mine train cut to squares and scaled to 28 x 28",
        "all images of mine train made grey, as the network takes them",
    ):
        assert said.count(words) == 1, words
    summary = parse(Path("run/summary.json").read_text())
    assert summary["data"]["classes"] == sorted(WORDS)
    # Black on white, whatever the file: the same digit looks the same to the network.
    some = load_images("mine", "train", size=28)
    assert np.all(some.images[:, :2].mean(axis=(1, 2, 3)) > 200)
    answer = call("evaluate", "run")
    assert answer.out.startswith(f"test  error {100 * summary['test_error']:.2f} %")
    file = next(Path("mine/test/seven").iterdir())
    assert call("predict", "run", file).out.split()[1] in WORDS


def test_size_is_proposed():
    write_folders(Path("mine"), "train", first=0, count=40)
    refuses("train", "--data", "mine", words=("height and width", "--data.size"))
    blank = np.zeros((20, 8, 8), np.uint8)
    write_split(Path("small/train.parquet"), blank, np.arange(20) % 10)
    refuses("train", "--data", "small", words=("(8, 8)", "--data.size 28"))
    refuses("train", "--data", "small", "--data.size", 0, words=("--data.size must be 1", "got 0"))
    vgg = ("--network", "vgg")
    refuses("train", "--data", "small", *vgg, words=("(8, 8, 1)", "--data.size 32"))


def test_columns_are_named_by_options(tmp_path):
    refuses("train", "--data.image", "photo", words=("none is called 'photo'", "--data.image"))
    refuses("train", "--data.label", "kind", words=("none is called 'kind'", "--data.label"))


def test_test_split_with_its_classes_in_another_order():
    write_digits(Path("same"))
    subset = load_images("same", "test")
    shutil.copytree("same", "swapped")
    names = list(reversed(subset.class_names))
    write_split(Path("swapped/test.parquet"), subset.images, 9 - subset.labels, names=names)
    summaries = []
    for data in ("same", "swapped"):
        answer = call("train", "--data", data, *CENTRED, "--output", f"run-{data}")
        assert answer.code == 0, answer.err
        summaries.append(parse(Path(f"run-{data}/summary.json").read_text()))
    for name in ("test_error", "test_loss", "weights_sha256"):
        assert summaries[0][name] == summaries[1][name]


def test_test_split_without_labels():
    write_digits(Path("mine"))
    write_split(Path("mine/test.parquet"), load_images("mine", "test").images, np.full(40, -1))
    answer = call("train", "--data", "mine", *CENTRED, "--output", "run")
    assert (answer.code, answer.err) == (0, "")
    assert "so there will be no test." in answer.out
    assert "test_error" not in parse(Path("run/summary.json").read_text())
    words = ("has no labels", "share of the training split")
    refuses("train", "--data", "mine", *CENTRED, "--validation", 0, words=words)


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
@pytest.mark.quick("val")
def test_validation_split_of_ones_own(name):
    write_digits(Path("mine"), train=160, test=40)
    shutil.copy("mine/test.parquet", f"mine/{name}.parquet")
    answer = call("train", "--data", "mine", *CENTRED, "--output", "run")
    assert answer.code == 0, answer.err
    assert "mine train: 160 training and 40 validation images" in answer.out
    assert "Validated on the data's own 40 validation images." in answer.out
    summary = parse(Path("run/summary.json").read_text())
    assert summary["validation_error"] == summary["test_error"]


def test_presets_take_what_they_say():
    assert presets()["cifar10-hep"].config.data.source == "uoft-cs/cifar10"
