r"""JSON lists of single values in text columns, such as ["music, live", "caf\u00e9"] and [1, 2].

A list without lists in it is a regular language: expressions tell whether a text is one and cut it,
a whole batch at a time and in graph, so that workers of every kind can do it.
"""

from __future__ import annotations

import tensorflow as tf

# No UTF-8, and so no value of a list: what stands in the place of a text that is no JSON list.
BROKEN = b"\xff"

_CODE = r"(?:[0-9a-cA-Ce-fE-F][0-9a-fA-F]|[dD][0-7])[0-9a-fA-F]{2}"
_PAIR = r"[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # above 65,535, in UTF-16
_ESCAPE = rf'\\(?:["\\/bfnrt]|u{_CODE}|u{_PAIR})'
_STRING = rf'"(?:[^"\\\x00-\x1f]|{_ESCAPE})*"'
# NaN and the infinite ones are not JSON, but Python and JavaScript write them.
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|NaN|-?Infinity"
_VALUE = f"(?:{_STRING}|{_NUMBER}|true|false|null)"
_SPACE = r"[ \t\n\r]*"
_LIST = rf"{_SPACE}\[{_SPACE}(?:{_VALUE}{_SPACE}(?:,{_SPACE}{_VALUE}{_SPACE})*)?\]{_SPACE}"

# JSON texts hold no control characters: these mark what was found in them.
_END, _BACKSLASH, _CODE_FOLLOWS = "\x01", "\x02", "\x03"
_ESCAPES = (
    (r"\\\\", _BACKSLASH),  # first: the rest of \\n is an n
    (r'\\"', '"'),
    (r"\\/", "/"),
    (r"\\b", "\b"),
    (r"\\f", "\f"),
    (r"\\n", "\n"),
    (r"\\r", "\r"),
    (r"\\t", "\t"),
    (r"\\u", _CODE_FOLLOWS),
    (_BACKSLASH, r"\\"),
)


def cut(texts: tf.Tensor, *, placed: bool = False) -> tuple[tf.RaggedTensor, tf.Tensor]:
    r"""Cuts JSON lists into the texts of their values.

    >>> lists, valid = cut(tf.constant([r'["a, b", "\u00e9", 1.50, null, true]', "[]", "[1, [2]]"]))
    >>> lists.to_list()
    [[b'a, b', b'\xc3\xa9', b'1.50', b'true'], [], [b'\xff']]
    >>> valid.numpy().tolist()
    [True, True, False]

    Args:
        texts: Strings (n,).
        placed: Whether null and "", which are absent, keep their places, as "".

    Returns:
        By text its values, else without null and "", and numbers as they stand there;
        of what is no list of single values, empty texts included, `BROKEN`. And bool (n,): the text
        is a list.
    """
    distinct, indices = tf.unique(texts)  # the same lists come again and again
    valid = tf.strings.regex_full_match(distinct, _LIST)

    inside = tf.where(valid, distinct, "[]")
    inside = tf.strings.regex_replace(inside, rf"(?s)^{_SPACE}\[{_SPACE}(.*)\]{_SPACE}$", r"\1")
    inside = tf.strings.regex_replace(inside, rf"{_SPACE}({_VALUE}){_SPACE},?", rf"\1{_END}")
    values = tf.strings.split(tf.where(valid, inside, BROKEN), _END)
    values = tf.ragged.boolean_mask(values, values != "")  # behind the last mark

    values = values.with_flat_values(_decoded(values.flat_values))
    if not placed:
        values = tf.ragged.boolean_mask(values, values != "")
    return tf.gather(values, indices), tf.gather(valid, indices)


def _decoded(values: tf.Tensor) -> tf.Tensor:
    """Takes the quotes off strings, decodes their escapes, and empties null."""
    values = tf.where(values == "null", "", values)
    texts = tf.strings.regex_replace(values, r'(?s)^"(.*)"$', r"\1")
    escaped = tf.where(tf.strings.regex_full_match(texts, r"(?s).*\\.*"))

    def without_escapes() -> tf.Tensor:
        decoded = tf.gather_nd(texts, escaped)
        for escape, character in _ESCAPES:
            decoded = tf.strings.regex_replace(decoded, escape, character)
        return tf.tensor_scatter_nd_update(texts, escaped, _with_codes(decoded))

    return tf.cond(tf.size(escaped) > 0, without_escapes, lambda: texts)


def _with_codes(texts: tf.Tensor) -> tf.Tensor:
    """Writes characters in place of the four hexadecimal digits behind each `_CODE_FOLLOWS`."""
    points = tf.strings.unicode_decode(texts, "UTF-8")
    flat = tf.cast(points.flat_values, tf.int32)
    marked = flat == ord(_CODE_FOLLOWS)

    code = tf.zeros_like(flat)
    is_digit = tf.zeros_like(marked)
    for place in range(1, 5):
        code = 16 * code + _digit(_shifted(flat, -place))
        is_digit |= _shifted(marked, place)
    flat = tf.where(marked, code, flat)

    # Of a pair the first one becomes the character, and the second goes with its digits.
    following = _shifted(flat, -5)
    is_first = marked & (flat >= 0xD800) & (flat < 0xDC00)
    pair = 0x10000 + (flat - 0xD800) * 0x400 + following - 0xDC00
    flat = tf.where(is_first, pair, flat)
    kept = ~is_digit & ~_shifted(is_first, 5)
    decoded = tf.ragged.boolean_mask(points.with_flat_values(flat), points.with_flat_values(kept))
    return tf.strings.unicode_encode(decoded, "UTF-8")


def _digit(point: tf.Tensor) -> tf.Tensor:
    """Returns the value of a hexadecimal digit."""
    return tf.where(point <= ord("9"), point - ord("0"), (point | 0x20) - ord("a") + 10)


def _shifted(values: tf.Tensor, places: int) -> tf.Tensor:
    """Moves values to later places, or to earlier ones where negative; zeros come in."""
    room = tf.zeros([abs(places)], values.dtype)
    if places > 0:
        return tf.concat([room, values], 0)[: tf.size(values)]
    return tf.concat([values, room], 0)[-places:]
