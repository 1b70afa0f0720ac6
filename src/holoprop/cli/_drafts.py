"""Drafts: objects that are yet to be built, as the command line changes them.

Where a field's type is an abstract class, any exported final class below it can be chosen, by an
option of the field's name. What a choice can be told are the arguments of its class.
"""

import argparse
import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any

import equinox as eqx

import holoprop as hp
from holoprop import runs

# Of two settings that exclude each other, the one on the command line replaces the preset's.
_EXCLUSIVE = (
    ("steps", "tolerance"),
    ("learning_rate", "learning_rates"),
    ("weight_decay", "weight_decays"),
)


def choices(owner: type, base: type) -> dict[str, type]:
    """What can stand in a field: the exported final classes below its abstract type, by name.

    In a wrapper that is no other wrapper, whose options would have the same names.
    """
    exported = [getattr(package, name) for package in (hp, runs) for name in package.__all__]
    return {
        option_name(thing): thing
        for thing in exported
        if inspect.isclass(thing)
        and issubclass(thing, base)
        and not inspect.isabstract(thing)
        and not (is_wrapped(owner, base) and base in argument_types(thing).values())
    }


def option_name(cls: type) -> str:
    """`OneSided` as `one-sided`, `DSiLU` as `dsilu`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "-", cls.__name__).lower()


def argument_types(cls: type) -> dict[str, Any]:
    """What a class takes, and of which type; of a choice that may be left open, the choice."""
    hints = typing.get_type_hints(cls)
    return {name: _choice_in(hints[name]) for name in inspect.signature(cls).parameters}


def _choice_in(annotation: Any) -> Any:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = [m for m in typing.get_args(annotation) if m is not types.NoneType]
        if len(members) == 1 and is_choice(members[0]):
            return members[0]
    return annotation


def is_choice(annotation: Any) -> bool:
    """Whether a field of this type holds an object of any final class below it."""
    return inspect.isclass(annotation) and inspect.isabstract(annotation)


def is_wrapped(cls: type, annotation: Any) -> bool:
    """Whether a class changes the behaviour of what it holds in a field of this type.

    The type may be narrower than that of the wrapper: Anderson mixing is a relaxation, and what it
    wraps is one whose steps are updates.
    A wrapper's own options and those of what it wraps stand beside each other.
    """
    return is_choice(annotation) and any(
        inspect.isabstract(base) and issubclass(base, eqx.Module) and issubclass(cls, base)
        for base in annotation.__mro__
    )


@dataclasses.dataclass(frozen=True)
class Draft:
    """An object that is yet to be built.

    Attributes:
        cls: Its class.
        values: Arguments, as far as they are known; those that are built from arguments themselves
            are drafts, too.
    """

    cls: type
    values: dict[str, Any]

    @staticmethod
    def of(thing: Any) -> "Draft":
        """The draft of an object that is there."""
        return Draft(
            thing.__class__,
            {name: _drafted(getattr(thing, name)) for name in argument_types(thing.__class__)},
        )

    @staticmethod
    def of_class(cls: type) -> "Draft":
        """The draft of a class with its defaults."""
        defaults = {name: _default(cls, name) for name in argument_types(cls)}
        empty = inspect.Parameter.empty
        return Draft(cls, {k: _drafted(v) for k, v in defaults.items() if v is not empty})

    def build(self, prefix: str = "--") -> Any:
        """The object; a `ValueError` that its class raises names the option."""
        values = {}
        for name, value in self.values.items():
            values[name] = value
            if isinstance(value, Draft):
                values[name] = value.build(self.prefix_of(name, prefix))
        try:
            return self.cls(**values)
        except ValueError as error:
            name, rest = _leading_name(str(error))
            if name not in values:
                raise
            raise ValueError(f"{prefix}{name.replace('_', '-')}{rest}") from error

    def prefix_of(self, name: str, prefix: str) -> str:
        """What the options of an argument begin with, where those of this draft have a prefix."""
        wrapped = is_wrapped(self.cls, argument_types(self.cls)[name])
        return prefix if wrapped else f"{prefix}{name.replace('_', '-')}."

    def choose(self, arguments: Sequence[str], prefix: str = "--") -> "Draft":
        """With the classes that are named on the command line, and what those exclude left out."""
        values = dict(self.values)
        if self.cls is runs.TrainConfig:
            values |= _equilibrium_settings(values, arguments)
        for name, annotation in argument_types(self.cls).items():
            value = values.get(name)
            if is_choice(annotation):
                named = _given(arguments, f"{prefix}{name.replace('_', '-')}")
                cls = choices(self.cls, annotation).get(named or "")
                if cls is not None:
                    values[name] = Draft.of_class(cls) if value is None else value.as_class(cls)
            if isinstance(values.get(name), Draft):
                values[name] = values[name].choose(arguments, self.prefix_of(name, prefix))
        for pair in _EXCLUSIVE:
            if set(pair) <= set(values):
                given = {n: _given(arguments, f"{prefix}{n.replace('_', '-')}") for n in pair}
                for name, other in (pair, pair[::-1]):
                    if given[name] not in (None, "None") and given[other] is None:
                        values[other] = None
        return dataclasses.replace(self, values=values)

    def as_class(self, cls: type) -> "Draft":
        """The draft of another class, which keeps the settings that both have."""
        if cls is self.cls:
            return self
        known = self._with_wrapped()
        values: dict[str, Any] = {}
        for name, annotation in argument_types(cls).items():
            default = _default(cls, name)
            if name in known:
                values[name] = known[name]
            elif is_wrapped(cls, annotation) and issubclass(self.cls, annotation):
                values[name] = self
            elif default is not inspect.Parameter.empty:
                values[name] = _drafted(default)
        return Draft(cls, values)

    def _with_wrapped(self) -> dict[str, Any]:
        known: dict[str, Any] = {}
        for name, value in self.values.items():
            if isinstance(value, Draft) and is_wrapped(self.cls, argument_types(self.cls)[name]):
                known |= value._with_wrapped()
        return known | self.values

    def arguments(self) -> dict[str, Any]:
        """What can be set, and of which type: what the class takes, unless it does not apply."""
        known = argument_types(self.cls)
        if self.cls is runs.TrainConfig and self.values.get("method") == "bp":
            return {n: t for n, t in known.items() if n not in runs.EQUILIBRIUM_SETTINGS}
        return known

    def options(self, prefix: str = "--") -> Iterator[tuple[str, "Draft", str]]:
        """Every option: how it is written, whose argument it sets, and that argument's name."""
        for name, annotation in self.arguments().items():
            value = self.values.get(name)
            if is_choice(annotation) or not isinstance(value, Draft):
                yield f"{prefix}{name.replace('_', '-')}", self, name
            if isinstance(value, Draft):
                yield from value.options(self.prefix_of(name, prefix))


