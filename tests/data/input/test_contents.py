"""Logs that hold something else than before, of the same size, at the same time or another."""

import json
import os

import pytest

from lt4rec_tf.data.audit.findings import Audit
from lt4rec_tf.data.input import contents
from lt4rec_tf.data.input.contents import changed_contents, contents_of
from lt4rec_tf.data.input.source import open_source
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.schema.reader import load_schema
from tests.support import dirty_files

BLOCK = 16


@pytest.fixture
def feed(tmp_path, monkeypatch):
    """Paths of a small feed of several files, of which samples are small too."""
    monkeypatch.setattr(contents, "_BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(contents, "_SAMPLED_BYTES", 1)
    return dirty_files.write_feed(tmp_path, "csv") | {"folder": tmp_path}


def opened(feed):
    return open_source(load_schema(feed["schema"]), feed["folder"], SplitRule())


def changed_at(path, place, *, keep_time):
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    else:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


def test_logs_that_are_as_they_were_hold_the_same(feed):
    noted = contents_of(opened(feed))
    assert sorted(noted) == sorted(
        path.relative_to(feed["folder"]).as_posix() for path in opened(feed).stamps
    )
    assert changed_contents(opened(feed), noted) == []


@pytest.mark.parametrize("keep_time", [True, False], ids=["same time", "another time"])
@pytest.mark.parametrize("place", [-1, -BLOCK])
def test_a_log_of_equal_size_whose_ends_changed_is_noticed(feed, place, keep_time):
    noted = contents_of(opened(feed))
    changed_at(feed["a"], place, keep_time=keep_time)
    assert changed_contents(opened(feed), noted) == [feed["a"].name]


def test_a_sample_of_a_larger_file_misses_what_lies_between_but_another_time_does_not(feed):
    noted = contents_of(opened(feed))
    between = feed["a"].stat().st_size // 2
    changed_at(feed["a"], between, keep_time=True)
    assert changed_contents(opened(feed), noted) == []
    changed_at(feed["a"], between, keep_time=True)  # as it was
    changed_at(feed["a"], between, keep_time=False)
    assert changed_contents(opened(feed), noted) == [feed["a"].name]


@pytest.mark.parametrize("place", [60, 200, 300, -1])  # behind the header line
def test_a_small_file_is_sampled_whole(feed, monkeypatch, place):
    monkeypatch.setattr(contents, "_SAMPLED_BYTES", 2**16)
    noted = contents_of(opened(feed))
    changed_at(feed["a"], place, keep_time=True)
    assert changed_contents(opened(feed), noted) == ["a.csv"]


def test_blocks_are_spread_from_the_first_byte_to_the_last(feed, monkeypatch):
    monkeypatch.setattr(contents, "_SAMPLED_BYTES", 2 * 3 * BLOCK)  # three blocks of two files
    path, size = feed["a"], feed["a"].stat().st_size
    stamp = opened(feed).stamps[path]
    before = contents._sampled(path, stamp, 2)
    for place in (0, BLOCK - 1, (size - BLOCK) // 2, size - BLOCK, size - 1):
        changed_at(path, place, keep_time=True)
        assert contents._sampled(path, stamp, 2) != before
        changed_at(path, place, keep_time=True)
    changed_at(path, BLOCK, keep_time=True)
    assert contents._sampled(path, stamp, 2) == before


def test_a_copy_that_was_written_later_holds_the_same(feed):
    noted = contents_of(opened(feed))
    for path in opened(feed).stamps:
        os.utime(path, ns=(1, 1))
    assert changed_contents(opened(feed), noted) == []


def test_logs_of_which_only_sizes_were_noted_are_compared_with_nothing(feed):
    changed_at(feed["a"], -1, keep_time=False)
    assert changed_contents(opened(feed), {}) == []


def test_contents_survive_the_json_of_an_audit_and_may_be_absent_from_it(feed):
    noted = contents_of(opened(feed))
    mappings = "unusable unusable_by_file feature_faults join_misses join_unusable_rows unlabelled"
    audit = Audit(
        rows=0,
        examples=(),
        validation_from=None,
        test_from=None,
        quarantine=(),
        contents=noted,
        **{name: {} for name in [*mappings.split(), "splits", "files"]},
    )
    written = json.loads(json.dumps(audit.to_json()))
    assert Audit.from_json(written).contents == noted
    del written["contents"]
    assert Audit.from_json(written).contents == {}
