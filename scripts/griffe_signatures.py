"""What `make docs` must be told of the source to show it: see `mkdocs.yml`."""

import dataclasses
import enum
import importlib
import inspect
import re
from typing import Any

import griffe


class Signatures(griffe.Extension):
    """Constructors that Equinox makes while running, and docstrings that are Markdown."""

    def on_package(self, *, pkg: griffe.Module, **others: Any) -> None:
        """Complete a package once all of it has been parsed."""
        self._complete(pkg)

    def _complete(self, found: griffe.Object) -> None:
        if found.docstring is not None:
            found.docstring.value = _markdown(found.docstring.value)
        if isinstance(found, griffe.Class):
            _add_constructor(found)
        for member in list(found.members.values()):
            if isinstance(member, griffe.Object):
                self._complete(member)


def _markdown(docstring: str) -> str:
    """A docstring whose example is executed code, and whose stars are stars."""
    lines = docstring.replace("\nExample:\n", "\nExamples:\n").split("\n")
    # Between backticks and in indented code nothing is markup.
    return "\n".join(
        line
        if ">>>" in line
        else "".join(
            part if part.startswith("`") else part.replace("*", r"\*")
            for part in re.split(r"(`[^`]*`)", line)
        )
        for line in lines
    )


def _add_constructor(found: griffe.Class) -> None:
    """The signature of a class whose fields are its arguments."""
    runtime = getattr(importlib.import_module(found.module.path), found.name, None)
    if not dataclasses.is_dataclass(runtime) or "__init__" in found.members:
        return
    parameters = [
        griffe.Parameter(
            name,
            annotation=_annotation(found, name),
            kind=griffe.ParameterKind(parameter.kind.description),
            default=None if parameter.default is inspect.Parameter.empty else _written(parameter),
        )
        for name, parameter in inspect.signature(runtime).parameters.items()
    ]
    constructor = griffe.Function("__init__", parameters=griffe.Parameters(*parameters))
    found.set_member("__init__", constructor)


def _annotation(found: griffe.Class, name: str) -> Any:
    for owner in (found, *found.mro()):
        if name in owner.members:
            return owner.members[name].annotation
    return None


def _written(parameter: inspect.Parameter) -> str:
    default = parameter.default
    return str(default) if isinstance(default, enum.Enum) else repr(default)