def _equilibrium_settings(values: dict[str, Any], arguments: Sequence[str]) -> dict[str, Any]:
    """What goes away with method "bp", and comes back with "ep"."""
    method = _given(arguments, "--method") or values["method"]
    if method not in ("ep", "bp"):
        return {}
    if method == "ep":
        default = runs.TrainConfig()
        absent = [name for name in runs.EQUILIBRIUM_SETTINGS if values.get(name) is None]
        return {"method": method} | {name: Draft.of(getattr(default, name)) for name in absent}
    for argument in arguments:
        option = argument.partition("=")[0]
        if option.removeprefix("--").partition(".")[0] in runs.EQUILIBRIUM_SETTINGS:
            raise ValueError(f"{option} does not apply to --method bp: leave it out")
    return {"method": method} | dict.fromkeys(runs.EQUILIBRIUM_SETTINGS)


def _drafted(value: Any) -> Any:
    return Draft.of(value) if dataclasses.is_dataclass(value) else value


def _default(cls: type, name: str) -> Any:
    for field in dataclasses.fields(cls):
        if field.name == name and field.default_factory is not dataclasses.MISSING:
            return field.default_factory()
    return inspect.signature(cls).parameters[name].default


def _given(arguments: Sequence[str], option: str) -> str | None:
    """The value of one option, whatever the others are; None where it is not there."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(option, dest="value", nargs="?")
    value: str | None = parser.parse_known_args(arguments)[0].value
    return value


def _leading_name(message: str) -> tuple[str, str]:
    name = re.match(r"\w*", message)
    assert name is not None
    return name[0], message[name.end() :]
