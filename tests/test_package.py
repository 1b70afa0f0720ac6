"""The package as a whole: what it exports, documents, carries along, and says of itself."""

import ast
import dataclasses
import enum
import importlib
import importlib.metadata
import importlib.resources
import inspect
import re
import tomllib
from pathlib import Path

import pytest

import holoprop

ROOT = Path(__file__).parents[1]
SOURCE = sorted((ROOT / "src" / "holoprop").rglob("*.py"))
PACKAGES = ("holoprop", "holoprop.data", "holoprop.training")
PUBLIC = [
    (package, name) for package in PACKAGES for name in importlib.import_module(package).__all__
]


# Names


@pytest.mark.parametrize("package", PACKAGES)
def test_exports_are_sorted_and_there(package):
    module = importlib.import_module(package)
    assert module.__all__ == sorted(set(module.__all__))
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_exports_are_the_only_public_names(package):
    module = importlib.import_module(package)
    others = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert others - set(module.__all__) == set()


# Docstrings


def own_docstring(thing):
    """The docstring that is the thing's own, not an ancestor's or one made by `dataclass`."""
    text = thing.__dict__.get("__doc__") if inspect.isclass(thing) else thing.__doc__
    if text is None or text.startswith(f"{thing.__name__}("):
        return ""
    return inspect.cleandoc(text)


def is_constructed(thing):
    """Whether users make one themselves: its docstring then names arguments, not attributes."""
    return (
        inspect.isclass(thing)
        and not issubclass(thing, enum.Enum)
        and not thing.__name__.startswith("Abstract")
    )


def parameters(thing):
    """What a call takes; for classes, a field of a dataclass counts as one."""
    if inspect.isclass(thing):
        if "__init__" in vars(thing) and not dataclasses.is_dataclass(thing):
            return [name for name in inspect.signature(thing).parameters if name != "self"]
        try:
            return list(inspect.signature(thing).parameters)
        except ValueError:
            return []
    return list(inspect.signature(thing).parameters)


@pytest.mark.parametrize(("package", "name"), PUBLIC)
def test_public_docstring_opens_with_one_line(package, name):
    text = own_docstring(getattr(importlib.import_module(package), name))
    assert text, "no docstring"
    line, *rest = text.splitlines()
    assert line.endswith((".", ":"))
    assert not rest or rest[0] == ""


@pytest.mark.parametrize(("package", "name"), PUBLIC)
def test_public_docstring_names_every_argument(package, name):
    thing = getattr(importlib.import_module(package), name)
    text = own_docstring(thing)
    if inspect.isclass(thing) and not is_constructed(thing):
        return
    names = parameters(thing)
    headings = ("Arguments:", "Attributes:") if inspect.isclass(thing) else ("Arguments:",)
    if names:
        assert any(f"\n{heading}\n" in text for heading in headings)
    missing = [n for n in names if not re.search(rf"^ +{n}(, \w+)*:", text, re.MULTILINE)]
    assert missing == []


@pytest.mark.parametrize(("package", "name"), PUBLIC)
def test_public_docstring_has_an_example(package, name):
    thing = getattr(importlib.import_module(package), name)
    text = own_docstring(thing)
    # Abstract classes, enumerations and results (attributes alone) are shown where they are used.
    if inspect.isclass(thing) and (not is_constructed(thing) or "\nAttributes:\n" in text):
        return
    assert "\nExample:\n" in text
    assert re.search(r"^ +>>> ", text, re.MULTILINE)


# Files


def test_package_is_typed():
    assert importlib.resources.files("holoprop").joinpath("py.typed").is_file()


def test_packaged_images_are_found_and_small():
    folder = importlib.resources.files("holoprop.data").joinpath("mnist_subset")
    parquet = {file.name: file.read_bytes() for file in folder.iterdir() if "parquet" in file.name}
    assert set(parquet) == {"train.parquet", "test.parquet"}
    assert sum(map(len, parquet.values())) <= 3_000_000


def test_wheel_holds_the_whole_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel == {"packages": ["src/holoprop"]}
    assert "exclude" not in project["tool"]["hatch"]["build"]
    # Hatchling leaves out what git ignores.
    ignored = (ROOT / ".gitignore").read_text()
    assert "parquet" not in ignored
    assert "data" not in ignored
    assert project["project"]["scripts"] == {"holoprop": "holoprop.cli:main"}


def imports(file):
    """The top-level packages that a file imports."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("module", ["torch", "pickle", "tensorflow"])
def test_no_file_imports(module):
    assert SOURCE
    assert [str(file) for file in SOURCE if module in imports(file)] == []


def test_third_party_imports_are_dependencies():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    lines = [*project["dependencies"], *extras]
    declared = {re.split(r"[><=~ \[]", line)[0].lower() for line in lines}
    packages = importlib.metadata.packages_distributions()
    standard = importlib.import_module("sys").stdlib_module_names
    found = {name for file in SOURCE for name in imports(file)} - standard - {"holoprop"}
    undeclared = {
        # What is an extra need not be installed.
        n
        for n in found
        if not {d.lower() for d in packages.get(n, [n])} & declared
    }
    assert undeclared == set()


# What it says of itself


def test_versions_agree():
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    cited = re.search(r"^version: (\S+)", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert newest is not None
    assert cited is not None
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {newest[1], cited[1], declared} == {holoprop.__version__}


def test_citation_names_the_paper():
    text = (ROOT / "CITATION.cff").read_text()
    assert text.startswith("cff-version: 1.2.0\n")
    for words in ("Laborieux", "Zenke", "year: 2022", "Holomorphic Equilibrium Propagation"):
        assert words in text


def test_licence_is_apache():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0"
    assert project["requires-python"] == ">=3.11"
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert "license: Apache-2.0" in (ROOT / "CITATION.cff").read_text()
