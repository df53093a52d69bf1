"""Logs in a store that fsspec knows: the same batches as from a folder.

Its file system in memory stands for stores such as gs:// and s3://, which need an account; file://
is how a command of another process is tried.
"""

import json

import fsspec
import pytest
import tensorflow as tf

from lt4rec_tf.core.errors import InputError
from lt4rec_tf.core.locations import location
from lt4rec_tf.data.convert import command as convert
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.input.order import Order
from lt4rec_tf.data.input.pipeline import batches
from lt4rec_tf.data.input.source import open_source
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.data.inspect import command as inspect
from lt4rec_tf.schema.reader import load_schema
from tests.support.feeds import (
    example,
    good_row,
    line,
    opened,
    schema,
    write_json_lines,
    write_lines,
    write_parquet,
    write_records,
)

pytestmark = pytest.mark.slow(minutes=1)
ROWS = [good_row(number) for number in range(60)]
WRITERS = {
    "csv": lambda path, rows: write_lines(path, list(map(line, rows))),
    "csv.gz": lambda path, rows: write_lines(path, list(map(line, rows))),
    "tfrecord": lambda path, rows: write_records(path, list(map(example, rows))),
    "tfrecord.gz": lambda path, rows: write_records(path, list(map(example, rows))),
    "parquet": write_parquet,
    "jsonl": write_json_lines,
}


@pytest.fixture
def store():
    """An empty store."""
    memory = fsspec.filesystem("memory")
    yield "memory://bucket/logs"
    if memory.exists("/bucket"):
        memory.rm("/bucket", recursive=True)


def write_feed(folder, suffix):
    for day in range(2):
        (folder / f"dt={day}").mkdir(parents=True)
        WRITERS[suffix](folder / f"dt={day}" / f"a.{suffix}", ROWS[30 * day : 30 * day + 30])
    return folder


def read(made, folder):
    source, audit = opened(made, folder, SplitRule("time", validation_from=3, test_from=5))
    found = []
    for split in ("train", "validation", "test"):
        for batch in batches(source, split, 7, Order(shuffle_seed=1)):
            found.append(tf.nest.map_structure(lambda v: v.numpy().tolist(), batch))
    return audit, json.dumps(found)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The rows from a folder; that they are the same in each format: test_formats_agree.py."""
    folder = tmp_path_factory.mktemp("local")
    _, found = read(schema(folder, "csv", "dt=*/*.csv"), write_feed(folder / "logs", "csv"))
    return found


@pytest.mark.parametrize("suffix", WRITERS)
def test_logs_in_a_store_are_read(tmp_path, store, expected, suffix):
    local = write_feed(tmp_path / "logs", suffix)
    fsspec.filesystem("memory").put(str(local), "/bucket/", recursive=True)
    audit, found = read(schema(tmp_path, suffix.split(".")[0], f"dt=*/*.{suffix}"), store)
    assert audit.rows == 60
    assert found == expected


def test_a_url_of_this_machine_leads_from_a_look_to_shards(tmp_path, capsys):
    folder = write_feed(tmp_path / "logs", "parquet")
    url = f"file://{folder}"
    made = tmp_path / "feed.toml"
    assert inspect.main(["inspect", f"--files={url}", f"--schema_out={made}"]) == 0
    assert f"--data_dir={url}" in capsys.readouterr().out
    audit, _ = read(load_schema(made), url)
    assert audit.rows == 60
    flags = [f"--files={url}", f"--schema={made}", f"--output_dir={tmp_path}/shards"]
    assert convert.main(["convert", *flags]) == 0
    audit, _ = read(load_schema(tmp_path / "shards" / "schema.toml"), tmp_path / "shards")
    assert audit.rows == 60


def test_a_store_without_logs_is_named(tmp_path, store):
    fsspec.filesystem("memory").pipe("/bucket/logs/other.txt", b"x")
    with pytest.raises(DataError, match=r"memory://bucket/logs: no file matches '\*\.csv'"):
        open_source(schema(tmp_path, "csv", "*.csv"), store, SplitRule())


@pytest.mark.parametrize("url", ["s3://bucket/logs", "nowhere://bucket/logs"])
def test_a_library_that_is_not_installed_is_named(url):
    with pytest.raises(InputError, match=f"{url}: found a URL that cannot be read"):
        location(url)


def test_files_of_two_stores_are_refused(store, tmp_path, capsys):
    assert inspect.main(["inspect", f"--files={store}/*.csv,{tmp_path}/*.csv"]) == 2
    assert "found files of two stores" in capsys.readouterr().err
