"""Numbers of train to which an audit fits bins and scales."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from lt4rec_tf.data.audit import quantiles
from lt4rec_tf.data.audit.audit import audit, complete
from lt4rec_tf.data.audit.description import described_numbers
from lt4rec_tf.data.audit.number_counts import Distribution, Moments, NumberCounts
from lt4rec_tf.data.input import fitted_numbers
from lt4rec_tf.data.input.features import features_to_ids
from lt4rec_tf.data.input.pipeline import batches
from lt4rec_tf.data.input.source import open_source
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.schema.numbers import Numbers, numbers_of, with_numbers
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import Feature, IdRule, Schema
from tests.support.feeds import (
    good_row,
    line,
    schema,
    write_json_lines,
    write_lines,
    write_parquet,
)

FLOATS = st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=1, max_size=60)
BINS = st.integers(2, 9)


def counted(numbers):
    return np.unique(np.array(numbers, np.float64), return_counts=True)


# Moments and quantiles by value.


def test_moments_of_parts_are_numpys_of_all():
    numbers = np.random.default_rng(0).normal(1e6, 3.0, 1000)
    moments = Moments()
    for part in np.split(numbers, [0, 1, 10, 700]):
        moments.add(part)
    assert moments.count == 1000
    assert moments.mean == pytest.approx(numbers.mean(), rel=1e-14)
    assert moments.deviation == pytest.approx(numbers.std(), rel=1e-10)
    assert Moments().deviation == 0


@given(FLOATS, st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_quantiles_of_counted_values_are_numpys(numbers, shares):
    found = quantiles.quantiles(*counted(numbers), np.array(shares))
    expected = np.quantile(np.array(numbers, np.float64), shares)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12 * np.abs(numbers).max())


@given(FLOATS, BINS, st.integers(0, 300))
def test_edges_rise_are_few_and_hold_all_numbers(numbers, bins, times):
    values, counts = counted([*numbers, *[numbers[0]] * times])
    cuts = np.array(quantiles.boundaries(values, counts, bins))
    assert len(cuts) <= bins - 1
    assert (np.diff(cuts) > 0).all()
    assert ((cuts > values[0]) & (cuts <= values[-1])).all()  # no bin is empty at an end
    ends = np.array(quantiles.edges(values, counts, bins))
    assert len(ends) <= bins + 1
    assert (np.diff(ends) > 0).all()
    assert (ends[0], ends[-1]) == (values[0], values[-1])


def test_numbers_that_differ_are_cut_at_numpys_quantiles():
    numbers = np.random.default_rng(1).lognormal(size=1000)
    inner = np.quantile(numbers, np.arange(1, 8) / 8)
    np.testing.assert_allclose(quantiles.boundaries(*counted(numbers), 8), inner, rtol=1e-12)
    expected = [numbers.min(), *inner, numbers.max()]
    np.testing.assert_allclose(quantiles.edges(*counted(numbers), 8), expected, rtol=1e-12)


def test_a_common_value_is_alone_and_the_others_have_their_quantiles():
    others = np.arange(1.0, 51.0)
    values, counts = counted([*[0.0] * 950, *others])
    # 0 takes two of the ten bins at most.
    cuts = quantiles.boundaries(values, counts, 10)
    assert cuts == (0.5, *np.quantile(others, np.arange(1, 8) / 8))
    ends = quantiles.edges(values, counts, 10)
    np.testing.assert_allclose(ends, (0, *np.quantile(others, np.arange(1, 9) / 9), 50), rtol=1e-12)


@pytest.mark.parametrize(
    ("numbers", "cuts", "ends"),
    [
        ([], (), ()),
        ([3.0] * 9, (), (3.0,)),
        ([0.0] * 9 + [1.0], (0.5,), (0.0, 1.0)),
        ([1.0, 2.0, 6.0, 6.0], (1.5, 4.0), (1.0, 2.0, 6.0)),
        # Neighbours, between which there is no third number.
        ([1.0, np.nextafter(1.0, 2.0)], (np.nextafter(1.0, 2.0),), (1.0, np.nextafter(1.0, 2.0))),
    ],
)
def test_few_values_have_a_bin_each(numbers, cuts, ends):
    assert quantiles.boundaries(*counted(numbers), 4) == cuts
    assert quantiles.edges(*counted(numbers), 4) == ends


def test_few_distinct_numbers_are_exact_in_a_stream_of_any_length(monkeypatch):
    monkeypatch.setattr("lt4rec_tf.data.audit.vocabulary_counts._LEAST_PENDING", 50)
    numbers = np.random.default_rng(2).integers(0, 20, 2000) / 4 - 1
    distribution = Distribution(counted=20, sampled=10)
    for part in np.split(numbers, 40):
        distribution.add(part)
    values, counts, estimated = distribution.result()
    for found, expected in zip((values, counts), counted(numbers), strict=True):
        assert found.tolist() == expected.tolist()
    assert not estimated


def test_of_many_distinct_numbers_an_even_sample_is_kept_and_the_same_each_time(monkeypatch):
    monkeypatch.setattr("lt4rec_tf.data.audit.vocabulary_counts._LEAST_PENDING", 50)
    # Drawn as the keys of a sample with the usual seed would be.
    numbers = np.random.default_rng(0).random(50_000)
    results = []
    for _ in range(2):
        distribution = Distribution(counted=100, sampled=1000)
        for part in np.split(numbers, 100):
            distribution.add(part)
        results.append(distribution.result())
    values, counts, estimated = results[0]
    assert estimated
    assert counts.sum() == 1000
    found = quantiles.quantiles(values, counts, np.array([0.1, 0.5, 0.9]))
    np.testing.assert_allclose(found, [0.1, 0.5, 0.9], atol=5 * 0.5 / np.sqrt(1000))
    assert values.tolist() == results[1][0].tolist()


# What an audit finds in logs.

RULES = {
    "standard": '{ kind = "standardised" }',
    "logarithm": '{ kind = "standardised", transform = "log1p" }',
    "bin": '{ kind = "quantiles", bins = 4 }',
    "place": '{ kind = "piecewise_linear", bins = 4 }',
}

PARSED = {
    "standard": IdRule("standardised"),
    "logarithm": IdRule("standardised", transform="log1p"),
    "bin": IdRule("quantiles", bins=4),
    "place": IdRule("piecewise_linear", bins=4),
}


def fitted_source(folder, lengths, file_format="csv", split=None):
    """Logs of one row a length, which features read by all rules."""
    path = schema(folder, file_format).path
    features = ""
    for name, rule in RULES.items():
        features += f'[[features]]\nname = "{name}"\ncolumn = "length"\ndtype = "float32"\n'
        features += f'side = "item"\nids = {rule}\n\n'
    path.write_text(path.read_text().replace("[[labels]]", features + "[[labels]]", 1))

    rows = [good_row(number, length=str(length)) for number, length in enumerate(lengths)]
    if file_format == "parquet":
        write_parquet(folder / "a.parquet", rows)
    elif file_format == "jsonl":
        write_json_lines(folder / "a.jsonl", rows)
    else:
        write_lines(folder / "a.csv", map(line, rows))
    made = load_schema(path).with_tasks(["ctr"])  # of the ratio the length is a part
    return open_source(made, folder, split or SplitRule("none"))


def values_of(source):
    [batch] = batches(source, "train", 100)
    return {name: batch["features"][name].numpy().tolist() for name in RULES}


@pytest.mark.parametrize("file_format", ["csv", "parquet", "jsonl"])
def test_batches_hold_what_the_audit_fitted_in_all_formats(tmp_path, file_format):
    lengths = [3.0, 5.0, 5.0, 11.0, "", "nan", "inf"]
    lengths = lengths[:5] if file_format == "jsonl" else lengths  # which has no other numbers
    source = fitted_source(tmp_path, lengths, file_format)
    found = values_of(complete(source, audit(source)))

    logs = np.log1p([3.0, 5.0, 5.0, 11.0])
    expected = {
        "standard": [-1, -1 / 3, -1 / 3, 5 / 3],
        "logarithm": ((logs - logs.mean()) / logs.std()).tolist(),
        "bin": [1, 2, 2, 3],
        "place": [0, 1, 1, 2],
    }
    for name, numbers in expected.items():
        missing = [0 if name == "bin" else np.nan] * (len(lengths) - 4)
        np.testing.assert_allclose(found[name], numbers + missing, rtol=1e-6, err_msg=name)


def test_train_alone_is_fitted(tmp_path):
    lengths = [*[1.0, 3.0] * 10, *[1000.0] * 10]  # rows 20 to 29 are validation and test
    split = SplitRule("time", validation_from=2, test_from=2.5)
    source = fitted_source(tmp_path, lengths, split=split)
    found = audit(source).numbers
    assert found["standard"] == Numbers(20, 2.0, 1.0)
    assert found["bin"] == Numbers(20, 2.0, 1.0, edges=(2.0,))
    assert found["place"] == Numbers(20, 2.0, 1.0, edges=(1.0, 3.0))


# What is fitted, without logs.


def fitted(lengths, earlier=()):
    """By rule what is found of lengths, and the rules' features."""
    features = [
        Feature(name, "x", "float32", False, 1, "", "item", name, np.nan, rule)
        for name, rule in PARSED.items()
    ]
    made = Schema(None, "s", "csv", (), (), True, tuple(features), (), (), (), None, None)
    made = with_numbers(made, dict(earlier))
    counts = NumberCounts(made)
    for name in RULES:
        counts.add(name, np.array(lengths, np.float64))
    return with_numbers(made, counts.fit())


