"""Flags from dataclasses: a field is a flag, its type and its limits decide what the flag takes.

Each parse has a registry of its own: importing a module defines no flag, and the flags of two
commands are independent. Flagfiles, lists and error messages are absl's.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import sys
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, TypeVar

from absl import flags

from lt4rec_tf.core.errors import InputError
from lt4rec_tf.core.help import help_page

_INTEGERS = 2**63  # whole numbers below it, and above its negative, are what TensorFlow can hold
# Of a flag that is a seed: NumPy takes none below 0.
SEEDS: dict[str, Any] = {
    "at_least": 0,
    "below": _INTEGERS,
    "expected": "a whole number from 0 to 2^63 - 1",
}

Number = TypeVar("Number", int, float)
T = TypeVar("T")


class ConfigError(InputError):
    """A setting that cannot be used; the message names the flag."""


@dataclass(frozen=True)
class Range:
    """An interval of numbers. NaN lies in none, infinity only where `at_most` is infinity.

    >>> str(Range(above=0, at_most=1)), str(Range(at_least=1)), str(Range(above=0))
    ('a share in (0, 1]', '1 or more', 'a number above 0')

    Attributes:
        at_least: Lowest number; None: `above` says where the interval begins.
        above: What all numbers are greater than.
        at_most: Highest number; None: `below` says where the interval ends.
        below: What all numbers are less than.
    """

    at_least: float | None = None
    above: float = -math.inf
    at_most: float | None = None
    below: float = math.inf

    def __contains__(self, number: float) -> bool:
        """Tells if a number lies in the interval."""
        begun = number > self.above if self.at_least is None else number >= self.at_least
        ended = number >= self.below if self.at_most is None else number > self.at_most
        return begun and not ended and not math.isnan(number)

    def __str__(self) -> str:
        """Returns the interval in words, for messages."""
        low = self.above if self.at_least is None else self.at_least
        high = self.below if self.at_most is None else self.at_most
        if math.isinf(high):
            if math.isinf(low):
                return "a finite number"
            return f"a number above {low}" if self.at_least is None else f"{low} or more"

        what = "a share" if (low, high) == (0, 1) else "a number"
        brackets = "(" if self.at_least is None else "[", ")" if self.at_most is None else "]"
        return f"{what} in {brackets[0]}{low}, {high}{brackets[1]}"


def flag(
    default: Any,
    help: str,
    *,
    required: bool = False,
    main: bool = False,
    alias: str = "",
    some_of: Sequence[str] = (),
    expected: str = "",
    **limits: float,
) -> Any:
    """Makes a dataclass field that is a flag; its type decides what the flag takes.

    Args:
        default: Its value where the flag is not given.
        help: What --help prints.
        required: Refuses an empty text or list.
        main: --help shows it where a command has too many to show all.
        alias: Another name that is taken for the flag's, such as one of earlier versions; empty:
            none.
        some_of: Texts that a list may hold; none: any.
        expected: What can be used, in words of messages; empty: the range in words.
        limits: Of a `Range`, in which the number, or each number of the list, must lie.
    """
    metadata = {
        "help": help,
        "required": required,
        "main": main,
        "alias": alias,
        "some_of": some_of,
        "range": Range(**limits) if limits else None,
        "expected": expected,
    }
    return field(default=default, metadata=metadata)


def parse_flags(
    argv: Sequence[str],
    doc: str,
    groups: Sequence[type],
    more_help: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Defines one flag for each dataclass field, parses, and returns the values by name.

    Args:
        argv: Program name and arguments.
        doc: What --help prints before the flags.
        groups: Dataclasses of flags, each a section of --help.
        more_help: Flag -> what --help prints after its own text; None: nothing.

    Raises:
        ConfigError: An unknown flag, a value of the wrong type or no UTF-8, or a stray argument.
    """
    registry, stray = _read(argv, groups)
    if registry["help"].value or registry["helpfull"].value:
        print(help_page(doc, groups, more_help or {}, full=registry["helpfull"].value))
        sys.exit(0)
    if stray:
        raise ConfigError(f"stray argument {stray[0]!r}: expected only --flag=value")
    aliases = {item.metadata["alias"] for group in groups for item in _flag_fields(group)}
    values = {name: _plain(registry[name].value) for name in registry if name not in aliases}
    for name, value in values.items():
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str) and not _is_utf_8(text):
                refuse(name, text, "UTF-8: TensorFlow takes no other names of files")
    return values


