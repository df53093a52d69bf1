"""Raw records, lines or serialized `tf.train.Example`, to raw columns, a whole batch at a time.

No record, however broken, makes the parser fail: broken ones are replaced by an empty record and
flagged. No Python runs per row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from lt4rec_tf.data.formats.example_kinds import other_kinds, with_texts
from lt4rec_tf.data.formats.files import is_gzip
from lt4rec_tf.data.formats.fingerprints import find, fingerprint
from lt4rec_tf.data.formats.lines import TextForm
from lt4rec_tf.data.formats.odd_files import read_records
from lt4rec_tf.data.formats.row_check import has_all_columns
from lt4rec_tf.data.formats.text_rows import DELIMITERS
from lt4rec_tf.data.formats.values import DTYPES

_TOGETHER = 4096  # records
PYTHON = "PYTHON"  # in place of a file's compression: `odd_files` reads it


@dataclass(frozen=True)
class Layout:
    """The structure of the records of a data set.

    Attributes:
        format: "csv", "tsv" or "tfrecord".
        columns: The columns, in the order of a line.
        quoted: True if values may stand in double quotes.
        header_lines: Lines to skip at the start of each file.
        kinds: Of tfrecord: by column "string", "int64" or "float32"; of parquet: `Column.kind`.
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

    @property
    def form(self) -> TextForm | None:
        """Returns the form of a text file's rows; None of TFRecords."""
        if self.format == "tfrecord":
            return None
        return TextForm(self.delimiter, self.quoted, len(self.columns))


def open_records(path: Path, layout: Layout, odd_files: Collection[Path] = ()) -> tf.data.Dataset:
    """Opens one file as a data set of raw records, strings ().

    Args:
        path: The file.
        layout: The structure of its records.
        odd_files: The files that Python reads, see `odd_files.oddity`.
    """
    paths = tf.constant([str(path)])
    packing = packing_of(path, odd_files)
    return _by_python(paths, layout) if packing == PYTHON else _native(paths, packing, layout)


def packing_of(path: Path, odd_files: Collection[Path]) -> str:
    """Returns a file's compression as tf.data names it, or `PYTHON`."""
    if path in odd_files:
        return PYTHON
    return "GZIP" if is_gzip(path) else ""


def records_of(
    path: tf.Tensor, packing: tf.Tensor, layout: Layout, any_odd: bool
) -> tf.data.Dataset:
    """Opens one file in graph.

    Args:
        path: String ().
        packing: String (), of `packing_of`.
        layout: The structure of its records.
        any_odd: False: no packing is `PYTHON`.
    """
    if not any_odd:
        return _native(path, packing, layout)

    # A graph cannot choose between data sets: it joins them, and one of them has no file.
    is_odd = packing == PYTHON
    native = _native(path[None][~is_odd[None]], tf.where(is_odd, "", packing), layout)
    return native.concatenate(_by_python(path[None][is_odd[None]], layout))


def _native(
    paths: str | tf.Tensor, compression: str | tf.Tensor, layout: Layout
) -> tf.data.TFRecordDataset | tf.data.Dataset:
    if layout.format == "tfrecord":
        return tf.data.TFRecordDataset(paths, compression)
    return tf.data.TextLineDataset(paths, compression).skip(layout.header_lines)


def _by_python(paths: tf.Tensor, layout: Layout) -> tf.data.Dataset:
    def read(path: bytes) -> Iterator[np.ndarray]:
        return _read_odd(Path(path.decode()), layout)

    def open_file(path: tf.Tensor) -> tf.data.Dataset:
        some = tf.TensorSpec((None,), tf.string)
        return tf.data.Dataset.from_generator(read, args=(path,), output_signature=some).unbatch()

    return tf.data.Dataset.from_tensor_slices(paths).flat_map(open_file)


def _read_odd(path: Path, layout: Layout) -> Iterator[np.ndarray]:
    if layout.format == "tfrecord" and not is_gzip(path):
        batches = _native(str(path), "", layout).batch(_TOGETHER).as_numpy_iterator()
    else:
        batches = read_records(path, layout.form, layout.header_lines)

    wants_texts = layout.format == "tfrecord" and "string" in layout.kinds.values()
    for records in batches:
        if wants_texts:
            yield np.array([with_texts(record, layout.kinds) for record in records], object)
        else:
            yield records


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
        has_return = tf.reduce_any(tf.strings.regex_full_match(lines, r"(?s).*\r.*"))
        values = tf.cond(has_return, cut, decoded)
    return dict(zip(wanted, values, strict=True)), ~whole


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
