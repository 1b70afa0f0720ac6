"""`holoprop reproduce`: what it prints, what it refuses, how it goes on."""

import contextlib
import io
import re

import pytest
from toys import StopError, squares

from holoprop import experiments
from holoprop.cli import main
from holoprop.experiments import experiments as real_table


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["reproduce", *arguments])
    return code, out.getvalue(), err.getvalue()


def only(monkeypatch, *table):
    monkeypatch.setattr(experiments, "experiments", lambda: {e.name: e for e in table})


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_names_every_experiment_and_scale(arguments):
    code, out, err = call(*arguments)
    assert (code, err) == (0, "")
    for name in (*real_table(), "all", *experiments.SCALES, "--output"):
        assert re.search(rf"(^|\W){name}\b", out), name


def test_command_lists_it():
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["--help"]) == 0
    assert "reproduce NAME" in out.getvalue()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fig9",), ("fig9", "fig2", "exactness", "all")),
        (("fig2", "--scale", "huge"), ("huge", "smoke", "quick", "paper")),
        (("fig2", "--scales", "smoke"), ("--scales",)),
        (("fig2", "fig3"), ("fig3",)),
        (("fig2", "--output"), ("--output",)),
    ],
)
def test_what_is_not_known_is_refused_in_one_sentence(folder, arguments, words):
    code, out, err = call(*arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("holoprop reproduce: ")
    assert err.count("\n") == 1
    assert [word for word in words if word not in err] == []
    assert list(folder.iterdir()) == []


def test_output_that_is_a_file_is_refused(folder, monkeypatch):
    only(monkeypatch, squares())
    (folder / "mine.txt").write_text("mine")
    code, _, err = call("squares", "--scale", "smoke", "--output", "mine.txt")
    assert code == 1
    assert "mine.txt" in err
    assert (folder / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["squares", "all"])
def test_it_leaves_a_folder_and_says_where(folder, monkeypatch, name):
    only(monkeypatch, squares())
    code, out, err = call(name, "--scale", "smoke")
    assert (code, err) == (0, "")
    assert "runs/reproduce-smoke/squares" in out
    assert "the squares stay small" in out.replace("\n", " ")
    assert (folder / "runs" / "reproduce-smoke" / "squares" / "squares.png").exists()


def test_a_claim_that_fails_says_so(monkeypatch):
    only(monkeypatch, squares(limit=1.0))
    code, out, _ = call("squares", "--scale", "smoke")
    assert code == 0
    assert "NO" in out


def test_interruption_says_how_to_go_on(monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    only(monkeypatch, squares())
    monkeypatch.setattr(experiments, "reproduce", interrupted)
    code, _, err = call("squares", "--scale", "smoke")
    assert code == 130
    assert err == "holoprop reproduce: interrupted; the same command goes on where it stopped.\n"


def test_it_goes_on_where_it_stopped(monkeypatch):
    only(monkeypatch, squares(stop_at=3))
    with pytest.raises(StopError):
        call("squares", "--scale", "smoke")
    seen = []
    only(monkeypatch, squares(seen=seen))
    assert call("squares", "--scale", "smoke")[0] == 0
    assert seen == [3, 4]
