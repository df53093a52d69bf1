"""Inspection of logs: the printed table, and a drafted schema, by value and trained on."""

import dataclasses
import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lt4rec_tf.data.audit.checks import check
from lt4rec_tf.data.formats import column_batches
from lt4rec_tf.data.formats.column_types import ColumnType, guess
from lt4rec_tf.data.formats.discovery import open_logs
from lt4rec_tf.data.input.order import Order
from lt4rec_tf.data.input.pipeline import batches
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.data.inspect import command as inspect
from lt4rec_tf.data.inspect import log_sample
from lt4rec_tf.data.inspect.column_stats import column_stats
from lt4rec_tf.schema.reader import BINS, MOST_FITTED, load_schema
from lt4rec_tf.schema.types import IdRule, SchemaError
from tests.support.commands import run_training
from tests.support.feeds import (
    example,
    good_row,
    opened,
    write_json_lines,
    write_parquet,
    write_records,
)
from tests.support.networks import build_small
from tests.support.paths import real_data

ROWS = 2000
FITTED = IdRule("fitted", max_size=MOST_FITTED)
BYTEREC = (
    "uid,user_city,item_id,author_id,item_city,channel,finish,like,music_id,device,time,length"
)


def look(files, schema_out, *flags):
    argv = ["inspect", f"--files={files}", f"--schema_out={schema_out}", *flags]
    return inspect.main(argv)


def write_feed(path: Path, rows=ROWS):
    """A feed of which every statistic is known."""
    lines = ["impression_id,user_id,video_id,country,tags,age,score,temperature,Größe 1,one,"
             "is_click,is_like,play_time_ms,duration_ms,time_ms"]  # fmt: skip
    for k in range(rows):
        country = ["de", "fr", "", "it"][k % 4]
        click, like = k % 4 == 0, k % 100 == 0
        play_time = 1000 * (k % 10) if click else ""
        lines.append(
            f"i{k},u{k % 50},v{k},{country},t{k % 3}|t{k % 7},{k % 80 if k % 8 else -1},"
            f"{k / rows},{k % 5 - 2},{k % 3},x,{click:d},{like:d},{play_time},10000,"
            f"{1600000000000 + k}"
        )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def assert_trainable(schema, folder, rule):
    """Rows are used, and a network makes finite predictions of every task from them."""
    few = dataclasses.replace(schema, features=schema.features[:25])  # tracing takes seconds
    source, found = opened(few, folder, rule)
    check(found, 0.01)
    network = build_small(source.schema, hidden_units=(4,))
    batch = next(iter(batches(source, "train", 64, Order(shuffle_seed=1))))
    outputs = network.model(batch["features"])
    assert set(outputs) == {task.name for task in schema.tasks}
    assert all(np.isfinite(output).all() for output in outputs.values())
    return found


# By value


def test_the_table_says_what_columns_hold(tmp_path, capsys):
    write_feed(tmp_path / "a.csv")
    assert look(tmp_path / "a.csv", tmp_path / "s.toml") == 0
    out, err = capsys.readouterr()
    assert err == ""
    words = {line.split()[0]: " ".join(line.split()[1:]) for line in out.splitlines() if line}
    assert words["impression_id"].startswith("string 2000, growing 0.0% 'i0' 0.1%, 'i1' 0.1%")
    assert words["country"] == "string 3 25.0% 'de' 25.0%, 'fr' 25.0%, 'it' 25.0%"
    assert words["tags"].startswith("list of string, cut by '|' 7 0.0% 't0' ")
    assert words["age"].startswith("int64 71 0.0% least -1, mean ")
    assert words["score"] == "float32 2000, growing 0.0% least 0, mean 0.49975, most 0.9995"
    assert words["is_like"] == "int64 2 0.0% 1 in 1.0%"
    assert words["play_time_ms"].startswith("int64 5 75.0% least 0, mean 4000, most 8000")
    assert "click       is_click, 1 in 25.00%" in out
    assert "play_time   play_time_ms, mean 4000" in out
    assert "duration    duration_ms, mean 10000" in out
    assert "user        user_id" in out
    assert "time        time_ms, 1600000000000 (2020-09-13 12:26:40) to 1600000001999 (" in out
    assert f"python -m lt4rec_tf.train --schema={tmp_path}/s.toml --data_dir={tmp_path}" in out


