"""Imports point one way, downwards in the order of the packages, and never into their insides."""

import ast
import graphlib
from pathlib import Path

import pytest

import holoprop

SOURCE = Path(holoprop.__file__).parent
ROOT = Path(__file__).parents[1]
# From the ground up. A package may import from those above it in this list.
ROWS = [
    {"_types", "_tree", "_checks", "_quadrature", "_platform", "_varying"},
    {"nn"},
    {"energies"},
    {"relaxation"},
    {"estimators"},
    {"_value_and_grad", "_equilibrium"},
    {"diagnostics"},
    {"__init__"},
    {"data", "training"},
    {"runs"},
    {"experiments"},
    {"cli"},
    {"__main__"},
]
RANK = {name: rank for rank, row in enumerate(ROWS) for name in row}
# What a package opens with is for everyone; every other file is its own.
HELPERS = ROWS[0]


def module_names():
    """Every module's dotted name below the package, and its file."""
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" and parts[:-1] else parts), path


KNOWN = dict(module_names())


def package(module):
    """The package that a module belongs to, or a file of the library itself."""
    return module.split(".")[0]


def imported(path):
    """What a file imports from this library, wherever in the file it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: a relative import"
            assert node.module is not None
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            first, _, rest = name.partition(".")
            if first != "holoprop":
                continue
            # The longest part of the name that is a module; what follows is something in it.
            parts = rest.split(".") if rest else []
            while parts and ".".join(parts) not in KNOWN:
                parts.pop()
            yield ".".join(parts) or "__init__"


IMPORTS = {name: set(imported(path)) - {name} for name, path in KNOWN.items()}


def test_every_package_has_its_row():
    assert {package(name) for name in IMPORTS} == set(RANK)


@pytest.mark.parametrize("module", IMPORTS)
def test_imports_point_downwards(module):
    upwards = {name for name in IMPORTS[module] if RANK[package(name)] > RANK[package(module)]}
    assert not upwards


@pytest.mark.parametrize("module", IMPORTS)
def test_no_package_imports_the_inside_of_another(module):
    inside = {
        name
        for name in IMPORTS[module]
        if package(name) != package(module) and "." in name and package(name) not in HELPERS
    }
    assert not inside


def test_no_cycles():
    # A package's own files import each other, never the package as a whole.
    tuple(graphlib.TopologicalSorter(IMPORTS).static_order())


@pytest.mark.parametrize("folder", ["benchmarks", "examples", "scripts"])
def test_what_stands_beside_uses_what_is_exported(folder):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    private = {
        f"{path.name}: {name}"
        for path in files
        for name in imported(path)
        if any(part.startswith("_") and part != "__init__" for part in name.split("."))
    }
    assert not private


def test_data_stands_alone():
    """Data sets know nothing of networks."""
    for module in IMPORTS:
        if package(module) == "data":
            assert {package(name) for name in IMPORTS[module]} <= {"data"}


@pytest.mark.parametrize(
    "name", [name for name in sorted(KNOWN) if name in RANK and "_" not in name]
)
def test_every_package_says_what_lives_in_it(name):
    """In a few lines: what lives there, what it may import, what belongs elsewhere."""
    text = ast.get_docstring(ast.parse(KNOWN[name].read_text()))
    assert text is not None
    assert 4 <= len(text.splitlines()) <= 12
    assert "import" in text
    assert "belong" in text


def test_files_are_short():
    lengths = {name: len(path.read_text().splitlines()) for name, path in KNOWN.items()}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_the_library_is_found():
    """The parser sees what there is to see."""
    assert "energies._dynamics" in IMPORTS["energies._numerics"]
    assert {"energies", "relaxation"} <= IMPORTS["estimators._implicit"]
    assert "__init__" in IMPORTS["runs._train"]
