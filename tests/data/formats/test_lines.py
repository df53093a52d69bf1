"""Line ends that end a row, and line ends inside values; by hand and against Python's csv."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt4rec_tf.data.formats import lines, long_lines
from lt4rec_tf.data.formats.lines import Row, TextForm, read_rows

CSV = TextForm(",", quoted=True, columns=3)
TSV = TextForm("\t", quoted=False, columns=3)


def texts(content, form=CSV):
    return [row.text for row in read_rows(io.BytesIO(content), form)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("last", [True, False])
def test_every_line_end_ends_a_row(end, last):
    content = end.join([b"a,b,c", b"1,2,3", b"4,5,6"]) + (end if last else b"")
    assert texts(content) == [b"a,b,c", b"1,2,3", b"4,5,6"]


def test_files_with_other_line_ends_may_be_joined():
    assert texts(b"1,2,3\r4,5,6\n7,8,9\r\n0,0,0") == [b"1,2,3", b"4,5,6", b"7,8,9", b"0,0,0"]


def test_lines_without_a_character_are_no_rows():
    assert texts(b"1,2,3\n\n4,5,6\r\n\r\n\n") == [b"1,2,3", b"4,5,6"]
    assert texts(b"\n\n") == texts(b"") == []
    assert texts(b"1\t2\t3\n\t\t\n", TSV) == [b"1\t2\t3", b"\t\t"]  # a row of empty values


def test_a_line_end_between_quotes_is_part_of_the_value():
    content = b'1,"a\nb",3\n4,"a\r\n\r\n,""b""",6\n7,"\r",9\n'
    assert texts(content) == [b'1,"a\nb",3', b'4,"a\r\n\r\n,""b""",6', b'7,"\r",9']


def test_a_cr_without_quotes_is_part_of_the_value_where_both_sides_are_no_rows():
    assert texts(b"1,a\rb,3\n4,5,c\rd\n") == [b'1,"a\rb",3', b'4,5,"c\rd"']
    assert texts(b"1\ta\rb\t3\n", TSV) == [b"1\ta\rb\t3"]
    assert texts(b'1,"x",c\rd\n') == [b'1,"x","c\rd"']  # other values keep their quotes


def test_a_quote_that_is_not_closed_breaks_its_own_line_alone():
    assert texts(b'1,"2,3\n4,5,6\n7,8,9\n') == [b'1,"2,3', b"4,5,6", b"7,8,9"]
    assert texts(b'1,5" tv,3\n4,6" tv,6\n7,8,9') == [b'1,5" tv,3', b'4,6" tv,6', b"7,8,9"]
    assert texts(b'1,2,"\n4,5,6\n7,"8\n8",9') == [b'1,2,"', b"4,5,6", b'7,"8\n8",9']


def test_the_search_for_a_closing_quote_has_an_end(monkeypatch):
    monkeypatch.setattr(lines, "_LONGEST", 20)
    content = b'1,"2,3\n' + b"4,5,6\n" * 10 + b'7,8,"9\n'
    assert texts(content) == [b'1,"2,3', *[b"4,5,6"] * 10, b'7,8,"9']


def test_rows_know_their_first_line_and_their_number_of_lines():
    rows = list(read_rows(io.BytesIO(b'1,"a\nb",3\n\n4,5,6\r7,8,9\n'), CSV))
    assert rows == [Row(1, 2, b'1,"a\nb",3'), Row(4, 1, b"4,5,6"), Row(5, 1, b"7,8,9")]


@pytest.mark.parametrize("chunk", [1, 2, 3, 7])
def test_the_size_of_chunks_changes_nothing(monkeypatch, chunk):
    content = b'a,b,c\r\n1,"x\r\ny",3\r4,5,6\n\r\n7,8\r8,9'
    expected = texts(content)
    monkeypatch.setattr(long_lines, "_CHUNK", chunk)
    assert texts(content) == expected
    assert len(expected) == 4


def test_a_long_file_of_cr_lines_is_read_in_parts(monkeypatch):
    monkeypatch.setattr(lines, "_LONGEST", 50)
    assert texts(b"1,2,3\r" * 100 + b"4,5\r" + b"7,8,9\r") == [
        *[b"1,2,3"] * 100,
        b"4,5",
        b"7,8,9",
    ]


VALUE = st.text(st.sampled_from('ab ,"\r\n'), max_size=6)


@given(
    st.lists(st.lists(VALUE, min_size=3, max_size=3), max_size=12), st.sampled_from(["\n", "\r\n"])
)
def test_what_csv_writes_is_read_row_by_row(rows, end):
    text = io.StringIO()
    csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(rows)
    found = [
        next(csv.reader([row.decode()], strict=True)) for row in texts(text.getvalue().encode())
    ]
    assert found == rows
