"""Lines that have a value for every column: by hand, and by pattern and by counting alike."""

import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from lt4rec_tf.data.formats import row_check
from lt4rec_tf.data.formats.row_check import has_all_columns

ROWS = {
    b"1,2,3": True,
    b",,": True,
    b'"a,b","c\nd","e""f"': True,
    b'"","""",""': True,
    b"\xff,\xfe,\x80": True,
    b"1,2": False,
    b"1,2,3,4": False,
    b"": False,
    b'1,"2,3': False,
    b'1,a"b",3': False,
    b'1,"b"a,3': False,
    b'1,"a" "b",3': False,
    b"1,a\rb,3": False,
}


def counted(lines, quoted, columns=3, delimiter=","):
    some = tf.constant(lines, tf.string)
    return row_check._by_counting(some, delimiter, quoted, columns).numpy().tolist()


def matched(lines, quoted, columns=3, delimiter=","):
    some = tf.constant(lines, tf.string)
    return row_check._by_pattern(some, delimiter, quoted, columns).numpy().tolist()


def test_rows_by_hand():
    assert matched(list(ROWS), quoted=True) == list(ROWS.values())
    assert counted(list(ROWS), quoted=True) == list(ROWS.values())
    for line, expected in ROWS.items():  # each without others beside it
        assert counted([line], quoted=True) == [expected], line


def test_quotes_mean_nothing_where_no_value_is_quoted():
    lines = [b'1\t"\t3', b'"1\t2"\t3', b"1\ta\rb\t3", b"1\t2"]
    expected = [True, True, True, False]
    assert counted(lines, quoted=False, delimiter="\t") == expected
    assert matched(lines, quoted=False, delimiter="\t") == expected


@given(st.lists(st.binary(max_size=12) | st.text('a,"', max_size=12).map(str.encode), min_size=1))
def test_counting_is_matching(lines):
    lines = [line.replace(b"\n", b"") for line in lines]
    assert counted(lines, quoted=True) == matched(lines, quoted=True)
    assert counted(lines, quoted=False) == matched(lines, quoted=False)


def test_rows_of_a_thousand_columns():
    whole = b",".join([b"1", b'"a,b"', *[b"7"] * 998])
    lines = [whole, whole + b",", whole[:-2], whole.replace(b'"a', b"a")]
    found = has_all_columns(tf.constant(lines), ",", True, 1000).numpy().tolist()
    assert found == [True, False, False, False]
    assert has_all_columns(tf.constant([], tf.string), ",", True, 1000).shape == (0,)