def test_the_schema_follows_the_stated_rules(tmp_path):
    write_feed(tmp_path / "a.csv")
    assert look(tmp_path / "a.csv", tmp_path / "s.toml", "--sample_rows=2000") == 0
    found = load_schema(tmp_path / "s.toml")
    assert (found.format, found.files, found.user) == ("csv", ("a.csv",), "user_id")
    assert found.time.column == "time_ms"
    assert {feature.name: feature.ids for feature in found.features} == {
        "user_id": FITTED,
        "country": IdRule("vocabulary", vocabulary=("de", "fr", "it")),
        "tags": IdRule("vocabulary", vocabulary=("t0", "t1", "t2", "t3", "t4", "t5", "t6")),
        "age": IdRule("integer", minimum=1, maximum=79),
        "score": IdRule("piecewise_linear", bins=BINS),
        "temperature": IdRule("integer", minimum=-2, maximum=2),
        "Gr__e_1": IdRule("integer", minimum=0, maximum=2),
    }  # fmt: skip
    assert found.feature("Gr__e_1").column == "Größe 1"
    assert found.feature("age").missing == -1
    assert found.feature("temperature").missing == -(2**63)  # of which -1 is one
    assert found.feature("tags").max_values == 2
    sides = {feature.name: feature.side for feature in found.features}
    assert (sides["user_id"], sides["tags"], sides["country"]) == ("user", "item", "context")
    click, ratio = found.labels
    assert (click.column, ratio.play_time, ratio.duration) == (
        "is_click",
        "play_time_ms",
        "duration_ms",
    )
    assert (ratio.play_time_unit, ratio.duration_unit, ratio.zero_duration) == ("ms", "ms", "bad")
    assert [(t.name, t.population, t.metric) for t in found.tasks] == [
        ("ctr", None, "auc"),
        ("cvr", "click", "mse"),
    ]
    text = (tmp_path / "s.toml").read_text(encoding="utf-8")
    assert "# No feature: impression_id (by its name one for each request, which does not" in text
    assert "# No feature: is_like (by its name what the user did: a label, not a feature)." in text
    assert "# No feature: one (one value in all rows of the sample)." in text
    assert "# 50 distinct values in 2000 rows, 0.0% missing: each in train has a row of" in text
    assert_trainable(found, tmp_path, SplitRule(kind="time"))


def test_flags_say_what_a_guess_cannot_know(tmp_path):
    write_feed(tmp_path / "a.csv")
    flags = ["--click=is_like", "--time=none", "--play_time=none", "--features=is_click"]
    flags += ["--exclude=tags,score", "--item_columns=video_id", "--id_columns=age"]
    flags += ["--user=country", "--watch_ratio=score"]
    assert look(tmp_path / "a.csv", tmp_path / "s.toml", *flags) == 0
    found = load_schema(tmp_path / "s.toml")
    names = [feature.name for feature in found.features]
    assert names == ["user_id", "video_id", "country", "age", "temperature", "Gr__e_1", "is_click"]
    assert found.feature("age").ids == found.feature("video_id").ids == FITTED
    assert (found.user, found.time) == ("country", None)
    assert [label.column for label in found.labels] == ["is_like", "score"]


def test_texts_that_still_grow_are_fitted_and_settled_ones_listed(tmp_path):
    lines = "".join(f"{k % 2},s{k % 30},g{k // 4}\n" for k in range(160))
    (tmp_path / "a.csv").write_text("click,settled,growing\n" + lines)
    assert look(tmp_path / "a.csv", tmp_path / "s.toml") == 0
    found = load_schema(tmp_path / "s.toml")
    assert found.feature("settled").ids.kind == "vocabulary"
    assert found.feature("growing").ids == FITTED


