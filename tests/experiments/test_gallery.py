"""`scripts/gallery.py`: what it takes into the gallery, and what it writes of it."""

import dataclasses
import importlib.util
from pathlib import Path

import pytest
from toys import squares

from holoprop.experiments import reproduce

SCRIPT = Path(__file__).parents[2] / "scripts" / "gallery.py"


@pytest.mark.parametrize("playable", [True, False])
def test_page_to_play_with_is_taken_and_linked(tmp_path, monkeypatch, playable):
    experiment = squares()
    if playable:
        text = "<p>{} squares</p>"
        experiment = dataclasses.replace(
            experiment, page=lambda config, numbers: text.format(len(numbers["values"]))
        )
    reproduce(experiment, scale="smoke", output=tmp_path / "made")
    spec = importlib.util.spec_from_file_location("gallery", SCRIPT)
    gallery = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gallery)
    monkeypatch.setattr(gallery, "experiments", lambda: {"squares": experiment})
    monkeypatch.setattr(gallery, "GALLERY", tmp_path / "gallery")
    gallery.main(tmp_path / "made")
    kept = {file.name for file in (tmp_path / "gallery" / "squares").iterdir()}
    assert kept - {"interactive.html"} == {"squares.png", "comparison.md", "config.json"}
    assert ("interactive.html" in kept) == playable
    written = (tmp_path / "gallery" / "README.md").read_text()
    assert ("(squares/interactive.html)" in written) == playable
    if playable:
        page = tmp_path / "gallery" / "squares" / "interactive.html"
        assert page.read_text() == "<p>5 squares</p>"
