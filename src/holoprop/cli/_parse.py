"""From arguments to a draft, by tyro: options, their help, and one sentence for what is wrong."""

import difflib
import functools
import inspect
import operator
import typing
from collections.abc import Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union

import docstring_parser
import tyro
from jaxtyping import AbstractArray

# What tyro rejects is to be had by this hook alone, which its authors have not made public yet:
# elsewhere it is drawn on the terminal and lost. pyproject.toml keeps to versions that have it.
from tyro._errors import (
    BadValue,
    InstantiationFailure,
    InvalidChoice,
    MissingArgs,
    ParseErrorEvent,
    UnrecognizedArgs,
    on_parse_error,
)
from tyro.constructors import (
    MISSING_NONPROP,
    ConstructorRegistry,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from holoprop.cli._drafts import Draft, argument_types, choices, is_choice, is_wrapped, option_name

# Options that say what a draft is made of, before any other is read.
OF_THE_COMMAND = ("--config", "--scale")

# Added to a name for the option that chooses a class.
_CHOICE = "__class"


def parse(draft: Draft, arguments: Sequence[str], *, prog: str, description: str) -> Draft:
    """A draft with the options of some arguments.

    Raises:
        ValueError: For arguments that cannot be understood.
        SystemExit: After help, if that is asked for.
    """
    arguments = _in_full(arguments)
    chosen = draft.choose(arguments)

    def refuse(event: ParseErrorEvent) -> None:
        sentence = _sentence(event, chosen)
        # Kinds of errors that later versions add are left to tyro.
        if sentence is not None:
            raise ValueError(sentence)

    registry = ConstructorRegistry()
    registry.struct_rule(_fields_of_draft)
    with on_parse_error(refuse):
        return tyro.cli(
            Draft,
            default=chosen,
            args=arguments,
            prog=prog,
            description=description,
            config=(tyro.conf.EnumChoicesFromValues,),
            registry=registry,
        )


def _in_full(arguments: Sequence[str]) -> list[str]:
    """Short forms written out: data by their source, a network by its factory, and so on."""
    full: list[str] = []
    for argument in arguments:
        option, given, value = argument.partition("=")
        if option in ("--data", "--network", "--optimiser") and given:
            full += [option, value]
        else:
            full.append(argument)
    for index, option in enumerate(full):
        if option == "--data":
            full[index] = "--data.source"
        if option == "--optimiser":
            full[index] = "--optimiser.name"
        if option == "--network" and ":" in "".join(full[index + 1 : index + 2]):
            full[index + 1 : index + 2] = ["custom", "--network.factory", full[index + 1]]
    return full


def _fields_of_draft(info: StructTypeInfo) -> StructConstructorSpec | None:
    """The options of a draft: its class's arguments, and for each choice one that makes it."""
    draft = info.default
    if not isinstance(draft, Draft):
        return None
    docstring = docstring_parser.parse(draft.cls.__doc__ or "")
    # In one line each, for the terminal's width to break.
    helptext = {
        param.arg_name: " ".join((param.description or "").split()) for param in docstring.params
    }
    fields: list[StructFieldSpec] = []
    for name, annotation in draft.arguments().items():
        value = draft.values.get(name, MISSING_NONPROP)
        if is_choice(annotation):
            absent = ("None",) if value is None else ()
            names = (*absent, *choices(draft.cls, annotation))
            # A type made while running, of which a type checker knows nothing.
            option: Any = Annotated[Literal[names], tyro.conf.arg(name=name)]
            fields.append(
                StructFieldSpec(
                    name + _CHOICE,
                    option,
                    default="None" if value is None else option_name(value.cls),
                    helptext=helptext.get(name),
                )
            )
            if value is None:
                continue
        if isinstance(value, Draft):
            kind: Any = Draft
            if is_wrapped(draft.cls, annotation):
                kind = Annotated[Draft, tyro.conf.arg(name="")]
            summary = docstring_parser.parse(value.cls.__doc__ or "").short_description
            fields.append(StructFieldSpec(name, kind, default=value, helptext=summary))
        else:
            fields.append(StructFieldSpec(name, _scalar(annotation), value, helptext.get(name)))

    def instantiate(**values: Any) -> Draft:
        return Draft(draft.cls, {k: v for k, v in values.items() if not k.endswith(_CHOICE)})

    return StructConstructorSpec(instantiate, tuple(fields))


def _scalar(annotation: Any) -> Any:
    """A type without the arrays that are possible in Python: here a number is a number."""
    if typing.get_origin(annotation) not in (Union, UnionType):
        return annotation
    members = [
        member
        for member in typing.get_args(annotation)
        if not (inspect.isclass(member) and issubclass(member, AbstractArray))
    ]
    return functools.reduce(operator.or_, members)


def _sentence(event: ParseErrorEvent, draft: Draft) -> str | None:
    """What is wrong, or None for what this version does not know."""
    if isinstance(event, UnrecognizedArgs):
        return _unknown(event.tokens[0], draft)
    if isinstance(event, MissingArgs):
        if event.unrecognized_tokens:
            return _unknown(event.unrecognized_tokens[0], draft)
        missing = (arg.arg.lowered.name_or_flags[-1] for arg in event.missing_arguments)
        return f"{', '.join(missing)} must be given"
    if isinstance(event, BadValue):
        return f"{event.argument.lowered.name_or_flags[-1]} needs a value"
    if isinstance(event, InvalidChoice):
        near = difflib.get_close_matches(event.value, event.choices, n=1)
        return (
            f"{event.argument.lowered.name_or_flags[-1]} is {event.value!r}, but must be one of "
            f"{', '.join(event.choices)}" + (f"; did you mean {near[0]}" if near else "")
        )
    if isinstance(event, InstantiationFailure) and event.argument is not None:
        return f"{event.argument.lowered.name_or_flags[-1]}: {event.message}"
    return None


def _unknown(token: str, draft: Draft) -> str:
    option = token.partition("=")[0].replace("_", "-")
    if not option.startswith("--"):
        return f"{token!r} is one argument too many"
    for choice, owner, name in draft.options():
        annotation = argument_types(owner.cls)[name]
        if not is_choice(annotation):
            continue
        prefix = owner.prefix_of(name, choice.removesuffix(name))
        for other, cls in choices(owner.cls, annotation).items():
            if option in (flag for flag, _, _ in Draft(cls, {}).options(prefix)):
                return f"{option} is an option of {choice} {other}, which was not chosen"
    names = [*OF_THE_COMMAND, *(flag for flag, _, _ in draft.options())]
    near = difflib.get_close_matches(option, names, n=1)
    # Whoever leaves out a group's name means the option by that name in it.
    near = near or [name for name in names if name.endswith(f".{option.removeprefix('--')}")][:1]
    return f"unknown option {option}" + (f"; did you mean {near[0]}" if near else "")
