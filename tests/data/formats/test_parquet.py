"""Parquet files: what their columns become, and rows that are those of the same logs as CSV."""

import datetime
import decimal
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lt4rec_tf.data.convert import command as convert
from lt4rec_tf.data.inspect import command as inspect
from lt4rec_tf.schema.reader import load_schema
from tests.support.conversions import assert_same_rows, manifest_of, quarantine_of, records_of, run
from tests.support.feeds import COLUMNS, good_row, line, schema, write_lines

UTC = datetime.UTC


def write(path, columns, **options):
    pq.write_table(pa.table(columns), path, **options)
    return path


def test_columns_by_value(tmp_path):
    day = datetime.datetime(2022, 1, 1, tzinfo=UTC)
    tags = pa.array(
        [["a"], ["b", None, "a"], None], pa.list_(pa.dictionary(pa.int32(), pa.string()))
    )
    columns = {
        "text": pa.array(["a", None, ""]),
        "category": pa.array(["x", "y", None]).dictionary_encode(),
        "small": pa.array([1, None, -3], pa.int8()),
        "huge": pa.array([2**64 - 1, None, 0], pa.uint64()),
        "flag": pa.array([True, None, False]),
        "double": pa.array([1.5, None, float("nan")]),
        "half": pa.array(np.array([1.5, 2, 3], np.float16)),
        "price": pa.array([decimal.Decimal("1.25"), None, decimal.Decimal(2)], pa.decimal128(8, 2)),
        "tags": tags,
        "numbers": pa.array([[1, 2], [], [3]]),
        "pair": pa.array([[1, 2], None, [5, 6]], pa.list_(pa.int8(), 2)),
        "seen": pa.array([day, None, day], pa.timestamp("ns", tz="UTC")),
        "date": pa.array([datetime.date(1970, 1, 2), None, datetime.date(2022, 1, 1)]),
        "nothing": pa.nulls(3),
        "raw": pa.array([b"\xff", None, b"b"]),
        "view": pa.array(["q", None, "r"], pa.string_view()),
    }
    write(tmp_path / "a.parquet", columns)
    assert run(tmp_path / "a.parquet", tmp_path / "out") == 0
    first, second, third = records_of(tmp_path / "out")
    expected = {
        "text": ("bytes", [b"a"], [], []),
        "category": ("bytes", [b"x"], [b"y"], []),
        "small": ("int64", [1], [], [-3]),
        "huge": ("bytes", [b"18446744073709551615"], [], [b"0"]),
        "flag": ("int64", [1], [], [0]),
        "double": ("float", [1.5], [], []),
        "half": ("float", [1.5], [2.0], [3.0]),
        "price": ("float", [1.25], [], [2.0]),
        "tags": ("bytes", [b"a"], [b"b", b"a"], []),
        "numbers": ("int64", [1, 2], [], [3]),
        "pair": ("int64", [1, 2], [], [5, 6]),
        "seen": ("int64", [1640995200000], [], [1640995200000]),
        "date": ("int64", [86400000], [], [1640995200000]),
        "nothing": ("int64", [], [], []),
        "raw": ("bytes", [b"\xff"], [], [b"b"]),
        "view": ("bytes", [b"q"], [], [b"r"]),
    }
    for name, (kind, *rows) in expected.items():
        for row, values in zip((first, second, third), rows, strict=True):
            assert row[name][0] == kind, name
            np.testing.assert_array_equal(row[name][1], values, err_msg=name)
    assert set(first) == set(expected)


def feed(rows):
    """Columns of the small feed, of Parquet's own types."""
    texts = {name: [row[name] or None for row in rows] for name in COLUMNS}
    numbers = {name: [int(value) for value in texts[name]] for name in ("number", "click")}
    times = {
        name: [None if value is None else float(value) for value in texts[name]]
        for name in ("length", "play_time")
    }
    tags = [value.split("|") if value else None for value in texts["tags"]]
    days = {"day": [int(value) for value in texts["day"]]}
    return {name: {**texts, **numbers, **times, **days, "tags": tags}[name] for name in COLUMNS}


def test_rows_are_those_of_the_same_logs_as_csv(tmp_path):
    made = schema(tmp_path, glob="a.csv")
    rows = [good_row(number) for number in range(300)]
    rows[5] |= {"length": "12.345678901234", "play_time": "3.3333333333"}
    write_lines(tmp_path / "a.csv", [line(row) for row in rows])
    beside = {"zip": ["01", *["7"] * 298, "x"], "more": range(300)}
    columns = {name: pa.array(values) for name, values in (feed(rows) | beside).items()}
    write(tmp_path / "a.parquet", columns, row_group_size=70)
    assert run(tmp_path / "a.parquet", tmp_path / "out", f"--schema={made.path}") == 0
    assert manifest_of(tmp_path / "out")["rows"] == 300
    assert_same_rows(made, tmp_path, tmp_path / "out")
    kinds = {name: kind["dtype"] for name, kind in manifest_of(tmp_path / "out")["columns"].items()}
    assert (kinds["zip"], kinds["more"]) == ("string", "int64")


