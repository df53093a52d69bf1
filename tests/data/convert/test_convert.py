"""Conversion to TFRecord shards: values, round trips, properties; kills, refusals, checksums."""

import csv
import gzip
import io
import json
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lt4rec_tf.data.convert import command as convert
from lt4rec_tf.data.convert.shards import result_path, typed
from lt4rec_tf.data.formats.column_batches import RawBatch
from lt4rec_tf.data.formats.column_types import ColumnType
from lt4rec_tf.data.formats.discovery import open_logs
from lt4rec_tf.data.formats.examples import Ragged, encode
from lt4rec_tf.data.formats.lines import read_rows
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.writer import to_toml
from tests.support.conversions import (
    assert_same_rows,
    manifest_of,
    quarantine_of,
    records_of,
    run,
    values_of,
)
from tests.support.feeds import good_row, line, schema, write_lines
from tests.support.paths import PROJECT, real_data
from tests.support.schemas import few_features
from tests.support.turns import Aside, held_by_another, until

pytestmark = pytest.mark.slow(minutes=1)
SCHEMAS = sorted((PROJECT / "configs" / "schemas").glob("*.toml"))
BYTES = st.binary(max_size=300)
INT64 = st.integers(-(2**63), 2**63 - 1)
FLOAT32 = st.floats(width=32)


# Examples


@given(
    st.integers(0, 5).flatmap(
        lambda rows: st.tuples(
            *(
                st.lists(st.lists(kind, max_size=3), min_size=rows, max_size=rows)
                for kind in (BYTES, INT64, FLOAT32)
            )
        )
    ),
    st.text(min_size=1, max_size=200),
)
def test_what_is_encoded_is_what_tensorflow_reads(columns, name):
    texts, numbers, decimals = columns

    def ragged(lists, dtype):
        flat = np.empty(sum(map(len, lists)), dtype)
        flat[:] = [value for values in lists for value in values]
        return Ragged(flat, np.array([len(values) for values in lists], np.int64))

    try:
        name.encode()
    except UnicodeEncodeError:
        name = "t"
    made = {
        f"t{name}": ragged(texts, object),
        "i": ragged(numbers, np.int64),
        "f": ragged(decimals, np.float32),
    }
    records = encode(made)
    assert len(records) == len(texts)
    for place, record in enumerate(records):
        features = tf.train.Example.FromString(record).features.feature
        assert values_of(features[f"t{name}"]) == ("bytes", texts[place])
        assert values_of(features["i"]) == ("int64", numbers[place])
        kind, found = values_of(features["f"])
        assert kind == "float"
        np.testing.assert_array_equal(found, decimals[place])


# Round trips


ODD = [
    {"video": '"a,b"', "tags": "t1||t2", "length": " 12.345678901 ", "play_time": "3.3333333333"},
    {"number": "7.0", "tags": "", "length": "", "play_time": "9"},
    {"number": "+12", "video": "", "tags": "x", "length": "1e2", "play_time": "0.1"},
    {"video": "\xe9t\xe9", "tags": "a|b|c|d|e", "length": "nan", "click": "0"},
    {"number": " 3 ", "length": "33.3", "play_time": "22.200000001", "click": "1.0"},
    {"user": "007", "length": "0.1", "play_time": "0.07"},
]


@pytest.mark.parametrize("name", ["log.csv.gz", "log.tsv"])
def test_rows_of_shards_are_the_rows_of_the_logs(tmp_path, name):
    form = "tsv" if ".tsv" in name else "csv"
    made = schema(tmp_path, form, f"in/{name}")
    odd = ODD if form == "csv" else [row | {"video": "a,b"} for row in ODD]
    rows = [good_row(n, **(odd[n % 7] if n % 7 < 6 else {})) for n in range(200)]
    (tmp_path / "in").mkdir()
    write_lines(tmp_path / "in" / name, [line(row, "\t" if form == "tsv" else ",") for row in rows])
    output = tmp_path / "out"
    flags = [f"--schema={made.path}", "--shard_mib=0.005", "--max_bad_fraction=0"]
    assert run(f"{tmp_path}/in/*", output, *flags) == 0
    assert len(manifest_of(output)["shards"]) == 1  # which ends after a batch
    assert load_schema(output / "schema.toml").feature("tags").separator == ""  # cut already
    assert_same_rows(made, tmp_path, output)


