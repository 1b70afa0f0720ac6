"""A configuration as `config.json` holds it, read back exactly."""

import dataclasses
import difflib
import enum
import inspect
import json
import os
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import holoprop as hp
from holoprop.runs import _networks
from holoprop.runs._config import TrainConfig

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def read_config(content: Any) -> TrainConfig:
    """The configuration that `config.json` holds, exactly.

    Every setting must be there, and no other: what comes back is what was written.

    Arguments:
        content: As JSON has it.

    Raises:
        ValueError: If a setting is missing, unknown or has a value that it cannot have; the message
            names it, and the nearest name that there is.

    Example:
        >>> from holoprop.runs._json import as_json
        >>> config = TrainConfig(estimator=hp.Centred(0.1), epochs=3)
        >>> read_config(as_json(config)) == config
        True
    """
    config: TrainConfig = _read_object(content, TrainConfig, "")
    return config


def read_config_file(path: str | os.PathLike[str]) -> TrainConfig:
    """The configuration of an earlier run, whatever preset it began with.

    Arguments:
        path: Of its `config.json`, or of its folder.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no JSON, or as for `read_config`; the message names the file.

    Example:
        >>> import tempfile
        >>> from holoprop.runs import RunFolder
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     RunFolder(folder).start(TrainConfig(epochs=3))
        ...     read_config_file(folder) == TrainConfig(epochs=3)
        True
    """
    file = Path(path).expanduser()
    file = file / "config.json" if file.is_dir() else file
    if not file.is_file():
        raise FileNotFoundError(f"there is no configuration at {file}: give a run's config.json.")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON ({error}): give a run's config.json.") from error
    if isinstance(content, dict):
        content.pop("preset", None)
    try:
        return read_config(content)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _read_object(content: Any, declared: Any, place: str) -> Any:
    """An object of a declared class, or of one below it that the content names."""
    if not isinstance(content, dict):
        raise ValueError(
            f"{place or 'the configuration'} is {content!r}, and must be an object with settings "
            "of its own."
        )
    cls, prefix = declared, f"{place}." if place else ""
    content = dict(content)
    if inspect.isabstract(declared):
        known = _classes(declared)
        name = content.pop("type", None)
        if name not in known:
            raise ValueError(
                f"{place} is of type {name!r}, and must be one of {', '.join(known)}"
                f"{_near(name, known)}"
            )
        cls = known[name]
    fields = [field.name for field in dataclasses.fields(cls)]
    for name in content:
        if name not in fields:
            raise ValueError(f"{prefix}{name} is no setting of {cls.__name__}{_near(name, fields)}")
    for name in fields:
        if name not in content:
            raise ValueError(f"{prefix}{name} is missing.")
    hints = typing.get_type_hints(cls)
    values = {name: _read(content[name], hints[name], f"{prefix}{name}") for name in fields}
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f"{prefix}{error}") from error


def _read(content: Any, annotation: Any, place: str) -> Any:
    """A value of an annotated type."""
    kinds = _kinds(annotation)
    for kind in kinds:
        if kind is types.NoneType and content is None:
            return None
        if kind in _WORDS and type(content) is kind:
            return content
        # A number without digits after the point is written as a whole one by some editors.
        if kind is float and type(content) is int:
            return float(content)
        if typing.get_origin(kind) is typing.Literal and content in typing.get_args(kind):
            return content
        if typing.get_origin(kind) is tuple and isinstance(content, list):
            (inner, _) = typing.get_args(kind)
            return tuple(_read(entry, inner, place) for entry in content)
        if inspect.isclass(kind) and issubclass(kind, enum.Enum) and content in list(_values(kind)):
            return kind(content)
        if dataclasses.is_dataclass(kind) and content is not None:
            return _read_object(content, kind, place)
    near = _near(content, [value for kind in kinds for value in _named(kind)])
    raise ValueError(
        f"{place} is {content!r}, which it cannot be: it must be {_described(kinds)}{near}"
    )


def _kinds(annotation: Any) -> tuple[Any, ...]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def _values(kind: type[enum.Enum]) -> list[Any]:
    return [member.value for member in kind]


def _named(kind: Any) -> list[Any]:
    """The values of a kind that has but a few."""
    if typing.get_origin(kind) is typing.Literal:
        return list(typing.get_args(kind))
    return _values(kind) if inspect.isclass(kind) and issubclass(kind, enum.Enum) else []


def _described(kinds: tuple[Any, ...]) -> str:
    words: list[str] = []
    for kind in kinds:
        if kind in _WORDS:
            words.append(_WORDS[kind])
        elif typing.get_origin(kind) is tuple:
            words.append("a list")
        elif dataclasses.is_dataclass(kind):
            words.append("an object with settings of its own")
        elif kind is types.NoneType:
            words.append("null")
        else:
            words += [json.dumps(value) for value in _named(kind)]
    return " or ".join(words)


def _near(name: Any, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(name), [str(k) for k in known], n=1)
    return f"; did you mean {near[0]}?" if near else "."


def _classes(base: type) -> dict[str, type]:
    """The final classes that can stand in a field of an abstract type, by their names."""
    exported = [getattr(hp, name) for name in hp.__all__] + list(vars(_networks).values())
    return {
        thing.__name__: thing
        for thing in exported
        if inspect.isclass(thing) and issubclass(thing, base) and not inspect.isabstract(thing)
    }
