"""Batches of a split: values, order, resumption, the published samples."""

import dataclasses
import itertools
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.data.audit import audit
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.formats.values import single
from lt4rec_tf.data.input.features import features_to_ids, raw_specs
from lt4rec_tf.data.input.order import Order
from lt4rec_tf.data.input.pipeline import batches, part_batches, raw_batches
from lt4rec_tf.data.input.source import open_source
from lt4rec_tf.data.input.splits import SPLITS, SplitRule, boundaries_for, row_times, split_of_users
from lt4rec_tf.metrics.groups import NO_USER
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import TimeColumn
from tests.support.feeds import (
    example,
    good_row,
    line,
    numbers,
    opened,
    schema,
    write_lines,
    write_records,
)
from tests.support.paths import PROJECT, real_data
from tests.support.schemas import few_features

pytestmark = pytest.mark.slow(minutes=2)

ROWS = 50
OF_TWO_KINDS = ["csv", "tfrecord"]  # where tabs in place of commas show nothing more


@pytest.fixture(scope="module", params=["csv", "tsv", "tfrecord"])
def feed(request, tmp_path_factory):
    """50 good rows in three files of each format, one of them packed, opened and audited."""
    kind = request.param
    tmp_path = tmp_path_factory.mktemp(kind)
    parts = [(f"part_0.{kind}", 0, 20), (f"part_1.{kind}.gz", 20, 35), (f"part_2.{kind}", 35, ROWS)]
    for name, first, last in parts:
        rows = [good_row(number) for number in range(first, last)]
        if kind == "tfrecord":
            write_records(tmp_path / name, [example(row) for row in rows])
        else:
            write_lines(tmp_path / name, [line(r, "\t" if kind == "tsv" else ",") for r in rows])
    return opened(schema(tmp_path, kind), tmp_path)[0]


def test_a_batch_by_value(feed):
    batch = next(iter(batches(feed, "train", 4)))
    assert batch["features"]["number"].numpy().tolist() == [2, 3, 4, 5]
    hashed = tf.strings.to_hash_bucket_fast(["v0", "v1", "v2", "v3"], 100) + 1
    np.testing.assert_array_equal(batch["features"]["video"], hashed)
    tags = tf.strings.to_hash_bucket_fast(["t0", "t1", "t2", "t0", "t3"], 50).numpy() + 1
    expected = [[tags[0], tags[0], 0], [tags[1], tags[1], 0], [tags[2], tags[2], 0]]
    expected.append([tags[3], tags[4], 0])
    np.testing.assert_array_equal(batch["features"]["tags"], expected)
    np.testing.assert_allclose(batch["features"]["length"], [np.log(101)] * 4, rtol=1e-6)
    np.testing.assert_array_equal(batch["labels"]["ctr"], [0, 1, 0, 1])
    np.testing.assert_array_equal(batch["weights"]["ctr"], [1, 1, 1, 1])
    np.testing.assert_array_equal(batch["labels"]["cvr"], [0, 0.25, 0, 0.25])
    np.testing.assert_array_equal(batch["weights"]["cvr"], [0, 1, 0, 1])
    users = tf.strings.to_hash_bucket_fast(["u0", "u1", "u2", "u3"], 2**62)
    np.testing.assert_array_equal(batch["user"], users)
    assert set(batch["duration"].numpy()) == {100.0}


@pytest.mark.parametrize("feed", OF_TWO_KINDS, indirect=True)
def test_the_element_spec_is_what_models_are_built_on(feed):
    spec = batches(feed, "train", 4).element_spec
    assert spec["features"]["video"] == tf.TensorSpec((None,), tf.int64)
    assert spec["features"]["tags"] == tf.TensorSpec((None, 3), tf.int64)
    assert spec["features"]["length"] == tf.TensorSpec((None,), tf.float32)
    assert spec["labels"]["cvr"] == spec["weights"]["ctr"] == tf.TensorSpec((None,), tf.float32)
    assert spec["user"] == tf.TensorSpec((None,), tf.int64)
    assert spec["duration"] == tf.TensorSpec((None,), tf.float32)


@pytest.mark.parametrize("feed", OF_TWO_KINDS, indirect=True)
def test_all_rows_come_once_and_only_the_last_batch_is_short(feed):
    assert numbers(feed) == list(range(ROWS))
    assert sorted(numbers(feed, shuffle_seed=1)) == list(range(ROWS))
    sizes = [len(batch["user"]) for batch in batches(feed, "train", 12, Order(shuffle_seed=1))]
    assert sizes == [12, 12, 12, 12, 2]


