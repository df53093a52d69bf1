"""Fitted vocabularies: in schemas, and as files of a run."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt4rec_tf.core.artifacts import RunError
from lt4rec_tf.schema.fitted import (
    INDEX,
    Vocabulary,
    fitted_tables,
    read_vocabularies,
    vocabularies_of,
    with_dropout,
    with_vocabularies,
    write_vocabularies,
)
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import SchemaError
from lt4rec_tf.schema.writer import to_toml
from tests.support.schemas import SMALL_SCHEMA

MARKS = st.lists(st.integers(0, 2**62 - 1), max_size=30, unique=True)


def small(folder, rule='{ kind = "fitted" }'):
    path = folder / "fitted.toml"
    path.write_text(SMALL_SCHEMA.replace('{ kind = "hash", buckets = 30 }', rule))
    return load_schema(path)


@given(MARKS, MARKS)
def test_a_vocabulary_holds_its_marks_and_no_others(marks, others):
    vocabulary = Vocabulary(np.array(marks, np.int64))
    assert vocabulary.holds(np.array(marks, np.int64)).all()
    expected = [mark in marks for mark in others]
    assert vocabulary.holds(np.array(others, np.int64)).tolist() == expected


def test_a_fitted_rule_is_read_with_its_limits_and_written_back(tmp_path):
    assert fitted_tables(small(tmp_path)) == {"video": (1, 10_000_000)}
    schema = small(tmp_path, '{ kind = "fitted", min_count = 3, max_size = 50 }')
    assert fitted_tables(schema) == {"video": (3, 50)}

    again = tmp_path / "again.toml"
    again.write_text(to_toml(schema))
    assert load_schema(again).features == schema.features


@pytest.mark.parametrize("limit", ["min_count = 0", "max_size = 0"])
def test_limits_below_1_are_refused(tmp_path, limit):
    with pytest.raises(SchemaError, match=r"m\w+_\w+: found 0, expected an integer >= 1"):
        small(tmp_path, f'{{ kind = "fitted", {limit} }}')


def test_features_of_a_table_get_its_vocabulary_and_its_rows(tmp_path):
    schema = small(tmp_path)
    assert schema.table_rows["video"] == 2
    vocabulary = Vocabulary(np.array([5, 9, 1]))
    fitted = with_vocabularies(schema, {"video": vocabulary})
    assert fitted.table_rows == {**schema.table_rows, "video": 5}
    assert fitted.feature("source").ids.fitted is vocabulary
    assert vocabularies_of(fitted) == {"video": vocabulary}
    assert fitted == schema  # the schema itself says nothing of the values


def test_dropout_brings_the_share_of_unknown_values_up_to_that_of_validation(tmp_path):
    schema = small(tmp_path)
    vocabularies = {"video": Vocabulary(np.array([5, 9]), dropout={"video": 0.9, "source": 0.9})}
    shares = {
        "video": {"train": 0.2, "validation": 0.6, "test": 0.7},  # .2 + .8 * .5 = .6
        "source": {"train": 0.2, "validation": 0.1, "test": 0.1},
        "user": {"train": 0.0, "validation": 0.3, "test": None},  # its table is hashed
    }
    fitted = with_dropout(vocabularies, schema, shares)
    assert fitted["video"].dropout == {"video": pytest.approx(0.5)}
    # Where no row validates, as in daily training, it stays.
    shares = {"video": {"train": 0.2, "validation": None, "test": None}}
    assert with_dropout(vocabularies, schema, shares)["video"].dropout["video"] == 0.9


def test_written_vocabularies_are_read_back(tmp_path):
    first = Vocabulary(np.array([5, 2**61, 0]), 1, 7, 3, 1, 2, True, {"user": 0.25})
    written = {"user": first, "a/b: é": Vocabulary(np.array([], np.int64))}
    write_vocabularies(tmp_path / "new", written)
    read = read_vocabularies(tmp_path / "new")
    assert list(read) == list(written)
    for table, vocabulary in read.items():
        assert vocabulary.marks.dtype == np.int64
        assert vocabulary.marks.tolist() == written[table].marks.tolist()
        numbers = [dataclasses.astuple(v)[1:] for v in (vocabulary, written[table])]
        assert numbers[0] == numbers[1]
    assert read_vocabularies(tmp_path / "absent") == {}


def test_a_list_of_a_version_that_did_not_count_shared_fingerprints_is_read(tmp_path):
    write_vocabularies(tmp_path, {"user": Vocabulary(np.array([5, 7]), distinct=9)})
    entries = json.loads((tmp_path / INDEX).read_text())
    del entries["user"]["shared"]
    (tmp_path / INDEX).write_text(json.dumps(entries))
    vocabulary = read_vocabularies(tmp_path)["user"]
    assert (vocabulary.distinct, vocabulary.shared) == (9, 0)


def test_a_damaged_or_absent_file_is_named(tmp_path):
    write_vocabularies(tmp_path, {"user": Vocabulary(np.array([5, 7]))})
    path = tmp_path / "user.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"user.npy: found sha256 \w{64}, expected sha256"):
        read_vocabularies(tmp_path)
    path.unlink()
    with pytest.raises(RunError, match=r"user.npy: found no file, expected sha256"):
        read_vocabularies(tmp_path)


def test_the_list_of_files_says_what_a_reader_wants_to_know(tmp_path):
    write_vocabularies(tmp_path, {"user": Vocabulary(np.array([5, 7]), 0, 9, 4, 3)})
    entry = json.loads((tmp_path / INDEX).read_text())["user"]
    numbers = {name: entry[name] for name in ("values", "distinct", "rare", "beyond")}
    assert numbers == {"values": 2, "distinct": 9, "rare": 4, "beyond": 3}