def ids(made, lengths):
    raw = dict.fromkeys(RULES, tf.constant(lengths, tf.float32))
    return {name: ids.numpy().tolist() for name, ids in features_to_ids(made, raw).items()}


def test_one_number_in_train_is_no_fault():
    found = ids(fitted([7.5] * 9), [7.5, 9.5, 1.0, np.nan, np.inf])
    assert found["bin"] == [1, 1, 1, 0, 0]
    np.testing.assert_array_equal(found["place"], [0, 0, 0, np.nan, np.nan])
    np.testing.assert_array_equal(found["standard"], [0, 2, -6.5, np.nan, np.nan])


def test_no_number_in_train_is_no_fault():
    found = ids(fitted([np.nan, np.inf]), [7.5, np.nan])
    assert found["bin"] == [1, 0]
    np.testing.assert_array_equal(found["place"], [0, np.nan])
    np.testing.assert_array_equal(found["standard"], [7.5, np.nan])


def test_what_an_earlier_run_found_stays():
    earlier = {
        "standard": Numbers(3, 1.0, 2.0),
        "bin": Numbers(3, 1.0, 2.0, (1.0, 2.0)),
        "place": Numbers(3, 1.0, 2.0, (1.0, 9.0)),
    }
    made = fitted([5.0] * 9, earlier)
    found = numbers_of(made)
    assert found["bin"] == dataclasses.replace(earlier["bin"], earlier=True)
    assert found["logarithm"] == Numbers(9, pytest.approx(np.log(6)), 0.0)
    assert {name: values[0] for name, values in ids(made, [5.0]).items()} == {
        "standard": 2.0,
        "logarithm": pytest.approx(0, abs=1e-7),
        "bin": 3,
        "place": 0.5,
    }


