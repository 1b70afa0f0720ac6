"""The pages point to what is there, are all to be found, and show every public name."""

import importlib
import re
from pathlib import Path

import pytest
import yaml

import holoprop

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
REFERENCE = sorted(set((DOCS / "api").glob("*.md")) - {DOCS / "api" / "README.md"})


def name_of(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files(page):
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", [*PAGES, DOCS / "llms.txt", ROOT / "mkdocs.yml"], ids=name_of)
def test_pages_name_no_address(page):
    assert "http" not in page.read_text(encoding="utf-8")


def test_pictures_are_small():
    pictures = [*DOCS.rglob("*.png"), *DOCS.rglob("*.svg")]
    assert pictures
    assert [picture for picture in pictures if picture.stat().st_size > 300_000] == []


# The site's order and its summary


def pages_of(nav):
    """The files that a table of contents names."""
    for entry in nav:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            if isinstance(value, list):
                yield from pages_of(value)
            else:
                yield value


def test_every_page_has_its_place():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    pages = sorted(str(page.relative_to(DOCS)) for page in PAGES if page != ROOT / "README.md")
    assert sorted(pages_of(nav)) == pages


def test_summary_lists_every_page():
    text = (DOCS / "llms.txt").read_text(encoding="utf-8")
    assert re.match(r"# holoprop\n\n> .+\n", text)
    links = re.findall(r"^- \[.+?\]\((.+?)\): .+$", text, re.MULTILINE)
    built = (str(page.relative_to(DOCS)) for page in PAGES if page != ROOT / "README.md")
    assert sorted(links) == sorted(
        page.replace("README.md", "index.md").removesuffix(".md") + ".html" for page in built
    )


# Reference


def shown_on(page):
    """The names that a page of the reference shows, each with the module that it is taken from."""
    module = None
    for line in page.read_text(encoding="utf-8").splitlines():
        if found := re.fullmatch(r"::: ([\w.]+)", line):
            module = found[1]
            # A name by itself, or the module whose members follow.
            if module.rpartition(".")[2][0].isupper():
                yield tuple(module.rpartition(".")[::2])
        elif found := re.fullmatch(r" +- (\w+)", line):
            yield module, found[1]


def test_every_public_name_is_shown_once():
    shown = [entry for page in REFERENCE for entry in shown_on(page)]
    objects = [getattr(importlib.import_module(module), name) for module, name in shown]
    public = [getattr(holoprop, name) for name in holoprop.__all__]
    assert [
        name
        for name, thing in zip(holoprop.__all__, public, strict=True)
        if sum(thing is other for other in objects) != 1
    ] == []
    assert len({id(thing) for thing in objects}) == len(objects)


@pytest.mark.parametrize("package", ["data", "training", "diagnostics"])
def test_packages_of_names_for_users_are_shown_whole(package):
    page = DOCS / "api" / f"{package}.md"
    exported = importlib.import_module(f"holoprop.{package}").__all__
    assert sorted(name for _, name in shown_on(page)) == sorted(exported)
