"""python scripts/make_mnist_subset.py MNIST_FOLDER

Makes the MNIST subset that comes with holoprop, from a folder that holds the full set as
train.parquet and test.parquet. Takes about 5 seconds on one core. Writes train.parquet (1,000
images of each class, from the training split), and test.parquet (200 of each class, from the test
split), 2.1 MB together, to src/holoprop/data/mnist_subset; the same bytes each time with the same
versions of numpy, Pillow and pyarrow.
"""

import argparse
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

IMAGES_PER_CLASS = {"train": 1000, "test": 200}
SEED = 0
ZSTD_LEVEL = 19
OUTPUT = Path(__file__).parents[1] / "src" / "holoprop" / "data" / "mnist_subset"


def drawn_rows(labels: np.ndarray, per_class: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of `per_class` random examples of each class, in random order."""
    rows = [
        rng.choice(np.flatnonzero(labels == label), per_class, replace=False)
        for label in np.unique(labels)
    ]
    return rng.permutation(np.concatenate(rows))


def stored_png(encoded: bytes) -> bytes:
    """The same image as a PNG without compression of its own.

    Zstandard over many such images makes a file a third smaller than one of optimised PNGs.
    """
    with Image.open(io.BytesIO(encoded)) as image:
        buffer = io.BytesIO()
        image.save(buffer, "png", compress_level=0)
    return buffer.getvalue()


def subset(table: pa.Table, per_class: int, rng: np.random.Generator) -> pa.Table:
    """A subset of a split, with the schema of the split."""
    drawn = table.take(drawn_rows(table["label"].to_numpy(), per_class, rng))
    cells = [
        {"bytes": stored_png(cell["bytes"]), "path": cell["path"]}
        for cell in drawn["image"].to_pylist()
    ]
    images = pa.array(cells, table.schema.field("image").type)
    return pa.table([images, drawn["label"]], schema=table.schema)


def main() -> None:
    """Read the folder named on the command line and write the subset."""
    parser = argparse.ArgumentParser(description="Make the packaged subset of MNIST.")
    parser.add_argument("folder", type=Path, help="holds train.parquet and test.parquet")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="default: %(default)s")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for split, per_class in IMAGES_PER_CLASS.items():
        table = pq.read_table(arguments.folder / f"{split}.parquet", columns=["image", "label"])
        file = arguments.output / f"{split}.parquet"
        drawn = subset(table, per_class, np.random.default_rng(SEED))
        # No dictionary: no two images are equal.
        pq.write_table(
            drawn, file, compression="zstd", compression_level=ZSTD_LEVEL, use_dictionary=False
        )
        print(f"{file}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
