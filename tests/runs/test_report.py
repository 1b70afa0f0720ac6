"""The page on runs: everything in it, nothing from elsewhere."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from chromium import installed
from terminal import CENTRED, TWO_LAYERS, call, refuses, write_digits

from holoprop.runs import report


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs that differ in their seed, one of them not ended."""
    folder = tmp_path_factory.mktemp("runs")
    digits = write_digits(folder / "digits")
    made = []
    for seed, name in ((0, "one & <first>"), (1, "other")):
        path = folder / name
        arguments = ("--data", digits, *CENTRED, *TWO_LAYERS, "--epochs", 2, "--seed", seed)
        answer = call("train", *arguments, "--checked-images", 8, "--output", path)
        assert answer.code == 0, answer.err
        made.append(path)
    (made[1] / "summary.json").unlink()
    return made


class Page(HTMLParser):
    """What stands in a page, and whether every element that is opened is closed."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.words, self.sources, self.count = [], [], [], {}
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1
        self.sources += [v for k, v in attrs if k in ("src", "href", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1
        self.sources += [v for k, v in attrs if k in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_page_holds_everything(runs, tmp_path):
    path = report(runs, tmp_path / "report.html")
    page = Page(path.read_text(encoding="utf-8"))
    assert page.count["svg"] == 2
    assert page.count["img"] == 40
    # Nothing is fetched: images lie in the page, and figures refer to their own parts.
    assert page.sources
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in page.sources)
    assert "script" not in page.count
    text = " ".join(page.words)
    for words in ("one & <first>", "other (not ended)", "2 of 2", "seed", "processors", "epochs"):
        assert words in text
    (differences,) = re.findall(r"<tr><th>setting</th>.*?</table>", path.read_text(), re.S)
    assert re.findall(r"<tr><td>(.*?)</td>", differences) == ["output", "seed"]


def test_page_is_the_same_again(runs, tmp_path):
    first, second = (report(runs, tmp_path / name).read_text() for name in ("a.html", "b.html"))
    strip = re.compile(r'id="[^"]*"|#[\w]+|url\([^)]*\)')
    assert strip.sub("", first) == strip.sub("", second)


def test_page_does_without_what_is_lost(runs, tmp_path):
    run = Path(shutil.copytree(runs[0], tmp_path / "run"))
    (run / "weights.safetensors").unlink()
    text = report([run], tmp_path / "report.html").read_text(encoding="utf-8")
    assert "No images: there are no weights" in text
    assert "<img" not in text


def test_report_replaces_reports_alone(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = call("report", runs[0])
    assert (answer.code, answer.out) == (0, "Report: report.html\n")
    assert call("report", runs[1]).code == 0
    Path("notes.html").write_text("mine")
    refuses("report", runs[0], "--output", "notes.html", words=("notes.html", "is no report"))
    refuses("report", runs[0], "--output", ".", words=("is no report",))
    refuses("report", "nowhere", words=("no run at nowhere",))
    refuses("report", words=("RUN",))
    (tmp_path / "begun").mkdir()
    shutil.copy(runs[0] / "config.json", "begun/config.json")
    refuses("report", "begun", words=("has not ended an epoch yet",))


def test_page_is_drawn_by_a_browser(runs, tmp_path):
    browser = installed()
    path = report(runs, tmp_path / "report.html")
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")
    picture = tmp_path / "page.png"
    run = subprocess.run(
        [
            *(browser, *options, f"--user-data-dir={tmp_path / 'browser'}"),
            *("--enable-logging=stderr", "--window-size=1100,3000"),
            *(f"--screenshot={picture}", path.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert picture.stat().st_size > 30_000
    assert "CONSOLE" not in run.stderr
