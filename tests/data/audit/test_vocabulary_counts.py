"""Vocabularies that an audit fits on train."""

import dataclasses
import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt4rec_tf.data.audit import feature_values, vocabulary_counts
from lt4rec_tf.data.audit.audit import audit, complete
from lt4rec_tf.data.audit.description import describe
from lt4rec_tf.data.audit.vocabulary_counts import TrainValues
from lt4rec_tf.data.formats.fingerprints import fingerprint
from lt4rec_tf.data.input.pipeline import batches
from lt4rec_tf.data.input.source import open_source
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.schema.fitted import with_vocabularies
from lt4rec_tf.schema.reader import load_schema
from tests.support.feeds import good_row, line, schema, write_lines

OCCURRENCES = st.lists(st.lists(st.integers(0, 20), max_size=30), max_size=8)


def marks_of(*texts):
    return fingerprint(list(texts)).numpy().tolist()


@given(OCCURRENCES)
def test_values_are_counted_the_most_frequent_first(parts):
    values = TrainValues(most=100)
    for part in parts:
        values.add(np.array(part, np.int64))
    marks, counts = values.result()
    expected = Counter(itertools.chain(*parts))
    ranked = sorted(expected, key=lambda value: (-expected[value], value))
    assert marks.tolist() == ranked
    assert counts.tolist() == [expected[value] for value in ranked]


@given(OCCURRENCES)
def test_merging_often_changes_nothing(parts):
    at_once, one_by_one = TrainValues(most=100), TrainValues(most=100)
    for part in parts:
        at_once.add(np.array(part, np.int64))
        one_by_one.add(np.array(part, np.int64))
        one_by_one.result()
    for first, second in zip(at_once.result(), one_by_one.result(), strict=True):
        assert first.tolist() == second.tolist()


def test_beyond_the_limit_the_rarest_values_go_and_are_counted():
    values = TrainValues(most=4)
    values.add(np.repeat(np.arange(6), [9, 8, 7, 6, 1, 1]))
    marks, counts = values.result()
    assert (marks.tolist(), counts.tolist()) == ([0, 1, 2], [9, 8, 7])
    assert values.dropped == 3


CHECKED = st.lists(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2)), max_size=20), max_size=8
)


@given(CHECKED, st.booleans())
def test_fingerprints_of_several_values_are_counted(parts, merges_often):
    values = TrainValues(most=100)
    for part in parts:
        marks, checks = zip(*part, strict=True) if part else ((), ())
        values.add(np.array(marks, np.int64), np.array(checks, np.int32))
        if merges_often:
            values.result()
    values.result()
    distinct = set(itertools.chain(*parts))
    times = Counter(mark for mark, _ in distinct)
    assert values.shared.tolist() == sorted(mark for mark in times if times[mark] > 1)


@pytest.mark.parametrize("dtype", ["string", "int64"])
def test_an_audit_counts_the_fingerprints_that_values_share(tmp_path, monkeypatch, dtype):
    videos = [str(number) for number in range(40)]
    rows = [good_row(number, video=video) for number, video in enumerate(videos * 2)]
    source = fitted_source(tmp_path, rows, dtype=dtype)
    assert audit(source).vocabularies["video"].shared == 0
    monkeypatch.setattr(feature_values, "fingerprint", lambda texts: fingerprint(texts) % 64)
    missing = feature_values.missing_keys(source.schema.feature("video"), source.schema.nulls)
    times = Counter(mark % 64 for mark in marks_of(*videos) if mark % 64 not in missing)
    expected = sum(count > 1 for count in times.values())
    assert expected > 3

    audited = audit(source)
    assert audited.vocabularies["video"].shared == expected
    [warning] = [text for text in audited.warnings if "vocabulary video" in text]
    assert f"vocabulary video: {expected} of its fingerprints" in warning


def fitted_source(folder, rows, rule='{ kind = "fitted" }', split=None, dtype="string"):
    path = schema(folder).path
    text = path.read_text().replace('{ kind = "hash", buckets = 100 }', rule)
    text = text.replace('{ kind = "hash", buckets = 50 }', rule)
    text = text.replace('name = "video"\ndtype = "string"', f'name = "video"\ndtype = "{dtype}"')
    path.write_text(text)
    write_lines(folder / "a.csv", map(line, rows))
    return open_source(load_schema(path), folder, split or SplitRule("none"))


def marks_in(audited, table="video"):
    return audited.vocabularies[table].marks.tolist()


def test_the_audit_fits_the_values_of_train_alone(tmp_path):
    videos = ["a", "b", "b", "c"] * 10 + ["new"] * 10
    rows = [good_row(number, video=video) for number, video in enumerate(videos)]
    split = SplitRule("time", validation_from=3, test_from=4)
    source = fitted_source(tmp_path, rows, split=split)
    audited = audit(source)

    # Rows 0 to 29 are train: "b" occurs 15 times, "a" 8 and "c" 7 times.
    assert marks_in(audited) == marks_of("b", "a", "c")
    counts = audited.features["video"]
    assert counts.unknown == {"train": 0.0, "validation": 0.0, "test": 1.0}
    assert audited.vocabularies["video"].dropout == {}
    assert "vocabulary video: 3 values with a row of their own; 3 occur in train" in describe(
        audited
    )
    [warning] = [text for text in audited.warnings if "feature video" in text]
    assert warning.endswith("100.0 % in test lie outside its vocabulary or range")


