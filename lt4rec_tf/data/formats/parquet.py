"""Parquet files to batches of columns, by pyarrow, which is imported here and for them alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lt4rec_tf.core.locations import in_store
from lt4rec_tf.data.formats.examples import Ragged
from lt4rec_tf.data.formats.files import DataError, pyarrow_or_advice
from lt4rec_tf.data.formats.headers import refuse_other_columns

_EXACT_DIGITS = 15  # of decimals, up to which a float64 holds each of them
# In a footer, behind its length: the key of the types that Arrow notes; and one that nobody reads.
_ARROW_TYPES, _NO_TYPES = b"\x0cARROW:schema", b"\x0cno:no_schema"
DTYPES_OF_KINDS = {
    "text": "string",
    "decimal": "string",
    "fraction": "float32",
    "whole": "int64",
    "time": "int64",
    "nothing": "int64",
}
_LEVELS = ("time", "whole", "fraction", "decimal", "text")  # each but time holds those before it


def pyarrow() -> Any:
    """Imports pyarrow.

    Raises:
        DataError: It is not installed; says how to.
    """
    return pyarrow_or_advice("Parquet")


@dataclass(frozen=True)
class Column:
    """What a file says of a column.

    Attributes:
        kind: "text", "whole", "fraction", "decimal" (of more digits than a float64 holds), "time",
            "nothing" (nulls alone), or "" where its values are of another type and cannot be read.
        listed: True if a row holds a list of them.
        arrow_type: The type in Arrow's words.
        placed: True if a value that is absent keeps its place in a list.
    """

    kind: str
    listed: bool
    arrow_type: str
    placed: bool = False


def columns(path: Path, placed: Collection[str] = ()) -> dict[str, Column]:
    """Reads what a file says of its columns.

    Args:
        path: The file.
        placed: Columns in whose lists a value that is absent keeps its place.

    Raises:
        DataError: The file is no Parquet, or has no columns of distinct names; or pyarrow is
            absent.
    """
    pa = pyarrow()
    try:
        schema = pa.parquet.read_schema(_opened(path))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as Parquet ({error})") from error

    return columns_of(schema, str(path), placed)


def columns_of(schema: Any, where: str, placed: Collection[str] = ()) -> dict[str, Column]:
    """Reads what one of Arrow's schemas says of its columns.

    Args:
        schema: Of a file, or of a table in memory.
        where: What it is of, for errors.
        placed: As `columns` takes it.

    Raises:
        DataError: There are no columns of distinct names.
    """
    found = {field.name: _column_of(field.type, field.name in placed) for field in schema}
    if len(found) != len(schema.names) or not found:
        raise DataError(f"{where}: found the columns {schema.names}, expected distinct names")
    return found


def _column_of(arrow_type: Any, placed: bool) -> Column:
    is_a = pyarrow().types
    value = arrow_type.value_type if _is_list(arrow_type) else arrow_type
    value = value.value_type if is_a.is_dictionary(value) else value
    is_list = _is_list(arrow_type)
    return Column(_kind_of(value), is_list, str(arrow_type), is_list and placed)


def _kind_of(value: Any) -> str:
    is_a = pyarrow().types
    if is_a.is_decimal(value):
        if value.precision > _EXACT_DIGITS:
            return "decimal"
        return "whole" if value.scale <= 0 else "fraction"

    if is_a.is_uint64(value):  # half of its numbers are no int64; as text they hash alike
        return "text"
    if is_a.is_floating(value):
        return "fraction"
    if is_a.is_integer(value) or is_a.is_boolean(value):
        return "whole"
    if is_a.is_null(value):
        return "nothing"
    if is_a.is_timestamp(value) or is_a.is_date(value):
        return "time"

    texts = (is_a.is_string, is_a.is_large_string, is_a.is_string_view)
    binaries = (is_a.is_binary, is_a.is_large_binary, is_a.is_binary_view)
    is_text = any(matches(value) for matches in (*texts, *binaries, is_a.is_fixed_size_binary))
    return "text" if is_text else ""


def common_columns(
    paths: Sequence[Path], needed: Collection[str] | None
) -> tuple[dict[str, Column], dict[str, str]]:
    """Finds the columns that files have in common, in the order of the first file.

    Numbers and texts become texts, whole numbers and fractions become fractions: nothing is lost.

    Args:
        paths: The files.
        needed: Columns that must be readable where files have them; None: all.

    Returns:
        By column what holds for all files; and by column that is left out, why.

    Raises:
        DataError: A file cannot be read, or a needed column is not in all files or has types that
            do not fit together; names file, column and both types.
    """
    by_path = {path: columns(path) for path in paths}
    first = by_path[paths[0]]
    if needed is None:
        for path, found in by_path.items():
            if set(found) != set(first):
                refuse_other_columns(path, tuple(found), tuple(first), "the first file")

    names = dict.fromkeys(name for found in by_path.values() for name in found)
    common, left_out = {}, {}
    for name in names:
        column, fault = _in_common({path: found.get(name) for path, found in by_path.items()}, name)
        if column is not None:
            common[name] = column
        elif needed is not None and name in needed:
            raise DataError(fault)
        else:
            left_out[name] = fault
    return common, left_out


def _in_common(by_path: Mapping[Path, Column | None], name: str) -> tuple[Column | None, str]:
    """Returns what holds of a column in all files; or None, and why nothing does."""
    common, example = None, next(iter(by_path))
    for path, column in by_path.items():
        if column is None:
            return None, f"{path}: found no column {name}, which {example} has"
        if not column.kind:
            return None, (
                f"{path}: column {name}: found the type {column.arrow_type}, expected a number, a "
                "text, a time, or a list of these"
            )
        if column.kind == "nothing":
            common = common or column
        elif common is None or common.kind == "nothing":
            common, example = column, path
        elif common.listed != column.listed or (common.kind == "time") != (column.kind == "time"):
            return None, (
                f"{path}: column {name}: found the type {column.arrow_type}, expected "
                f"{common.arrow_type} as in {example}, or one that can be turned into it"
            )
        elif _LEVELS.index(column.kind) > _LEVELS.index(common.kind):
            common, example = column, path
    return common, ""


def _is_list(kind: Any) -> bool:
    is_a = pyarrow().types
    return is_a.is_list(kind) or is_a.is_large_list(kind) or is_a.is_fixed_size_list(kind)


def batches(
    path: Path, names: Sequence[str], rows: int, placed: Collection[str] = ()
) -> Iterator[tuple[dict[str, Ragged], int]]:
    """Reads columns of a file from its first row to its last.

    Args:
        path: The file.
        names: The columns that are read.
        rows: The number of rows of a batch.
        placed: Those in whose lists a value that is absent keeps its place.

    Yields:
        By column bytes, int64 (times: ms since 1970), float32 or float64; and the number of rows.

    Raises:
        DataError: The file is broken, or lacks a column, or pyarrow is absent.
    """
    found = columns(path, placed)
    absent = [name for name in names if name not in found]
    if absent:
        refuse_other_columns(path, tuple(found), names, "the first file")

    for batch in arrow_batches(path, names, rows):
        arrays = zip(batch.schema.names, batch.columns, strict=True)
        yield {name: ragged_of(array, found[name]) for name, array in arrays}, len(batch)


def arrow_batches(path: Path, names: Sequence[str], rows: int) -> Iterator[Any]:
    """Reads columns of a file as Arrow's record batches, and no other column.

    Args:
        path: The file.
        names: Columns that it has.
        rows: The number of rows of a batch.

    Raises:
        DataError: The file is broken from some row on.
    """
    pa = pyarrow()
    read = 0
    try:
        with _parquet_file(path, names) as file:
            for batch in file.iter_batches(rows, columns=list(names)):
                yield batch
                read += len(batch)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read past row {read} ({error})") from error


def _parquet_file(path: Path, names: Sequence[str]) -> Any:
    """Opens a file whose columns of these names are read."""
    pa = pyarrow()
    # Pages are read as they are needed: else whole columns of a row group are held.
    options = {"pre_buffer": False, "buffer_size": 1 << 20}
    file = pa.parquet.ParquetFile(_opened(path), **options)
    types = [file.schema_arrow.field(name).type for name in names]
    if not any(map(pa.types.is_fixed_size_list, types)):
        return file

    # pyarrow cannot read a null among lists of one length. Parquet itself has no such lists: by a
    # footer without the types that Arrow noted beside, they are lists of any length.
    with file:
        footer = pa.BufferOutputStream()
        file.metadata.write_metadata_file(footer)
    without_types = footer.getvalue().to_pybytes().replace(_ARROW_TYPES, _NO_TYPES)
    metadata = pa.parquet.read_metadata(pa.BufferReader(without_types))
    return pa.parquet.ParquetFile(_opened(path), metadata=metadata, **options)


def _opened(path: Path) -> Any:
    """Returns what pyarrow opens: a path, or a file of a store."""
    return path.open("rb") if in_store(path) else path


def ragged_of(array: Any, column: Column) -> Ragged:
    """Turns an array into a column.

    A null is no value, in a list too; nor is NaN, which pandas writes for one, nor an empty text by
    itself, as in CSV. Of a list in which such a value keeps its place, an empty text or NaN stands
    there.
    """
    rows, owners = len(array), np.arange(len(array))
    if column.listed:
        array, owners = flattened(array)
    if column.placed:
        return Ragged(_placed(cast(array, column.kind)), np.bincount(owners, minlength=rows))

    owners = owners[array.is_valid().to_numpy(zero_copy_only=False)]
    values = cast(array, column.kind).drop_null().to_numpy(zero_copy_only=False)
    if values.dtype.kind == "f":
        is_value = ~np.isnan(values)
    else:
        is_value = values != b"" if values.dtype.kind == "O" and not column.listed else None
    if is_value is not None:
        owners, values = owners[is_value], values[is_value]
    return Ragged(values, np.bincount(owners, minlength=rows))


def _placed(array: Any) -> np.ndarray:
    """Returns the values of lists, an empty text or NaN for each null."""
    pa = pyarrow()
    if pa.types.is_floating(array.type):
        return array.fill_null(float("nan")).to_numpy(zero_copy_only=False)
    if array.null_count and pa.types.is_integer(array.type):
        array = array.cast(pa.string()).cast(pa.large_binary())
    if array.null_count:
        array = array.fill_null(b"")
    return array.to_numpy(zero_copy_only=False)


def flattened(array: Any) -> tuple[Any, np.ndarray]:
    """Returns the values of an array of lists, and the row of each, int64 (values,)."""
    pc = pyarrow().compute
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    return array.flatten(), np.repeat(np.arange(len(array)), lengths)


def cast(array: Any, kind: str) -> Any:
    """Casts an array of a kind of `Column` to bytes, int64, float32 or float64."""
    pa = pyarrow()
    if pa.types.is_dictionary(array.type):
        array = _decoded(array)
    is_decimal = pa.types.is_decimal(array.type)

    if kind in ("text", "decimal"):
        if is_decimal or pa.types.is_uint64(array.type):
            array = array.cast(pa.string())
        if is_decimal:  # 7.00 is 7, as it is in a file whose column has no decimals
            array = pa.compute.replace_substring_regex(array, r"\.0*$|(\.[0-9]*[1-9])0+$", r"\1")
        return array.cast(pa.large_binary())
    if kind == "fraction":
        narrow = pa.types.is_float32(array.type) or pa.types.is_float16(array.type)
        return array.cast(pa.float32() if narrow else pa.float64())
    if kind == "time":
        array = array.cast(pa.timestamp("ms"), safe=False)
    return array.cast(pa.int64())


def _decoded(array: Any) -> Any:
    """Returns the values that a dictionary array stands for."""
    pa = pyarrow()
    values = array.dictionary
    if pa.types.is_string_view(values.type) or pa.types.is_binary_view(values.type):
        values = values.cast(pa.large_binary())  # Arrow takes no values of views by their places
        array = pa.DictionaryArray.from_arrays(array.indices, values)
    return array.dictionary_decode()
