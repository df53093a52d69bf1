"""CSV and TSV lines as values, by hand."""

import csv
import gzip
import io

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.formats.layouts import read_layout
from lt4rec_tf.data.formats.record_files import open_records
from lt4rec_tf.data.formats.records import (
    Layout,
    OtherKinds,
    is_quarantined,
    malformed_examples,
    parse,
)
from lt4rec_tf.data.formats.values import convert, multiple, single, text_to_float, text_to_int64
from lt4rec_tf.data.input.side_tables import load_side_table, look_up
from lt4rec_tf.schema.types import Join
from tests.support.feeds import example, good_row, line, schema, write_lines, write_records

CSV = Layout("csv", ("a", "b", "c"), quoted=True, header_lines=1)
TSV = Layout("tsv", ("a", "b", "c"), quoted=False, header_lines=1)
NONE = tf.zeros(1, tf.bool)


def parsed(layout, lines, columns=("a", "b", "c")):
    values, broken = parse(layout, tf.constant(lines, tf.string), columns, NONE)
    rows = zip(*(values[name].numpy().tolist() for name in columns), strict=True)
    return [None if bad else row for row, bad in zip(rows, broken.numpy(), strict=True)]


def test_csv_lines_by_value():
    assert parsed(CSV, [b"1,2,3", b'1,"[100,1k)",3', b'"say ""hi""",,', b",,"]) == [
        (b"1", b"2", b"3"),
        (b"1", b"[100,1k)", b"3"),
        (b'say "hi"', b"", b""),
        (b"", b"", b""),
    ]


@pytest.mark.parametrize(
    "line_",
    [b"", b"1,2", b"1,2,3,4", b'1,"2,3', b'1,2"x",3', b'1,"2"x,3', b'"', b'1,2,3"', b"1,2,\r3"],
)
def test_broken_csv_lines_are_flagged_and_others_are_not(line_):
    assert parsed(CSV, [b"1,2,3", line_, b"4,5,6"]) == [
        (b"1", b"2", b"3"),
        None,
        (b"4", b"5", b"6"),
    ]


def test_tsv_knows_no_quotes():
    assert parsed(TSV, [b'1\t"2\t3', b"1\t2,2\t3", b"1\t2"]) == [
        (b"1", b'"2', b"3"),
        (b"1", b"2,2", b"3"),
        None,
    ]


def test_only_the_columns_asked_for_are_read():
    assert parsed(CSV, [b"1,2,3"], ("c", "a")) == [(b"3", b"1")]


def test_bytes_that_are_no_utf_8_are_kept():
    assert parsed(CSV, [b"\xff\xfe,\xc4,3", b"x,y"]) == [(b"\xff\xfe", b"\xc4", b"3"), None]
    assert parsed(TSV, [b"\xff\t\xc4\r\t3"]) == [(b"\xff", b"\xc4\r", b"3")]


VALUES = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]))


@given(st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1))
def test_csv_agrees_with_pythons_writer(rows):
    lines = []
    for row in rows:
        text = io.StringIO()
        csv.writer(text, lineterminator="").writerow(row)
        lines.append(text.getvalue().encode())
    assert parsed(CSV, lines) == [tuple(value.encode() for value in row) for row in rows]


@given(st.lists(st.binary(max_size=30) | st.text('",\tab\r', max_size=12), min_size=1))
def test_no_line_makes_the_parser_fail(lines):
    for layout in (CSV, TSV):
        rows = parsed(layout, lines)
        for text, row in zip(lines, rows, strict=True):
            raw = text if isinstance(text, bytes) else text.encode()
            if layout is TSV and b"\r" not in raw and b"\n" not in raw:
                assert row == (tuple(raw.split(b"\t")) if raw.count(b"\t") == 2 else None)


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz", "log.tsv", "packed_without_suffix.csv"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_text_files_are_read_with_any_packing_and_line_end(tmp_path, name, end):
    delimiter = "\t" if ".tsv" in name else ","
    lines = [line(good_row(number), delimiter) for number in range(3)]
    path = write_lines(tmp_path / name, lines, end=end)
    if name.startswith("packed"):
        path.write_bytes(gzip.compress(path.read_bytes()))
    file_format = "tsv" if ".tsv" in name else "csv"
    layout = read_layout(schema(tmp_path, file_format), [path])
    assert [record.numpy() for record in open_records(path, layout)] == lines


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    path = write_lines(tmp_path / "log.csv", [])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_layout(schema(tmp_path), [path]).columns[0] == "number"
    headless = Layout("csv", ("a", "b", "c"), quoted=True)
    assert parsed(headless, [b"\xef\xbb\xbf1,2,3"]) == [(b"1", b"2", b"3")]


