"""JSON files whose content is compared with type hints before it is used.

A file that somebody edited, or that another program wrote, is refused by its name and by the key at
which it holds something else.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lt4rec_tf.core.artifacts import RunError, read_json

_MOST = 2**63  # of whole numbers, which tensors cannot hold from here on
_SHOWN = 60  # characters of a value
_WORDS = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def read_typed(path: Path, hint: Any) -> Any:
    """Reads a JSON file.

    Args:
        path: The file.
        hint: What it holds: JSON's own types, sequences and mappings of them, unions, literals,
            typed dictionaries, which may hold more, and dataclasses, as `asdict` writes them.

    Raises:
        RunError: The file is absent, is no JSON, or holds something else; names the key.
    """
    value = read_json(path)
    check_typed(path, value, hint)
    return value


def check_typed(path: Path, value: Any, hint: Any) -> None:
    """Compares what a JSON file held with type hints.

    Args:
        path: The file, for the error.
        value: What it held.
        hint: As `read_typed` takes it.

    Raises:
        RunError: It held something else; names the key.
    """
    for key, found, expected in faults(value, hint):
        where = f"{path}: {key}" if key else f"{path}"
        raise RunError(f"{where}: found {found}, expected {expected}")


def faults(value: Any, hint: Any, key: str = "") -> Iterable[tuple[str, str, str]]:
    """Gives each key whose value does not fit, what it is, and what was expected.

    Args:
        value: JSON's types, or tuples for lists.
        hint: As `read_typed` takes it.
        key: Where the value stands.
    """
    origin, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if hint is Any:
        return
    if origin is typing.Literal:
        if value not in inner:
            yield key, _shown(value), f"one of {', '.join(map(repr, inner))}"
    elif origin in (typing.NotRequired, typing.Required):
        yield from faults(value, inner[0], key)
    elif origin in (typing.Union, types.UnionType):
        found = [[*faults(value, one, key)] for one in inner]
        if all(found):
            yield max(found, key=lambda faults: len(faults[0][0]))[0]  # of the best fitting one
    elif dataclasses.is_dataclass(origin) or typing.is_typeddict(origin):
        yield from _faults_of_fields(value, origin, key)
    elif origin is not str and isinstance(origin, type) and issubclass(origin, Mapping | Sequence):
        yield from _faults_of_many(value, origin, inner, key)
    elif not _is_plain(value, origin):
        yield key, _shown(value), _WORDS.get(origin, "something else")


def _faults_of_fields(value: Any, cls: Any, key: str) -> Iterable[tuple[str, str, str]]:
    if not isinstance(value, dict):
        yield key, _shown(value), "an object"
        return
    hints, needed = _fields_of(cls)
    if dataclasses.is_dataclass(cls):
        for name in value.keys() - hints.keys():
            yield _below(key, name), _shown(value[name]), "no such key"

    for name, hint in hints.items():
        if name in value:
            yield from faults(value[name], hint, _below(key, name))
        elif name in needed:
            yield _below(key, name), "nothing", "a value"


@functools.cache
def _fields_of(cls: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """Returns the hints of a class's fields, and those of them that must be there."""
    hints = typing.get_type_hints(cls, include_extras=True)
    if not dataclasses.is_dataclass(cls):
        optional = typing.NotRequired  # `__required_keys__` knows it not, where hints are texts
        return hints, frozenset(n for n in hints if typing.get_origin(hints[n]) is not optional)
    absent = dataclasses.MISSING
    needed = {
        field.name
        for field in dataclasses.fields(cls)
        if field.default is absent and field.default_factory is absent
    }
    return hints, frozenset(needed)


def _faults_of_many(
    value: Any, origin: Any, inner: tuple[Any, ...], key: str
) -> Iterable[tuple[str, str, str]]:
    if issubclass(origin, Mapping):
        if not isinstance(value, dict):
            yield key, _shown(value), _WORDS[dict]
        elif inner:
            for name, part in value.items():
                yield from faults(part, inner[1], _below(key, name))
        return
    if not isinstance(value, list | tuple):
        yield key, _shown(value), _WORDS[list]
        return
    if not inner:
        return

    of_one_kind = len(inner) == 1 or inner[1] is Ellipsis
    if not of_one_kind and len(value) != len(inner):
        yield key, f"{len(value)} values", str(len(inner))
        return
    hints = inner[:1] * len(value) if of_one_kind else inner
    for place, (part, hint) in enumerate(zip(value, hints, strict=True)):
        yield from faults(part, hint, f"{key}[{place}]")


def _is_plain(value: Any, kind: Any) -> bool:
    if kind is None:
        return value is None
    if isinstance(value, bool):
        return kind is bool
    if isinstance(value, int):
        return kind in (int, float) and abs(value) < _MOST
    return isinstance(kind, type) and isinstance(value, kind)


def _below(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _shown(value: Any) -> str:
    if isinstance(value, int) and abs(value) >= _MOST:
        return "a huge number"
    try:
        text = repr(value)
    except RecursionError:
        return "brackets within each other"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
