"""Ids as table rows: hashes, vocabularies, buckets, lists."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from lt4rec_tf.data.formats.fingerprints import fingerprint
from lt4rec_tf.data.formats.values import has_ids, id_of
from lt4rec_tf.data.input.features import features_to_ids, raw_specs
from lt4rec_tf.schema.fitted import Vocabulary, fitted_tables, with_vocabularies
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import Feature, IdRule, Schema
from tests.support.paths import PROJECT

MISSING = {"string": "", "int64": -1, "float32": float("nan")}
INT64 = st.integers(-(2**63), 2**63 - 1)
FLOAT32 = st.floats(width=32)


def feature(rule, dtype="string", missing=None, multivalued=False):
    missing = MISSING[dtype] if missing is None else missing
    return Feature("f", "f", dtype, multivalued, 3, "|", "item", "f", missing, rule)


def ids(made, values):
    schema = Schema(None, "s", "csv", (), (), True, (made,), (), (), (), None, None)
    dtype = {"string": tf.string, "int64": tf.int64, "float32": tf.float32}[made.dtype]
    return features_to_ids(schema, {"f": tf.constant(values, dtype)})["f"].numpy().tolist()


def farmhash_bucket(text, buckets):
    return int(tf.strings.to_hash_bucket_fast([text], buckets)[0]) + 1


def test_strings_hash_into_1_to_buckets_and_absent_ones_are_0():
    made = feature(IdRule("hash", buckets=10), missing="-1")
    expected = [farmhash_bucket("a", 10), 0, 0, farmhash_bucket("é", 10)]
    assert ids(made, ["a", "-1", "", "é"]) == expected


def test_hashes_are_those_of_tensorflows_manual():
    # tf.strings.to_hash_bucket_fast(["Hello", "TensorFlow", "2.x"], 3) is [0, 2, 2] there.
    assert ids(feature(IdRule("hash", buckets=3)), ["Hello", "TensorFlow", "2.x"]) == [1, 3, 3]


def test_7_hashes_like_its_text():
    rule = IdRule("hash", buckets=1000)
    assert ids(feature(rule, "int64"), [7, -5, -1]) == [*ids(feature(rule), ["7", "-5"]), 0]


def test_lists_keep_their_shape_and_padding_is_0():
    made = feature(IdRule("hash", buckets=10), multivalued=True)
    a, b = farmhash_bucket("a", 10), farmhash_bucket("b", 10)
    assert ids(made, [["a", "b", ""], ["b", "", ""]]) == [[a, b, 0], [b, 0, 0]]


def test_vocabulary_counts_from_2_and_unknown_is_1():
    made = feature(IdRule("vocabulary", vocabulary=("wifi", "4g", "5g")))
    assert ids(made, ["5g", "wifi", "4g", "3g", "", "WIFI"]) == [4, 2, 3, 1, 0, 1]
    numbers = feature(IdRule("vocabulary", vocabulary=("10", "20")), "int64")
    assert ids(numbers, [20, 10, 30, -1]) == [3, 2, 1, 0]


@given(st.lists(st.text(min_size=1), min_size=1, max_size=20, unique=True), st.text(min_size=1))
def test_vocabulary_is_its_own_index(words, other):
    made = feature(IdRule("vocabulary", vocabulary=tuple(words)))
    assert ids(made, words) == list(range(2, len(words) + 2))
    other_id = id_of(other) if has_ids(made) else other
    assert ids(made, [other]) == [words.index(other_id) + 2 if other_id in words else 1]


def test_integers_count_from_2_and_out_of_range_is_1():
    made = feature(IdRule("integer", minimum=5, maximum=7), "int64")
    assert ids(made, [5, 6, 7, 8, 4, -1, 2**63 - 1, -(2**63)]) == [2, 3, 4, 1, 1, 0, 1, 1]


def test_boundaries_count_those_that_are_not_above():
    made = feature(IdRule("boundaries", boundaries=(1.0, 2.0)), "float32")
    nan, inf = float("nan"), float("inf")
    assert ids(made, [0.5, 1.0, 1.5, 2.0, 9.0, nan, inf, -inf]) == [1, 2, 2, 3, 3, 0, 3, 1]
    whole = feature(IdRule("boundaries", boundaries=(2.0**53,)), "int64", missing=0)
    assert ids(whole, [2**53 - 1, 2**53, 0]) == [1, 2, 0]


def test_a_value_written_like_a_boundary_lies_on_it():
    made = feature(IdRule("boundaries", boundaries=(0.1, 0.7)), "float32")
    assert ids(made, [0.1, 0.7]) == [2, 3]


def test_numeric_is_scaled_and_what_is_not_finite_is_missing():
    made = feature(IdRule("numeric", transform="log1p", mean=1.0, scale=2.0), "float32")
    found = ids(made, [np.e - 1, 0.0, -3.0, float("nan"), float("inf")])
    np.testing.assert_allclose(found, [0.0, -0.5, -0.5, np.nan, np.nan], atol=1e-7)
    plain = feature(IdRule("numeric", mean=10.0, scale=5.0), "int64", missing=-124)
    np.testing.assert_allclose(ids(plain, [20, -124, 0]), [2.0, np.nan, -2.0])


def test_huge_numbers_are_clipped_so_that_their_products_stay_finite():
    plain = feature(IdRule("numeric", mean=10.0, scale=5.0), "float32")
    assert ids(plain, [3e38, -3e38, 5e6 + 10]) == [1e6, -1e6, 1e6]


def test_a_missing_number_can_be_declared():
    made = feature(IdRule("boundaries", boundaries=(1.0,)), "float32", missing=0.0)
    assert ids(made, [0.0, 0.5, float("nan")]) == [0, 1, 0]


RULES = [
    (IdRule("hash", buckets=3), "string", st.binary()),
    (IdRule("vocabulary", vocabulary=("a", "\0")), "string", st.binary()),
    (IdRule("hash", buckets=3), "int64", INT64),
    (IdRule("integer", minimum=-(2**62), maximum=-(2**62) + 3), "int64", INT64),
    (IdRule("boundaries", boundaries=(-1e30, 0.0, 3.5)), "float32", FLOAT32),
    (IdRule("boundaries", boundaries=(-1e30, 0.0, 3.5)), "int64", INT64),
]


@settings(max_examples=200)
@given(st.sampled_from(RULES).flatmap(lambda r: st.tuples(st.just(r), st.lists(r[2], min_size=1))))
def test_every_id_lies_in_its_table(case):
    (rule, dtype, _), values = case
    found = ids(feature(rule, dtype), values)
    assert all(0 <= number < rule.rows for number in found)


@given(st.lists(FLOAT32, min_size=1))
def test_numeric_is_never_infinite(values):
    found = ids(feature(IdRule("numeric", transform="log1p"), "float32"), values)
    assert not np.isinf(found).any()


@pytest.mark.parametrize("name", ["simulated_feed", "tencent_video", "kuairand_feedback_hashed"])
def test_graph_with_free_batch_size_agrees_with_eager(name):
    schema = load_schema(PROJECT / "configs" / "schemas" / f"{name}.toml")
    vocabulary = Vocabulary(fingerprint(["4", "5"]).numpy())
    schema = with_vocabularies(schema, dict.fromkeys(fitted_tables(schema), vocabulary))
    specs = raw_specs(schema)
    graph = tf.function(lambda raw: features_to_ids(schema, raw), input_signature=[specs])
    for rows in (1, 3):
        raw = {}
        for made in schema.features:
            shape = (rows, 2) if made.multivalued else (rows,)
            raw[made.name] = tf.cast(tf.fill(shape, 5), tf.int64)
            if made.dtype != "int64":
                as_text = made.dtype == "string"
                number = raw[made.name]
                raw[made.name] = tf.as_string(number) if as_text else tf.cast(number, tf.float32)
        eager, traced = features_to_ids(schema, raw), graph(raw)
        for made in schema.features:
            np.testing.assert_array_equal(eager[made.name], traced[made.name])
            assert traced[made.name].shape == raw[made.name].shape


def test_lists_are_cut_by_place_where_training_cuts_them():
    made = feature(IdRule("vocabulary", vocabulary=("a", "b", "c", "d")), multivalued=True)
    long_lists = [["a", "", "b", "c", "d"], ["", "", "", "a", ""], ["x", "d", "d", "d", "d"]]
    cut = [[2, 0, 3], [0, 0, 0], [1, 5, 5]]  # of three values; a missing one takes a place
    assert ids(made, long_lists) == cut
    assert ids(made, [long_lists]) == [cut]  # candidates of a request
    assert ids(made, [values[:2] for values in long_lists]) == [values[:2] for values in cut]
