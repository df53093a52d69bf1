"""Processes, ranges of users, Beam, other formats and stops: the same shards by each."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lt4rec_tf.data.convert import command as convert
from tests.support.conversions import manifest_of, run
from tests.support.histories import (
    brute_force,
    converted,
    lists_of,
    many_rows,
    row,
    same,
    videos,
    write_logs,
)

pytestmark = pytest.mark.slow(minutes=1)


def test_processes_ranges_and_beam_make_the_same_shards(tmp_path):
    glob, schema = write_logs(tmp_path / "logs", *many_rows(400))
    flags = [schema, "--history=video,author", "--history_request=request", "--history_delay_s=2"]
    flags += ["--history_events=5", "--compression=none"]
    assert run(glob, tmp_path / "one", *flags) == 0
    assert run(glob, tmp_path / "ranges", *flags, "--history_memory_mib=0.01") == 0
    assert run(glob, tmp_path / "two", *flags, "--processes=2", "--history_memory_mib=0.02") == 0
    beam = "--beam_pipeline_options=runner=DirectRunner,direct_num_workers=1"
    assert run(glob, tmp_path / "beam", *flags, beam, "--history_memory_mib=0.1") == 0
    one = manifest_of(tmp_path / "one")
    for other in ("ranges", "two", "beam"):
        assert manifest_of(tmp_path / other) == one
        assert not (tmp_path / other / "unfinished").exists()
    files = many_rows(400)
    expected = brute_force(files, lambda each: each["click"] == "1", 2, 5, by_request=True)
    assert [each["video"] for each in lists_of(tmp_path / "one")] == [
        each["video"] for each in expected
    ]


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_other_formats_make_the_same_lists(tmp_path, form):
    (rows,) = many_rows(60, files=1)
    rows[7] |= {"author": "", "video": ""}
    expected = converted(tmp_path / "csv", [rows])
    number = {"ms": int, "author": int, "click": int, "length": float, "play_s": float}
    typed = [
        {name: number.get(name, str)(text) if text else None for name, text in each.items()}
        for each in rows
    ]
    folder = tmp_path / form
    folder.mkdir()
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(typed), folder / "a.parquet")
    else:
        (folder / "a.jsonl").write_text("".join(json.dumps(each) + "\n" for each in typed))
    schema = (tmp_path / "csv" / "schema.toml").read_text()
    schema = schema.replace('format = "csv"', f'format = "{form}"').replace("*.csv", f"*.{form}")
    (folder / "schema.toml").write_text(schema)
    flags = [f"--schema={folder / 'schema.toml'}", "--history=video,author,length"]
    assert run(folder / f"*.{form}", folder / "out", *flags) == 0
    assert same(lists_of(folder / "out"), expected)


def test_users_are_one_and_times_are_found_as_training_finds_them(tmp_path):
    rows = [row("7", 0, "v0"), row("7.0", 1, "v1"), row(" 7.0", 2, "v2"), row("8", 3)]
    for each in rows:
        each["ms"] = f"shown@{each['ms']}@"
    glob, schema = write_logs(tmp_path, rows)
    path = tmp_path / "schema.toml"
    patterns = 'column = "ms", patterns = [["@([0-9]{13})@", 1.0]]'
    path.write_text(path.read_text().replace('column = "ms"', patterns))
    assert run(glob, tmp_path / "out", schema, "--history=video") == 0
    lists = lists_of(tmp_path / "out")
    assert videos(lists) == ["", "v0", "v1 v0", ""]
    assert lists[2]["age_s"] == [1, 2]


class Stopped(Exception):
    """What ends a conversion in a test."""


@pytest.mark.parametrize(
    "place", ["history_spill.write_counts", "history_run.write_users", "shards"]
)
def test_stopped_at_any_step_the_same_command_makes_the_same_shards(tmp_path, monkeypatch, place):
    glob, schema = write_logs(tmp_path / "logs", *many_rows(200))
    flags = [schema, "--history=video", "--history_memory_mib=0.01"]
    assert run(glob, tmp_path / "whole", *flags) == 0
    names = {"shards": "lt4rec_tf.data.convert.workers.convert_file"}
    target = names.get(place, f"lt4rec_tf.data.convert.{place}")
    calls = []

    def stop(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise Stopped
        return original(*arguments)

    module, _, name = target.rpartition(".")
    original = getattr(__import__(module, fromlist=[name]), name)
    monkeypatch.setattr(target, stop)
    with pytest.raises(Stopped):
        run(glob, tmp_path / "out", *flags)
    monkeypatch.undo()
    assert not (tmp_path / "out" / "manifest.json").exists()
    # Another size of memory cuts the users otherwise, and makes the same lists.
    again = flags if place == "shards" else [*flags[:2], "--history_memory_mib=0.1"]
    assert run(glob, tmp_path / "out", *again) == 0
    assert manifest_of(tmp_path / "out") == manifest_of(tmp_path / "whole")


def test_beam_names_a_file_that_cannot_be_read_and_the_same_folder_is_filled_later(
    tmp_path, capsys
):
    glob, schema = write_logs(tmp_path / "logs", *many_rows(90))
    good = (tmp_path / "logs" / "1.csv").read_bytes()
    flags = [schema, "--history=video"]
    beam = "--beam_pipeline_options=runner=DirectRunner,direct_num_workers=1"
    (tmp_path / "logs" / "1.csv").write_bytes(good.replace(b"user,ms", b"ms,user", 1))
    assert run(glob, tmp_path / "out", *flags, beam) == 2
    assert "1.csv: found the columns ms, user" in capsys.readouterr().err
    assert not (tmp_path / "out" / "unfinished" / "history" / "users").exists()
    (tmp_path / "logs" / "1.csv").write_bytes(good)
    assert run(glob, tmp_path / "out", *flags) == 0
    assert run(glob, tmp_path / "beam", *flags, beam) == 0
    assert manifest_of(tmp_path / "out") == manifest_of(tmp_path / "beam")


def test_other_histories_are_refused_on_the_same_folder(tmp_path, capsys):
    glob, schema = write_logs(tmp_path / "logs", [row("u", 1), row("u", 2)])
    assert run(glob, tmp_path / "out", schema, "--history=video") == 0
    assert run(glob, tmp_path / "out", schema, "--history=video") == 0
    assert "was complete" in capsys.readouterr().out
    assert "history_age_s" in (tmp_path / "out" / "schema.toml").read_text()
    assert run(glob, tmp_path / "out", schema, "--history=video", "--history_delay_s=5") == 2
    assert "settings.history.delay_s: was 0.0, is 5.0" in capsys.readouterr().err


def test_a_source_that_changed_after_histories_were_made_is_named(tmp_path, monkeypatch, capsys):
    glob, schema = write_logs(tmp_path / "logs", [row("u", 1), row("u", 2)])
    path = tmp_path / "logs" / "0.csv"

    def changed(*arguments):
        path.write_bytes(path.read_bytes().replace(b"v1", b"v2"))
        return original(*arguments)

    original = convert.by_processes
    monkeypatch.setattr(convert, "by_processes", changed)
    assert run(glob, tmp_path / "out", schema, "--history=video") == 2
    assert "held something else when histories were made:\n  0.csv" in capsys.readouterr().err
