"""Flags from dataclasses: a field is a flag, its type decides what the flag takes.

A registry of its own for each parse: importing defines no flag, and entry points do not meet each
other's. Flagfiles, lists and error messages are absl's.
"""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections.abc import Sequence
from dataclasses import field
from typing import Any, Literal

from absl import flags


class ConfigError(Exception):
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
