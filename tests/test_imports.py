"""Imports inside the library point one way, downwards in the order of its design."""

import ast
import graphlib
from pathlib import Path

import pytest

import holoprop

SOURCE = Path(holoprop.__file__).parent
# From the ground up; a module may import from its own row and from those above it.
ROWS = [
    {"_types", "_tree", "_segment", "_checks"},
    {"_activations", "_pooling", "_costs"},
    {"_linear_maps", "_couplings"},
    {"_dynamics", "_energy", "_layered_dynamics", "_layered", "_hopfield", "_builders"},
    {"_problem"},
    {"_relaxation", "_tolerance", "_steppers", "_anderson"},
    {"_crowd", "_walk", "_stages", "_turns", "_settle", "_relax"},
    {"_estimator", "_readings", "_phased", "_online", "_references", "_microbatches"},
    {"_value_and_grad", "_equilibrium"},
    {"_alignment", "_holomorphy", "_stability"},
    {"__init__"},
    {"data", "training"},
    {"cli"},
]
RANK = {unit: rank for rank, row in enumerate(ROWS) for unit in row}


def modules():
    """Every module's dotted name below the package, and its file."""
    for path in sorted(SOURCE.rglob("*.py")):
        yield ".".join(path.relative_to(SOURCE).with_suffix("").parts), path


def unit(module):
    """A module of the library itself, or the subpackage that it belongs to."""
    return module.split(".")[0]


def imported(path):
    """What a file imports from this package, wherever in the file it does."""
    known = {name for name, _ in modules()}
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
            parts = rest.split(".") if rest else []
            # The longest part of the name that is a module; the rest is something in it.
            while parts and ".".join(parts) not in known:
                if ".".join([*parts, "__init__"]) in known:
                    parts.append("__init__")
                    break
                parts.pop()
            yield ".".join(parts) or "__init__"


IMPORTS = {name: set(imported(path)) for name, path in modules()}


def test_every_module_has_its_row():
    assert {unit(name) for name in IMPORTS} == set(RANK)


@pytest.mark.parametrize("module", IMPORTS)
def test_imports_point_downwards(module):
    upwards = {name for name in IMPORTS[module] if RANK[unit(name)] > RANK[unit(module)]}
    assert not upwards


def test_no_cycles():
    tuple(graphlib.TopologicalSorter(IMPORTS).static_order())


def test_data_stands_alone():
    """Data sets know nothing of networks."""
    for module in IMPORTS:
        if unit(module) == "data":
            assert {unit(name) for name in IMPORTS[module]} <= {"data"}


def test_the_library_is_found():
    """The parser sees what there is to see."""
    assert "_dynamics" in IMPORTS["_energy"]
    assert {"_energy", "data.__init__", "training._step"} <= IMPORTS["training._fit"]
    assert "__init__" in IMPORTS["cli._train"]