def test_headers_must_agree(tmp_path):
    paths = [write_lines(tmp_path / name, []) for name in ("a.csv", "b.csv", "c.csv")]
    paths[1].write_text("number,user\n")
    with pytest.raises(DataError, match=r"b\.csv: found the columns number, user, expected those"):
        read_layout(schema(tmp_path), paths)
    paths[1].write_text("\n")
    with pytest.raises(DataError, match=r"b\.csv: found an empty first line"):
        read_layout(schema(tmp_path), paths)
    paths[0].write_text("number\tuser\n")
    with pytest.raises(DataError, match="found one column"):
        read_layout(schema(tmp_path), paths[:1])


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("7", 7),
        (" 7 ", 7),
        ("7.0", 7),
        ("true", 1),
        (" False ", 0),
        ("TRUE", 1),
        ("trueish", None),
        ("+7", 7),
        ("-007.", -7),
        ("0", 0),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", None),
        ("7.5", None),
        ("1e3", None),
        ("", None),
        ("x7", None),
        ("7 7", None),
        ("nan", None),
        ("--7", None),
    ],
)
def test_whole_numbers(text, number):
    value, valid = text_to_int64(tf.constant([text]))
    assert (int(value[0]), bool(valid[0])) == (0 if number is None else number, number is not None)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1.5", 1.5),
        (" -.5 ", -0.5),
        ("5.", 5.0),
        ("1E+3", 1000.0),
        ("1e999", float("inf")),
        ("-Inf", float("-inf")),
        ("NaN", float("nan")),
        ("0x10", None),
        ("1e", None),
        (".", None),
        ("", None),
        ("1,5", None),
    ],
)
def test_decimal_numbers(text, number):
    value, valid = text_to_float(tf.constant([text]), tf.float64)
    assert bool(valid[0]) == (number is not None)
    np.testing.assert_equal(float(value[0]), float("nan") if number is None else number)


@given(st.lists(st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(width=64), min_size=1))
def test_numbers_agree_with_python(numbers):
    texts = tf.constant([repr(number) for number in numbers])
    floats, valid = text_to_float(texts, tf.float64)
    assert valid.numpy().all()
    np.testing.assert_array_equal(floats.numpy(), np.array(numbers, np.float64))
    whole, valid = text_to_int64(texts)
    for number, value, is_whole in zip(numbers, whole.numpy(), valid.numpy(), strict=True):
        assert is_whole or not isinstance(number, int)
        assert not is_whole or value == number


@given(st.lists(st.binary(max_size=12), min_size=1))
def test_no_text_makes_the_conversion_fail(texts):
    for dtype in (tf.int64, tf.float32, tf.float64):
        values, valid = convert(tf.constant(texts), dtype)
        assert values.shape == valid.shape == (len(texts),)


def test_conversions_between_kinds_of_examples():
    values, valid = convert(tf.constant([7.0, 7.5, np.nan, np.inf, 2.0**63]), tf.int64)
    assert values.numpy().tolist() == [7, 0, 0, 0, 0]
    assert valid.numpy().tolist() == [True, False, False, False, False]
    assert convert(tf.constant([7], tf.int64), tf.string)[0].numpy().tolist() == [b"7"]
    assert convert(tf.constant([0.25]), tf.string)[0].numpy().tolist() == [b"0.25"]
    assert convert(tf.constant([7], tf.int64), tf.float32)[0].numpy().tolist() == [7.0]


def test_lists_are_cut_and_padded():
    text = multiple(tf.constant(["a|b|c", "a", "", "|b"]), tf.string, "|", 2)
    assert text.values.numpy().tolist() == [[b"a", b"b"], [b"a", b""], [b"", b""], [b"", b"b"]]
    assert text.valid.numpy().tolist() == [[True, True], [True, False], [False] * 2, [False, True]]
    ragged = tf.ragged.constant([[1, 2, 3], [], [0]], dtype=tf.int64)
    whole = multiple(ragged, tf.int64, "", 2)
    assert whole.values.numpy().tolist() == [[1, 2], [0, 0], [0, 0]]
    assert whole.valid.numpy().tolist() == [[True, True], [False, False], [True, False]]
    first = single(ragged, tf.int64)
    assert first.values.numpy().tolist() == [1, 0, 0]
    assert first.valid.numpy().tolist() == [True, False, True]


def test_examples_by_value(tmp_path):
    path = write_records(tmp_path / "log.tfrecord", [example(good_row(n)) for n in range(3)])
    layout = read_layout(schema(tmp_path, "tfrecord"), [path])
    assert layout.kinds["user"] == "string"
    assert layout.kinds["click"] == "int64"
    assert layout.kinds["length"] == "float32"
    records = next(iter(open_records(path, layout).batch(3)))
    columns, broken = parse(layout, records, ["click", "tags"], tf.zeros(3, tf.bool))
    assert columns["click"].to_list() == [[0], [1], [0]]
    assert columns["tags"].to_list() == [[b"t0", b"t0"], [b"t1", b"t1"], [b"t2", b"t2"]]
    assert not broken.numpy().any()


