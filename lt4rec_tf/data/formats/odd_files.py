"""Files that TensorFlow would cut short or alter without a word, and how Python reads them.

TensorFlow reads lines and TFRecords inside its graph, on any worker; so it reads all files that it
reads as they are. But it takes an empty member of a gzip file for the file's end (`cat hour*.gz`
makes such), refuses zeros behind the last one, reads no bzip2 and no zstd, drops every CR of a
line, and takes a line break between quotes for a row's end. Of long lines it holds thousands, and
of endless ones all. `oddity` finds these, and `read_records` then reads the file.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from lt4rec_tf.core.locations import in_store
from lt4rec_tf.data.formats.files import READ_ERRORS, DataError, compression, open_binary
from lt4rec_tf.data.formats.lines import TextForm, read_rows
from lt4rec_tf.data.formats.long_lines import MOST, together

_CHUNK = 1 << 20  # bytes of text
_PACKED_CHUNK = 1 << 16  # bytes of gzip, which may be a thousand times as many
_TOGETHER = 4096  # records
_GZIP = 16 + zlib.MAX_WBITS
_FRAME = struct.Struct("<QI")  # before the content of a TFRecord: its length, and a checksum
_CHECKSUM = 4  # bytes behind the content
_LONGEST = 1 << 20  # bytes of a line that TensorFlow reads, thousands of them together
_LINE_END, _QUOTE = b'\n"'


def oddity(path: Path, form: TextForm | None) -> str:
    """Reads a file to its end, and finds what TensorFlow would not read as it is.

    TensorFlow takes a gzip file that was cut off for one that ends there: this refuses it.

    Args:
        path: The file, plain or packed.
        form: The form of its rows; None: it holds TFRecords.

    Returns:
        What it is, in a few words; "": TensorFlow reads the file as it is.

    Raises:
        DataError: A gzip file is cut off or damaged, the file cannot be read, or a record of it
            says that it is longer than `long_lines.MOST`.
    """
    if in_store(path):
        return "their place in a store"
    packing = compression(path)
    if packing in ("bzip2", "zstd"):
        _read_to_end(path, packing)
        return f"{packing}, which TensorFlow does not unpack"

    oddities: list[str] = []
    if form is not None:
        check = _text_check(form, oddities.append)
    else:  # plain ones whose records are long are read as they are: they hold no more than is there
        check = _length_check(path, oddities.append if packing else lambda _: None)
    try:
        with path.open("rb") as file:
            for chunk in _unpacked(file, oddities.append) if packing else _chunks(file):
                if not oddities or form is None:
                    check(chunk)
    except READ_ERRORS as error:
        found = f"found a broken gzip file ({error}), expected a whole one"
        raise DataError(f"{path}: {found if packing else f'cannot be read ({error})'}") from error
    return oddities[0] if oddities else ""


def _read_to_end(path: Path, packing: str) -> None:
    try:
        with open_binary(path) as file:
            for _ in _chunks(file):
                pass
    except READ_ERRORS as error:
        found = f"found a broken {packing} file ({error}), expected a whole one"
        raise DataError(f"{path}: {found}") from error


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: file.read(_CHUNK), b"")


def _unpacked(file: IO[bytes], note: Callable[[str], None]) -> Iterator[bytes]:
    """Unpacks a gzip file, and notes what TensorFlow stumbles over."""
    member = None  # that is being read; None: between two
    size = members = 0  # of the member so far, in bytes; members before it
    empty_before = False
    data = b""
    while data := data or file.read(_PACKED_CHUNK):
        if member is None and members and data[0] == 0:
            note("zeros behind its last gzip member")
            data = data.lstrip(b"\0")
            continue
        if member is None:
            member, size = zlib.decompressobj(_GZIP), 0

        chunk = member.decompress(data)
        if chunk and empty_before:
            note("an empty gzip member")
        yield chunk

        size += len(chunk)
        data = member.unused_data
        if member.eof:
            empty_before |= not size
            member, members = None, members + 1
    if member is not None:
        raise EOFError("it ends within a member")


def _text_check(form: TextForm, note: Callable[[str], None]) -> Callable[[bytes], None]:
    """Makes the function that looks at a text, chunk by chunk, for what TensorFlow would alter."""
    rest = b""  # of the last chunk, behind its last line end

    def check(chunk: bytes) -> None:
        nonlocal rest
        text = rest + chunk
        end = text.rfind(b"\n") + 1
        lines, rest = text[:end], text[end:]

        # A CR at the end of `rest` may be the first half of CR LF.
        if lines.count(b"\r") != lines.count(b"\r\n") or b"\r" in rest[:-1]:
            note("a CR that is not followed by LF")
        elif form.quoted and b'"' in lines and _has_odd_line(np.frombuffer(lines, np.uint8)):
            note("a line in which a quote is not closed")
        elif _has_long_line(text):
            note(f"a line longer than {_LONGEST >> 20} MiB")

    return check


def _has_odd_line(text: np.ndarray) -> bool:
    """Tells if a line has an odd number of quotes: its row goes on behind its end."""
    line_ends, quotes = np.flatnonzero(text == _LINE_END), np.flatnonzero(text == _QUOTE)
    quotes_until = np.searchsorted(quotes, line_ends)
    return bool((np.diff(quotes_until, prepend=0) % 2).any())


def _has_long_line(text: bytes) -> bool:
    start = 0
    while len(text) - start > _LONGEST:
        end = text.rfind(b"\n", start, start + _LONGEST)
        if end < 0:
            return True
        start = end + 1
    return False


def _length_check(path: Path, note: Callable[[str], None]) -> Callable[[bytes], None]:
    """Makes the function that looks at TFRecords, chunk by chunk, for lengths that are too large.

    TensorFlow makes room for a record of any length before it reads it, and dies for want of it.
    """
    rest = b""
    begin = record = 0  # where a frame begins behind `rest`, and its number

    def check(chunk: bytes) -> None:
        nonlocal rest, begin, record
        text = rest + chunk
        while begin + _FRAME.size <= len(text):
            record += 1
            length = _FRAME.unpack_from(text, begin)[0]
            if length > MOST:
                raise DataError(
                    f"{path}: cannot be read past record {record - 1} (found a record of {length} "
                    f"bytes, expected {MOST} at most)"
                )
            if length > _LONGEST:
                note(f"a record longer than {_LONGEST >> 20} MiB")
            begin += _FRAME.size + length + _CHECKSUM
        rest = text[begin:]
        begin = max(begin - len(text), 0)

    return check


def read_records(path: Path, form: TextForm | None, header_lines: int) -> Iterator[np.ndarray]:
    """Reads the records of any file.

    Args:
        path: The file, plain or packed; of TFRecords packed, whose checksums say that they are
            whole.
        form: The form of its rows; None: it holds TFRecords.
        header_lines: The number of rows at its beginning that are no records.

    Yields:
        Some records, bytes in an array of objects.

    Raises:
        DataError: The file is broken from some record on.
    """
    read = 0

    def counted(records: Iterator[bytes]) -> Iterator[bytes]:
        nonlocal read
        for record in records:
            read += 1
            yield record

    try:
        with open_binary(path) as file:
            rows = (row.text for row in read_rows(file, form)) if form else _contents(file)
            records = itertools.islice(rows, header_lines, None)
            for some in together(counted(records), _TOGETHER):
                yield _objects(some)
    except READ_ERRORS as error:
        kind = "" if form else "as TFRecords "
        raise DataError(f"{path}: cannot be read {kind}past record {read} ({error})") from error


def _objects(records: list[bytes]) -> np.ndarray:
    array = np.empty(len(records), object)
    array[:] = records
    return array


def _contents(file: IO[bytes]) -> Iterator[bytes]:
    """Reads the contents of TFRecords."""
    while frame := file.read(_FRAME.size):
        length = _FRAME.unpack(frame)[0] if len(frame) == _FRAME.size else 0
        if length > MOST:
            raise EOFError(f"found a record of {length} bytes, expected {MOST} at most")
        content = file.read(length)
        if len(content) < length or len(file.read(_CHECKSUM)) < _CHECKSUM:
            raise EOFError("it ends within a record")
        yield content
