"""The command line as its tests use it: called in this process, on small folders of real digits."""

import contextlib
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from holoprop.cli import main
from holoprop.data import load_images

# What a finished run leaves, and what tells its settings from any other file.
FILES = {
    *("config.json", "metrics.jsonl", "summary.json", "weights.safetensors", "curves.png"),
    *("README.md", "best.safetensors"),
}
SETTINGS = {name: {} for name in ("network", "estimator", "free", "nudged", "optimiser", "epochs")}

# A run that takes seconds, most of them to compile. With one hidden layer the equilibrium is a
# feed-forward pass; where it must be more than that, there are two.
SMALL = (
    *("--network.sizes", "784", "8", "10", "--network.weight-std", "0.1"),
    *("--epochs", "1", "--validation", "0.25"),
    *("--free", "sequential", "--free.steps", "20", "--nudged", "sequential"),
    *("--nudged.steps", "20"),
)
# Where gradients are not the point: half of a small run is their comparison with implicit ones.
CENTRED = (
    *(*SMALL, "--estimator", "centred", "--estimator.nudge", "0.4"),
    *("--checked-images", "0"),
)
TWO_LAYERS = ("--network.sizes", "784", "12", "8", "10")


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a command printed, and its exit status."""

    code: int
    out: str
    err: str


def call(*arguments: Any) -> Answer:
    """Run `holoprop ARGUMENTS`."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
    assert isinstance(code, int), code
    return Answer(code, out.getvalue(), err.getvalue())


def old_run(folder: Path) -> Path:
    """A run folder with files that look finished, and one of the user's own."""
    folder.mkdir()
    for name in FILES:
        (folder / name).write_text(f"an earlier run's {name}; library_name: holoprop")
    (folder / "config.json").write_text(json.dumps(SETTINGS))
    (folder / "notes.txt").write_text("mine")
    return folder


def parse(text: str) -> Any:
    """JSON as the standard has it, without NaN and Infinity."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def files(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder, with the bytes of those that are files."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def refuses(*arguments: Any, words: tuple[str, ...]) -> None:
    """The command ends before any training with one sentence that has these words.

    Options and names of arguments count as the same word, and all below the current folder is left
    byte for byte as it was. What is being done is said, where it takes its time; no epoch comes of
    it.
    """
    before = files(Path.cwd())
    answer = call(*arguments)
    assert answer.code != 0
    assert "epoch " not in answer.out
    assert answer.err.startswith("holoprop")
    assert answer.err.count("\n") == 1, f"not one sentence:\n{answer.err}"
    assert answer.err.endswith("\n")
    for word in words:
        assert word in answer.err.replace("_", "-"), f"{word!r} is not in {answer.err!r}"
    assert files(Path.cwd()) == before


def write_split(
    file: Path, images: np.ndarray, labels: np.ndarray, *, names: list[str] | None = None
) -> None:
    """Write a parquet file as the hub has them."""
    cells = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        cells.append({"bytes": buffer.getvalue(), "path": None})
    label = datasets.Value("int64") if names is None else datasets.ClassLabel(names=names)
    schema = datasets.Features({"image": datasets.Image(), "label": label}).arrow_schema
    columns = [pa.array(cells, schema.field(0).type), pa.array(labels, pa.int64())]
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns, schema=schema), file)


def write_digits(folder: Path, *, train: int = 160, test: int = 40) -> Path:
    """Real digits of the packaged subset: `train` images, and after them `test` images."""
    subset = load_images(None, "test")
    rows = {"train": slice(0, train), "test": slice(train, train + test)}
    names = list(subset.class_names)
    for split, part in rows.items():
        if part.stop > part.start:
            write_split(
                folder / f"{split}.parquet", subset.images[part], subset.labels[part], names=names
            )
    return folder