def test_from_a_look_to_shards_that_the_schema_describes(tmp_path, capsys):
    rows = [good_row(number) for number in range(300)]
    for part in range(2):
        write(tmp_path / f"part-{part}.parquet", feed(rows[part::2]))
    files = tmp_path / "*.parquet"
    argv = [f"--files={files}", f"--schema_out={tmp_path}/s.toml"]
    assert inspect.main(["inspect", *argv]) == 0
    out = capsys.readouterr().out
    assert f"--schema={tmp_path}/s.toml --data_dir={tmp_path}" in out
    found = load_schema(tmp_path / "s.toml")
    assert (found.format, found.files) == ("parquet", ("*.parquet",))
    assert found.feature("tags").max_values == 2
    assert [task.name for task in found.tasks] == ["ctr", "cvr"]
    assert run(files, tmp_path / "out", f"--schema={tmp_path}/s.toml") == 0
    assert len(records_of(tmp_path / "out")) == 300


def test_values_of_another_type_go_to_quarantine(tmp_path):
    made = schema(tmp_path, glob="a.csv")
    columns = feed([good_row(number) for number in range(10)])
    columns |= {"number": [*range(9), 2.5], "length": ["1", "long", *"22222222"]}
    write(tmp_path / "a.parquet", columns)
    flags = [f"--schema={made.path}", "--max_bad_fraction=0.2"]
    assert run(tmp_path / "a.parquet", tmp_path / "out", *flags) == 0
    assert quarantine_of(tmp_path / "out") == [
        ("a.parquet", "2", "length: found 'long', expected float32",
         "number=1.0, user=u1, video=v1, tags=t1|t1, day=0, length=long, click=1, play_time=25.0"),
        ("a.parquet", "10", "number: found '2.5', expected int64",
         "number=2.5, user=u2, video=v9, tags=t0|t4, day=0, length=2, click=1, play_time=25.0"),
    ]  # fmt: skip