def test_days_since_1970_keep_their_differences():
    # In float32 such seconds are 128 apart.
    rule = dataclasses.replace(PARSED["standard"], numbers=Numbers(9, 1.8e9, 10.0))
    made = Feature("f", "f", "int64", False, 1, "", "item", "f", -1, rule)
    made = Schema(None, "s", "csv", (), (), True, (made,), (), (), (), None, None)
    raw = {"f": tf.constant([1_800_000_007, -1], tf.int64)}
    np.testing.assert_allclose(features_to_ids(made, raw)["f"], [0.7, np.nan], rtol=1e-6)


def test_a_rule_without_numbers_is_refused():
    made = fitted([5.0])
    unfitted = dataclasses.replace(made.features[0], ids=PARSED["standard"])
    made = dataclasses.replace(made, features=(unfitted, *made.features[1:]))
    with pytest.raises(ValueError, match="found a rule standardised without numbers of train"):
        ids(made, [5.0])


@given(FLOATS, FLOATS, st.integers(2, 6))
def test_places_and_bins_agree_with_numpy(numbers, others, bins):
    values, counts = counted(numbers)
    cuts = quantiles.boundaries(values, counts, bins)
    ends = quantiles.edges(values, counts, bins)
    rules = [
        IdRule("quantiles", bins=bins, numbers=Numbers(edges=cuts)),
        IdRule("piecewise_linear", bins=bins, numbers=Numbers(edges=ends)),
    ]
    asked = tf.constant(others, tf.float64)[:, tf.newaxis]
    found = fitted_numbers.quantile_ids(rules[:1], asked)[:, 0].numpy()
    assert found.tolist() == (np.searchsorted(cuts, others, side="right") + 1).tolist()
    found = fitted_numbers.positions(rules[1:], asked)[:, 0].numpy()
    expected = np.interp(others, ends, np.arange(len(ends)))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_features_of_several_bins_are_computed_at_once_as_alone():
    ends = [(0.0, 1.0, 5.0), (2.0,), (), (-1.0, 3.0)]
    rules = [IdRule("piecewise_linear", bins=9, numbers=Numbers(edges=e)) for e in ends]
    values = tf.constant([[[0.5, 2.0, 3.0, 1.0]], [[9.0, -2.0, 3.0, -1.0]]], tf.float64)
    found = fitted_numbers.positions(rules, values).numpy().tolist()
    assert found == [[[0.5, 0.0, 0.0, 0.5]], [[2.0, 0.0, 0.0, 0.0]]]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Numbers(), "numbers x: none in train"),
        (Numbers(9, 7.5), "numbers x: 9 in train, all are 7.5"),
        (Numbers(2000, 1.0, 2.0), "numbers x: 2,000 in train, mean 1, deviation 2"),
        (
            Numbers(9, 1.0, 2.0, (0.5, 3.0), estimated=True, earlier=True),
            "numbers x: 9 in train, bins by 2 edges of a sample, 0.5 to 3, of the run before",
        ),
    ],
)
def test_what_was_found_is_said_in_a_line(found, text):
    assert described_numbers("x", found) == text
