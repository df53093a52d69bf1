"""Tables in memory, of whatever library, as Arrow's record batches and their layout.

Libraries hand their tables on by the Arrow PyCapsule protocol (`__arrow_c_stream__`): pandas 2.2,
Polars 1.3, DuckDB, Arrow itself. Source: Apache Arrow, The Arrow PyCapsule Interface.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from lt4rec_tf.data.formats.files import DataError, pyarrow_or_advice
from lt4rec_tf.data.formats.parquet import columns_of
from lt4rec_tf.data.formats.records import Layout

FRAME = "frame"  # what errors call a table in memory
_KINDS = (
    "a dict of arrays, or a table that has __arrow_c_stream__ (pandas 2.2, Polars 1.3, DuckDB, "
    "Arrow)"
)


def record_batches(frame: Any, rows: int) -> tuple[Any, Iterator[Any]]:
    """Opens a table.

    Args:
        frame: Arrays or lists by column, or what the protocol hands on.
        rows: The most rows of a batch.

    Returns:
        Arrow's schema, and its record batches.

    Raises:
        DataError: It is no table, or pyarrow, which reads it, is absent.
    """
    pa = pyarrow_or_advice("tables in memory")
    if isinstance(frame, Mapping):
        frame = _table_of(frame, pa)
    try:
        if hasattr(frame, "__arrow_c_stream__"):
            reader = pa.RecordBatchReader.from_stream(frame)
        elif hasattr(frame, "__arrow_c_array__"):
            batch = pa.record_batch(frame)
            reader = pa.RecordBatchReader.from_batches(batch.schema, [batch])
        else:
            raise DataError(f"{FRAME}: found {type(frame).__name__}, expected {_KINDS}")
    except (pa.ArrowException, TypeError) as error:
        raise DataError(f"{FRAME}: cannot be read as a table ({error})") from error
    return reader.schema, _cut(reader, rows)


def _table_of(arrays: Mapping[str, Any], pa: Any) -> Any:
    """Makes a table of arrays by column; one of two dimensions holds a list a row."""
    columns = {}
    for name, values in arrays.items():
        array = values.tolist() if isinstance(values, np.ndarray) and values.ndim > 1 else values
        try:
            columns[str(name)] = pa.array(array, from_pandas=True)  # NaN is an absent text too
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise DataError(f"{FRAME}: column {name}: cannot be read ({error})") from error
    counts = {name: len(column) for name, column in columns.items()}
    first = next(iter(counts), None)
    for name, count in counts.items():
        if first is not None and count != counts[first]:
            raise DataError(
                f"{FRAME}: column {name}: found {count} rows, expected {counts[first]} as in "
                f"{first}"
            )
    return pa.table(columns)


def _cut(reader: Any, rows: int) -> Iterator[Any]:
    for batch in reader:
        for start in range(0, len(batch), rows):
            yield batch.slice(start, rows)


def frame_layout(arrow_schema: Any) -> Layout:
    """Returns the layout of a table's rows, as quoted lines of Parquet have it.

    Args:
        arrow_schema: Of `record_batches`; columns that no feature can be made of are left out.

    Raises:
        DataError: Its columns have no distinct names.
    """
    found = columns_of(arrow_schema, FRAME)
    readable = {name: column for name, column in found.items() if column.kind}
    listed = frozenset(name for name, column in readable.items() if column.listed)
    kinds = {name: column.kind for name, column in readable.items()}
    return Layout("parquet", tuple(readable), kinds=kinds, listed=listed)