def test_what_cannot_be_read_is_named(tmp_path, capsys):
    write(tmp_path / "one.parquet", {"a": [1], "b": [2]})
    write(tmp_path / "two.parquet", {"a": [1], "c": [2]})
    whole = (tmp_path / "one.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[:-9])
    for files, message in (
        ("cut.parquet", "cut.parquet: cannot be read as Parquet"),
        (
            "[ot][nw]*.parquet",
            "two.parquet: found the columns a, c, expected those of the first file: a, b; "
            "absent: b; not expected: c",
        ),
    ):
        assert run(tmp_path / files, tmp_path / "out") == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("main", [convert.main, inspect.main])
def test_pyarrow_that_is_not_installed_is_named(tmp_path, monkeypatch, capsys, main):
    write(tmp_path / "a.parquet", {"a": [1], "b": [2]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    flags = [f"--files={tmp_path}/a.parquet"]
    flags += [f"--output_dir={tmp_path}/out"] if main is convert.main else []
    assert main(["command", *flags]) == 2
    assert "pip install 'lt4rec_tf[parquet]'" in capsys.readouterr().err


IDS = [2**53 - 1, 2**53 - 2, 20_000_001, 20_000_002, 7]


def ids_as(kind, ids=IDS):
    """The ids in one of the forms that logs have."""
    if kind == "decimal":
        return pa.array([decimal.Decimal(value) for value in ids], pa.decimal128(20, 0))
    if kind == "decimal with a scale":
        return pa.array([decimal.Decimal(value) for value in ids], pa.decimal128(38, 10))
    if kind == "text":
        return pa.array(list(map(str, ids)))
    return pa.array(ids, {"double": pa.float64(), "uint64": pa.uint64(), "int64": pa.int64()}[kind])


FORMS = ("int64", "uint64", "double", "decimal", "decimal with a scale", "text")


def converted_ids(folder, *flags):
    assert run(folder / "*.parquet", folder / "out", *flags) == 0
    return [row["user"][1] for row in records_of(folder / "out")]


@pytest.mark.parametrize("form", FORMS)
def test_ids_are_exact_from_every_type(tmp_path, form):
    write(tmp_path / "a.parquet", {"user": ids_as(form), "other": [1.5] * len(IDS)})
    assert [int(value) for (value,) in converted_ids(tmp_path)] == IDS


@pytest.mark.parametrize("form", FORMS[1:])
@pytest.mark.parametrize("with_schema", [False, True])
def test_one_user_has_one_id_on_days_of_different_types(tmp_path, form, with_schema):
    rows = [good_row(number) for number in range(len(IDS))]
    for day, kind in enumerate(("int64", form)):
        write(tmp_path / f"{day}.parquet", feed(rows) | {"user": ids_as(kind)})
    flags = [f"--schema={schema(tmp_path, glob='a.csv').path}"] if with_schema else []
    ids = converted_ids(tmp_path, *flags)
    assert ids[: len(IDS)] == ids[len(IDS) :]
    assert [int(value) for (value,) in ids] == IDS * 2
    if with_schema:
        assert ids[0] == [str(IDS[0]).encode()]


def test_ids_that_a_double_no_longer_holds_are_bad_rows(tmp_path):
    made = schema(tmp_path, glob="a.csv")
    rows = [good_row(number) for number in range(6)]
    users = [2.0**53 - 1, 2.0**53, 2.0**53 + 2, 1e300, None, 7.0]
    write(tmp_path / "a.parquet", feed(rows) | {"user": pa.array(users)})
    flags = [f"--schema={made.path}", "--max_bad_fraction=0.5"]
    assert converted_ids(tmp_path, *flags) == [[b"9007199254740991"], [], [b"7"]]
    listed = quarantine_of(tmp_path / "out")
    assert [row for _, row, _, _ in listed] == ["2", "3", "4"]
    assert listed[0][2] == "user: found '9007199254740992.0', expected string"


def test_inspect_makes_whole_numbers_of_ids_beside_a_null(tmp_path):
    rows = [good_row(number) for number in range(300)]
    users = [None if number % 10 == 3 else float(1000 + number % 50) for number in range(300)]
    write(tmp_path / "a.parquet", feed(rows) | {"user": pa.array(users)})
    argv = [f"--files={tmp_path}/a.parquet", f"--schema_out={tmp_path}/s.toml"]
    assert inspect.main(["inspect", *argv]) == 0
    feature = load_schema(tmp_path / "s.toml").feature("user")
    assert (feature.dtype, feature.ids.kind) == ("int64", "fitted")


def test_columns_that_nobody_asks_for_are_not_read(tmp_path, capsys):
    made = schema(tmp_path, glob="a.csv")
    rows = [good_row(number) for number in range(10)]
    columns = feed(rows)
    write(tmp_path / "a.parquet", columns | {"ctx": pa.array([{"ip": "x"}] * 10)})
    write(tmp_path / "b.parquet", dict(reversed(columns.items())) | {"new": range(10)})
    assert run(tmp_path / "*.parquet", tmp_path / "out", f"--schema={made.path}") == 0
    out = capsys.readouterr().out
    assert "not converted: ctx (" in out
    assert "a.parquet: column ctx: found the type struct<ip: string>, expected a number" in out
    assert "not converted: new (" in out
    first, *_, last = records_of(tmp_path / "out")
    assert set(first) == set(last) == set(COLUMNS)
    assert first["number"] == ("int64", [0])
    assert last["number"] == ("int64", [9])


@pytest.mark.parametrize(
    ("column", "found", "expected"),
    [
        (pa.array([["7"]] * 10), "list<element: string>", "string"),
        (pa.array([datetime.datetime(2026, 1, 1)] * 10), "timestamp", "string"),
        (pa.array([{"x": 1}] * 10), "struct<x: int64>", "a number"),
    ],
)
def test_types_that_do_not_fit_together_are_named(tmp_path, capsys, column, found, expected):
    made = schema(tmp_path, glob="a.csv")
    columns = feed([good_row(number) for number in range(10)])
    write(tmp_path / "a.parquet", columns)
    write(tmp_path / "b.parquet", columns | {"user": column})
    assert run(tmp_path / "*.parquet", tmp_path / "out", f"--schema={made.path}") == 2
    error = capsys.readouterr().err
    assert f"b.parquet: column user: found the type {found}" in error
    assert f"expected {expected}" in error


def test_a_day_of_nulls_alone_is_read(tmp_path):
    made = schema(tmp_path, glob="a.csv")
    columns = feed([good_row(number) for number in range(10)])
    write(tmp_path / "a.parquet", columns | {"user": pa.nulls(10)})
    write(tmp_path / "b.parquet", columns)
    assert converted_ids(tmp_path, f"--schema={made.path}")[9:11] == [[], [b"u0"]]


def test_lists_in_one_text_are_cut_as_inspect_saw_them(tmp_path):
    rows = [good_row(number) for number in range(300)]
    columns = feed(rows) | {"tags": [row["tags"] for row in rows]}
    write(tmp_path / "a.parquet", columns)
    argv = [f"--files={tmp_path}/a.parquet", f"--schema_out={tmp_path}/s.toml"]
    assert inspect.main(["inspect", *argv]) == 0
    feature = load_schema(tmp_path / "s.toml").feature("tags")
    assert (feature.separator, feature.max_values) == ("|", 2)
    assert run(tmp_path / "a.parquet", tmp_path / "out", f"--schema={tmp_path}/s.toml") == 0
    tags = [row["tags"][1] for row in records_of(tmp_path / "out")]
    assert tags == [row["tags"].encode().split(b"|") for row in rows]
