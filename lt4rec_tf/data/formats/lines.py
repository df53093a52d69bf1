r"""Bytes of text files to rows: which line ends end a row, and which are part of a value.

- A row ends with LF, CR LF or CR.
- A line end between quotes is part of the value, in CSV.
- A CR outside quotes ends a row where this makes rows of the right number of values. Where it does
  not, and the line as a whole has that number, it is part of a value: CSV writers do not agree that
  such a value needs quotes.
- A quote that is never closed breaks its own line alone.
- Lines without a character are no rows.
- A line longer than a limit gives way to one that is no row, see `long_lines`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import IO, NamedTuple

from lt4rec_tf.data.formats.long_lines import lines_of_rows

_LONGEST = 1 << 20  # bytes of lines that are looked at together
_QUOTED = b'"[^"]*(?:""[^"]*)*"'


class Row(NamedTuple):
    """A row of a text file.

    Attributes:
        line: Its first line, from 1.
        lines: The number of its lines: several where values hold line ends.
        text: Its bytes, without the line end behind it.
    """

    line: int
    lines: int
    text: bytes


class _Line(NamedTuple):
    """Bytes up to a line end, that end, and how many lines were joined to make them."""

    text: bytes
    end: bytes
    lines: int


@dataclass(frozen=True)
class TextForm:
    """The form of the rows of a text file.

    Attributes:
        delimiter: The character between two values.
        quoted: True if values may stand in double quotes.
        columns: The number of values of a row; 0: any.
    """

    delimiter: str
    quoted: bool
    columns: int = 0

    @cached_property
    def _row(self) -> re.Pattern[bytes]:
        mark = re.escape(self.delimiter).encode()
        value = b'(?:[^"' + mark + b"]*|" + _QUOTED + b")" if self.quoted else b"[^" + mark + b"]*"
        more = b"{%d}" % (self.columns - 1) if self.columns else b"*"
        return re.compile(value + b"(?:" + mark + value + b")" + more)

    @cached_property
    def _value(self) -> re.Pattern[bytes]:
        return re.compile(_QUOTED + b'|[^"' + re.escape(self.delimiter).encode() + b"]+")

    def is_row(self, text: bytes) -> bool:
        """Tells if a text has a row's number of values, each with its quotes closed."""
        return self._row.fullmatch(text) is not None

    def leaves_open(self, text: bytes) -> bool:
        """Tells if a quote of a text is not closed."""
        return self.quoted and text.count(b'"') % 2 == 1

    def with_quotes(self, text: bytes) -> bytes:
        """Puts values that hold a CR between quotes, where `tf.io.decode_csv` wants them."""
        return self._value.sub(_quoted, text) if self.quoted and b"\r" in text else text


def _quoted(value: re.Match[bytes]) -> bytes:
    text = value[0]
    return b'"' + text + b'"' if b"\r" in text and not text.startswith(b'"') else text


def read_rows(file: IO[bytes], form: TextForm) -> Iterator[Row]:
    r"""Reads the rows of a text file; memory is that of a few lines, never that of the file.

    Args:
        file: Open at its beginning.
        form: The form of its rows.

    >>> import io
    >>> text = io.BytesIO(b'1,"a\nb"\r\n2,c\rd\n')
    >>> [row.text for row in read_rows(text, TextForm(",", quoted=True, columns=2))]
    [b'1,"a\nb"', b'2,"c\rd"']
    """
    number = 1
    lines = map(_line, lines_of_rows(file))
    for line in _parted_at_returns(_with_closed_quotes(lines, form), form):
        if line.text:
            yield Row(number, line.lines, form.with_quotes(line.text))
        number += line.lines


def _line(text: bytes) -> _Line:
    for end in (b"\r\n", b"\n", b"\r"):
        if text.endswith(end):
            return _Line(text[: -len(end)], end, 1)
    return _Line(text, b"", 1)


def _with_closed_quotes(lines: Iterator[_Line], form: TextForm) -> Iterator[_Line]:
    """Joins lines of which a quote is closed on a later one, where this makes a row."""
    waiting: deque[_Line] = deque()  # were read, and are still to be given
    while (line := waiting.popleft() if waiting else next(lines, None)) is not None:
        if not form.leaves_open(line.text):
            yield line
            continue

        joined, is_open = [line], True
        size = len(line.text)
        while is_open and size < _LONGEST:
            another = waiting.popleft() if waiting else next(lines, None)
            if another is None:
                break
            joined.append(another)
            is_open = is_open != form.leaves_open(another.text)
            size += len(another.text)

        text = b"".join(part.text + part.end for part in joined[:-1]) + joined[-1].text
        if not is_open and (form.is_row(text) or joined[-1].end == b"\r"):
            yield _Line(text, joined[-1].end, len(joined))
        else:
            yield line
            waiting.extendleft(reversed(joined[1:]))


def _parted_at_returns(lines: Iterator[_Line], form: TextForm) -> Iterator[_Line]:
    """Joins lines that end with a CR to the next ones, where a CR is part of a value."""
    group: list[_Line] = []
    size = 0
    for line in lines:
        group.append(line)
        size += len(line.text)
        # A file whose lines all end with CR is one group, but for the limit.
        if line.end != b"\r" or size > _LONGEST:
            yield from _joined_or_apart(group, form)
            group, size = [], 0
    yield from _joined_or_apart(group, form)


def _joined_or_apart(group: list[_Line], form: TextForm) -> list[_Line]:
    if len(group) < 2 or all(form.is_row(line.text) for line in group if line.text):
        return group
    text = b"\r".join(line.text for line in group)
    if not form.is_row(text):
        return group
    return [_Line(text, group[-1].end, sum(line.lines for line in group))]
