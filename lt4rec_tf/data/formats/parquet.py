"""Parquet files to batches of columns, by pyarrow, which is imported here and for them alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lt4rec_tf.data.formats.examples import Ragged
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.formats.headers import refuse_other_columns


def _pyarrow() -> Any:
    """Imports pyarrow, with its modules for Parquet and for computing.

    Raises:
        DataError: It is not installed; says how to.
    """
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(
            f"Parquet files need pyarrow ({error}): pip install 'lt4rec_tf[parquet]'"
        ) from error
    return pyarrow


def columns(path: Path) -> dict[str, str]:
    """Reads the columns of a file and the dtype of each: "string", "int64" or "float32".

    Raises:
        DataError: The file is no Parquet, or has a column that is no value and no list of values;
            or pyarrow is absent.
    """
    pa = _pyarrow()
    try:
        schema = pa.parquet.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as Parquet ({error})") from error

    dtypes = {field.name: _dtype(path, field.name, field.type) for field in schema}
    if len(dtypes) != len(schema.names) or not dtypes:
        raise DataError(f"{path}: found the columns {schema.names}, expected distinct names")
    return dtypes


def _dtype(path: Path, name: str, kind: Any) -> str:
    is_a = _pyarrow().types
    value = kind.value_type if _is_list(kind) else kind
    value = value.value_type if is_a.is_dictionary(value) else value

    if is_a.is_floating(value) or is_a.is_decimal(value):
        return "float32"
    if is_a.is_uint64(value):  # half of its numbers are no int64; as text they hash alike
        return "string"

    whole = (is_a.is_integer, is_a.is_boolean, is_a.is_null, is_a.is_timestamp, is_a.is_date)
    if any(matches(value) for matches in whole):
        return "int64"

    texts = (is_a.is_string, is_a.is_large_string, is_a.is_string_view)
    binaries = (is_a.is_binary, is_a.is_large_binary, is_a.is_binary_view)
    if any(matches(value) for matches in (*texts, *binaries, is_a.is_fixed_size_binary)):
        return "string"

    raise DataError(
        f"{path}: column {name}: found the type {kind}, expected a number, a text, a time, or a "
        "list of these"
    )


def _is_list(kind: Any) -> bool:
    is_a = _pyarrow().types
    return is_a.is_list(kind) or is_a.is_large_list(kind) or is_a.is_fixed_size_list(kind)


def batches(path: Path, names: Sequence[str], rows: int) -> Iterator[tuple[dict[str, Ragged], int]]:
    """Reads a file from its first row to its last.

    Args:
        path: The file.
        names: Its columns.
        rows: The number of rows of a batch.

    Yields:
        By column bytes, int64 (times: ms since 1970) or float64; and the number of rows.

    Raises:
        DataError: The file is broken, or has other columns, or pyarrow is absent.
    """
    pa = _pyarrow()
    dtypes = columns(path)
    refuse_other_columns(path, tuple(dtypes), names, "the first file")

    read = 0
    try:
        # Pages are read as they are needed: else whole columns of a row group are held.
        with pa.parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
            for batch in file.iter_batches(rows):
                arrays = zip(batch.schema.names, batch.columns, strict=True)
                yield {name: _column(array, dtypes[name]) for name, array in arrays}, len(batch)
                read += len(batch)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read past row {read} ({error})") from error


def _column(array: Any, dtype: str) -> Ragged:
    """Turns an array into a column.

    A null is no value, in a list too; nor is an empty text by itself, as in CSV.
    """
    pc = _pyarrow().compute
    rows, owners = len(array), np.arange(len(array))  # owners: the row of each value
    listed = _is_list(array.type)
    if listed:
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        owners, array = np.repeat(owners, lengths), array.flatten()

    present = array.is_valid().to_numpy(zero_copy_only=False)
    values = _cast(array, dtype).drop_null().to_numpy(zero_copy_only=False)
    if dtype == "string" and not listed:
        empty = values == b""
        present[np.flatnonzero(present)[empty]] = False
        values = values[~empty]

    return Ragged(values, np.bincount(owners[present], minlength=rows))


def _cast(array: Any, dtype: str) -> Any:
    """Casts an array to float64, int64 or bytes."""
    pa = _pyarrow()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if dtype == "float32":
        return array.cast(pa.float64())
    if dtype == "int64":
        if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
            array = array.cast(pa.timestamp("ms"), safe=False)
        return array.cast(pa.int64())
    if pa.types.is_uint64(array.type):
        array = array.cast(pa.string())
    return array.cast(pa.large_binary())