def test_missing_values_stay_missing_and_columns_beside_the_schema_stay(tmp_path):
    made = schema(tmp_path, glob="a.csv")
    text = "number,user,video,tags,day,length,click,play_time,more\n1,,,,,,,,007\n,,,,,,0,,\n"
    (tmp_path / "a.csv").write_text(text)
    assert run(tmp_path / "a.csv", tmp_path / "out", f"--schema={made.path}") == 0
    empty = {
        "day": ("bytes", []),
        "length": ("bytes", []),
        "play_time": ("bytes", []),
        "tags": ("bytes", []),
        "user": ("bytes", []),
        "video": ("bytes", []),
    }
    assert records_of(tmp_path / "out") == [
        {**empty, "number": ("int64", [1]), "click": ("int64", []), "more": ("bytes", [b"007"])},
        {**empty, "number": ("int64", []), "click": ("int64", [0]), "more": ("bytes", [])},
    ]


def test_without_a_schema_types_are_those_that_all_values_have(tmp_path):
    text = (
        "a,b,c,d,e,f,g,h\n"
        "1,1.5,x y,007,1,3|4|3,1600000000.25,\n"
        "-2,,y x y,8,x,4|3,1600000001.5,\n"
        ",2,x,9,,,,\n"
    )
    (tmp_path / "a.csv").write_text(text)
    assert run(tmp_path / "a.csv", tmp_path / "out", "--texts=a") == 0
    kinds = {
        n: (c["dtype"], c["separator"]) for n, c in manifest_of(tmp_path / "out")["columns"].items()
    }
    assert kinds == {
        "a": ("string", ""),
        "b": ("float32", ""),
        "c": ("string", " "),
        "d": ("string", ""),
        "e": ("string", ""),
        "f": ("int64", "|"),
        "g": ("string", ""),
        "h": ("string", ""),
    }
    first, second, third = records_of(tmp_path / "out")
    assert first["b"] == ("float", [1.5])
    assert first["c"] == ("bytes", [b"x", b"y"])
    assert first["f"] == ("int64", [3, 4, 3])
    assert second["g"] == ("bytes", [b"1600000001.5"])
    assert third["f"] == ("int64", [])


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.stem)
def test_a_schema_that_is_written_is_the_one_that_was_read(tmp_path, path):
    found = load_schema(path)
    (tmp_path / "again.toml").write_text(to_toml(found, {"": ["two\nlines"]}), encoding="utf-8")
    again = load_schema(tmp_path / "again.toml")
    assert {**vars(again), "path": path} == vars(found)


# Bad rows


def lines_with_faults():
    rows = [line(good_row(number)) for number in range(50)]
    rows[3] = b"1,2,3"
    rows[7] = line(good_row(7, number="x7"))
    rows[8] = line(good_row(8, length="long"))
    rows[11] = line(good_row(11, video='"open'))
    rows[12] = line(good_row(12, video="\xff", number="\t")).replace(b"\xc3\xbf", b"\xff")
    rows[40] = line(good_row(40, click="yes"))
    return rows


def test_bad_rows_are_in_quarantine_by_file_row_and_reason(tmp_path):
    made = schema(tmp_path)
    write_lines(tmp_path / "a.csv", [line(good_row(number)) for number in range(10)])
    write_lines(tmp_path / "b.csv", lines_with_faults())
    flags = [f"--schema={made.path}", "--max_bad_fraction=0.5"]
    assert run(tmp_path / "?.csv", tmp_path / "out", *flags) == 0
    assert quarantine_of(tmp_path / "out") == [
        ("b.csv", "4", "columns", "1,2,3"),
        (
            "b.csv",
            "8",
            "number: found 'x7', expected int64",
            line(good_row(7, number="x7")).decode(),
        ),
        ("b.csv", "9", "length: found 'long', expected float32", "8,u1,v8,t2|t3,0,long,0,"),
        ("b.csv", "12", "columns", '11,u4,"open,t2|t1,1,100,1,25'),
        ("b.csv", "13", r"number: found '\t', expected int64", r"\t,u5,\xff,t0|t2,1,100,0,"),
        ("b.csv", "41", "click: found 'yes', expected int64", "40,u5,v7,t1|t0,4,100,yes,"),
    ]
    found = manifest_of(tmp_path / "out")
    assert [(s["name"], s["rows"], s["bad_rows"]) for s in found["sources"]] == [
        ("a.csv", 10, 0),
        ("b.csv", 50, 6),
    ]
    assert (found["rows"], found["bad_rows"]) == (54, 6)
    assert len(records_of(tmp_path / "out")) == 54


def test_rows_in_quarantine_are_counted_from_the_start_of_the_file(tmp_path):
    rows = [f"{k},x" for k in range(9000)]  # more than are converted at a time
    rows[8500] = "1,2,3"
    (tmp_path / "a.csv").write_text("a,b\n" + "\n".join(rows) + "\n")
    assert run(tmp_path / "a.csv", tmp_path / "out") == 0
    assert quarantine_of(tmp_path / "out") == [("a.csv", "8501", "columns", "1,2,3")]


