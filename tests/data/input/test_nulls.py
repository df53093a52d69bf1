"""Texts that stand for absent values: in logs, side tables, shards, requests and drafts."""

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.data.audit.checks import check
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.input.features import features_to_ids
from lt4rec_tf.data.input.pipeline import batches, raw_batches
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.data.inspect import command as inspect
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import SchemaError
from lt4rec_tf.schema.writer import to_toml
from tests.support.conversions import assert_same_rows, quarantine_of, run
from tests.support.feeds import good_row, line, opened, schema, write_lines

ROWS = [good_row(number) for number in range(40)]
for number, row in enumerate(ROWS):
    mark = ("NULL", "\\N", "")[number % 3]
    row |= {"video": mark} if number % 5 == 0 else {}
    row |= {"user": mark, "tags": mark} if number % 7 == 0 else {}
    row |= {"play_time": mark} if row["click"] == "0" else {}


def with_nulls(folder, *nulls, glob=""):
    path = schema(folder, glob=glob).path
    marks = ", ".join(f"'{text}'" for text in nulls)
    path.write_text(f"nulls = [{marks}]\n" + path.read_text())
    return load_schema(path)


@pytest.fixture
def logs(tmp_path):
    write_lines(tmp_path / "a.csv", [line(row) for row in ROWS])
    return tmp_path


def test_marked_values_are_absent(logs):
    source, found = opened(with_nulls(logs, "NULL", "\\N"), logs, SplitRule())
    assert (found.rows, found.unusable) == (40, {})
    (raw,) = raw_batches(source, "train", 50)
    absent = [number for number in range(40) if number % 5 == 0]
    assert np.flatnonzero(raw["video"].numpy() == b"").tolist() == absent
    (batch,) = batches(source, "train", 50)
    assert np.flatnonzero(batch["features"]["video"].numpy() == 0).tolist() == absent
    without = [row["user"] in ("NULL", "\\N", "") for row in ROWS]
    users = batch["user"].numpy()
    assert len(set(users[without])) == 1
    assert users[0] not in users[~np.array(without)]


def test_without_marks_they_are_values(logs):
    _, found = opened(schema(logs), logs, SplitRule())
    marked = sum(row["play_time"] in ("NULL", "\\N") for row in ROWS)
    assert found.unusable == {"bad_label": marked}
    with pytest.raises(DataError) as error:
        check(found, 0.01)
    assert str(error.value).endswith(
        '\nIf NULL is an absent value: nulls = ["NULL"] at the top of the schema'
    )
    with pytest.raises(DataError) as error:
        check(found, 0.01, nulls=("NULL",))
    assert "nulls" not in str(error.value)


def test_a_served_model_takes_them_for_absent_too(logs):
    made = with_nulls(logs, "NULL")
    raw = {
        "number": tf.constant([1, 1]),
        "video": tf.constant(["NULL", ""]),
        "tags": tf.constant([["t0", "NULL"], ["t0", ""]]),
        "length": tf.constant([1.0, 1.0]),
    }
    raw["number"] = tf.cast(raw["number"], tf.int64)
    ids = features_to_ids(made, raw)
    assert ids["video"].numpy().tolist() == [0, 0]
    assert ids["tags"].numpy()[0].tolist() == ids["tags"].numpy()[1].tolist()


def test_shards_hold_what_the_logs_mean(logs):
    made = with_nulls(logs, "NULL", "\\N", glob="a.csv")
    assert run(logs / "a.csv", logs / "out", f"--schema={made.path}") == 0
    assert quarantine_of(logs / "out") == []
    assert_same_rows(made, logs, logs / "out")


def test_side_tables_have_them_as_well(logs):
    (logs / "users.csv").write_text("user,city\nu1,NULL\nu2,a\n")
    path = with_nulls(logs, "NULL", "\\N", glob="a.csv").path
    join = '\n[[joins]]\nfile = "users.csv"\nformat = "csv"\nkey = "user"\n'
    feature = '\n[[features]]\nname = "city"\ndtype = "string"\nside = "user"\n'
    feature += 'ids = { kind = "hash", buckets = 9 }\n'
    path.write_text(path.read_text() + join + feature)
    source, _ = opened(load_schema(path), logs, SplitRule())
    (raw,) = raw_batches(source, "train", 50)
    assert set(raw["city"].numpy().tolist()) == {b"", b"a"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "2", "NA"], ("NA",)),  # others are numbers
        (["DE", "FR", "NA"], ()),  # a country
        (["DE", "FR", "NULL", "\\N"], ("NULL", "\\N")),
        (["1.5", "nan", "None"], ("None", "nan")),
        (["None", "None", "None"], ()),
    ],
)
def test_inspect_finds_them(tmp_path, capsys, values, expected):
    rows = [f"{n % 9},{n},{n % 2},{values[n % 3]}" for n in range(60)]
    if len(values) > 3:
        rows += [f"1,{n},1,{values[3]}" for n in range(9)]
    (tmp_path / "a.csv").write_text("\n".join(["user_id,time,click,x", *rows]) + "\n")
    flags = [f"--files={tmp_path}/a.csv", f"--schema_out={tmp_path}/s.toml"]
    assert inspect.main(["inspect", *flags]) == 0
    out = capsys.readouterr().out
    assert (f"absent values: {', '.join(expected)}" in out) == bool(expected)
    assert load_schema(tmp_path / "s.toml").nulls == expected
    assert run(tmp_path / "a.csv", tmp_path / "out") == 0
    assert quarantine_of(tmp_path / "out") == []


def test_a_schema_keeps_them(tmp_path):
    made = with_nulls(tmp_path, "NULL", "\\N")
    (tmp_path / "again.toml").write_text(to_toml(made))
    assert load_schema(tmp_path / "again.toml").nulls == ("NULL", "\\N")
    made.path.write_text(made.path.read_text().replace("nulls = ['NULL'", "nulls = [7"))
    with pytest.raises(SchemaError, match="nulls"):
        load_schema(made.path)