def test_values_that_are_new_in_validation_make_its_dropout(tmp_path):
    videos = ["a", "a", "b", "b"] * 10 + ["new", "b"] * 5
    rows = [good_row(number, video=video) for number, video in enumerate(videos)]
    split = SplitRule("time", validation_from=4, test_from=5)
    audited = audit(fitted_source(tmp_path, rows, split=split))
    vocabulary = audited.vocabularies["video"]
    assert "feature video: 50.0 % of its known values are taken for unknown" in describe(audited)
    assert sorted(vocabulary.marks.tolist()) == sorted(marks_of("a", "b"))
    assert vocabulary.dropout == {"video": 0.5}


def test_a_dropout_that_rounds_to_nothing_is_not_said(tmp_path):
    audited = audit(fitted_source(tmp_path, [good_row(number) for number in range(10)]))
    said = []
    for share in (0.0004, 0.0006):
        vocabulary = dataclasses.replace(audited.vocabularies["video"], dropout={"video": share})
        text = describe(dataclasses.replace(audited, vocabularies={"video": vocabulary}))
        said.append([part for part in text.splitlines() if "taken for unknown" in part])
    assert said[0] == []
    assert said[1][0].startswith("feature video: 0.1 % of its known values")


def test_min_count_and_max_size_keep_the_most_frequent(tmp_path):
    videos = ["a"] * 5 + ["b"] * 4 + ["c"] * 3 + ["d"] * 2 + ["e", "", "f"]
    rows = [good_row(number, video=video) for number, video in enumerate(videos)]
    rule = '{ kind = "fitted", min_count = 2, max_size = 3 }'
    audited = audit(fitted_source(tmp_path, rows, rule))
    vocabulary = audited.vocabularies["video"]
    assert vocabulary.marks.tolist() == marks_of("a", "b", "c")
    assert (vocabulary.distinct, vocabulary.rare, vocabulary.beyond) == (6, 2, 1)
    assert "6 occur in train, 2 of them too rarely, 1 frequent ones find no place" in describe(
        audited
    )


def test_of_lists_the_values_count_that_training_reads(tmp_path):
    rows = [good_row(number, tags="x|y||z|late") for number in range(10)]
    audited = audit(fitted_source(tmp_path, rows))
    # Three places, one of them empty.
    assert sorted(marks_in(audited, "tags")) == sorted(marks_of("x", "y"))


def test_batches_hold_the_ids_of_the_vocabulary(tmp_path):
    rows = [good_row(number, video=["a", "b", "a", ""][number % 4]) for number in range(40)]
    source = fitted_source(tmp_path, rows)
    source = complete(source, audit(source))
    [batch] = batches(source, "train", 100)
    assert batch["features"]["video"].numpy().tolist() == [2, 3, 2, 0] * 10


def test_whole_numbers_are_known_by_their_text(tmp_path):
    rows = [good_row(number, video=str(10 + number % 2)) for number in range(20)]
    audited = audit(fitted_source(tmp_path, rows, dtype="int64"))
    assert sorted(marks_in(audited)) == sorted(marks_of("10", "11"))
    assert audited.features["video"].unknown["train"] == 0.0


def test_7_and_what_pandas_writes_for_it_beside_a_null_are_one_value(tmp_path):
    rows = [good_row(number, video=["7", "7.0", "007"][number % 3]) for number in range(30)]
    source = fitted_source(tmp_path, rows)
    audited = audit(source)
    assert marks_in(audited) == marks_of("7", "007")
    [batch] = batches(complete(source, audited), "train", 100)
    assert batch["features"]["video"].numpy().tolist() == [2, 2, 3] * 10


def test_a_fitted_vocabulary_grows_and_its_values_keep_their_places(tmp_path):
    first = [good_row(number, video="ab"[number % 2]) for number in range(20)]
    source = fitted_source(tmp_path, first)
    before = audit(source).vocabularies

    later = [good_row(number, video="cccbd"[number % 5]) for number in range(20)]
    rule = '{ kind = "fitted", max_size = 3 }'
    source = fitted_source(tmp_path, later, rule)
    source = dataclasses.replace(source, schema=with_vocabularies(source.schema, before))
    audited = audit(source)
    assert marks_in(audited) == before["video"].marks.tolist() + marks_of("c")
    vocabulary = audited.vocabularies["video"]
    assert (vocabulary.earlier, vocabulary.beyond) == (2, 1)
    assert "3 values with a row of their own, 1 of them new" in describe(audited)


def test_a_rule_without_its_vocabulary_is_refused(tmp_path):
    source = fitted_source(tmp_path, [good_row(number) for number in range(20)])
    audited = audit(source)
    unfitted = dataclasses.replace(audited, vocabularies={})
    with pytest.raises(ValueError, match="found a fitted rule without its vocabulary"):
        list(batches(complete(source, unfitted), "train", 100))


def test_more_values_than_are_counted_at_once_are_said(tmp_path, monkeypatch):
    monkeypatch.setattr(vocabulary_counts, "_LEAST_PENDING", 1)
    videos = [f"v{number}" for number in range(30)] + ["often"] * 30
    rows = [good_row(number, video=video) for number, video in enumerate(videos)]
    audited = audit(fitted_source(tmp_path, rows, '{ kind = "fitted", max_size = 5 }'))
    vocabulary = audited.vocabularies["video"]
    assert vocabulary.marks[0] == marks_of("often")[0]
    assert len(vocabulary.marks) == 5
    assert vocabulary.estimated
    assert "about 31 occur in train" in describe(audited)
