"""Flags from dataclasses: a field is a flag, its type decides what the flag takes.

A registry of its own for each parse: importing defines no flag, and entry points do not meet each
other's. Flagfiles, lists and error messages are absl's.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, Literal, NoReturn, TypeVar

from absl import flags

from lt4rec_tf.core.errors import InputError

Number = TypeVar("Number", int, float)
T = TypeVar("T")


class ConfigError(InputError):
    """A setting that cannot be used; the message names the flag."""


def flag(default: Any, help: str) -> Any:
    """A dataclass field that is a flag; its type decides what the flag takes."""
    return field(default=default, metadata={"help": help})


def parse_flags(argv: Sequence[str], doc: str, groups: Sequence[type]) -> dict[str, Any]:
    """Defines one flag a dataclass field, parses, and returns the values by name.

    Raises:
        ConfigError: An unknown flag, a value of the wrong type, or a stray argument.
    """
    registry = flags.FlagValues()
    flags.DEFINE_bool("help", False, "Print this help.", flag_values=registry, allow_override=True)
    for group in groups:
        hints = typing.get_type_hints(group)
        for item in dataclasses.fields(group):
            if "help" in item.metadata:
                _define(registry, item, hints[item.name])
    try:
        stray = registry(list(argv))[1:]
    except (flags.Error, OSError) as error:
        raise ConfigError(f"{error} (--help lists the flags)") from error
    if registry["help"].value:
        print(f"{doc.strip()}\n\nFlags:\n{registry.get_help()}")
        sys.exit(0)
    if stray:
        raise ConfigError(f"stray argument {stray[0]!r}: expected only --flag=value")
    return {name: _plain(registry[name].value) for name in registry}


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


def build(cls: type[T], values: Mapping[str, Any]) -> T:
    """A dataclass of flags from all flags' values by name."""
    names = [item.name for item in dataclasses.fields(cls)]  # type: ignore[arg-type]
    return cls(**{name: values[name] for name in names if name in values})


def digest(values: Mapping[str, Any]) -> str:
    """Ten hexadecimal digits that differ between plain values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:10]


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Names each value that differs between two nested dictionaries.

    >>> differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 2}})
    ['a.b: was 1, is 3']
    """
    found = []
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f"{prefix}{name}.")
        elif before != after:
            found.append(f"{prefix}{name}: was {before!r}, is {after!r}")
    return found


def by_task(
    flag: str,
    texts: Sequence[str],
    tasks: Sequence[str],
    number: Callable[[str], Number],
    what: str,
) -> dict[str, Number]:
    """Reads a flag's "task=number" texts.

    Args:
        flag: Its name, for messages.
        texts: Its values.
        tasks: Those that may be named; empty: any.
        number: Text -> number.
        what: What such a number is, for messages.

    Raises:
        ConfigError: A text that is not task=number, a number not above 0, an unknown task.
    """
    found = {}
    for text in texts:
        task, _, digits = text.partition("=")
        try:
            value = number(digits)
        except ValueError:
            refuse(flag, text, f"task={what}, such as cvr=3")
        expect(0 < value < float("inf"), flag, text, f"{what} above 0")
        if tasks:
            expect(task in tasks, flag, task, f"one of the tasks {tuple(tasks)}")
        found[task] = value
    return found


def expect_folder_name(name: str) -> None:
    """Refuses a --name that cannot name a folder."""
    expect(name not in ("", ".", "..") and "/" not in name, "name", name, "a folder's name")


def expect_at_least(least: int, group: object, *names: str) -> None:
    """Refuses fields of a group that are below a number."""
    for name in names:
        expect(getattr(group, name) >= least, name, getattr(group, name), f"{least} or more")


def expect_positive(group: object, name: str) -> None:
    """Refuses a field of a group that is not a finite number above 0."""
    value = getattr(group, name)
    expect(0 < value < float("inf"), name, value, "a number above 0")


def expect(holds: bool, flag: str, found: object, expected: str) -> None:
    """Refuses a flag's value unless something holds."""
    if not holds:
        refuse(flag, found, expected)


def refuse(flag: str, found: object, expected: str) -> NoReturn:
    """Raises the error of a flag's value."""
    raise ConfigError(f"--{flag}: found {found!r}, expected {expected}")