def test_a_file_of_bad_rows_alone_has_no_shard(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1\n2\n")
    (tmp_path / "b.csv").write_text("a,b\n1,2\n")
    assert run(tmp_path / "?.csv", tmp_path / "out", "--max_bad_fraction=1", "--texts=a,b") == 0
    assert [shard["name"] for shard in manifest_of(tmp_path / "out")["shards"]] == [
        "shards/part-00001-0000.tfrecord.gz"
    ]


def test_a_reason_is_one_value_of_one_line_whatever_the_columns_name():
    column = Ragged(np.array([b"x"], object), np.array([1]))
    _, reasons = typed({"a\tb": ColumnType("int64")}, RawBatch({"a\tb": column}, np.array([False])))
    assert reasons == {0: r"a\tb: found 'x', expected int64"}


def test_too_many_bad_rows_stop_and_a_larger_share_goes_on(tmp_path, capsys):
    made = schema(tmp_path)
    write_lines(tmp_path / "a.csv", [line(good_row(number)) for number in range(10)])
    write_lines(tmp_path / "b.csv", lines_with_faults())
    flags = [f"--schema={made.path}"]
    assert run(tmp_path / "?.csv", tmp_path / "out", *flags) == 2
    message = capsys.readouterr().err
    assert f"{tmp_path}/b.csv: found 6 bad rows of 50, expected at most a fraction 0.01" in message
    assert "b.csv\t4\tcolumns\t1,2,3" in message
    assert len(quarantine_of(tmp_path / "out")) == 6
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert run(tmp_path / "?.csv", tmp_path / "out", *flags, "--max_bad_fraction=0.2") == 0
    assert "1 of 2 files were done before" in capsys.readouterr().out
    assert manifest_of(tmp_path / "out")["rows"] == 54
    assert not (tmp_path / "out" / "unfinished").exists()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    head=st.sampled_from([b"", b"a,b\n", b"\xef\xbb\xbfa,b\r\n", b"a\tb\n"]),
    body=st.binary(max_size=120)
    | st.lists(st.sampled_from(["1", "x", ",", "\t", '"', "\n", "\r", "\0", "1.5"])).map(
        lambda parts: "".join(parts).encode()
    ),
    packed=st.booleans(),
)
def test_random_bytes_become_rows_quarantine_or_an_error(
    tmp_path_factory, capsys, head, body, packed
):
    folder = tmp_path_factory.mktemp("bytes")
    content = head + body
    (folder / "a.csv").write_bytes(gzip.compress(content) if packed else content)
    code = run(folder / "a.csv", folder / "out", "--max_bad_fraction=1")
    if code == 0:
        found = manifest_of(folder / "out")
        form = open_logs([str(folder / "a.csv")]).layout.form
        expected = sum(1 for _ in read_rows(io.BytesIO(content), form)) - 1
        assert len(records_of(folder / "out")) == found["rows"]
        assert len(quarantine_of(folder / "out")) == found["bad_rows"]
        assert found["rows"] + found["bad_rows"] == expected
    else:
        assert code == 2
        assert "found" in capsys.readouterr().err


VALUES = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=8)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=20))
def test_texts_are_those_of_pythons_writer(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("texts")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("a", "b", "c"), *rows])
    (folder / "a.csv").write_bytes(text.getvalue().encode())
    assert run(folder / "a.csv", folder / "out", "--texts=a,b,c") == 0
    assert records_of(folder / "out") == [
        {
            name: ("bytes", [value.encode()] if value else [])
            for name, value in zip("abc", row, strict=True)
        }
        for row in rows
    ]


# Going on, refusing, verifying


def write_days(folder: Path, days=4, rows=300):
    folder.mkdir()
    for day in range(days):
        lines = [line(good_row(day * rows + number)) for number in range(rows)]
        write_lines(folder / f"day_{day}.csv.gz", lines)
    return folder / "*.csv.gz"


def done_in(output):
    return [place for place in range(30) if result_path(output, place).exists()]


