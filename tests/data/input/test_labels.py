"""Clicks, watch ratios and the reasons why a row cannot be used, by hand."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from lt4rec_tf.data.input.labels import REASONS, read_labels
from lt4rec_tf.schema.reader import load_schema
from tests.support.amounts import schema_of as amount_schema
from tests.support.feeds import FUNNEL, SCHEMA, funnel_schema, schema

RATIO_COLUMN = SCHEMA.format(
    format="csv", glob="*", separator='separator = "|"', zero_duration="bad"
).replace(
    'play_time = "play_time"\nduration = "length"\nplay_time_unit = "s"\nduration_unit = "s"\n'
    'zero_duration = "bad"',
    'column = "ratio"',
)


def read(made, **columns):
    rows = len(next(iter(columns.values())))
    texts = {name: tf.constant(column, tf.string) for name, column in columns.items()}

    @tf.function  # as in the pipeline: the graph optimiser has opinions on NaN
    def in_graph(texts):
        return read_labels(made, texts, {"columns": tf.zeros(rows, tf.bool)})

    return in_graph(texts)


def reasons(found):
    return [REASONS[code] for code in found.reasons.numpy()]


def times(made, click, play_time, length):
    return read(made, click=click, play_time=play_time, length=length)


def test_clicks_and_watch_ratios_of_hand_made_rows(tmp_path):
    found = times(
        schema(tmp_path),
        click=["1", "1", "1", "0", "0", "1"],
        play_time=["25", "150", "0", "", "30", "1e1"],
        length=["100", "100", "50", "100", "60", "80.0"],
    )
    assert reasons(found) == ["usable"] * 6
    np.testing.assert_array_equal(found.labels["ctr"], [1, 1, 1, 0, 0, 1])
    np.testing.assert_array_equal(found.weights["ctr"], [1, 1, 1, 1, 1, 1])
    np.testing.assert_allclose(found.labels["cvr"], [0.25, 1.0, 0.0, 0.0, 0.0, 0.125])
    np.testing.assert_array_equal(found.weights["cvr"], [1, 1, 1, 0, 0, 1])


@pytest.mark.parametrize(
    ("play_unit", "duration_unit", "expected"),
    [("s", "s", 0.5), ("ms", "s", 0.0005), ("s", "ms", 1.0), ("ms", "ms", 0.5)],
)
def test_units(tmp_path, play_unit, duration_unit, expected):
    made = schema(tmp_path)
    label = dataclasses.replace(
        made.label("watch_ratio"), play_time_unit=play_unit, duration_unit=duration_unit
    )
    made = dataclasses.replace(made, labels=(made.label("click"), label))
    found = times(made, ["1"], ["30"], ["60"])
    np.testing.assert_allclose(found.labels["cvr"], [expected], rtol=1e-6)


@pytest.mark.parametrize(
    ("click", "play_time", "length", "reason"),
    [
        ("", "25", "100", "missing_label"),
        ("2", "25", "100", "bad_label"),
        ("yes", "25", "100", "bad_label"),
        ("nan", "25", "100", "bad_label"),
        ("1", "", "100", "missing_label"),
        ("1", "25", "", "missing_label"),
        ("1", "abc", "100", "bad_label"),
        ("1", "25", "abc", "bad_label"),
        ("1", "inf", "100", "bad_label"),
        ("1", "-1", "100", "negative_play_time"),
        ("0", "-1", "100", "negative_play_time"),
        ("0", "nan", "100", "negative_play_time"),
        ("1", "25", "0", "zero_duration"),
        ("0", "", "0", "zero_duration"),
        ("0", "", "-3", "zero_duration"),
        ("0", "", "nan", "zero_duration"),
        ("", "-1", "0", "missing_label"),  # the first reason in their order
        ("x", "-1", "0", "bad_label"),
        ("1", "-1", "0", "negative_play_time"),
        ("1", "", "0", "missing_label"),
        ("0", "", "", "usable"),
        ("0", "", "100", "usable"),
    ],
)
def test_why_a_row_cannot_be_used(tmp_path, click, play_time, length, reason):
    found = times(schema(tmp_path), [click, "1"], [play_time, "50"], [length, "100"])
    assert reasons(found) == [reason, "usable"]
    if reason != "usable":
        for values in (found.labels, found.weights):
            assert [float(column[0]) for column in values.values()] == [0.0, 0.0]


def test_an_amount_beyond_the_numbers_of_batches_is_bad(tmp_path):
    amounts = ["3.4e41", "3.5e41", "1e400", "-1", "nan", "0"]  # thousandths; float32 ends at 3.4e38
    made = amount_schema(tmp_path, population="")
    found = read(made, play_ms=amounts, click=["0"] * 6, watch_ratio=["0"] * 6)
    assert reasons(found) == ["usable", *["bad_label"] * 4, "usable"]
    np.testing.assert_allclose(found.labels["watch"], [3.4e38, 0, 0, 0, 0, 0], rtol=1e-6)


def test_three_policies_for_rows_without_length(tmp_path):
    columns = {"click": ["1", "0", "1"], "play_time": ["5", "5", "5"], "length": ["0", "0", "10"]}
    bad = times(schema(tmp_path, zero_duration="bad"), **columns)
    assert reasons(bad) == ["zero_duration", "zero_duration", "usable"]
    left_out = times(schema(tmp_path, zero_duration="exclude"), **columns)
    assert reasons(left_out) == ["excluded_zero_duration"] * 2 + ["usable"]
    kept = times(schema(tmp_path, zero_duration="unlabelled"), **columns)
    assert reasons(kept) == ["usable"] * 3
    assert kept.unlabelled["watch_ratio"].numpy().tolist() == [True, True, False]
    np.testing.assert_array_equal(kept.weights["ctr"], [1, 1, 1])
    np.testing.assert_array_equal(kept.weights["cvr"], [0, 0, 1])
    np.testing.assert_allclose(kept.labels["cvr"], [0, 0, 0.5])


def test_unlabelled_rows_may_lack_play_time_too(tmp_path):
    found = times(schema(tmp_path, zero_duration="unlabelled"), ["1"], [""], ["0"])
    assert reasons(found) == ["usable"]


def test_a_ratio_column_is_clipped_and_refused_where_it_cannot_be(tmp_path):
    path = tmp_path / "ratio.toml"
    path.write_text(RATIO_COLUMN)
    found = read(
        load_schema(path),
        click=["1", "1", "1", "1", "1", "0", "1"],
        ratio=["0.5", "1.7", "-0.1", "nan", "inf", "", ""],
    )
    bad = ["bad_label"] * 3
    assert reasons(found) == ["usable", "usable", *bad, "usable", "missing_label"]
    np.testing.assert_allclose(found.labels["cvr"], [0.5, 1.0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(found.weights["cvr"], [1, 1, 0, 0, 0, 0, 0])


def test_a_label_that_nobody_learns_makes_no_row_unusable(tmp_path):
    made = schema(tmp_path).with_tasks(["ctr"])
    assert reasons(read(made, click=["1", "0"])) == ["usable", "usable"]


def test_a_row_must_say_whether_it_is_in_the_population(tmp_path):
    made = schema(tmp_path).with_tasks(["cvr"])
    found = times(made, ["", "0"], ["25", "25"], ["100", "100"])
    assert reasons(found) == ["missing_label", "usable"]


@pytest.mark.parametrize("click", ["0", "1"])
@pytest.mark.parametrize(
    ("unit", "text", "seconds"),
    [("s", "60.5", 60.5), ("ms", "60500", 60.5), ("s", "0", None), ("s", "-1", None),
     ("s", "", None), ("s", "abc", None), ("s", "nan", None), ("s", "inf", None)],
)  # fmt: skip
def test_batches_know_the_seconds_of_a_video(tmp_path, unit, text, seconds, click):
    made = schema(tmp_path)
    label = dataclasses.replace(made.label("watch_ratio"), duration_unit=unit)
    made = dataclasses.replace(made, labels=(made.label("click"), label))
    found = times(made, [click], ["1"], [text])
    expected = np.nan if seconds is None else seconds
    assert found.duration.dtype == tf.float32
    np.testing.assert_array_equal(found.duration, np.array([expected], np.float32))


def test_a_ratio_column_may_say_how_long_the_video_is(tmp_path):
    path = tmp_path / "ratio.toml"
    timed = 'column = "ratio"\nduration = "ms"\nduration_unit = "ms"\n'
    path.write_text(RATIO_COLUMN.replace('column = "ratio"', timed))
    columns = {"click": ["1"] * 4, "ratio": ["0.5", "1", "0", "0.25"]}
    found = read(load_schema(path), **columns, ms=["1500", "", "x", "-1"])
    assert reasons(found) == ["usable"] * 4  # whatever the duration is
    np.testing.assert_array_equal(found.duration, [1.5, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(found.labels["cvr"], [0.5, 1.0, 0.0, 0.25])
    path.write_text(RATIO_COLUMN)
    plain = read(load_schema(path), **columns)
    assert np.isnan(plain.duration.numpy()).all()
    np.testing.assert_array_equal(plain.labels["cvr"], found.labels["cvr"])


def test_without_a_label_that_names_a_duration_it_is_unknown(tmp_path):
    made = schema(tmp_path).with_tasks(["ctr"])
    assert np.isnan(read(made, click=["1", "0"]).duration.numpy()).all()


TEXTS = st.sampled_from(["", "0", "1", "nan", "-1", "inf", "x", "0.5", "100"]) | st.text(max_size=4)


@settings(max_examples=15)
@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=20))
def test_weights_are_0_or_1_and_labels_stay_in_range(tmp_path_factory, rows):
    made = schema(tmp_path_factory.getbasetemp())
    click, play_time, length = zip(*rows, strict=True)
    found = times(made, click, play_time, length)
    unusable = found.reasons.numpy() != 0
    for task in ("ctr", "cvr"):
        labels, weights = found.labels[task].numpy(), found.weights[task].numpy()
        assert ((labels >= 0) & (labels <= 1)).all()
        assert np.isin(weights, (0, 1)).all()
        assert not weights[unusable].any()
        assert not labels[weights == 0].any()
    assert (found.weights["cvr"].numpy() <= found.labels["ctr"].numpy()).all()
    assert (found.weights["ctr"].numpy() == ~unusable).all()


# By row: click, conversion, refund -> reason; rows of the tasks' populations.
FUNNEL_ROWS = [
    ("0", "", "", "usable", ""),
    ("1", "0", "", "usable", "conv"),
    ("1", "1", "0", "usable", "conv refund"),
    ("1", "1", "1", "usable", "conv refund"),
    ("0", "1", "1", "usable", ""),  # a conversion without its click lies in no population
    ("1", "", "", "missing_label", ""),
    ("1", "1", "", "missing_label", ""),
    ("", "", "", "missing_label", ""),
    ("1", "2", "", "bad_label", ""),
]


def read_funnel(made):
    click, conv, refund, _, _ = map(list, zip(*FUNNEL_ROWS, strict=True))
    watched = {"play_time": ["25"] * len(click), "length": ["100"] * len(click)}
    return read(made, click=click, conv=conv, refund=refund, **watched)


def test_a_label_is_missing_only_in_its_own_population(tmp_path):
    found = read_funnel(funnel_schema(tmp_path))
    assert reasons(found) == [row[3] for row in FUNNEL_ROWS]
    for task in ("conv", "refund"):
        inside = [task in row[4].split() for row in FUNNEL_ROWS]
        np.testing.assert_array_equal(found.weights[task], np.float32(inside))
    np.testing.assert_array_equal(found.labels["conv"], [0, 0, 1, 1, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(found.labels["refund"], [0, 0, 0, 1, 0, 0, 0, 0, 0])


def test_some_of_the_tasks_keep_their_populations(tmp_path):
    """Without the task of the conversion, refunds are learned on the same rows."""
    made = funnel_schema(tmp_path)
    whole = read_funnel(made)
    for tasks in (["refund"], ["refund", "ctr"], ["refund", "conv"]):
        found = read_funnel(made.with_tasks(tasks))
        for task in tasks:
            np.testing.assert_array_equal(found.weights[task], whole.weights[task])


def test_a_label_of_a_task_on_all_rows_is_needed_in_all_rows(tmp_path):
    made = funnel_schema(tmp_path)
    text = made.path.read_text() + FUNNEL.split("\n\n")[2].replace("conv", "conv_all", 1)
    made.path.write_text(text.replace('population = "click"\nloss = "cross', 'loss = "cross'))
    found = read_funnel(load_schema(made.path))
    assert reasons(found)[:2] == ["missing_label", "usable"]