def _is_utf_8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def given_flags(argv: Sequence[str], groups: Sequence[type]) -> set[str]:
    """Returns the names of the flags that arguments or their flagfiles give.

    Args:
        argv: Program name and arguments.
        groups: Dataclasses of flags.

    Raises:
        ConfigError: As `parse_flags`.
    """
    registry, _ = _read(argv, groups)
    return {name for name in registry if registry[name].present}


def _read(argv: Sequence[str], groups: Sequence[type]) -> tuple[flags.FlagValues, list[str]]:
    """Returns the flags with their values, and the arguments that are no flags."""
    registry = flags.FlagValues()
    for name in ("help", "helpfull"):
        flags.DEFINE_bool(name, False, "", flag_values=registry, allow_override=True)
    for group in groups:
        hints = typing.get_type_hints(group)
        for item in _flag_fields(group):
            _define(registry, item, hints[item.name])
            if alias := item.metadata["alias"]:
                flags.DEFINE_alias(alias, item.name, flag_values=registry)
    try:
        stray = registry(list(argv))[1:]
    except (flags.Error, OSError) as error:
        raise ConfigError(f"{error} (--help lists the flags)") from error

    return registry, stray


def _flag_fields(group: type) -> list[dataclasses.Field[Any]]:
    return [item for item in dataclasses.fields(group) if "help" in item.metadata]


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _define(registry: flags.FlagValues, item: dataclasses.Field[Any], hint: Any) -> None:
    name, help_text = item.name, item.metadata["help"]
    default: Any = item.default
    if typing.get_origin(hint) is Literal:
        flags.DEFINE_enum(name, default, typing.get_args(hint), help_text, flag_values=registry)
    elif hint == tuple[int, ...]:
        flags.DEFINE(
            _IntegerListParser(),
            name,
            list(default),
            help_text,
            flag_values=registry,
            serializer=flags.CsvListSerializer(","),
        )
    elif typing.get_origin(hint) is tuple:
        flags.DEFINE_list(name, list(default), help_text, flag_values=registry)
    elif hint is bool:
        flags.DEFINE_bool(name, default, help_text, flag_values=registry)
    elif hint is int:
        flags.DEFINE_integer(name, default, help_text, flag_values=registry)
    elif hint in (float, float | None):
        flags.DEFINE_float(name, default, help_text, flag_values=registry)
    elif hint == float | str | None:
        parser, serializer = _NumberOrTextParser(), flags.ArgumentSerializer()
        flags.DEFINE(parser, name, default, help_text, flag_values=registry, serializer=serializer)
    else:
        flags.DEFINE_string(name, default, help_text, flag_values=registry)


class _IntegerListParser(flags.ArgumentParser):
    syntactic_help = "a comma separated list of whole numbers"

    def parse(self, argument: Any) -> list[int]:
        if isinstance(argument, list):
            return argument
        return [int(part) for part in argument.split(",") if part.strip()]

    def flag_type(self) -> str:
        return "comma separated list of whole numbers"


class _NumberOrTextParser(flags.ArgumentParser):
    syntactic_help = "a number or a text"

    def parse(self, argument: Any) -> float | str:
        try:
            return float(argument)
        except ValueError:
            return str(argument)

    def flag_type(self) -> str:
        return "number or text"


def build(cls: type[T], values: Mapping[str, Any], prefix: str = "") -> T:
    """Makes a dataclass from the values that bear its fields' names, others at their defaults.

    Args:
        cls: The dataclass.
        values: Of all flags, by name.
        prefix: What the flags' names have before the fields' names.
    """
    names = [item.name for item in dataclasses.fields(cls)]  # type: ignore[arg-type]
    return cls(**{name: values[prefix + name] for name in names if prefix + name in values})


