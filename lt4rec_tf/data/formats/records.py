"""Raw records, lines or serialized `tf.train.Example`, to raw columns, a whole batch at a time.

No record, however broken, makes the parser fail: broken ones are replaced by an empty record and
flagged. No Python runs per row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from lt4rec_tf.data.formats.files import DELIMITERS, DataError, common_header, is_gzip, refuse_utf16
from lt4rec_tf.data.formats.fingerprints import find, fingerprint
from lt4rec_tf.data.formats.values import DTYPES
from lt4rec_tf.schema.types import Schema

_PROBED_RECORDS = 256
_KINDS = {"bytes_list": "string", "int64_list": "int64", "float_list": "float32"}


@dataclass(frozen=True)
class Layout:
    """How the records of a data set are built.

    Attributes:
        format: "csv", "tsv" or "tfrecord".
        columns: The columns, in the order of a line.
        quoted: Whether values may stand in double quotes.
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
        """What stands between two values of a line."""
        return DELIMITERS[self.format]


def read_layout(schema: Schema, files: Sequence[Path]) -> Layout:
    """Reads how the files are built from their headers, or from the first TFRecords.

    Raises:
        DataError: The files do not agree with each other, or the first ones hold no record.
    """
    if schema.format == "tfrecord":
        return tfrecord_layout(files)
    if schema.columns:
        for path in files:
            refuse_utf16(path)
    columns = schema.columns or common_header(files, schema.format)
    return text_layout(files[0], schema.format, columns, schema.quoted, not schema.columns)


def tfrecord_layout(files: Sequence[Path]) -> Layout:
    """How TFRecords are built, by the first readable ones.

    Raises:
        DataError: The first ones hold no readable record.
    """
    kinds = _probe_kinds(files)
    return Layout("tfrecord", tuple(kinds), kinds=kinds)


def text_layout(
    path: Path, file_format: str, columns: tuple[str, ...], quoted: bool, header: bool
) -> Layout:
    """How CSV or TSV files with these columns are built.

    Args:
        path: Names them in an error.
        file_format: "csv" or "tsv".
        columns: Their names.
        quoted: Whether values may stand in double quotes.
        header: Whether each file's first line names them.

    Raises:
        DataError: There is one column alone: something else cuts the values.
    """
    if len(columns) == 1:
        mark = DELIMITERS[file_format]
        raise DataError(f"{path}: found one column {columns[0]!r}, expected more, cut by {mark!r}")
    return Layout(file_format, columns, quoted, header_lines=int(header))


def _probe_kinds(files: Sequence[Path]) -> dict[str, str]:
    """Learns the kind of each column from the first readable records."""
    kinds: dict[str, str] = {}
    readable = 0
    for path in files:
        try:
            for record in open_records(path, Layout("tfrecord", ())).take(_PROBED_RECORDS):
                example = _example(record.numpy())
                readable += example is not None
                for name, value in example.features.feature.items() if example else ():
                    kind = value.WhichOneof("kind")
                    if kind is not None:
                        kinds.setdefault(name, _KINDS[kind])
        except tf.errors.OpError as error:
            raise DataError(f"{path}: cannot be read as TFRecords ({error.message})") from error
        if readable:
            return dict(sorted(kinds.items()))
    names = ", ".join(str(path) for path in files[:3])
    raise DataError(f"{names}: found no readable tf.train.Example, expected at least one")


def _example(record: bytes) -> tf.train.Example | None:
    try:
        return tf.train.Example.FromString(record)
    except DecodeError:
        return None


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
        layout: How the records are built.
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
    """Whether each record's fingerprint is in the set, bool (batch,)."""
    if not quarantine:
        return tf.zeros_like(records, tf.bool)
    return find(np.array(quarantine, np.int64), fingerprint(records)) < len(quarantine)


# The error of `tf.io.parse_example` quotes the record; where that is no text, TensorFlow fails to
# make the error and raises Python's instead.
PARSE_ERRORS = (tf.errors.InvalidArgumentError, UnicodeDecodeError)


def malformed_examples(layout: Layout, records: tf.Tensor, columns: Sequence[str]) -> list[int]:
    """Finds the records of a batch that make `tf.io.parse_example` fail, by halving.

    Args:
        layout: How the records should be built.
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
