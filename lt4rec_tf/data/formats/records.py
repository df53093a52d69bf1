"""Raw records, lines or serialized `tf.train.Example`, to raw columns, a whole batch at a time.

No record, however broken, makes the parser fail: broken ones are replaced by an empty record and
flagged. No Python runs per row.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from lt4rec_tf.data.formats.files import DataError, is_gzip, refuse_utf16
from lt4rec_tf.data.formats.fingerprints import find, fingerprint
from lt4rec_tf.data.formats.headers import common_header
from lt4rec_tf.data.formats.text_rows import DELIMITERS
from lt4rec_tf.data.formats.values import DTYPES
from lt4rec_tf.schema.types import Schema

_PROBED_RECORDS = 256
_KINDS = {"bytes_list": "string", "int64_list": "int64", "float_list": "float32"}


@dataclass(frozen=True)
class Layout:
    """The structure of the records of a data set.

    Attributes:
        format: "csv", "tsv" or "tfrecord".
        columns: The columns, in the order of a line.
        quoted: True if values may stand in double quotes.
        header_lines: Lines to skip at the start of each file.
        kinds: Of tfrecord: by column "string", "int64" or "float32".
    """

    format: str
    columns: tuple[str, ...]
    quoted: bool = False
    header_lines: int = 0
    kinds: Mapping[str, str] = field(default_factory=dict)

    @property
    def delimiter(self) -> str:
        """Returns what stands between two values of a line."""
        return DELIMITERS[self.format]


def read_layout(schema: Schema, files: Sequence[Path]) -> Layout:
    """Reads the layout of files from their headers, or from the first TFRecords.

    Raises:
        DataError: The files do not agree with each other, or the first ones hold no record.
    """
    if schema.format == "tfrecord":
        return tfrecord_layout(files)

    if schema.columns:
        for path in files:
            refuse_utf16(path)  # where files name their columns, reading the names does so
    columns = schema.columns or common_header(files, schema.format)
    return text_layout(files[0], schema.format, columns, schema.quoted, not schema.columns)


def tfrecord_layout(files: Sequence[Path]) -> Layout:
    """Reads the layout of TFRecords from the first readable ones.

    Raises:
        DataError: The first ones hold no readable record.
    """
    kinds = _probe_kinds(files)
    return Layout("tfrecord", tuple(kinds), kinds=kinds)


def text_layout(
    path: Path, file_format: str, columns: tuple[str, ...], quoted: bool, header: bool
) -> Layout:
    """Returns the layout of CSV or TSV files with these columns.

    Args:
        path: The file that an error names.
        file_format: "csv" or "tsv".
        columns: Their names.
        quoted: True if values may stand in double quotes.
        header: True if each file's first line names the columns.

    Raises:
        DataError: There is one column alone: something else cuts the values.
    """
    if len(columns) == 1:
        mark = DELIMITERS[file_format]
        raise DataError(f"{path}: found one column {columns[0]!r}, expected more, cut by {mark!r}")
    return Layout(file_format, columns, quoted, header_lines=int(header))


def _probe_kinds(files: Sequence[Path]) -> dict[str, str]:
    """Finds the kind of each column in the first file that holds readable records."""
    for path in files:
        examples = _first_examples(path)
        if examples:
            return _kinds_of(examples)

    names = ", ".join(str(path) for path in files[:3])
    raise DataError(f"{names}: found no readable tf.train.Example, expected at least one")


def _first_examples(path: Path) -> list[tf.train.Example]:
    examples = []
    try:
        for record in open_records(path, Layout("tfrecord", ())).take(_PROBED_RECORDS):
            with contextlib.suppress(DecodeError):  # the audit counts such records
                examples.append(tf.train.Example.FromString(record.numpy()))
    except tf.errors.OpError as error:
        raise DataError(f"{path}: cannot be read as TFRecords ({error.message})") from error
    return examples


def _kinds_of(examples: Sequence[tf.train.Example]) -> dict[str, str]:
    kinds: dict[str, str] = {}
    for example in examples:
        for name, value in example.features.feature.items():
            kind = value.WhichOneof("kind")
            if kind is not None:
                kinds.setdefault(name, _KINDS[kind])
    return dict(sorted(kinds.items()))


def open_records(path: Path, layout: Layout) -> tf.data.Dataset:
    """Opens one file as a data set of raw records, strings ()."""
    compression = "GZIP" if is_gzip(path) else ""
    return records_of(str(path), compression, layout)


def records_of(
    path: str | tf.Tensor, compression: str | tf.Tensor, layout: Layout
) -> tf.data.Dataset:
    """Opens one file, of which the path and packing ("GZIP" or "") may be tensors."""
    if layout.format == "tfrecord":
        return tf.data.TFRecordDataset(path, compression)
    return tf.data.TextLineDataset(path, compression).skip(layout.header_lines)


def parse(
    layout: Layout, records: tf.Tensor, columns: Sequence[str], unparseable: tf.Tensor
) -> tuple[dict[str, tf.Tensor | tf.RaggedTensor], tf.Tensor]:
    """Takes records apart.

    Args:
        layout: The structure of the records.
        records: Strings (batch,).
        columns: The columns wanted; the layout must have them.
        unparseable: Bool (batch,): Examples known to be malformed, see `malformed_examples`.

    Returns:
        By column a string tensor (batch,), or of TFRecords a ragged one (batch, values); and bool
        (batch,): the record is broken, and empty in all columns.
    """
    if layout.format == "tfrecord":
        whole = tf.where(unparseable, "", records)
        return dict(_parse_examples(layout, whole, columns)), unparseable
    return _parse_lines(layout, records, columns)


def _parse_examples(
    layout: Layout, records: tf.Tensor, columns: Sequence[str]
) -> dict[str, tf.RaggedTensor]:
    spec = {
        name: tf.io.RaggedFeature(DTYPES[layout.kinds[name]], row_splits_dtype=tf.int64)
        for name in columns
    }
    return tf.io.parse_example(records, spec)


def _parse_lines(
    layout: Layout, lines: tf.Tensor, columns: Sequence[str]
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    if not layout.header_lines:  # with one, the mark stands in the header
        lines = tf.strings.regex_replace(lines, "^\ufeff", "", replace_global=False)

    # decode_csv fails on a line with another number of values: an empty one takes its place.
    whole = _has_all_columns(layout, lines)
    empty = layout.delimiter * (len(layout.columns) - 1)
    wanted = sorted(columns, key=layout.columns.index)
    values = tf.io.decode_csv(
        tf.where(whole, lines, empty),
        [""] * len(wanted),
        field_delim=layout.delimiter,
        use_quote_delim=layout.quoted,
        select_cols=[layout.columns.index(name) for name in wanted],
    )
    return dict(zip(wanted, values, strict=True)), ~whole


def _has_all_columns(layout: Layout, lines: tf.Tensor) -> tf.Tensor:
    """Tells of each line, bool (batch,), if it has a value for every column and closed quotes."""
    mark = re.escape(layout.delimiter)
    value = rf'(?:[^"{mark}\r\n]*|"(?:[^"]|"")*")' if layout.quoted else rf"[^{mark}\r\n]*"
    # Regular expressions count in runes: the repetition is written out once, for any column count.
    pattern = value + f"(?:{mark}{value})" * (len(layout.columns) - 1)

    def after_repair() -> tf.Tensor:
        # Classes such as [^,] match no byte that is not UTF-8; such values are kept all the same.
        runes = tf.strings.unicode_transcode(lines, "UTF-8", "UTF-8", errors="replace")
        return tf.strings.regex_full_match(runes, pattern)

    whole = tf.strings.regex_full_match(lines, pattern)
    return tf.cond(tf.reduce_all(whole), lambda: whole, after_repair)


def is_quarantined(records: tf.Tensor, quarantine: Sequence[int]) -> tf.Tensor:
    """Tells of each record, bool (batch,), if its fingerprint is in the quarantine."""
    if not quarantine:
        return tf.zeros_like(records, tf.bool)
    return find(np.array(quarantine, np.int64), fingerprint(records)) < len(quarantine)


# The error of `tf.io.parse_example` quotes the record; where that is no text, TensorFlow fails to
# make the error and raises Python's instead.
PARSE_ERRORS = (tf.errors.InvalidArgumentError, UnicodeDecodeError)


def malformed_examples(layout: Layout, records: tf.Tensor, columns: Sequence[str]) -> list[int]:
    """Finds the records of a batch that make `tf.io.parse_example` fail, by halving.

    Args:
        layout: The structure that the records should have.
        records: Strings (batch,), eager.
        columns: The columns that are read.

    Returns:
        The fingerprints of the malformed records.
    """
    try:
        _parse_examples(layout, records, columns)
    except PARSE_ERRORS:
        if len(records) == 1:
            return [int(fingerprint(records)[0])]
        half = len(records) // 2
        first = malformed_examples(layout, records[:half], columns)
        return first + malformed_examples(layout, records[half:], columns)
    return []
