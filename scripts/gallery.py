"""Take pictures and comparisons into docs/gallery from what `holoprop reproduce` left.

holoprop reproduce all --output FOLDER && python scripts/gallery.py FOLDER
"""

import json
import shutil
import sys
from pathlib import Path

from holoprop.experiments import experiments

GALLERY = Path(__file__).parents[1] / "docs" / "gallery"
PAGE = "interactive.html"
HEAD = """# Gallery

Figures and tables of the paper, and pictures beyond it, each by one command:

    holoprop reproduce NAME [--scale smoke|quick|paper] [--output FOLDER]

It leaves the picture as PNG and SVG, its numbers as JSON, its configuration, and a page that checks
the paper's claims by those numbers; of Figure 2 a page to play with, too. The captions here say
exactly what was run; the claims stand on the page of each picture, those that fail among them. This
page and the files beside it are made by `scripts/gallery.py` from such folders.
"""


def main(source: Path) -> None:
    """Copy what is there, and write the page."""
    parts = [HEAD]
    for name, experiment in experiments().items():
        folder, kept = source / name, GALLERY / name
        if (folder / "comparison.md").exists():
            kept.mkdir(parents=True, exist_ok=True)
            page = [] if experiment.page is None else [PAGE]
            for file in (f"{name}.png", "comparison.md", "config.json", *page):
                shutil.copyfile(folder / file, kept / file)
        if not (kept / "comparison.md").exists():
            continue
        lines = (kept / "comparison.md").read_text(encoding="utf-8").splitlines()
        scale = json.loads((kept / "config.json").read_text(encoding="utf-8"))["scale"]
        parts += [
            f"## {experiment.title}",
            "",
            f"![{experiment.title}]({name}/{name}.png)",
            "",
            f"`holoprop reproduce {name} --scale {scale}`. {lines[2]}",
            "",
            f"{lines[4]} [Its claims, one by one]({name}/comparison.md).",
            "",
        ]
        if (kept / PAGE).exists():
            parts += [
                f"[The same to play with]({name}/{PAGE}): a circle of nudges to drag, live.",
                "",
            ]
    (GALLERY / "README.md").write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
