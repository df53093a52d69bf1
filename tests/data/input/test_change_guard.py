"""Logs that change between the audit and training, or while they are read."""

import dataclasses
import os
from contextlib import ExitStack

import pytest

from lt4rec_tf.core.command import exit_on_error
from lt4rec_tf.data.audit import audit
from lt4rec_tf.data.formats.files import DataError, stamp_of
from lt4rec_tf.data.input.order import Order
from lt4rec_tf.data.input.pipeline import batches, raw_batches
from lt4rec_tf.data.input.source import open_source
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.experiment.feed import training_feed
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.training.plan import Plan
from tests.support import dirty_files
from tests.support.dirty_files import READERS, flip, halve
from tests.support.feeds import write_records
from tests.support.networks import build_with_own_views
from tests.support.training import small_settings, small_trainer

READINGS = {
    "batches": lambda source: batches(source, "train", 8),
    "shuffled": lambda source: batches(source, "train", 8, Order(shuffle_seed=1)),
    "raw": lambda source: raw_batches(source, "train", 8),
}


def audited(folder, reader, rule=None):
    paths = dirty_files.write_feed(folder, reader)
    source = open_source(load_schema(paths["schema"]), folder, rule or SplitRule())
    return paths, audit.complete(source, audit.audit(source))


@pytest.fixture(scope="module")
def feeds(tmp_path_factory):
    """By reader the paths of an audited feed, and its source."""
    return {reader: audited(tmp_path_factory.mktemp(reader), reader) for reader in READERS}


@pytest.fixture
def opened(feeds):
    """The feeds; whatever a test does to their shards is undone."""
    shards = [paths[name] for paths, _ in feeds.values() for name in "ab"]
    before = [(path, path.read_bytes(), path.stat()) for path in shards]
    yield feeds
    for path, content, found in before:
        path.write_bytes(content)
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def as_if_unchanged(path, change):
    """Changes a file behind the back of size and time."""
    before = path.stat()
    change(path)
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def remove(path):
    path.unlink()


def rewrite(path):
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(0, 0))


CHANGES = [
    (remove, r"b\.\w+\.gz: cannot be read \(No such file or directory\): it was there when"),
    (halve, r"b\.\w+\.gz: found it changed since the run began \(\d+ bytes, before \d+\)"),
    (rewrite, r"b\.\w+\.gz: found it changed since"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES, ids=["gone", "shorter", "rewritten"])
@pytest.mark.parametrize("reading", READINGS)
def test_a_shard_that_changed_before_a_pass_stops_it(opened, reading, change, message):
    paths, source = opened["csv"]
    change(paths["b"])
    with pytest.raises(DataError, match=message):
        list(READINGS[reading](source))


@pytest.mark.parametrize(("change", "message"), CHANGES, ids=["gone", "shorter", "rewritten"])
@pytest.mark.parametrize("reader", READERS)
def test_a_shard_that_changes_in_mid_pass_stops_it(opened, reader, change, message):
    paths, source = opened[reader]
    read = iter(batches(source, "train", 8, Order(shuffle_seed=1)))
    next(read)
    change(paths["b"])
    with pytest.raises(DataError, match=message) as error:
        list(read)
    assert "begin another run" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_pass_in_which_a_shard_vanishes_before_it_is_opened_is_stopped(opened):
    paths, source = opened["csv"]
    read = batches(source, "train", 8)
    iterator = iter(read)
    next(iterator)
    paths["b"].unlink()
    with pytest.raises(DataError, match=r"b\.csv\.gz: cannot be read"):
        list(read)  # a new pass over batches that were made before


def test_a_file_that_holds_fewer_rows_is_noticed_whatever_its_size_and_time(opened):
    paths, source = opened["csv"]
    as_if_unchanged(paths["a"], lambda path: dirty_files.replaced(path, b",1,25\n", b",7,25\n"))
    with pytest.raises(DataError, match=r"a\.csv, .*found 39 usable rows where the audit found 40"):
        list(batches(source, "train", 8))


@pytest.mark.parametrize("skipped", [0, 2, 5, 9])
def test_a_pass_that_goes_on_ends_with_its_last_row(opened, skipped):
    source = opened["csv"][1]
    read = list(batches(source, "train", 8, Order(shuffle_seed=1, skip_batches=skipped)))
    assert sum(len(batch["user"]) for batch in read) == max(0, 40 - 8 * skipped)


def test_a_damaged_file_is_found_whatever_its_size_and_time(opened):
    paths, source = opened["tfrecord"]
    as_if_unchanged(paths["a"], flip)
    with pytest.raises(DataError, match=r"a\.tfrecord: cannot be read any more, .*corrupted"):
        list(batches(source, "train", 8))


def test_records_that_no_longer_parse_are_told_in_one_line(opened):
    paths, source = opened["tfrecord"]
    write_records(paths["a"], [b"\xff\xfe" * 20])
    source = dataclasses.replace(source, stamps={p: stamp_of(p) for p in source.stamps})
    with pytest.raises(DataError, match=r"a\.tfrecord, .*cannot be read as the audit did") as error:
        list(batches(source, "train", 8))
    assert "\n" not in str(error.value)


def test_a_shard_that_changes_while_the_audit_reads_is_named(tmp_path):
    paths = dirty_files.write_feed(tmp_path, "csv")
    source = open_source(load_schema(paths["schema"]), tmp_path, SplitRule())
    with pytest.raises(DataError, match=r"a\.csv: found it changed since the run began"):
        audit.audit(source, lambda name, rows: rewrite(paths["a"]))


@pytest.mark.parametrize(
    ("reading", "harmed_at", "stops"),
    [("stream", 0, True), ("stream", 1, True), ("memory", 0, True), ("memory", 1, False)],
)
def test_training_stops_unless_it_holds_what_was_audited(tmp_path, reading, harmed_at, stops):
    paths, source = audited(tmp_path, "csv", SplitRule("time", 2, 3))  # "a" is train
    flags = [f"--data_dir={tmp_path}", f"--reading={reading}"]
    settings = small_settings(*flags, schema=tmp_path / "small.toml")
    feed = training_feed(source, audit.audit(source), settings)
    trainer = small_trainer(
        build_with_own_views({}, source.schema),
        source.schema,
        feed=feed,
        before_step=lambda step: halve(paths["a"]) if step == harmed_at == 1 else None,
    )
    if harmed_at == 0:
        halve(paths["a"])
    with ExitStack() as expected:
        if stops:
            message = r"a\.csv: found it changed since the run began"
            expected.enter_context(pytest.raises(DataError, match=message))
        trainer.fit(tmp_path / "stage", "stage", Plan(epochs=2))


def test_each_becomes_one_message_and_exit_code_2(opened, capsys):
    paths, source = opened["csv"]
    paths["b"].unlink()
    assert exit_on_error(lambda argv: list(batches(source, "train", 8)), []) == 2
    assert capsys.readouterr().err.startswith(f"error: {paths['b']}: cannot be read")