@pytest.mark.parametrize(
    ("columns", "play_time", "duration", "units"),
    [
        ("play_time,duration_ms", 7, 10, ("ms", "ms")),
        ("play_time_s,duration_ms", 7, 10_000, ("s", "ms")),
        ("play_time_ms,duration", 7000, 10, ("ms", "s")),
        ("play_time,duration", 7000, 10_000, ("ms", "ms")),
        ("play_time,duration", 7, 10, ("s", "s")),
    ],
)
def test_units_are_those_of_the_names_else_of_the_size(
    tmp_path, columns, play_time, duration, units
):
    lines = "".join(f"{k % 2},{play_time + k},{duration + k}\n" for k in range(90))
    (tmp_path / "a.csv").write_text(f"click,{columns}\n{lines}")
    assert look(tmp_path / "a.csv", tmp_path / "s.toml", "--features=click") == 0
    ratio = load_schema(tmp_path / "s.toml").label("watch_ratio")
    assert (ratio.play_time_unit, ratio.duration_unit) == units


def test_a_column_that_a_flag_names_has_no_other_role(tmp_path):
    lines = "".join(f"{k % 2},x{k % 5}\n" for k in range(90))
    (tmp_path / "a.csv").write_text("purchase,b\n" + lines)
    assert look(tmp_path / "a.csv", tmp_path / "s.toml", "--click=purchase") == 0
    assert [label.name for label in load_schema(tmp_path / "s.toml").labels] == ["click"]


def test_a_sample_is_the_first_rows_of_each_file(tmp_path):
    for name in "ab":  # more rows than are read at a time
        rows = [f"{name}{k}\t1" for k in range(5000)]
        rows[1] = rows[4499] = rows[4500] = "broken"
        (tmp_path / f"{name}.tsv").write_text("x\ty\n" + "\n".join(rows) + "\n")
    sample = log_sample.take(open_logs([f"{tmp_path}/?.tsv"]), most_rows=9000)
    assert (sample.rows, sample.broken, sample.files) == (2 * 4498, 4, 2)
    texts = sample.columns["x"].values
    assert texts[[0, 1, 4497, 4498, 8995]].tolist() == [b"a0", b"a2", b"a4498", b"b0", b"b4498"]


def test_without_a_label_the_schema_has_a_place_to_fill_in(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("a,b\n" + "".join(f"{k % 9},x{k % 5}\n" for k in range(90)))
    out = tmp_path / "s.toml"
    assert look(tmp_path / "a.csv", out) == 2
    printed, error = capsys.readouterr()
    assert "tasks: none" in printed
    assert f"wrote {out}: 2 features" in printed
    assert error.startswith(f"error: {tmp_path}: found NO LABEL, expected a click")
    assert "Say --click=COLUMN or --binary_labels=COLUMN" in error
    with pytest.raises(SchemaError, match="labels: found nothing"):
        load_schema(out)
    text = out.read_text()
    before, start, place = text.partition("# [[labels]]")
    filled = (start + place).replace("# ", "").replace("#\n", "\n")
    out.write_text(before + filled.replace('"..."', '"b"'))
    assert load_schema(out).tasks[0].name == "ctr"


def test_a_schema_that_is_there_stays(tmp_path, capsys):
    write_feed(tmp_path / "a.csv", rows=100)
    (tmp_path / "s.toml").write_text("mine")
    assert look(tmp_path / "a.csv", tmp_path / "s.toml") == 2
    assert "expected a new file, or --overwrite" in capsys.readouterr().err
    assert (tmp_path / "s.toml").read_text() == "mine"
    assert look(tmp_path / "a.csv", tmp_path / "s.toml", "--overwrite") == 0
    assert load_schema(tmp_path / "s.toml").tasks


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--click=clik"], "--click: found 'clik', expected one of impression_id, user_id"),
        (["--click=age"], "--click: found 'age', expected a column of 0 and 1"),
        (["--watch_ratio=country"], "--watch_ratio: found 'country', expected a column of numbers"),
        (["--time=one"], "--time: found 'one', expected a column of 3 different numbers"),
        (["--exclude=nothing"], "--exclude: found 'nothing', expected one of"),
        (["--sample_rows=0"], "--sample_rows: found 0, expected 1 or more"),
        (["--format=tsv"], "expected more, cut by '\\t'"),
        (["--format=parquet"], "a.csv: cannot be read as Parquet"),
        (["--format=tfrecord"], "a.csv: cannot be read as TFRecords"),
        (["--colour=red"], "--help lists the flags"),
    ],
)
def test_what_cannot_be_is_one_message(tmp_path, capsys, flags, message):
    write_feed(tmp_path / "a.csv", rows=20)
    assert look(tmp_path / "a.csv", tmp_path / "s.toml", *flags) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert message in err
    assert not (tmp_path / "s.toml").exists()


