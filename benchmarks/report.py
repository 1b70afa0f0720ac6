"""The results as JSON, and as the Markdown table of the README."""

import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

from benchmarks.machine import describe
from benchmarks.rows import Row

_ROOT = Path(__file__).parents[1]
# Results of an earlier run are no change of what is measured.
_MEASURED = ("src", "benchmarks", ":!benchmarks/results")
_MET = {True: "yes", False: "no", None: ""}


def _git(*arguments: str) -> str | None:
    """What git says of this checkout, or None where there is no git or no checkout."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=_ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def opening() -> dict[str, Any]:
    """What stands above the rows: command, commit, date, machine and versions."""
    return {
        "command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--", *_MEASURED)),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": describe(),
    }


def _table(head: dict[str, Any], rows: list[Row]) -> str:
    machine = head["machine"]
    commit = (head["commit"] or "unknown")[:12] + (
        " with changes" if head["uncommitted_changes"] else ""
    )
    lines = [
        f"{machine['processor']}, {machine['processors']} processors, {machine['memory_gb']} GB, "
        f"JAX device {machine['device']}; a float32 matrix product reaches "
        f"{machine['product_gflops']:.0f} GFLOP/s. JAX {machine['versions']['jax']}, Python "
        f"{machine['versions']['python']}; commit {commit}; {head['date'][:10]}; "
        f"`{head['command']}`. Medians of interleaved runs.",
        "",
        "| what | asked | measured | met |",
        "|---|---|---|---|",
    ]
    for row in rows:
        cells = (row.what, row.asked, row.measured, _MET[row.met])
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def write(folder: Path, head: dict[str, Any], groups: dict[str, list[Row]]) -> Path:
    """Write what has been measured so far, named after JAX's backend; returns the table's path."""
    folder.mkdir(parents=True, exist_ok=True)
    name = jax.default_backend()
    listed = [
        {
            "group": group,
            "what": row.what,
            "asked": row.asked,
            "measured": row.measured,
            "met": row.met,
            "data": row.data,
        }
        for group, rows in groups.items()
        for row in rows
    ]
    record = head | {"rows": listed}
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    path = folder / f"{name}.md"
    path.write_text(_table(head, [row for rows in groups.values() for row in rows]))
    return path
