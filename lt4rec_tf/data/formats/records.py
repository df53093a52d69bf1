"""Raw records, lines or serialized `tf.train.Example`, to raw columns, a whole batch at a time.

Rows of Parquet and JSON Lines are lines here too, see `quoted_lines`. No record, however broken,
makes the parser fail: broken ones are replaced by an empty record and flagged. No Python runs per
row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from lt4rec_tf.data.formats import partitions
from lt4rec_tf.data.formats.bad_rows import shown
from lt4rec_tf.data.formats.example_kinds import example_text, other_kinds
from lt4rec_tf.data.formats.fingerprints import find, fingerprint
from lt4rec_tf.data.formats.lines import TextForm
from lt4rec_tf.data.formats.quoted_lines import FAULT, LIST_MARK
from lt4rec_tf.data.formats.row_check import has_all_columns
from lt4rec_tf.data.formats.text_rows import DELIMITERS
from lt4rec_tf.data.formats.values import DTYPES

_BY_PYTHON = ("parquet", "jsonl")  # formats


@dataclass(frozen=True)
class Layout:
    """The structure of the records of a data set.

    Attributes:
        format: "csv", "tsv", "tfrecord", "parquet" or "jsonl".
        columns: The columns, in the order of a line; partitions stand last.
        quoted: True if values may stand in double quotes.
        header_lines: Lines to skip at the start of each file.
        kinds: Of tfrecord: by column "string", "int64" or "float32"; of parquet: `Column.kind`.
        partitions: Columns whose values stand in the names of folders, see `partitions`.
        listed: Of parquet and jsonl: columns that hold lists.
        placed: Columns in whose lists a value that is absent keeps its place.
        ids: Of parquet: columns whose whole numbers are names, see `parquet_lines.read_lines`.
    """

    format: str
    columns: tuple[str, ...]
    quoted: bool = False
    header_lines: int = 0
    kinds: Mapping[str, str] = field(default_factory=dict)
    partitions: tuple[str, ...] = ()
    listed: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()
    placed: frozenset[str] = frozenset()

    @property
    def by_python(self) -> bool:
        """Tells if Python reads all files of the format."""
        return self.format in _BY_PYTHON

    @property
    def file_columns(self) -> tuple[str, ...]:
        """Returns the columns that stand in the files themselves."""
        return self.columns[: len(self.columns) - len(self.partitions)]

    @property
    def delimiter(self) -> str:
        """Returns what stands between two values of a line; "" of TFRecords."""
        if self.format == "tfrecord":
            return ""
        return DELIMITERS["csv" if self.by_python else self.format]

    @property
    def form(self) -> TextForm | None:
        """Returns the form of a text file's rows; None of other files."""
        if self.format not in DELIMITERS:
            return None
        return TextForm(self.delimiter, self.quoted, len(self.file_columns))

    def mark_of(self, path: Path) -> bytes:
        """Returns what adds a file's partitions to its records, see `marked`."""
        if not self.partitions:
            return b""
        quoted = self.quoted or self.by_python
        return partitions.mark_of(path, self.partitions, self.delimiter, quoted)