@pytest.mark.parametrize("feed", OF_TWO_KINDS, indirect=True)
def test_seed_and_epoch_decide_the_order(feed):
    first = numbers(feed, shuffle_seed=1, epoch=0)
    assert first == numbers(feed, shuffle_seed=1, epoch=0)
    second, other = numbers(feed, shuffle_seed=1, epoch=1), numbers(feed, shuffle_seed=0, epoch=2)
    assert first != second != other != first
    assert first != list(range(ROWS))
    again = batches(feed, "train", 7, Order(shuffle_seed=1))
    twice = [[b["features"]["number"].numpy().tolist() for b in again] for _ in range(2)]
    assert twice[0] == twice[1]


@pytest.mark.parametrize("feed", OF_TWO_KINDS, indirect=True)
@pytest.mark.parametrize("skipped", [0, 3, 20])
def test_skipping_batches_goes_on_where_the_pass_was_left(feed, skipped):
    whole = numbers(feed, batch_size=7, shuffle_seed=3, epoch=2)
    rest = numbers(feed, batch_size=7, shuffle_seed=3, epoch=2, skip_batches=skipped)
    assert rest == whole[7 * skipped :]


@pytest.mark.parametrize("feed", OF_TWO_KINDS, indirect=True)
def test_a_new_epoch_traces_nothing(feed):
    from lt4rec_tf.data.input import pipeline

    numbers(feed, shuffle_seed=1)
    parser = pipeline._batch_parser(feed)
    numbers(feed, shuffle_seed=1, epoch=1)
    assert pipeline._batch_parser(feed) is parser
    assert parser.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("feed", OF_TWO_KINDS, indirect=True)
def test_raw_batches_are_what_ids_are_made_of(feed):
    for raw, batch in zip(raw_batches(feed, "train", 9), batches(feed, "train", 9), strict=True):
        for name, spec in raw_specs(feed.schema).items():
            assert spec.is_compatible_with(raw[name])
        ids = features_to_ids(feed.schema, raw)
        for name, found in batch["features"].items():
            np.testing.assert_array_equal(found, ids[name])


BY_TIME = SplitRule("time", validation_from=2, test_from=4)


@pytest.mark.parametrize(
    ("feed", "rule"),
    [
        ("csv", SplitRule("time")),
        ("csv", BY_TIME),
        ("csv", SplitRule("user", validation_fraction=0.3, test_fraction=0.3)),
        ("csv", SplitRule("files", validation_files=("part_1*",), test_files=("part_2*",))),
        ("csv", SplitRule("none")),
        ("tfrecord", BY_TIME),
        ("tfrecord", SplitRule("user", validation_fraction=0.3, test_fraction=0.3)),
    ],
    indirect=["feed"],
    ids=lambda value: value if isinstance(value, str) else f"{value.kind}-{value.validation_from}",
)
def test_splits_share_no_row_and_lose_no_row(feed, rule):
    source, found = opened(feed.schema, feed.data_dir, rule)
    rows = {split: numbers(source, split) for split in SPLITS}
    assert sorted(itertools.chain(*rows.values())) == list(range(ROWS))
    assert {split: len(part) for split, part in rows.items()} == {
        split: counts.rows for split, counts in found.splits.items()
    }
    if rule.kind in ("time", "files"):
        assert all(rows.values())
    if rule.kind == "user":
        users = {split: {number % 7 for number in part} for split, part in rows.items()}
        assert sum(map(len, users.values())) == 7
    if rule.validation_from == 2:
        assert rows["train"] == list(range(20))
        assert rows["validation"] == list(range(20, 40))
    if rule.kind == "files":
        assert rows["test"] == list(range(35, 50))
    if rule.kind == "none":
        assert rows["train"] == list(range(ROWS))


@pytest.mark.parametrize("feed", OF_TWO_KINDS, indirect=True)
def test_a_split_by_time_reads_only_files_that_hold_it(feed):
    source, _ = opened(feed.schema, feed.data_dir, SplitRule("time", 2, 4))
    names = {split: [path.name[:6] for path in source.files_of_split[split]] for split in SPLITS}
    assert names == {
        "train": ["part_0"],
        "validation": ["part_1", "part_2"],
        "test": ["part_2"],
    }