def from_settings(cls: type[T], settings: object, prefix: str = "", **others: Any) -> T:
    """Makes a dataclass from the settings that bear its fields' names.

    Args:
        cls: The dataclass.
        settings: A dataclass of flags.
        prefix: What the flags' names have before the fields' names.
        others: Values of fields that are named otherwise than a flag.
    """
    renamed = {prefix + name: value for name, value in others.items()}
    return build(cls, vars(settings) | renamed, prefix)


def check_fields(group: object) -> None:
    """Refuses a dataclass of flags in which a value lies beyond its flag's limits.

    Raises:
        ConfigError: Naming the flag, what was found and what was expected.
    """
    hints = typing.get_type_hints(type(group))
    for item in _flag_fields(type(group)):
        _check_field(item, hints[item.name], getattr(group, item.name))


def _check_field(item: dataclasses.Field[Any], hint: Any, value: Any) -> None:
    limits = item.metadata
    elements = value if isinstance(value, tuple) else (value,)

    # absl has checked the choices of flags, but not of settings read from a run's folder.
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        expect(value in choices, item.name, value, f"one of {choices}")

    if limits["some_of"]:
        complete = bool(value) or not limits["required"]
        fits = set(value) <= set(limits["some_of"])
        expect(complete and fits, item.name, value, f"some of {limits['some_of']}")
    if limits["required"]:
        expect(len(value) > 0, item.name, value, limits["expected"])
    for number in elements:
        if isinstance(number, int):
            expect(abs(number) < _INTEGERS, item.name, value, "a whole number below 2^63")
    if limits["range"] is not None:
        inside = all(number in limits["range"] for number in elements)
        expect(inside, item.name, value, limits["expected"] or str(limits["range"]))


def digest(values: Mapping[str, Any]) -> str:
    """Returns ten hexadecimal digits that differ between plain values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:10]


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Names each value that differs between two nested dictionaries.

    >>> differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 2}})
    ['a.b: was 1, is 3']
    """
    lines = []
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += differences(before, after, f"{prefix}{name}.")
        elif before != after:
            lines.append(f"{prefix}{name}: was {before!r}, is {after!r}")
    return lines


def by_name(
    flag: str,
    texts: Sequence[str],
    names: Collection[str],
    number: Callable[[str], Number],
    what: str,
    *,
    of: str = "task",
    example: str = "cvr=3",
) -> dict[str, Number]:
    """Reads a flag's "name=number" texts.

    Args:
        flag: Its name, for messages.
        texts: Its values.
        names: Those that may be named; empty: any.
        number: Text -> number.
        what: What such a number is, for messages.
        of: What is named, for messages.
        example: Such a text, for messages.

    Raises:
        ConfigError: A text that is not name=number, a number not above 0, an unknown name.
    """
    numbers = {}
    for text in texts:
        name, _, digits = text.partition("=")
        try:
            value = number(digits)
        except ValueError:
            refuse(flag, text, f"{of}={what}, such as {example}")

        expect(0 < value < float("inf"), flag, text, f"{what} above 0")
        if names:
            expect(name in names, flag, name, f"one of the {of}s {tuple(names)}")
        numbers[name] = value
    return numbers


def expect_folder_name(name: str) -> None:
    """Refuses a --name that cannot name a folder."""
    expect(name not in ("", ".", "..") and "/" not in name, "name", name, "a folder's name")


def expect(holds: bool, flag: str, found: object, expected: str) -> None:
    """Refuses a flag's value unless a condition holds."""
    if not holds:
        refuse(flag, found, expected)


def refuse(flag: str, found: object, expected: str) -> NoReturn:
    """Raises the error of a flag's value."""
    raise ConfigError(f"--{flag}: found {found!r}, expected {expected}")