def test_killed_at_any_time_the_same_command_ends_with_the_same_shards(tmp_path):
    made = schema(tmp_path)
    files = write_days(tmp_path / "in", days=30)
    flags = [f"--schema={made.path}", "--shard_mib=0.01"]
    assert run(files, tmp_path / "whole", *flags) == 0
    output = tmp_path / "killed"
    command = [sys.executable, "-m", "lt4rec_tf.data.convert", *flags]
    command += [f"--files={files}", f"--output_dir={output}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        deadline = time.monotonic() + 120
        while len(done_in(output)) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = done_in(output)
    assert 2 <= len(done) < 30
    first = output / "shards" / f"part-{done[0]:05d}-0000.tfrecord.gz"
    before = first.stat().st_mtime_ns
    (output / "shards" / ".part-00009-0000.tfrecord.gz.0.tmp").write_text("half a shard")
    assert run(files, output, *flags) == 0
    assert manifest_of(output) == manifest_of(tmp_path / "whole")
    assert first.stat().st_mtime_ns == before
    names = {path.name for path in (output / "shards").iterdir()}
    assert names == {Path(shard["name"]).name for shard in manifest_of(output)["shards"]}


def test_processes_and_beam_make_the_same_shards(tmp_path, capsys):
    files = write_days(tmp_path / "in", days=3)
    flags = ["--compression=none"]
    assert run(files, tmp_path / "one", *flags, "--processes=1") == 0
    assert run(files, tmp_path / "two", *flags, "--processes=2") == 0
    beam = "--beam_pipeline_options=runner=DirectRunner,direct_num_workers=1"
    assert run(files, tmp_path / "beam", *flags, beam) == 0
    one = manifest_of(tmp_path / "one")
    assert one == manifest_of(tmp_path / "two") == manifest_of(tmp_path / "beam")
    assert one["rows"] == 900
    write_lines(tmp_path / "in" / "day_1.csv.gz", [b"1,2"])
    assert run(files, tmp_path / "bad", beam) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "day_1.csv.gz: found 1 bad rows of 1" in error


def test_a_folder_that_is_complete_is_checked(tmp_path, capsys):
    files = write_days(tmp_path / "in", days=2, rows=20)
    output = tmp_path / "out"
    assert run(files, output) == 0
    assert "40 rows in 2 shards" in capsys.readouterr().out
    assert run(files, output) == 0
    assert "was complete" in capsys.readouterr().out
    verify = ["convert", f"--output_dir={output}", "--verify"]
    assert convert.main(verify) == 0
    assert "the checksums of all 2 shards hold" in capsys.readouterr().out
    shard = output / "shards" / "part-00001-0000.tfrecord.gz"
    content = bytearray(shard.read_bytes())
    content[20] ^= 1
    shard.write_bytes(content)
    assert run(files, output) == 0  # of the same size
    capsys.readouterr()
    assert convert.main(verify) == 2
    assert "1 of 2 shards are damaged" in capsys.readouterr().err
    shard.unlink()
    for command in (verify, ["convert", f"--files={files}", f"--output_dir={output}"]):
        assert convert.main(command) == 2
        assert f"{shard}: found no file" in capsys.readouterr().err


def test_other_sources_and_settings_are_refused(tmp_path, capsys):
    files = write_days(tmp_path / "in", days=2, rows=20)
    output = tmp_path / "out"
    assert run(files, output) == 0
    capsys.readouterr()
    assert run(files, output, "--compression=none") == 2
    assert "settings.compression: was 'gzip', is 'none'" in capsys.readouterr().err
    assert run(files, output, f"--schema={schema(tmp_path).path}") == 2
    assert "columns.length.dtype: was 'int64', is 'string'" in capsys.readouterr().err
    write_lines(tmp_path / "in" / "day_2.csv.gz", [line(good_row(1))])
    assert run(files, output) == 2
    assert "sources.day_2.csv.gz: was None, is " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--files=a.csv"], "--output_dir: found ''"),
        (["--output_dir=x"], "--files: found (), expected one or more globs"),
        (["--files=a.csv", "--output_dir=x", "--shard_mib=0"], "--shard_mib: found 0.0"),
        (["--files=a.csv", "--output_dir=x", "--max_bad_fraction=2"], "expected a share in [0, 1]"),
        (["--files=none*.csv", "--output_dir=x"], "no file matches 'none*.csv'"),
        (["--files=a.csv", "--output_dir=x", "--texts=b"], "--texts: found 'b', expected some of"),
        (["--files=a.csv,b.tsv", "--output_dir=x"], "b.tsv: found tsv, expected csv as in"),
        (["--files=a.csv,c.csv", "--output_dir=x"], "c.csv: found the columns y, z, expected"),
        (["--files=d.csv.gz", "--output_dir=x"], "d.csv.gz: cannot be read (Compressed"),
        (["--files=e.csv", "--output_dir=x"], "e.csv: found an empty file"),
        (
            ["--files=a.csv", "--output_dir=x", "--schema=absent.toml"],
            "absent.toml: cannot be read",
        ),
        (["--files=f.csv", "--output_dir=x"], "found no row of 2 columns"),
        (["--files=g.csv", "--output_dir=x"], "column 2: found no name in UTF-8"),
        (["--files=a.csv", "--output_dir=a.csv"], "a.csv: cannot be"),
    ],
)
def test_what_cannot_be_is_one_message(tmp_path, monkeypatch, capsys, flags, message):
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("x,y\n1,2\n")
    Path("b.tsv").write_text("x\ty\n1\t2\n")
    Path("c.csv").write_text("y,z\n1,2\n")
    Path("d.csv.gz").write_bytes(gzip.compress(b"x,y\n1,2\n")[:-8])
    Path("e.csv").write_text("")
    Path("f.csv").write_text("x,y\n1\n")
    Path("g.csv").write_bytes(b"x,\xff\n1,2\n")
    assert convert.main(["convert", *flags]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error


def test_beam_that_is_not_installed_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    files = write_days(tmp_path / "in", days=1, rows=5)
    assert run(files, tmp_path / "out", "--beam_pipeline_options=runner=DirectRunner") == 2
    assert "pip install 'lt4rec_tf[beam]'" in capsys.readouterr().err


# Real rows


def test_kuairand_rows_with_their_side_tables_are_the_same_from_shards(tmp_path):
    sample = real_data("kuairand_feedback_sample")
    more = ("user_active_degree", "follow_user_num", "hour")  # of users, and all of the log
    made = load_schema(few_features("kuairand_feedback", tmp_path, *more))
    assert len(made.features) == 7
    for join in made.joins:
        (tmp_path / join.file).symlink_to(sample / join.file)
    with gzip.open(sample / "log.tsv.gz") as log:
        (tmp_path / "log.tsv.gz").write_bytes(gzip.compress(b"".join(islice(log, 1 + 3000))))
    output = tmp_path / "out"
    assert run(tmp_path / "log.tsv.gz", output, f"--schema={made.path}") == 0
    assert manifest_of(output)["rows"] == 3000
    assert_same_rows(made, tmp_path, output, "user")


def test_an_empty_file_among_others_is_one_without_rows(tmp_path, capsys):
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "a.csv").write_bytes(b"")
    (logs / "b.csv").write_text("user,click\nu1,1\nu2,0\n")
    flags = [f"--files={logs}/*.csv", f"--output_dir={tmp_path / 'out'}", "--processes=1"]
    assert convert.main(["convert", *flags]) == 0
    sources = json.loads((tmp_path / "out" / "manifest.json").read_text())["sources"]
    assert [(source["name"], source["rows"]) for source in sources] == [("a.csv", 0), ("b.csv", 2)]
    capsys.readouterr()