def test_files_are_named_from_the_folder_that_all_lie_in(tmp_path, capsys):
    for day in ("2026-11-01", "2026-11-02"):
        (tmp_path / "logs" / day).mkdir(parents=True)
        write_feed(tmp_path / "logs" / day / "part.csv", rows=60)
    assert look(tmp_path / "logs" / "2026-*" / "*.csv", tmp_path / "s.toml") == 0
    assert load_schema(tmp_path / "s.toml").files == ("2026-*/*.csv",)
    assert f"--data_dir={tmp_path}/logs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-2", "+3"], ColumnType("int64")),
        (["1", "2.0"], ColumnType("float32")),
        (["1", ".5", "nan", "1e3"], ColumnType("float32")),
        (["1", "007"], ColumnType("string")),
        (["1", "NULL"], ColumnType("string")),
        (["9223372036854775808"], ColumnType("string")),
        (["1600000000.5", "1.5"], ColumnType("string")),
        (["3e38", "1.5"], ColumnType("float32")),  # larger than any time
        (["a b", "b a", "a"], ColumnType("string", " ")),
        (["1,2", "2,1", "1"], ColumnType("int64", ",")),
        (["1|x", "x|1"], ColumnType("string", "|")),
        (["1|2", "3|4"], ColumnType("string")),  # nothing comes again
        (["[0,1)", "[0,1)", "[1,2)"], ColumnType("string")),
        (["2022-04-17 10:00:00"] * 4, ColumnType("string")),
        ([], ColumnType("string")),
    ],
)
def test_types_hold_all_values(values, kind):
    assert guess(np.array([value.encode() for value in values], object)) == kind


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    head=st.sampled_from([b"", b"click,b\n", b"a\tb\n", b"b,label,time\n"]),
    body=st.binary(max_size=150)
    | st.lists(st.sampled_from(["1", "0", ",", "\n", "x|y", "1.5"]), max_size=60).map(
        lambda parts: "".join(parts).encode()
    ),
)
def test_random_bytes_are_described_or_refused(tmp_path_factory, capsys, head, body):
    folder = tmp_path_factory.mktemp("bytes")
    (folder / "a.csv").write_bytes(head + body)
    code = look(folder / "a.csv", folder / "s.toml")
    err = capsys.readouterr().err
    assert code == 0 or (code == 2 and err.startswith("error: "))
    if code == 0:
        assert load_schema(folder / "s.toml").tasks


# Real rows


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "files", "flags", "rule", "tasks"),
    [
        ("kuairand_feedback_sample", "log.tsv.gz", [], SplitRule(kind="time"), ["ctr", "cvr"]),
        (
            "format_samples/aliccp_sample_torchrechub", "ali_ccp_*.csv", [],
            SplitRule("files", validation_files=("*val*",), test_files=("*test*",)),
            ["ctr", "conversion"],
        ),
        (
            "format_samples/aliexpress_tiny_fuxictr", "*.csv", ["--user=search_id"],
            SplitRule(kind="user"), ["ctr", "conversion"],
        ),
        (
            "tencent_video_sample", "part-*.gz",
            ["--watch_ratio=cvrlabel", "--duration=FEA_DURATION", "--user=FEA_UID"],
            SplitRule(kind="user"), ["ctr", "cvr"],
        ),
    ],
    ids=lambda value: value.split("/")[-1] if isinstance(value, str) else "",
)  # fmt: skip
def test_real_rows_can_be_trained_on_from_the_schema(tmp_path, folder, files, flags, rule, tasks):
    place = real_data(folder)
    assert look(place / files, tmp_path / "s.toml", *flags) == 0
    found = load_schema(tmp_path / "s.toml")
    assert [task.name for task in found.tasks] == tasks
    assert_trainable(found, place, rule)