def test_boundaries_lie_nearest_to_the_fractions():
    days = np.repeat(np.arange(10.0), 10)
    assert boundaries_for(SplitRule("time"), days) == (8.0, 9.0)
    assert boundaries_for(SplitRule("time", test_fraction=0.3), days) == (6.0, 7.0)
    assert boundaries_for(SplitRule("time", validation_from=3.0), days) == (3.0, 9.0)
    assert boundaries_for(SplitRule("time", test_from=5.0), days) == (4.0, 5.0)
    assert boundaries_for(SplitRule("time"), np.repeat([1.0, 2.0, 3.0], [1, 1, 98])) == (2.0, 3.0)
    times = np.random.default_rng(0).permutation(1000.0 + np.arange(1000))
    assert boundaries_for(SplitRule("time"), times) == (1800.0, 1900.0)


def test_split_by_user_has_the_shares_asked_for():
    records = tf.strings.as_string(tf.range(20_000))
    users = single(records, tf.string)
    rule = SplitRule("user", validation_fraction=0.1, test_fraction=0.2)
    counts = np.bincount(split_of_users(rule, users, records).numpy()) / 20_000
    np.testing.assert_allclose(counts, [0.7, 0.1, 0.2], atol=0.01)
    nobody = SplitRule("user", validation_fraction=0.0, test_fraction=0.0)
    assert not split_of_users(nobody, users, records).numpy().any()


@pytest.mark.parametrize("kind", ["csv", "tfrecord"])
def test_split_by_user_spreads_rows_without_a_user(tmp_path, kind):
    """Of 2,000 rows every second has no user; the others are of 7 users."""
    rows = [good_row(number, **({"user": ""} if number % 2 else {})) for number in range(2000)]
    if kind == "csv":
        write_lines(tmp_path / "a.csv", list(map(line, rows)))
    else:
        write_records(tmp_path / "a.tfrecord", list(map(example, rows)))
    rule = SplitRule("user", validation_fraction=0.2, test_fraction=0.3)
    source, found = opened(schema(tmp_path, kind), tmp_path, rule)

    shares = [found.splits[split].without_user / 1000 for split in SPLITS]
    np.testing.assert_allclose(shares, [0.5, 0.2, 0.3], atol=0.05)

    users = {}
    for split in SPLITS:
        of_split = [batch["user"].numpy() for batch in batches(source, split, 100)]
        users[split] = np.concatenate(of_split)
        assert (users[split] == NO_USER).sum() == found.splits[split].without_user
    named = [set(values[values != NO_USER].tolist()) for values in users.values()]
    assert len(set.union(*named)) == sum(map(len, named)) == 7
    assert opened(schema(tmp_path, kind), tmp_path, rule)[1] == found


def test_no_row_has_a_user_where_the_schema_names_none(tmp_path):
    write_lines(tmp_path / "a.csv", [line(good_row(number)) for number in range(20)])
    source, found = opened(dataclasses.replace(schema(tmp_path), user=None), tmp_path)
    (batch,) = batches(source, "train", 20)
    assert (batch["user"].numpy() == NO_USER).all()
    assert found.splits["train"].without_user == 0  # nothing that the audit would miss


def test_times_by_pattern():
    time = TimeColumn("seqnum", ((r"@(\d{13})@", 0.001), (r"_(\d{10})\.\d+_", 1.0)))
    texts = ["ab@1602436207656@707", "x_1602436207.5_y", "x_1602436207.5_@1602436207656@", "none"]
    found = row_times(time, tf.constant(texts)).numpy()
    np.testing.assert_allclose(
        found, [1602436207.656, 1602436207.0, 1602436207.656, np.nan], rtol=1e-12
    )
    plain = row_times(TimeColumn("day"), tf.constant(["20220419", "inf", "", "x"])).numpy()
    np.testing.assert_array_equal(plain, [20220419.0, np.nan, np.nan, np.nan])


JOINED = """
[[joins]]
file = "videos.csv"
format = "csv"
key = "video"

[[features]]
name = "kind"
dtype = "string"
side = "item"
ids = { kind = "vocabulary", vocabulary = ["short", "[1,2)"] }
"""


def test_joined_columns_are_features(tmp_path):
    path = tmp_path / "joined.toml"
    path.write_text(schema(tmp_path, glob="part*.csv").path.read_text() + JOINED)
    (tmp_path / "videos.csv").write_text('kind,video\n"[1,2)",v1\nshort,v0\nlong,v2\n')
    write_lines(tmp_path / "part.csv", [line(good_row(number)) for number in range(4)])
    source, found = opened(load_schema(path), tmp_path)
    assert found.join_misses == {"videos.csv": 1}
    batch = next(iter(batches(source, "train", 4)))
    assert batch["features"]["kind"].numpy().tolist() == [2, 3, 1, 0]


