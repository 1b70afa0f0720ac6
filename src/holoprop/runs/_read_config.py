"""A configuration as `config.json` holds it, read back exactly."""

import dataclasses
import difflib
import enum
import inspect
import types
import typing
from typing import Any

import holoprop as hp
from holoprop.runs._config import TrainConfig
from holoprop.runs._networks import Custom, Mlp


def read_config(content: dict[str, Any]) -> TrainConfig:
    """The configuration that `as_json` wrote.

    Raises:
        ValueError: If a setting is missing, unknown or has a value that it cannot have; the message
            names it.

    Example:
        >>> from holoprop.runs._json import as_json
        >>> config = TrainConfig(estimator=hp.Centred(0.1), epochs=3)
        >>> read_config(as_json(config)) == config
        True
    """
    config: TrainConfig = _build(TrainConfig, content, "")
    return config


def _build(cls: type, content: Any, name: str) -> Any:
    """An object of a class, or of a final class below it that the content names."""
    where = name or "the configuration"
    if not isinstance(content, dict):
        raise ValueError(f"{where} is {content!r}, and must be an object with settings of its own.")
    settings = dict(content)
    if inspect.isabstract(cls) or "type" in settings:
        cls = _named(cls, settings.pop("type", None), where)
    hints = typing.get_type_hints(cls)
    parameters = inspect.signature(cls).parameters
    for key in settings:
        if key not in parameters:
            near = difflib.get_close_matches(key, parameters, n=1)
            raise ValueError(
                f"{_joined(name, key)} is no setting of {cls.__name__}"
                + (f"; did you mean {near[0]}?" if near else ".")
            )
    for key in parameters:
        if key not in settings:
            raise ValueError(f"{_joined(name, key)} is missing.")
    values = {key: _value(hints[key], v, _joined(name, key)) for key, v in settings.items()}
    return cls(**values)


def _named(base: type, name: Any, where: str) -> type:
    known = {
        thing.__name__: thing
        for thing in (*(getattr(hp, n) for n in hp.__all__), Custom, Mlp)
        if inspect.isclass(thing) and issubclass(thing, base) and not inspect.isabstract(thing)
    }
    if name not in known:
        raise ValueError(f"{where} is of type {name!r}, and must be one of {', '.join(known)}.")
    return known[name]


def _value(annotation: Any, content: Any, name: str) -> Any:
    """A value of a field's type."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        for member in arguments:
            try:
                return _value(member, content, name)
            except ValueError:
                continue
    elif origin is typing.Literal:
        if content in arguments:
            return content
    elif origin is tuple:
        if isinstance(content, list):
            return tuple(_value(arguments[0], entry, name) for entry in content)
    elif annotation is type(None):
        if content is None:
            return None
    elif dataclasses.is_dataclass(annotation):
        return _build(typing.cast(type, annotation), content, name)
    elif inspect.isclass(annotation) and issubclass(annotation, enum.Enum):
        if content in [member.value for member in annotation]:
            return annotation(content)
    # A bool is an int for Python, and an int is a float for people.
    elif type(content) is annotation or (annotation is float and type(content) is int):
        return annotation(content)
    raise ValueError(f"{name} is {content!r}, which it cannot be.")


def _joined(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key
