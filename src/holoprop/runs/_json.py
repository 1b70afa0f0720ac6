"""Configurations and records as JSON."""

import dataclasses
import enum
import math
import typing
from typing import Any


def as_json(content: Any) -> Any:
    """Nested dataclasses as dictionaries, and numbers that JSON has no name for as null.

    An object in a field that might have held one of another class says its own, as `"type"`.
    """
    if dataclasses.is_dataclass(content) and not isinstance(content, type):
        declared = typing.get_type_hints(type(content))
        return {
            field.name: _as_field(getattr(content, field.name), declared[field.name])
            for field in dataclasses.fields(content)
        }
    if isinstance(content, dict):
        return {key: as_json(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [as_json(value) for value in content]
    if isinstance(content, enum.Enum):
        return content.value
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _as_field(value: Any, declared: Any) -> Any:
    found = as_json(value)
    if dataclasses.is_dataclass(value) and type(value) is not declared:
        return {"type": type(value).__name__} | found
    return found
