"""What the builders of public data sets share: typed columns, rows of text files, missing files.

Only builders import this module: it loads TensorFlow Datasets.
"""

from __future__ import annotations

import hashlib
import math
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


@dataclass(frozen=True)
class Column:
    """A column of a public data set.

    Attributes:
        name: Its name in the files and in examples.
        kind: What a value is; the plural kinds are lists.
        description: What it says.
        missing: What stands for no value in examples; None: "", -1 or NaN. Lists are empty.
        separator: Of lists: what stands between two values.
        absent: Texts beside "" that stand for no value.
    """

    name: str
    kind: Kind
    description: str
    missing: str | int | float | None = None
    separator: str = ","
    absent: tuple[str, ...] = ()


@dataclass(frozen=True)
class Statistics:
    """What is published of a data set, over all splits; None: nothing is.

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
    """The columns as TensorFlow Datasets describes features."""
    return tfds.features.FeaturesDict({column.name: _feature(column) for column in columns})


def _feature(column: Column) -> tfds.features.FeatureConnector:
    one = column.kind.removesuffix("s")
    if one != column.kind:
        inner = tfds.features.Text() if one == "text" else tfds.features.Scalar(_DTYPES[one])
        return tfds.features.Sequence(inner, doc=column.description)
    if one == "text":
        return tfds.features.Text(doc=column.description)
    return tfds.features.Scalar(_DTYPES[one], doc=column.description)


def example(columns: Sequence[Column], row: Mapping[str, str], where: str) -> dict[str, Any]:
    """Reads a row.

    Args:
        columns: What is wanted of it.
        row: Texts by column; a column that it does not have is missing.
        where: What a message calls the row.

    Raises:
        DataError: A value is none of its column's kind.

    >>> columns = [Column("tag", "wholes", ""), Column("width", "number", "")]
    >>> example(columns, {"tag": "3,5", "width": ""}, "a.csv: row 1")
    {'tag': [3, 5], 'width': nan}
    """
    return {column.name: value(column, row, where) for column in columns}


def value(column: Column, row: Mapping[str, str], where: str) -> Any:
    """Reads one column of a row, as `example` does.

    Raises:
        DataError: The value is none of the column's kind.
    """
    text = row.get(column.name, "").strip()
    one = column.kind.removesuffix("s")
    absent = text == "" or text in column.absent
    if one != column.kind:
        parts = [] if absent else text.split(column.separator)
        return [_read(one, part.strip(), column.name, where) for part in parts]
    if absent or (one == "whole" and text.lower() == "nan"):
        return _MISSING[one] if column.missing is None else column.missing
    return _read(one, text, column.name, where)


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
    """A table in memory: its rows by a column, of equal keys the last.

    Raises:
        DataError: As `read_rows`.
    """
    return {row[key]: row for _, row in read_rows(path)}


def split_of_day(day: int, validation_from: int, test_from: int) -> str:
    """Where the rows of a day lie; days are whole numbers such as 20220408.

    >>> [split_of_day(day, 20220419, 20220420) for day in (20220418, 20220419, 20220501)]
    ['train', 'validation', 'test']
    """
    return SPLITS[(day >= validation_from) + (day >= test_from)]


def times_of_splits(
    times: Iterable[float], train_share: float, validation_share: float, where: str
) -> dict[str, tuple[float, float]]:
    """By split the times [from, to) of its rows; rows of one time stay together.

    >>> times_of_splits(range(10), 0.8, 0.1, "a.txt")["validation"]
    (8.0, 9.0)

    Args:
        times: Of all rows.
        train_share: Of the rows.
        validation_share: Of the rows.
        where: What a message calls the file.

    Raises:
        DataError: There is no row.
    """
    known = np.fromiter(times, np.float64)
    if not len(known):
        raise DataError(f"{where}: found no row, expected some")
    shares = [train_share, train_share + validation_share]
    first, last = np.quantile(known, shares, method="higher").tolist()
    return {
        "train": (-math.inf, first),
        "validation": (first, last),
        "test": (last, math.inf),
    }


def given_folder(manager: tfds.download.DownloadManager) -> epath.Path | None:
    """The folder for files that were downloaded by hand; None: there is none, or it is empty."""
    try:
        return epath.Path(manager.manual_dir)
    except AssertionError:  # how TensorFlow Datasets says so
        return None


def manual_folder(
    manager: tfds.download.DownloadManager, builder: tfds.core.DatasetBuilder
) -> epath.Path:
    """The folder for files that can only be downloaded by hand.

    Raises:
        DataError: There is none, or it is empty; tells what to download and where to put it.
    """
    folder = given_folder(manager)
    if folder is None:
        raise DataError(
            f"--manual_dir: found no folder with files, expected those of {builder.name}.\n"
            f"{builder.MANUAL_DOWNLOAD_INSTRUCTIONS}"
        )
    return folder


def need(path: epath.Path, instructions: str) -> epath.Path:
    """Returns a path that must exist.

    Raises:
        DataError: It does not; tells what to download, from where, and where to put it.
    """
    if not path.exists():
        raise DataError(f"{path}: found nothing there, expected what follows.\n{instructions}")
    return path


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
