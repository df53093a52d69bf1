"""Rows of Parquet files as quoted lines, column by column in Arrow: no Python runs per row."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.formats.parquet import (
    Column,
    arrow_batches,
    cast,
    columns,
    flattened,
    pyarrow,
)
from lt4rec_tf.data.formats.quoted_lines import LIST_MARK
from lt4rec_tf.data.formats.values import (
    EXACT_IN_FLOAT32,
    EXACT_IN_FLOAT64,
    SMALLEST_FLOAT32,
    SMALLEST_FLOAT64,
)

_EXACT = {"float": EXACT_IN_FLOAT32, "double": EXACT_IN_FLOAT64}
_SMALLEST = {"float": SMALLEST_FLOAT32, "double": SMALLEST_FLOAT64}


def read_lines(
    path: Path,
    names: Sequence[str],
    ids: Collection[str],
    rows: int,
    placed: Collection[str] = (),
) -> Iterator[np.ndarray]:
    """Reads some columns of a file, and no other.

    Args:
        path: The file.
        names: The columns, in the order of a line; one that the file lacks is empty.
        ids: Those whose whole numbers are names: one that a float no longer holds exactly is the
            fault of its row, because it may be a neighbour's.
        rows: The number of rows of a batch.
        placed: Those in whose lists a value that is absent keeps its place.

    Yields:
        Lines as `quoted_lines` says, bytes in an array of objects.

    Raises:
        DataError: The file is broken from some row on.
    """
    found = columns(path, placed)
    for batch in arrow_batches(path, [name for name in names if name in found], rows):
        yield lines_of(batch, names, found, ids, str(path))


def lines_of(
    batch: Any,
    names: Sequence[str],
    found: Mapping[str, Column],
    ids: Collection[str],
    where: str,
) -> np.ndarray:
    """Joins the columns of one of Arrow's record batches to lines.

    Args:
        batch: The rows.
        names: As `read_lines` takes them.
        found: The columns that the batch has.
        ids: As `read_lines` takes them.
        where: What the batch is of, for errors.

    Returns:
        Lines as `quoted_lines` says, bytes in an array of objects.

    Raises:
        DataError: A text of a list holds the mark between two values.
    """
    pa = pyarrow()
    empty = pa.array([b""] * len(batch), pa.large_binary())
    fault, texts = empty, []
    for name in names:
        if name not in found:
            texts.append(empty)
            continue
        text, inexact = _text_of(batch.column(name), found[name], f"{where}: column {name}")
        texts.append(text)
        if name in ids and inexact is not None and pa.compute.any(inexact).as_py():
            what = f"{name}: found ", ", which is no exact id"
            reason = _joined([what[0].encode(), text, what[1].encode()], b"")
            fault = pa.compute.if_else(inexact, reason, fault)

    parts = [pa.compute.replace_substring(text, '"', '""') for text in (fault, *texts)]
    inside = _joined(parts, b'","')
    return _joined([b'"', inside, b'"'], b"").to_numpy(zero_copy_only=False)


def _joined(parts: Sequence[Any], between: bytes) -> Any:
    """Joins the texts of each row."""
    pa = pyarrow()
    kind = pa.large_binary()
    scalars = [pa.scalar(part, kind) if isinstance(part, bytes) else part for part in parts]
    return pa.compute.binary_join_element_wise(*scalars, pa.scalar(between, kind))


def _text_of(array: Any, column: Column, where: str) -> tuple[Any, Any]:
    """Writes the values of a column as texts.

    Returns:
        large_binary (rows,), empty where a row has no value, and bool (rows,), the row holds a
        whole number that its float type no longer holds exactly; None: no row does.
    """
    pa = pyarrow()
    if not column.listed:
        texts, inexact = _value_texts(array, column.kind)
        if inexact is not None:
            inexact = inexact.fill_null(False)
        return texts.fill_null(b""), inexact

    values, owners = flattened(array)
    texts, inexact = _value_texts(values, column.kind)
    if column.placed:
        texts = texts.fill_null(b"")
    present = texts.is_valid().to_numpy(zero_copy_only=False)
    texts = texts.drop_null()
    if pa.compute.any(pa.compute.match_substring(texts, LIST_MARK)).as_py():
        raise DataError(
            f"{where}: found a list with U+001F in a text, expected texts without this separator"
        )

    counts = np.bincount(owners[present], minlength=len(array))
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int64())
    lists = pa.LargeListArray.from_arrays(offsets, texts)
    joined = pa.compute.binary_join(lists, pa.scalar(LIST_MARK.encode(), pa.large_binary()))
    if inexact is None:
        return joined, None
    rows = owners[inexact.fill_null(False).to_numpy(zero_copy_only=False)]
    return joined, pa.array(np.bincount(rows, minlength=len(array)) > 0)


def _value_texts(array: Any, kind: str) -> tuple[Any, Any]:
    """Writes single values as texts; NaN is no value, as in what pandas writes for an absent one.

    Returns:
        large_binary with nulls, and bool: a whole number is not exact; None: none can be inexact.
    """
    pa, pc = pyarrow(), pyarrow().compute
    values = cast(array, kind)
    if not pa.types.is_floating(values.type):
        text = values if pa.types.is_large_binary(values.type) else values.cast(pa.string())
        return text.cast(pa.large_binary()), None

    values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    is_zero = pc.less(pc.abs(values), _SMALLEST[str(values.type)])
    values = pc.if_else(is_zero, pa.scalar(0.0, values.type), values)
    whole = pc.and_(pc.is_finite(values), pc.equal(pc.floor(values), values))
    exact = pc.and_(whole, pc.less(pc.abs(values), _EXACT[str(values.type)]))
    # 7.0 is the number 7, as it is in a file whose column has no null.
    integers = pc.if_else(exact, values, pa.scalar(None, values.type)).cast(pa.int64())
    text = pc.coalesce(integers.cast(pa.string()), values.cast(pa.string()))
    inexact = pc.and_(whole, pc.invert(exact))
    if pc.any(inexact).as_py():  # 16777216, in a form that no reader takes for a whole number
        text = pc.if_else(inexact, _scientific(values), text)
    return text.cast(pa.large_binary()), inexact


def _scientific(values: Any) -> Any:
    """Writes floats with an exponent, in as many digits as mean them."""
    pa = pyarrow()
    texts = [None if v is None else np.format_float_scientific(v) for v in values.to_numpy(False)]
    return pa.array(texts, pa.string())