def test_what_cannot_be_opened_is_named(tmp_path):
    made = schema(tmp_path)
    with pytest.raises(DataError, match=r"no file matches '\*\.csv\*'"):
        open_source(made, tmp_path, SplitRule())
    (tmp_path / "log.csv").write_text("number,user,video,tags,day,length,click\n")
    with pytest.raises(DataError, match=r"log\.csv: found no column 'play_time'.*small\.toml"):
        open_source(made, tmp_path, SplitRule())
    with pytest.raises(DataError, match=r"small\.toml: user: found nothing"):
        open_source(dataclasses.replace(made, user=None), tmp_path, SplitRule("user"))
    with pytest.raises(DataError, match=r"small\.toml: time: found nothing"):
        open_source(dataclasses.replace(made, time=None), tmp_path, SplitRule("time"))
    look_behind = TimeColumn("day", (("(?<=x)(a)", 1.0),))
    with pytest.raises(DataError, match=r"time\.patterns.*RE2"):
        open_source(dataclasses.replace(made, time=look_behind), tmp_path, SplitRule())
    write_lines(tmp_path / "log.csv", [line(good_row(0))])
    source = open_source(made, tmp_path, SplitRule())
    with pytest.raises(DataError, match="no audit"):
        batches(source, "train", 2)
    with pytest.raises(DataError, match="one of train, validation, test"):
        batches(audit.complete(source, audit.audit(source)), "dev", 2)


@pytest.mark.parametrize("feed", OF_TWO_KINDS, indirect=True)
def test_an_empty_split_gives_no_batch(feed):
    for seed in (None, 1):
        assert list(batches(feed, "test", 4, Order(shuffle_seed=seed))) == []


@pytest.mark.parametrize("feed", OF_TWO_KINDS, indirect=True)
def test_files_in_two_splits_are_refused(feed):
    rule = SplitRule("files", validation_files=("part_1*",), test_files=("part_*",))
    with pytest.raises(DataError, match=r"part_1.*in validation_files and in test_files"):
        opened(feed.schema, feed.data_dir, rule)


def populations(source):
    """By task (rows, mean label) over all splits, from the batches themselves."""
    rows, sums = Counter(), Counter()
    for split in SPLITS:
        for batch in batches(source, split, 4096):
            for task, weights in batch["weights"].items():
                rows[task] += float(np.sum(weights))
                sums[task] += float(np.dot(batch["labels"][task], weights))
    return {task: (count, sums[task] / count) for task, count in rows.items()}


def test_the_kuairand_sample(tmp_path):
    folder = real_data("kuairand_feedback_sample")
    made = load_schema(PROJECT / "configs" / "schemas" / "kuairand_feedback.toml")
    found = audit.audit(open_source(made, folder, SplitRule("time")))
    assert found.rows == 41_828
    assert found.unusable == {"excluded_zero_duration": 7738}
    assert found.unusable["excluded_zero_duration"] / found.rows == pytest.approx(0.185, abs=5e-4)
    assert found.join_misses["user_features_pure.csv.gz"] == 0
    assert not any(found.feature_faults.values())
    few = load_schema(few_features("kuairand_feedback", tmp_path))  # of the same labels
    read = populations(opened(few, folder, SplitRule("time"))[0])
    assert read["cvr"][1] == pytest.approx(0.784, abs=2e-3)
    assert read["long_view"][0] == read["ctr"][0] == 41_828 - 7738


@pytest.mark.parametrize("feed", OF_TWO_KINDS, indirect=True)
def test_a_shuffle_buffer_beyond_the_logs_is_as_large_as_they_are(feed):
    """A buffer of 10^13 records would take terabytes; one that holds all gives one order."""
    assert feed.records == ROWS
    wanted = numbers(feed, shuffle_seed=5, shuffle_buffer=100_000)
    assert numbers(feed, shuffle_seed=5, shuffle_buffer=10**13) == wanted
    assert numbers(feed, shuffle_seed=5, shuffle_buffer=ROWS) == wanted
    assert numbers(feed, shuffle_seed=5, shuffle_buffer=ROWS - 30) != wanted


@pytest.mark.parametrize("feed", OF_TWO_KINDS, indirect=True)
def test_a_part_of_a_split_is_shuffled_by_a_buffer_as_large_as_the_logs(feed):
    seeds = tf.constant([3, 4], tf.int64)
    ids = []
    for buffer in (100_000, 10**13):
        read = part_batches(feed, "train", 7, tf.constant(0, tf.int64), 1, seeds, buffer)
        ids.append(np.concatenate([batch["features"]["number"].numpy() for batch in read]))
    np.testing.assert_array_equal(*ids)