@pytest.mark.slow
def test_a_file_without_header_is_trained_on(tmp_path):
    place = real_data("format_samples/byterec_sample")
    flags = [f"--columns={BYTEREC}", "--click=finish"]
    assert look(place / "byterec_sample.txt", tmp_path / "s.toml", *flags) == 0
    small = ["--rows=base", "--epochs=1", "--hidden_units=4", "--embedding_dim=2"]
    small += ["--reading=memory"]
    places = [f"--schema={tmp_path}/s.toml", f"--data_dir={place}", f"--run_dir={tmp_path}/run"]
    run_training(*places, *small)
    assert (tmp_path / "run" / "evaluation.json").exists()


def test_booleans_of_text_files_are_numbers(tmp_path, capsys):
    rows = [f"{n % 20},{n},{'true' if n % 3 else 'false'},{n % 2 == 0},x" for n in range(300)]
    (tmp_path / "a.csv").write_text("\n".join(["user_id,time,click,is_vip,kind", *rows]) + "\n")
    flags = [f"--files={tmp_path}/a.csv", "--click=click", f"--schema_out={tmp_path}/s.toml"]
    assert inspect.main(["inspect", *flags]) == 0
    assert "click       click, 1 in 66.67%" in capsys.readouterr().out
    made = load_schema(tmp_path / "s.toml")
    assert [label.column for label in made.labels] == ["click"]
    assert made.feature("is_vip").dtype == "int64"
    _, found = opened(made, tmp_path)
    assert found.unusable == {}
    assert found.splits["train"].tasks["ctr"].label_mean == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("play_time", "duration", "units"),
    [
        ("play_sec", "duration_sec", ("s", "s")),
        ("watch_seconds", "duration_secs", ("s", "s")),
        ("PLAY_TIME_MS", "Duration_s", ("ms", "s")),
        ("watch_time_millis", "video_length", ("ms", "s")),
        ("play_time", "video_duration_ms", ("ms", "ms")),
    ],
)
def test_times_are_known_in_usual_spellings(tmp_path, play_time, duration, units):
    rows = [f"{n % 20},{n},{n % 2},{n % 2 * (n % 30)},{30 + n % 9}" for n in range(300)]
    header = f"user_id,time,click,{play_time},{duration}"
    (tmp_path / "a.csv").write_text("\n".join([header, *rows]) + "\n")
    flags = [f"--files={tmp_path}/a.csv", f"--schema_out={tmp_path}/s.toml"]
    assert inspect.main(["inspect", *flags]) == 0
    ratio = load_schema(tmp_path / "s.toml").labels[1]
    assert (ratio.play_time, ratio.duration) == (play_time, duration)
    assert (ratio.play_time_unit, ratio.duration_unit) == units


@pytest.mark.parametrize(
    ("texts", "separator"),
    [
        (["Lyon, FR", "Austin, TX", "Osaka", "São Paulo, BR"], ""),
        (["full time", "part time", "not in work", "self employed"], ""),
        (["a,b", "b,c,a", "c", "c,b", "a,c", "b,a,c", "b,c"], ","),
        (["7 8", "8 7 9", "9", "9 7", "8 9", "7 9 8", "8 7"], " "),
        (["a|b", "b|c", "c|a"], "|"),
        (["a b|c", "c|a b", "a b"], "|"),
    ],
)
def test_lists_are_told_from_prose(texts, separator):
    values = np.array([text.encode() for text in texts * 20], object)
    assert guess(values).separator == separator


def test_requests_and_json_are_no_features(tmp_path, capsys):
    rows = [f'{n % 20},{n},{n % 2},r{n // 5},"{{""ab"": {n % 3}}}",x{n % 4}' for n in range(300)]
    header = "user_id,time,click,request_id,ext,kind"
    (tmp_path / "a.csv").write_text("\n".join([header, *rows]) + "\n")
    flags = [f"--files={tmp_path}/a.csv", f"--schema_out={tmp_path}/s.toml"]
    assert inspect.main(["inspect", *flags, "--features=request_id"]) == 0
    assert "no feature: ext (JSON texts" in capsys.readouterr().out
    assert "request_id" in {feature.name for feature in load_schema(tmp_path / "s.toml").features}
    assert inspect.main(["inspect", *flags, "--overwrite"]) == 0
    assert "no feature: request_id (by its name one for each request" in capsys.readouterr().out
    names = [feature.name for feature in load_schema(tmp_path / "s.toml").features]
    assert names == ["user_id", "kind"]