def without_blank_lines(layout: Layout, records: tf.Tensor) -> tf.Tensor:
    """Leaves out lines without a character, strings (batch,): they are no rows."""
    return records if layout.format == "tfrecord" else records[records != ""]


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
        By column a string tensor (batch,), or a ragged one (batch, values) of TFRecords and of
        lists of Parquet and JSON Lines; and bool (batch,): the record is broken.
    """
    if layout.format == "tfrecord":
        whole = tf.where(unparseable, "", records)
        return dict(_parse_examples(layout, whole, columns)), unparseable
    if layout.by_python:
        return _parse_quoted_lines(layout, records, columns)
    return _parse_lines(layout, records, columns)


def _parse_examples(
    layout: Layout, records: tf.Tensor, columns: Sequence[str]
) -> dict[str, tf.RaggedTensor]:
    spec = {
        name: tf.io.RaggedFeature(DTYPES[layout.kinds[name]], row_splits_dtype=tf.int64)
        for name in columns
    }
    return tf.io.parse_example(records, spec)


def _parse_quoted_lines(
    layout: Layout, lines: tf.Tensor, columns: Sequence[str]
) -> tuple[dict[str, tf.Tensor | tf.RaggedTensor], tf.Tensor]:
    of_line = (FAULT, *layout.columns)
    wanted = sorted((FAULT, *columns), key=of_line.index)
    indices = [of_line.index(name) for name in wanted]
    values = tf.io.decode_csv(lines, [""] * len(wanted), select_cols=indices)
    parsed = dict(zip(wanted, values, strict=True))
    fault = parsed.pop(FAULT)
    for name in layout.listed.intersection(parsed):
        parsed[name] = _lists(parsed[name])
    return parsed, fault != ""


def _lists(text: tf.Tensor) -> tf.RaggedTensor:
    """Cuts texts into the values of lists, strings (batch, values); an empty text has none."""
    parts = tf.strings.split(text, LIST_MARK)
    lengths, present = parts.row_lengths(), text != ""
    values = tf.boolean_mask(parts.flat_values, tf.repeat(present, lengths))
    return tf.RaggedTensor.from_row_lengths(values, tf.where(present, lengths, 0))


def _parse_lines(
    layout: Layout, lines: tf.Tensor, columns: Sequence[str]
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    if not layout.header_lines:  # with one, the mark stands in the header
        lines = tf.strings.regex_replace(lines, "^\ufeff", "", replace_global=False)

    # decode_csv fails on a line with another number of values: an empty one takes its place.
    whole = has_all_columns(lines, layout.delimiter, layout.quoted, len(layout.columns))
    empty = layout.delimiter * (len(layout.columns) - 1)
    wanted = sorted(columns, key=layout.columns.index)
    indices = [layout.columns.index(name) for name in wanted]
    lines = tf.where(whole, lines, empty)

    def decoded() -> list[tf.Tensor]:
        return tf.io.decode_csv(
            lines,
            [""] * len(wanted),
            field_delim=layout.delimiter,
            use_quote_delim=layout.quoted,
            select_cols=indices,
        )

    def cut() -> list[tf.Tensor]:
        table = tf.strings.split(lines, layout.delimiter).to_tensor(
            shape=(None, len(layout.columns))
        )
        return [table[:, index] for index in indices]

    if layout.quoted:
        values = decoded()
    else:  # decode_csv refuses a CR outside quotes, also where quotes mean nothing
        # \C is any byte: others match none that is not UTF-8.
        has_return = tf.reduce_any(tf.strings.regex_full_match(lines, r"\C*\r\C*"))
        values = tf.cond(has_return, cut, decoded)
    return dict(zip(wanted, values, strict=True)), ~whole


def shown_record(layout: Layout, record: bytes) -> str:
    """Writes the start of a record for people: the values of an Example, not its bytes."""
    return shown(example_text(record) if layout.format == "tfrecord" else record)


def is_quarantined(records: tf.Tensor, quarantine: Sequence[int]) -> tf.Tensor:
    """Tells of each record, bool (batch,), if its fingerprint is in the quarantine."""
    if not quarantine:
        return tf.zeros_like(records, tf.bool)
    return find(np.array(quarantine, np.int64), fingerprint(records)) < len(quarantine)


# The error of `tf.io.parse_example` quotes the record; where that is no text, TensorFlow fails to
# make the error and raises Python's instead.
PARSE_ERRORS = (tf.errors.InvalidArgumentError, UnicodeDecodeError)


class OtherKinds(Exception):  # noqa: N818, because it is no error: it is caught, and read again
    """Examples hold a column in several dtypes, see `layouts.mixed_kinds`."""


def malformed_examples(layout: Layout, records: tf.Tensor, columns: Sequence[str]) -> list[int]:
    """Finds the records of a batch that make `tf.io.parse_example` fail.

    Args:
        layout: The structure that the records should have.
        records: Strings (batch,), eager.
        columns: The columns that are read.

    Returns:
        The fingerprints of the malformed records.

    Raises:
        OtherKinds: A record holds one of the columns in another dtype than the layout says.
    """
    fingerprints = fingerprint(records).numpy()
    is_malformed = np.zeros(len(records), bool)
    for index, record in enumerate(records.numpy()):
        try:
            if other_kinds(record, layout.kinds, columns):
                raise OtherKinds
        except DecodeError:
            is_malformed[index] = True

    # What protocol buffers read and TensorFlow does not is rare: it is found by halving.
    readable = np.flatnonzero(~is_malformed)
    is_malformed[_unparseable(layout, records, columns, readable)] = True
    return fingerprints[is_malformed].tolist()


def _unparseable(
    layout: Layout, records: tf.Tensor, columns: Sequence[str], indices: np.ndarray
) -> list[int]:
    try:
        _parse_examples(layout, tf.gather(records, indices), columns)
    except PARSE_ERRORS:
        if len(indices) == 1:
            return [int(indices[0])]
        halves = np.array_split(indices, 2)
        return [bad for half in halves for bad in _unparseable(layout, records, columns, half)]
    return []
