"""Reads typed columns from text files of public data sets, and divides rows into splits.

Only builders import this module: it loads TensorFlow Datasets.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.formats.text_rows import named_rows
from lt4rec_tf.data.input.splits import SPLITS

Kind = Literal["text", "whole", "number", "texts", "wholes", "numbers"]
_DTYPES = {"whole": np.int64, "number": np.float32}
_MISSING: dict[str, Any] = {"text": "", "whole": -1, "number": math.nan}
_CHUNK = 1 << 20  # bytes
_HELD_OUT_KEYS = 10  # one key of so many is held out


@dataclass(frozen=True)
class Column:
    """A column of a public data set.

    Attributes:
        name: Its name in the files and in examples.
        kind: Kind of a value; the plural kinds are lists.
        description: Meaning of a value.
        missing: Stands for no value in examples; None: "", -1 or NaN. Lists are empty.
        separator: Stands between two values of a list.
        absent: Texts beside "" that stand for no value.
    """

    name: str
    kind: Kind
    description: str
    missing: str | int | float | None = None
    separator: str = ","
    absent: tuple[str, ...] = ()


_DATE = Column("date", "whole", "day, such as 20220408")


@dataclass(frozen=True)
class Statistics:
    """Published statistics of a data set, over all splits; None where none are published.

    Attributes:
        rows: Impressions.
        users: Distinct users.
        items: Distinct items.
        click_share: Mean of the first binary label.
        watch_ratio: Mean of the watch ratio over clicks.
    """

    rows: int | None = None
    users: int | None = None
    items: int | None = None
    click_share: float | None = None
    watch_ratio: float | None = None


def features(columns: Sequence[Column]) -> tfds.features.FeaturesDict:
    """Describes columns as features of TensorFlow Datasets."""
    return tfds.features.FeaturesDict({column.name: _feature(column) for column in columns})


def _feature(column: Column) -> tfds.features.FeatureConnector:
    single_kind = column.kind.removesuffix("s")
    if single_kind != column.kind:
        return tfds.features.Sequence(_scalar(single_kind), doc=column.description)
    return _scalar(single_kind, column.description)


def _scalar(kind: str, description: str | None = None) -> tfds.features.FeatureConnector:
    if kind == "text":
        return tfds.features.Text(doc=description)
    return tfds.features.Scalar(_DTYPES[kind], doc=description)


def example(columns: Sequence[Column], row: Mapping[str, str], where: str) -> dict[str, Any]:
    """Reads some columns of a row.

    Args:
        columns: The columns to read.
        row: Texts by column; a column that it does not have is missing.
        where: Names the row in messages.

    Raises:
        DataError: A value is not of its column's kind.

    >>> columns = [Column("tag", "wholes", ""), Column("width", "number", "")]
    >>> example(columns, {"tag": "3,5", "width": ""}, "a.csv: row 1")
    {'tag': [3, 5], 'width': nan}
    """
    return {column.name: value(column, row, where) for column in columns}


def value(column: Column, row: Mapping[str, str], where: str) -> Any:
    """Reads one column of a row, as `example` does.

    Raises:
        DataError: The value is not of the column's kind.
    """
    text = row.get(column.name, "").strip()
    single_kind = column.kind.removesuffix("s")
    absent = text == "" or text in column.absent

    if single_kind != column.kind:
        parts = [] if absent else text.split(column.separator)
        return [_read(single_kind, part.strip(), column.name, where) for part in parts]

    if absent or (single_kind == "whole" and text.lower() == "nan"):
        return _MISSING[single_kind] if column.missing is None else column.missing
    return _read(single_kind, text, column.name, where)


def _read(kind: str, text: str, name: str, where: str) -> str | int | float:
    if kind == "text":
        return text
    try:
        return _whole(text) if kind == "whole" else float(text)
    except ValueError:
        expected = "a whole number" if kind == "whole" else "a number"
        raise DataError(f"{where}: {name}: found {text!r}, expected {expected}") from None


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        number = float(text)  # pandas writes whole numbers beside gaps as 7.0
        if not number.is_integer():
            raise
        return int(number)


def read_rows(
    path: epath.PathLike, names: Sequence[str] | None = None, delimiter: str = ","
) -> Iterator[tuple[int, dict[str, str]]]:
    """Reads a CSV file, local or in a store that TensorFlow can read, as `named_rows` does.

    Raises:
        DataError: As `named_rows`.
    """
    return named_rows(epath.Path(path), names, delimiter)


def rows_by(path: epath.PathLike, key: str) -> dict[str, dict[str, str]]:
    """Reads a table into memory: its rows by a column, of equal keys the last.

    Raises:
        DataError: As `read_rows`.
    """
    return {row[key]: row for _, row in read_rows(path)}


def joined(
    row: Mapping[str, str], tables: Mapping[str, Mapping[str, Mapping[str, str]]]
) -> dict[str, str]:
    """Adds to a row the columns of other tables' rows of the same key.

    >>> users = {"7": {"age": "30", "tab": "0"}}
    >>> joined({"user_id": "7", "tab": "1"}, {"user_id": users})
    {'age': '30', 'tab': '1', 'user_id': '7'}

    Args:
        row: Texts by column; they stay as they are.
        tables: By the column that is the key, a table as from `rows_by`.
    """
    texts: dict[str, str] = {}
    for key, rows in tables.items():
        texts |= rows.get(row[key], {})
    return texts | dict(row)


def day_of(row: Mapping[str, str], where: str) -> int:
    """Reads the day of a row's column "date", such as 20220408; -1 where it is unknown.

    Raises:
        DataError: The date is no whole number.
    """
    day: int = value(_DATE, row, where)
    return day


def split_of_day(day: int, validation_from: int, test_from: int) -> str:
    """Returns the split of the rows of a day; days are whole numbers such as 20220408.

    >>> [split_of_day(day, 20220419, 20220420) for day in (20220418, 20220419, 20220501)]
    ['train', 'validation', 'test']
    """
    return SPLITS[(day >= validation_from) + (day >= test_from)]


def is_held_out(key: str) -> bool:
    """Returns whether a key's rows are held out for validation: by its CRC-32, a tenth of keys.

    >>> [key for key in "abcdefghijklmnopqrst" if is_held_out(key)]
    ['o']
    """
    return zlib.crc32(key.encode()) % _HELD_OUT_KEYS == 0


def times_of_splits(
    times: Iterable[float], train_share: float, validation_share: float, where: str
) -> dict[str, tuple[float, float]]:
    """Returns by split the times [from, to) of its rows; rows of one time stay together.

    >>> times_of_splits(range(10), 0.8, 0.1, "a.txt")["validation"]
    (8.0, 9.0)

    Args:
        times: Of all rows.
        train_share: Of the rows.
        validation_share: Of the rows.
        where: Names the file in messages.

    Raises:
        DataError: There is no row.
    """
    all_times = np.fromiter(times, np.float64)
    if not len(all_times):
        raise DataError(f"{where}: found no row, expected some")

    shares = [train_share, train_share + validation_share]
    first, last = np.quantile(all_times, shares, method="higher").tolist()
    return {
        "train": (-math.inf, first),
        "validation": (first, last),
        "test": (last, math.inf),
    }


def check_md5(path: epath.PathLike, expected: str) -> None:
    """Compares an archive with its published MD5 sum.

    Raises:
        DataError: They differ.
    """
    digest = hashlib.md5(usedforsecurity=False)
    with epath.Path(path).open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != expected:
        raise DataError(f"{path}: found MD5 {digest.hexdigest()}, expected {expected}")
