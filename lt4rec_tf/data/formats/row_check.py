"""Rows of text that have a value for every column and closed quotes, a whole batch at a time."""

from __future__ import annotations

import re

import tensorflow as tf

# Of a row's pattern. A larger one makes RE2 run out of memory, say so for each row, and crawl.
_MOST_COLUMNS = 100
_QUOTE, _CR = ord('"'), ord("\r")


def has_all_columns(lines: tf.Tensor, delimiter: str, quoted: bool, columns: int) -> tf.Tensor:
    """Tells of each line, bool (batch,), if it has a value for every column and closed quotes.

    Args:
        lines: Strings (batch,).
        delimiter: The character between two values.
        quoted: True if values may stand in double quotes, which then may hold delimiters and line
            ends.
        columns: The number of columns.
    """
    if columns > _MOST_COLUMNS:
        return _by_counting(lines, delimiter, quoted, columns)
    return _by_pattern(lines, delimiter, quoted, columns)


def _by_pattern(lines: tf.Tensor, delimiter: str, quoted: bool, columns: int) -> tf.Tensor:
    mark = re.escape(delimiter)
    value = rf'(?:[^"{mark}\r\n]*|"(?:[^"]|"")*")' if quoted else rf"[^{mark}\n]*"
    # Regular expressions count in runes: the repetition is written out once, for any column count.
    pattern = value + f"(?:{mark}{value})" * (columns - 1)

    def after_repair() -> tf.Tensor:
        # Classes such as [^,] match no byte that is not UTF-8; such values are kept all the same.
        runes = tf.strings.unicode_transcode(lines, "UTF-8", "UTF-8", errors="replace")
        return tf.strings.regex_full_match(runes, pattern)

    whole = tf.strings.regex_full_match(lines, pattern)
    return tf.cond(tf.reduce_all(whole), lambda: whole, after_repair)


def _by_counting(lines: tf.Tensor, delimiter: str, quoted: bool, columns: int) -> tf.Tensor:
    """Counts delimiters outside quotes, over the bytes of all lines laid one after the other."""
    sizes = tf.strings.length(lines) + 1  # with the byte that ends each
    ends = tf.cumsum(sizes) - 1
    text = tf.io.decode_raw(tf.strings.reduce_join(tf.strings.join([lines, "\n"])), tf.uint8)
    line_of = tf.repeat(tf.range(tf.size(lines)), sizes)
    is_mark, is_quote = text == ord(delimiter), text == _QUOTE

    def count(places: tf.Tensor) -> tf.Tensor:
        return tf.math.segment_sum(tf.cast(places, tf.int32), line_of)

    def outside_quotes() -> tf.Tensor:
        is_end = tf.scatter_nd(ends[:, None], tf.ones_like(ends, tf.bool), tf.shape(text))
        quotes_before = tf.cumsum(tf.cast(is_quote, tf.int32), exclusive=True)
        quotes_at_start = tf.gather(quotes_before, ends - sizes + 1)
        is_inside = (quotes_before - tf.gather(quotes_at_start, line_of)) % 2 == 1

        # A value in quotes begins and ends at an edge; a doubled quote closes and opens.
        is_edge = is_mark | is_quote | is_end
        after_edge = tf.concat([[True], is_edge[:-1]], axis=0)
        before_edge = tf.concat([is_edge[1:], [True]], axis=0)
        misplaced = is_quote & tf.where(is_inside, ~before_edge, ~after_edge)
        loose_end = ((text == _CR) | (text == ord("\n"))) & ~is_inside & ~is_end

        is_closed = (count(is_quote) % 2 == 0) & (count(misplaced | loose_end) == 0)
        return is_closed & (count(is_mark & ~is_inside) == columns - 1)

    if not quoted:
        return count(is_mark) == columns - 1
    needs_care = tf.reduce_any(is_quote | (text == _CR))
    return tf.cond(needs_care, outside_quotes, lambda: count(is_mark) == columns - 1)
