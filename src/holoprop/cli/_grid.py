"""A grid of settings on the command line: what stands between commas is tried one by one."""

import dataclasses
import itertools
import re
from collections.abc import Sequence

# Not in brackets, between which a comma separates the values of one setting.
_COMMA = re.compile(r",(?![^\[]*\])")


@dataclasses.dataclass(frozen=True)
class Combination:
    """One point of a grid.

    Attributes:
        arguments: Without any choice left.
        settings: Of the options that have a choice, what this point has.
    """

    arguments: tuple[str, ...]
    settings: dict[str, str]


@dataclasses.dataclass(frozen=True)
class _Place:
    """An argument: the option it belongs to, and what it may be, in words of its own each."""

    option: str
    alternatives: tuple[tuple[str, ...], ...]
    is_value: bool = True


def combinations(arguments: Sequence[str]) -> list[Combination]:
    """All points of the grid that some arguments span; the last option varies fastest.

    Arguments:
        arguments: `PRESET`, `--option value`, `--option=value` and `--option`, with commas between
            what is to be tried.

    Raises:
        ValueError: If nothing stands on one side of a comma.

    Example:
        >>> [c.settings for c in combinations(["--seed", "0,1", "--epochs", "3"])]
        [{'seed': '0'}, {'seed': '1'}]
        >>> [c.arguments for c in combinations(["--network.sizes", "[4,8,2],[4,2]"])]
        [('--network.sizes', '4', '8', '2'), ('--network.sizes', '4', '2')]
    """
    places = _places(arguments)
    swept = dict.fromkeys(place.option for place in places if len(place.alternatives) > 1)
    found = []
    for choice in itertools.product(*(place.alternatives for place in places)):
        values: dict[str, list[str]] = {option: [] for option in swept}
        for place, words in zip(places, choice, strict=True):
            if place.option in values and place.is_value:
                values[place.option] += [word.removeprefix("--") for word in words]
        settings = {option: " ".join(words) for option, words in values.items()}
        found.append(Combination(tuple(itertools.chain(*choice)), settings))
    return found


def _places(arguments: Sequence[str]) -> list[_Place]:
    places: list[_Place] = []
    option = "preset"
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not argument.startswith("--"):
            places.append(_Place(option, _alternatives(argument)))
            continue
        # Options without a value may be alternatives, such as --inputs.flip,--inputs.no-flip.
        names = _alternatives(name)
        option = names[0][0].removeprefix("--")
        places.append(_Place(option, names, is_value=len(names) > 1))
        if equals:
            places.append(_Place(option, _alternatives(value)))
    return places


def _alternatives(argument: str) -> tuple[tuple[str, ...], ...]:
    found = []
    for text in _COMMA.split(argument):
        is_list = text.startswith("[") and text.endswith("]")
        words = [word.strip() for word in text[1:-1].split(",")] if is_list else [text]
        if "," in argument and not all(words):
            raise ValueError(f"{argument!r} has nothing on one side of a comma.")
        found.append(tuple(words))
    return tuple(found)
