"""What the pages tell a reader to type is understood; the how-to pages' commands do their work."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from test_docs import PAGES, ROOT, name_of

from holoprop import cli, experiments, runs

# What stands for a reader's own.
OWN = {"FOLDER": "images", "RUN": "run", "NEW": "new", "NAME": "fig5", "owner/name": "someone/net"}
FENCED = re.compile(r"^```(\w+)(?: title=\"(\S+?)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRAMS = ("holoprop", "make", "python", "pip")


def fenced(page):
    """Language, title and text of every block."""
    return FENCED.findall(page.read_text(encoding="utf-8"))


def commands(page):
    """Every command that a page names: in blocks, fenced or indented, and in running text."""
    text = page.read_text(encoding="utf-8")
    lines = [
        line
        for language, _, block in fenced(page)
        if language == "sh"
        for line in block.replace("\\\n", "").splitlines()
    ]
    prose = FENCED.sub("", text)
    # What an indented command does stands beside it, two spaces off.
    lines += [
        line.strip().split("  ")[0] for line in re.findall(r"^    \S.*$", prose, re.MULTILINE)
    ]
    spans = [" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose)]
    # One that is only named there has its arguments elsewhere.
    lines += [re.sub(r"^(holoprop [a-z]+)$", r"\1 --help", span) for span in spans]
    return [line for line in lines if line.split(" ")[0] in PROGRAMS]


def words_of(command):
    """A command's words, without optional ones, and with names for what is a reader's own."""
    command = re.sub(r"\[.*?\]", "", command).replace("...", "")
    for placeholder, own in OWN.items():
        command = re.sub(rf"\b{placeholder}\b", own, command)
    return shlex.split(command)


COMMANDS = sorted({command for page in PAGES for command in commands(page)})


class _NotRunError(RuntimeError):
    """In the place of the work."""


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_is_executed(page):
    """Python by its prompt, or as a file of the page's commands; the README has output, too."""
    for language, title, block in fenced(page):
        assert (
            (language == "python" and (title or block.startswith(">>> ")))
            or language == "sh"
            or (language == "text" and page.name == "README.md")
        ), block


def test_commands_are_found():
    assert "holoprop train --data FOLDER --data.size 28" in COMMANDS
    assert "make test-slow" in COMMANDS
    assert "holoprop tune mnist-hep" in COMMANDS


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("holoprop")])
def test_command_is_understood(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def stop(*arguments, **options):
        raise _NotRunError("not run")

    names = ("train", "resume", "evaluate", "predict", "report", "push", "tune", "sweep")
    for name in (*names, "train_seeds", "resume_seeds", "slurm_jobs", "local_jobs"):
        monkeypatch.setattr(runs, name, stop)
    monkeypatch.setattr(runs, "read_config_file", lambda file: runs.TrainConfig())
    monkeypatch.setattr(experiments, "reproduce", stop)
    code = cli.main(words_of(command)[1:])
    told = capsys.readouterr()
    # Either it came to the work, or there was help or a list to print.
    assert (code == 1 and "not run" in told.err) or (code == 0 and told.out), told.err


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("make")])
def test_target_is_there(command):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in command.split()[1:]:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("python")])
def test_program_is_there(command):
    words = command.split()
    name = words[2] + "/__main__.py" if words[1] == "-m" else words[1]
    assert (ROOT / name).is_file()


# Done as they stand


def scripts(page):
    return "\n".join(block for language, _, block in fenced(page) if language == "sh")


HOWTO = [page for page in PAGES if page.parent.name == "howto" and scripts(page)]


@pytest.mark.slow
@pytest.mark.parametrize("page", HOWTO, ids=name_of)
def test_commands_of_a_page_run(page, tmp_path):
    for _, title, text in fenced(page):
        if title:
            (tmp_path / title).write_text(text, encoding="utf-8")
    program = tmp_path / "bin" / "holoprop"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m holoprop "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        # Nearly all of such small runs is compilation.
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    done = subprocess.run(
        ["sh", "-euc", scripts(page)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for output in re.findall(r"--output (\S+)", scripts(page)):
        assert list(Path(tmp_path, output).iterdir())
