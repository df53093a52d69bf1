"""Rows that are no text, as the quoted lines in which tf.data carries them.

Python reads Parquet and JSON Lines, and hands each row on as one string: a line of CSV that begins
with a fault, "" in good rows, each value between quotes, values of lists apart by `LIST_MARK`.
"""

from __future__ import annotations

from collections.abc import Sequence

FAULT = ""  # the name of the first column; no column of a log has none
LIST_MARK = "\x1f"  # Unicode's and ASCII's "unit separator", which no text holds


def quoted_line(values: Sequence[str]) -> bytes:
    """Writes a row, its fault first.

    >>> print(quoted_line(["", "7", 'a "b" c']).decode())
    "","7","a ""b"" c"
    """
    line = '"' + '","'.join(value.replace('"', '""') for value in values) + '"'
    try:
        return line.encode(errors="surrogateescape")
    except UnicodeEncodeError:  # half of an emoji, where a text was cut
        return line.encode(errors="surrogatepass")
