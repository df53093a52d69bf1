"""Seconds watched beside the duration alone, by value."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from lt4rec_tf.core.artifacts import undefined_as_null
from lt4rec_tf.metrics.continuous import xauc
from lt4rec_tf.metrics.groups import NO_USER
from lt4rec_tf.metrics.watch_time import user_ndcg
from lt4rec_tf.reports.watch_time import watch_time_section, watch_time_tables
from lt4rec_tf.schema.heads import usual_head
from lt4rec_tf.training.predictions import Predictions
from lt4rec_tf.training.watch_time import timed_tasks, watch_time
from tests.support.heads import QUANTILES, schema_with

DURATIONS = np.array([10, 10, 50, 100, np.nan, 30, 200, 5], np.float32)
LABELS = np.array([0.5, 1.0, 0.2, 0.4, 0.9, 0.0, 0.1, 0.7], np.float32)
WEIGHTS = np.array([1, 1, 1, 1, 1, 2, 1, 0], np.float32)
LOGITS = np.array([0.3, 1.0, -1.0, 0.0, 2.0, -0.5, -2.0, 3.0], np.float32)
USERS = np.array([1, 1, 2, 2, 2, 1, NO_USER, 1])
INSIDE = [0, 1, 2, 3, 5, 6]  # of weight above 0, with a duration


@pytest.fixture
def schema(tmp_path):
    return schema_with(tmp_path, "plain")


def predicted(outputs=LOGITS):
    return Predictions(
        {"cvr": outputs}, {"cvr": LABELS}, {"cvr": WEIGHTS}, USERS, durations=DURATIONS
    )


def test_metrics_are_of_seconds(schema):
    found = watch_time(predicted(), schema, ["cvr"])["cvr"]
    seconds, weights = DURATIONS[INSIDE].astype(float), WEIGHTS[INSIDE]
    observed = LABELS[INSIDE] * seconds
    of_rows = 1 / (1 + np.exp(-LOGITS[INSIDE].astype(float)))
    means = QUANTILES.means()
    alone = np.where(seconds < 30, means[1], means[2])
    assert found["rows"] == 6
    for key, ratios in (("metrics", of_rows), ("duration_alone", alone)):
        expected, metrics = ratios * seconds, found[key]
        mae = mean_absolute_error(observed, expected, sample_weight=weights)
        rmse = root_mean_squared_error(observed, expected, sample_weight=weights)
        assert metrics["mae_s"] == pytest.approx(mae, rel=1e-5)
        assert metrics["rmse_s"] == pytest.approx(rmse, rel=1e-5)
        assert metrics["xauc"] == pytest.approx(xauc(observed, expected, weights))
        known = USERS[INSIDE] != NO_USER
        ndcg = user_ndcg(observed[known], expected[known], USERS[INSIDE][known])
        assert metrics["ndcg"] == pytest.approx(ndcg)


def test_groups_of_duration_hold_all_rows(schema):
    groups = watch_time(predicted(), schema, ["cvr"])["cvr"]["groups"]
    assert [(group["from_s"], group["rows"]) for group in groups] == [(0.0, 2), (30.0, 4)]
    assert groups[0]["label"] == pytest.approx(0.75)
    of_long = np.average(LABELS[[2, 3, 5, 6]], weights=[1, 1, 2, 1])
    assert groups[1]["label"] == pytest.approx(of_long)


def test_quantiles_say_how_many_labels_they_cover(schema):
    task = dataclasses.replace(schema.task("cvr"), head=usual_head("cqe"))
    schema = dataclasses.replace(schema, tasks=(schema.task("ctr"), task))
    low, high = np.full((8, 19), -30, np.float32), np.full((8, 19), 3, np.float32)
    for outputs, share in ((low, 2 / 7), (high, 1.0)):
        coverage = watch_time(predicted(outputs), schema, ["cvr"])["cvr"]["coverage"]
        assert [*coverage][::6] == ["0.05", "0.35", "0.65", "0.95"]
        assert coverage["0.95"] == pytest.approx(share)


def test_an_amount_in_durations_is_told_in_seconds_as_a_ratio_is(schema):
    label = dataclasses.replace(
        schema.label("watch_ratio"), kind="amount", column=None, play_time="played"
    )
    labels = [label if other.name == label.name else other for other in schema.labels]
    task = dataclasses.replace(schema.task("cvr"), kind="amount", loss="mse", mean=0.4, scale=0.5)
    loops = dataclasses.replace(schema, labels=tuple(labels), tasks=(task,))
    found = watch_time(predicted(), loops, ["cvr"])["cvr"]
    seconds = DURATIONS[INSIDE].astype(float)
    expected = (0.4 + 0.5 * LOGITS[INSIDE]) * seconds
    observed = LABELS[INSIDE] * seconds
    mae = mean_absolute_error(observed, expected, sample_weight=WEIGHTS[INSIDE])
    assert found["metrics"]["mae_s"] == pytest.approx(mae, rel=1e-5)
    alone = watch_time(predicted(), schema, ["cvr"])["cvr"]["duration_alone"]
    assert found["duration_alone"] == alone


def test_tasks_without_durations_or_quantiles_have_no_seconds(schema):
    assert timed_tasks(schema, ["ctr", "cvr"]) == ["cvr"]
    without = dataclasses.replace(schema.task("cvr"), quantiles=None)
    assert timed_tasks(dataclasses.replace(schema, tasks=(without,)), ["cvr"]) == []
    labels = [dataclasses.replace(label, duration=None) for label in schema.labels]
    assert timed_tasks(dataclasses.replace(schema, labels=tuple(labels)), ["cvr"]) == []
    with pytest.raises(ValueError, match="no durations"):
        watch_time(dataclasses.replace(predicted(), durations=None), schema, ["cvr"])


def test_a_split_without_a_click_has_tables_too(schema):
    nothing = dataclasses.replace(predicted(), weights={"cvr": np.zeros(8, np.float32)})
    found = watch_time(nothing, schema, ["cvr"])
    assert found["cvr"]["rows"] == 0
    assert np.isnan(found["cvr"]["metrics"]["mae_s"])
    plain = undefined_as_null({"row": "a", "watch_time": found})
    tables = watch_time_tables({"tasks": [{"name": "cvr"}], "rows": [plain]}, "a")
    assert "nan (+nan%)" in tables[1]
    assert len(tables[3].splitlines()) == 2


def test_a_duration_that_tells_all_has_no_error_to_compare_with():
    known = {"mae_s": 0.0, "rmse_s": 0.0, "xauc": float("nan")}
    found = {"metrics": {"mae_s": 0.5, "rmse_s": 0.0, "xauc": None}, "duration_alone": known}
    group = {"from_s": 0.0, "rows": 1, "label": 0.5, "prediction": 0.5, "mae_s": 0.0, "xauc": None}
    model = {"row": "a", "watch_time": {"cvr": found | {"groups": [group]}}}
    _, models, _, _ = watch_time_tables({"tasks": [{"name": "cvr"}], "rows": [model]}, "a")
    assert "0.500 (-)" in models
    assert "nan (+nan)" in models


def test_tables_show_what_is_gained_over_the_duration_alone(schema):
    found = watch_time(predicted(), schema, ["cvr"])
    evaluation = {"tasks": [{"name": "cvr"}], "rows": [{"row": "a", "watch_time": found}]}
    title, models, by_title, groups = watch_time_tables(evaluation, "s_weight")
    assert "seconds" in title
    assert by_title.endswith("by duration: a")
    mine, alone = (found["cvr"][key]["mae_s"] for key in ("metrics", "duration_alone"))
    assert f"{mine:.3f} ({mine / alone - 1:+.1%})" in models
    assert f"{alone:.3f} |" in models.splitlines()[-1]
    assert "| 0 to 30 s |" in groups
    assert "| 30 s on   |" in groups
    assert watch_time_tables({"tasks": [{"name": "ctr"}], "rows": [{"row": "a"}]}, "a") == []

    runs = [{"status": "done", "watch_time": found}, {"status": "failed"}]
    heading, table = watch_time_section([{"row": "b", "runs": runs}], ["ctr", "cvr"])
    assert heading.startswith("### CVR in seconds")
    assert f"{mine:.3f}" in table
