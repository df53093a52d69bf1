"""Reads TOML tables key by key; errors name file, key, what was found and what was expected."""

from __future__ import annotations

import itertools
import json
import tomllib
from pathlib import Path
from typing import Any

from lt4rec_tf.core.errors import InputError

REQUIRED: Any = object()  # no default: the key must be there


class TomlError(InputError):
    """A TOML file is absent, is no TOML, or holds an unusable value."""


class TomlTable:
    """The keys of one table, each read once; `close` refuses keys that were not read.

    >>> table = TomlTable(Path("feed.toml"), "", {"name": "feed", "colour": "red"})
    >>> table.text("name")
    'feed'
    >>> table.close()
    Traceback (most recent call last):
    ...
    lt4rec_tf.core.toml.TomlError: feed.toml: colour: found an unknown key, expected one of name
    """

    def __init__(self, path: Path, where: str, values: dict[str, Any]) -> None:
        self._path = path
        self._where = where
        self._values = values
        self._read_keys: list[str] = []

    def error(self, key: str, found: object, expected: str) -> TomlError:
        """Makes the error for a key of this table."""
        full_key = f"{self._where}.{key}" if self._where and key else self._where or key
        what = found if isinstance(found, Words) else repr(found)
        return TomlError(f"{self._path}: {full_key}: found {what}, expected {expected}")

    def has(self, key: str) -> bool:
        """Tells if the table has the key."""
        return key in self._values

    def renamed(self, key: str, earlier: str) -> str:
        """Returns a key, or the name that it had in earlier versions where the table has that.

        Raises:
            TomlError: The table has both.
        """
        if self.has(key) and self.has(earlier):
            raise self.error(key, Words(f"both {key} and {earlier}"), f"{key} alone")
        return earlier if self.has(earlier) else key

    def names(self) -> list[str]:
        """Returns the table's keys, in the order of the file."""
        return list(self._values)

    def _get(self, key: str, default: object, expected: str) -> Any:
        self._read_keys.append(key)
        if key in self._values:
            return self._values[key]
        if default is REQUIRED:
            raise self.error(key, Words("nothing"), expected)
        return default

    def _of_type(
        self, key: str, default: object, kinds: type | tuple[type, ...], expected: str
    ) -> Any:
        value = self._get(key, default, expected)
        # A bool is an int of Python's, but not of TOML's.
        fits = isinstance(value, kinds) and (kinds is bool or not isinstance(value, bool))
        if key in self._values and not fits:
            raise self.error(key, value, expected)
        return value

    def text(self, key: str, default: Any = REQUIRED, empty: bool = False) -> Any:
        """Returns a string, by itself never empty unless `empty` allows it."""
        expected = "a text" if empty else "a text that is not empty"
        value = self._of_type(key, default, str, expected)
        if self.has(key) and not value and not empty:
            raise self.error(key, value, expected)
        return value

    def choice(self, key: str, choices: tuple[str, ...], default: Any = REQUIRED) -> str:
        """Returns one of the given words."""
        expected = "one of " + ", ".join(choices)
        value = self._of_type(key, default, str, expected)
        if value not in choices:
            raise self.error(key, value, expected)
        return value

    def integer(self, key: str, minimum: int | None = None, default: Any = REQUIRED) -> int:
        """Returns an integer, at least `minimum` when one is given."""
        expected = "an integer" if minimum is None else f"an integer >= {minimum}"
        value = self._of_type(key, default, int, expected)
        if (minimum is not None and value < minimum) or not -(2**63) <= value < 2**63:
            raise self.error(key, value, f"{expected} of 64 bits")
        return value

    def number(self, key: str, default: Any = REQUIRED) -> float:
        """Returns a number as a float."""
        return float(self._of_type(key, default, (int, float), "a number"))

    def flag(self, key: str, default: bool) -> bool:
        """Returns true or false."""
        return self._of_type(key, default, bool, "true or false")

    def texts(self, key: str, default: Any = REQUIRED) -> tuple[str, ...]:
        """Returns a list of texts, none of them twice."""
        expected = "a list of distinct texts that are not empty"
        values = self._of_type(key, default, list, expected)
        if not all(isinstance(value, str) and value for value in values):
            raise self.error(key, values, expected)
        if len(set(values)) != len(values):
            raise self.error(key, values, expected)
        return tuple(values)

    def increasing_numbers(self, key: str) -> tuple[float, ...]:
        """Returns a list of at least one number, each greater than the one before."""
        expected = "a list of increasing numbers"
        values = self._of_type(key, REQUIRED, list, expected)
        if not values or any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
            raise self.error(key, values, expected)
        if not all(low < high for low, high in itertools.pairwise(values)):
            raise self.error(key, values, expected)
        return tuple(float(value) for value in values)

    def anything(self, key: str, expected: str) -> Any:
        """Returns a value of any kind, which the caller checks."""
        return self._get(key, REQUIRED, expected)

    def items(self, key: str, default: Any = REQUIRED) -> list[Any]:
        """Returns a list as it is."""
        return self._of_type(key, default, list, "a list")

    def table(self, key: str) -> TomlTable:
        """Returns an inner table."""
        values = self._of_type(key, REQUIRED, dict, "a table")
        return TomlTable(self._path, f"{self._where}.{key}" if self._where else key, values)

    def tables(self, key: str, default: Any = REQUIRED) -> list[TomlTable]:
        """Returns a list of inner tables; errors name each by its name, or by its index."""
        expected = f"one or more [[{key}]]" if default is REQUIRED else f"[[{key}]]"
        values = self._of_type(key, default, list, expected)
        if not all(isinstance(value, dict) for value in values):
            raise self.error(key, values, expected)
        if default is REQUIRED and not values:
            raise self.error(key, values, expected)

        names = [value.get("name", index) for index, value in enumerate(values)]
        return [
            TomlTable(self._path, f"{key}[{name}]", value)
            for name, value in zip(names, values, strict=True)
        ]

    def one_or_more(self, key: str) -> list[TomlTable]:
        """Returns the inner tables of a key that holds one or a list of them; none without it."""
        expected = "a table, or a list of tables that is not empty"
        values = self._of_type(key, [], (dict, list), expected)
        listed = values if isinstance(values, list) else [values]
        if self.has(key) and not (listed and all(isinstance(value, dict) for value in listed)):
            raise self.error(key, values, expected)

        full_key = f"{self._where}.{key}" if self._where else key
        names = [full_key]
        if isinstance(values, list):
            names = [f"{full_key}[{index}]" for index in range(len(values))]
        return [
            TomlTable(self._path, name, value) for name, value in zip(names, listed, strict=True)
        ]

    def close(self) -> None:
        """Refuses keys that were not read.

        Raises:
            TomlError: There is one.
        """
        for key in self._values:
            if key not in self._read_keys:
                expected = "one of " + ", ".join(dict.fromkeys(self._read_keys))
                raise self.error(key, Words("an unknown key"), expected)


class Words(str):
    """Words for what was found, which errors print without quotes."""

    __slots__ = ()


def read_toml(path: Path) -> TomlTable:
    """Reads a TOML file.

    Raises:
        TomlError: It is absent or is not TOML.
    """
    try:
        with path.open("rb") as file:
            return TomlTable(path, "", tomllib.load(file))
    except OSError as error:
        raise TomlError(
            f"{path}: cannot be read ({error.strerror}); expected a TOML file"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TomlError(f"{path}: found {error}, expected TOML") from None


def toml_text(text: str) -> str:
    """Returns a text as TOML writes it."""
    # JSON's escapes are TOML's; TOML has one more character that must not stand as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