def test_malformed_examples_are_found_and_replaced(tmp_path):
    path = write_records(tmp_path / "log.tfrecord", [example(good_row(n)) for n in range(5)])
    layout = read_layout(schema(tmp_path, "tfrecord"), [path])
    records = [example(good_row(n)) for n in range(5)]
    records[1] = b"no example at all"
    records[3] = records[3][:-3]
    batch = tf.constant(records)
    quarantine = malformed_examples(layout, batch, ["click"])
    unparseable = is_quarantined(batch, tuple(quarantine))
    assert unparseable.numpy().tolist() == [False, True, False, True, False]
    columns, broken = parse(layout, batch, ["click"], unparseable)
    assert columns["click"].to_list() == [[0], [], [0], [], [0]]
    assert broken.numpy().tolist() == unparseable.numpy().tolist()


def test_values_of_another_kind_are_no_malformed_example(tmp_path):
    path = write_records(tmp_path / "log.tfrecord", [example(good_row(n)) for n in range(5)])
    layout = read_layout(schema(tmp_path, "tfrecord"), [path])
    other_kind = tf.train.Example()
    other_kind.features.feature["click"].bytes_list.value.append(b"1")
    batch = tf.constant([example(good_row(0)), other_kind.SerializeToString()])
    with pytest.raises(OtherKinds):
        malformed_examples(layout, batch, ["click"])
    assert malformed_examples(layout, batch, ["user"]) == []


def test_files_without_examples_are_refused(tmp_path):
    path = write_records(tmp_path / "log.tfrecord", [b"rubbish", b"\xff"])
    with pytest.raises(DataError, match=r"log\.tfrecord: found no readable tf\.train\.Example"):
        read_layout(schema(tmp_path, "tfrecord"), [path])
    (tmp_path / "log.tfrecord").write_bytes(b"this is text and no TFRecord file")
    with pytest.raises(DataError, match=r"log\.tfrecord: cannot be read as TFRecords"):
        read_layout(schema(tmp_path, "tfrecord"), [path])


def test_side_tables_are_looked_up_by_text(tmp_path):
    (tmp_path / "users.csv.gz").write_bytes(
        gzip.compress(b'id,fans,age\n1,"[100,1k)",20\n2,0,30\n2,9,9\n3,x\n,1,2\n')
    )
    side = load_side_table(tmp_path, Join("users.csv.gz", "csv", "id"), {"fans", "age"})
    assert [row[1:] for row in side.left_out] == [
        (3, "duplicate_key", "2,9,9"),
        (4, "columns", "3,x"),
        (5, "missing_key", ",1,2"),
    ]
    found, missed = look_up(side, tf.constant(["2", " 1 ", "7", ""]))
    assert found["fans"].numpy().tolist() == [b"0", b"[100,1k)", b"", b""]
    assert found["age"].numpy().tolist() == [b"30", b"20", b"", b""]
    assert missed.numpy().tolist() == [False, False, True, True]
    from_examples = tf.ragged.constant([[2], []], dtype=tf.int64)
    assert look_up(side, from_examples)[0]["age"].numpy().tolist() == [b"30", b""]


def test_side_tables_that_cannot_be_used_are_named(tmp_path):
    join = Join("users.csv", "csv", "id")
    with pytest.raises(DataError, match=r"users\.csv: found no file"):
        load_side_table(tmp_path, join, {"age"})
    (tmp_path / "users.csv").write_text("user,age\n1,2\n")
    with pytest.raises(DataError, match=r"users\.csv: found no column 'id'"):
        load_side_table(tmp_path, join, {"age"})
    (tmp_path / "users.csv").write_text("id,age\n")
    with pytest.raises(DataError, match=r"users\.csv: found no usable row"):
        load_side_table(tmp_path, join, {"age"})


def test_floats_that_are_whole_are_the_ids_that_they_mean():
    values = tf.constant([7, 1_234_567, 2**24 - 1, 2**24, 1e30, 0.1, 1_234_567.5, -3])
    texts, valid = convert(values, tf.string)
    expected = [b"7", b"1234567", b"16777215", b"", b"", b"0.1", b"1234567.5", b"-3"]
    assert texts.numpy().tolist() == expected
    numbers, are_numbers = convert(values, tf.int64)
    assert numbers.numpy().tolist() == [7, 1_234_567, 2**24 - 1, 0, 0, 0, 0, -3]
    # From 2^24 on a float32 may mean a neighbour.
    assert valid.numpy().tolist() == [True] * 3 + [False] * 2 + [True] * 3
    assert are_numbers.numpy().tolist() == [True] * 3 + [False] * 4 + [True]


@given(st.floats(width=32, allow_nan=False, allow_subnormal=False))
def test_the_text_of_a_float_means_it(value):
    texts, valid = convert(tf.constant([value]), tf.string)
    assert not valid or np.float32(texts.numpy()[0]) == np.float32(value)


def test_lists_in_one_text_of_a_record_are_cut():
    column = tf.ragged.constant([["a|b", "c"], [], ["d|"]])
    read = multiple(column, tf.string, "|", 3)
    assert read.values.numpy().tolist() == [[b"a", b"b", b"c"], [b""] * 3, [b"d", b"", b""]]
    assert read.present.numpy().tolist() == [[True] * 3, [False] * 3, [True, False, False]]