def test_a_second_conversion_waits_for_the_first_and_finds_it_complete(tmp_path, capsys):
    write_lines(tmp_path / "a.csv", [line(good_row(number)) for number in range(9)])
    output = tmp_path / "shards"
    with held_by_another(output) as holder:
        waiting = Aside(lambda: run(tmp_path / "a.csv", output))
        until(lambda: "waiting until" in capsys.readouterr().err)
        assert not (output / "manifest.json").exists()
        holder.stdin.close()
        waiting.ended()
    assert manifest_of(output)["rows"] == 9


@pytest.mark.parametrize("is_complete", [True, False])
def test_a_source_of_equal_size_that_holds_something_else_is_refused(tmp_path, capsys, is_complete):
    for name in "ab":
        write_lines(tmp_path / f"{name}.csv", [line(good_row(number)) for number in range(9)])
    output = tmp_path / "shards"
    assert run(tmp_path / "*.csv", output) == 0
    if not is_complete:
        manifest = manifest_of(output)
        result = manifest["sources"][0] | {"shards": manifest["shards"][:1]}
        plan = {key: manifest[key] for key in ("format", "settings", "columns")}
        plan["sources"] = {source["name"]: source["bytes"] for source in manifest["sources"]}
        result_path(output, 0).parent.mkdir()
        result_path(output, 0).write_text(json.dumps(result))
        (result_path(output, 0).parent / "plan.json").write_text(json.dumps(plan))
        (output / "manifest.json").unlink()

    before = (tmp_path / "a.csv").read_bytes()
    other = before.replace(b",u1,", b",u9,", 1)
    assert other != before
    (tmp_path / "a.csv").write_bytes(other)
    capsys.readouterr()
    assert run(tmp_path / "*.csv", output) == 2
    error = capsys.readouterr().err
    assert f"another content of the same size in:\n  {tmp_path}/a.csv\n" in error
    assert "b.csv" not in error
    (tmp_path / "a.csv").write_bytes(before)
    assert run(tmp_path / "*.csv", output) == 0