def test_a_look_reads_the_first_rows_alone(tmp_path, monkeypatch):
    def whole_file(path, form):
        raise AssertionError(f"{path} was read to its end")

    monkeypatch.setattr(column_batches, "oddity", whole_file)
    rows = "".join(f"{n % 9},{n},{n % 2}\n" for n in range(2000))
    (tmp_path / "a.csv").write_text("user_id,time,click\n" + rows)
    logs = open_logs([str(tmp_path / "a.csv")])
    assert log_sample.take(logs, 100).rows == 100


@pytest.mark.parametrize("suffix", ["tfrecord.gz", "tfrecord", "jsonl.gz"])
def test_a_file_without_a_record_has_the_format_of_the_others(tmp_path, suffix):
    rows = [good_row(number) for number in range(20)]
    if "jsonl" in suffix:
        content = write_json_lines(tmp_path / "plain", rows).read_bytes()
        (tmp_path / f"b.{suffix}").write_bytes(gzip.compress(content))
    else:
        write_records(tmp_path / f"b.{suffix}", [example(row) for row in rows])
    empty = gzip.compress(b"") if suffix.endswith("gz") else b""
    (tmp_path / f"a.{suffix}").write_bytes(empty)
    logs = open_logs([f"{tmp_path}/*.{suffix}"])
    assert (logs.layout.format, len(logs.paths)) == (suffix.split(".")[0], 2)
    assert log_sample.take(logs, 100).rows == 20


def test_lists_of_json_lines_may_be_absent_and_come_late(tmp_path):
    rows = [good_row(number, tags="" if number < 30 else "a|b") for number in range(40)]
    write_json_lines(tmp_path / "a.jsonl", rows)
    sample = log_sample.take(open_logs([f"{tmp_path}/*.jsonl"]), 100)
    tags = column_stats("tags", sample)
    assert (tags.missing, tags.distinct, tags.longest) == (0.75, 2, 2)
    assert dict(tags.commonest) == {"a": 10, "b": 10}
    assert column_stats("video", sample).longest == 1


def test_a_folder_of_days_is_looked_at_whole(tmp_path, capsys):
    """The schema may lie among the logs, and what writers leave for themselves is passed over."""
    logs = tmp_path / "logs"
    for day in range(3):
        (logs / f"dt=2026-11-2{day}").mkdir(parents=True)
        rows = [good_row(10 * day + number) for number in range(10)]
        write_parquet(logs / f"dt=2026-11-2{day}" / "part-0.parquet", rows)
    (logs / "_SUCCESS").touch()
    argv = ["inspect", f"--files={logs}", f"--schema_out={logs}/feed.toml"]
    assert inspect.main(argv) == 0
    out = capsys.readouterr().out
    assert "3 files of parquet" in out
    assert "passed over, no logs: 1 (_SUCCESS)" in out
    assert "dt " in out
    assert inspect.main([*argv, "--overwrite"]) == 0
    found = load_schema(logs / "feed.toml")
    assert found.files == ("**/*.parquet",)
    source, audit = opened(found, logs)
    assert (audit.rows, len(source.files)) == (30, 3)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "--history=video_id"),
        ({"tags": "clicked_videos"}, ""),
        ({"user_id": "somebody"}, ""),
        ({",time_ms": ",unknown"}, ""),
        ({"is_click": "is_seen"}, ""),
    ],
)
def test_a_history_is_proposed_where_logs_have_none(tmp_path, capsys, change, expected):
    write_feed(tmp_path / "feed.csv")
    text = (tmp_path / "feed.csv").read_text()
    for old, new in change.items():
        text = text.replace(old, new, 1)
    (tmp_path / "feed.csv").write_text(text)
    flags = ["--binary_labels=is_like:all", "--features=video_id"]  # a new video in each row
    look(tmp_path / "feed.csv", tmp_path / "feed.toml", *flags)
    printed = capsys.readouterr().out
    assert ("lt4rec_tf.data.convert" in printed) == bool(expected)
    if expected:
        command = printed.splitlines()[-1]
        assert f"--files={tmp_path / 'feed.csv'} --schema={tmp_path / 'feed.toml'}" in command
        assert command.endswith(expected)
