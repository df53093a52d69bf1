"""Lists to which candidates attend: what a schema may say of them, and what it may not."""

import re

import pytest

from lt4rec_tf.schema.events import sequences_of
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import SchemaError
from lt4rec_tf.schema.variants import with_bucket_share, with_history
from lt4rec_tf.schema.writer import to_toml
from tests.support.schemas import SMALL_SCHEMA, WATCHED

NEAREST = 'pooling = "attention"\nnearest = 2\nsearch = "watched"'


def load(folder, text):
    path = folder / "schema.toml"
    path.write_text(text, encoding="utf-8")
    return load_schema(path)


def test_aligned_lists_are_one_sequence(tmp_path):
    schema = load(tmp_path, SMALL_SCHEMA + WATCHED)
    (sequence,) = sequences_of(schema)
    assert (sequence.name, sequence.pooling, sequence.max_values) == ("watched", "attention", 4)
    assert [feature.name for feature in sequence.lists] == ["watched", "ago"]
    assert [(place, other.name) for place, other in sequence.compared] == [(0, "video")]
    assert sequence.nearest == 0


def test_without_attention_there_is_none(tmp_path):
    assert sequences_of(load(tmp_path, SMALL_SCHEMA)) == ()


@pytest.mark.parametrize("nearest", ["", NEAREST, NEAREST.replace("watched", "hash")])
def test_what_is_written_is_read_again(tmp_path, nearest):
    text = SMALL_SCHEMA + WATCHED.replace(
        'pooling = "attention"', nearest or 'pooling = "attention"'
    )
    schema = load(tmp_path, text)
    again = load(tmp_path, to_toml(schema))
    assert again.features == schema.features
    assert sequences_of(again) == sequences_of(schema)


WRONG = {
    "unknown pooling": ('"attention"', '"sum"', "pooling", "found 'sum', expected one of mean"),
    "no candidate": ('candidate = "video"\n', "", "[watched].candidate", "found nothing"),
    "of the user": ('candidate = "video"', 'candidate = "user"', "candidate", "expected an item"),
    "a list": ('candidate = "video"', 'candidate = "tags"', "candidate", "no number: video"),
    "unknown": ('candidate = "video"', 'candidate = "film"', "candidate", "found 'film'"),
    "mean with a candidate": (
        'pooling = "attention"\ncandidate = "video"',
        'candidate = "video"',
        "[watched].candidate",
        "a pooling that attends to candidates",
    ),
    "aligned with nothing": (
        'aligned_with = "watched"',
        'aligned_with = "tags"',
        "[ago].aligned_with",
        "a list whose pooling is not mean, here watched",
    ),
    "two poolings": (
        'aligned_with = "watched"',
        'aligned_with = "watched"\npooling = "attention"\ncandidate = "video"',
        "[ago].pooling",
        "watched says how",
    ),
    "other lengths": (
        'max_values = 4\nseparator = "|"\nside = "user"\naligned',
        'max_values = 5\nseparator = "|"\nside = "user"\naligned',
        "[ago].max_values",
        "found 5, expected 4",
    ),
    "another side": ('side = "user"\naligned', 'side = "context"\naligned', "[ago].side", "user"),
    "of items": ('side = "user"\ntable', 'side = "item"\ntable', "[watched].side", "before"),
    "all are nearest": (
        'pooling = "attention"',
        NEAREST.replace("2", "4"),
        "[watched].nearest",
        "fewer than max_values, 4",
    ),
    "a search by what has no candidate": (
        'pooling = "attention"',
        NEAREST.replace('"watched"', '"ago"'),
        "[watched].search",
        "hash or a list that shares its candidate's table: watched",
    ),
    "a search before a transformer": (
        'pooling = "attention"',
        NEAREST.replace("attention", "transformer"),
        "[watched].nearest",
        "all events see each other",
    ),
    "a pooling of one value": (
        'multivalued = true\nmax_values = 4\nseparator = "|"\nside = "user"\ntable',
        'side = "user"\ntable',
        "pooling",
        "found",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_refused(tmp_path, name):
    old, new, key, message = WRONG[name]
    assert old in WATCHED
    with pytest.raises(SchemaError) as error:
        load(tmp_path, SMALL_SCHEMA + WATCHED.replace(old, new, 1))
    assert "schema.toml" in str(error.value)
    assert key in str(error.value)
    assert message in str(error.value)


def test_a_flag_pools_otherwise(tmp_path):
    schema = load(tmp_path, SMALL_SCHEMA + WATCHED)
    assert with_history(schema, "schema") == schema
    assert with_history(schema, "attention") == schema
    (sequence,) = sequences_of(with_history(schema, "transformer"))
    assert (sequence.name, sequence.pooling) == ("watched", "transformer")

    mean = with_history(schema, "mean")
    assert sequences_of(mean) == ()
    assert [f.name for f in mean.features] == [f.name for f in schema.features]
    none = with_history(schema, "none")
    assert [f.name for f in none.features] == ["user", "video", "tags", "source", "age"]


def test_a_flag_that_changes_nothing_is_refused(tmp_path):
    with pytest.raises(SchemaError, match="--history: found 'mean', expected schema"):
        with_history(load(tmp_path, SMALL_SCHEMA), "mean")
    text = SMALL_SCHEMA + WATCHED.replace('pooling = "attention"', NEAREST)
    with pytest.raises(SchemaError, match="the events nearest to a candidate are searched"):
        with_history(load(tmp_path, text), "transformer")
    fitted = re.sub(r"ids = \{ kind = .hash.*\}", 'ids = { kind = "fitted" }', SMALL_SCHEMA)
    with pytest.raises(SchemaError, match="expected 1: no feature has ids of kind"):
        with_bucket_share(load(tmp_path, fitted), 0.5)
