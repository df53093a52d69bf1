"""Heads as a schema says them, and the bins of a label's quantiles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt4rec_tf.core.artifacts import RunError
from lt4rec_tf.schema.heads import Head, said_of_head
from lt4rec_tf.schema.label_bins import adaptive_bins, equal_bins
from lt4rec_tf.schema.label_quantiles import (
    LEVELS,
    LabelQuantiles,
    read_label_quantiles,
    write_label_quantiles,
)
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import SchemaError
from lt4rec_tf.schema.variants import with_head
from lt4rec_tf.schema.writer import to_toml
from tests.support.schemas import SMALL_SCHEMA

CVR = 'name = "cvr"\n'


def quantiles(values, *groups, bounds=()):
    levels = np.linspace(0, 1, LEVELS + 1)
    curves = [np.quantile(of_group, levels) for of_group in (values, *groups)]
    return LabelQuantiles(tuple(tuple(curve.tolist()) for curve in curves), bounds)


def written(tmp_path, head, **changes):
    text = SMALL_SCHEMA
    at = text.index(CVR)
    text = text[:at] + CVR + head + "\n" + text[at + len(CVR) :]
    for old, new in changes.items():
        text = text.replace(old, new)
    path = tmp_path / "schema.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("said", "head"),
    [
        ('{ kind = "wlr" }', Head("wlr")),
        ('{ kind = "cread" }', Head("cread", 32)),
        ('{ kind = "cqe", quantiles = 9 }', Head("cqe", 9)),
        ('{ kind = "egmn", gaussians = 1 }', Head("egmn", 1)),
        ('{ kind = "plain" }', Head()),
    ],
)
def test_a_head_is_read_and_written(tmp_path, said, head):
    schema = load_schema(written(tmp_path, f"head = {said}"))
    assert schema.task("cvr").head == head
    assert schema.task("ctr").head.is_plain
    again = tmp_path / "again.toml"
    again.write_text(to_toml(schema), encoding="utf-8")
    assert load_schema(again).task("cvr") == schema.task("cvr")


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ('{ kind = "best" }', r"head.*kind.*found 'best'.*plain"),
        ('{ kind = "wlr", bins = 3 }', "bins"),
        ('{ kind = "cread", bins = 1 }', "bins.*1"),
        ('{ kind = "cread", bins = 1001 }', "bins.*1001.*at most 1000"),
        ('"cread"', "head"),
        ('{ kind = "d2q" }', "tasks.cvr..head.kind.*d2q.*names no duration"),
    ],
)
def test_a_head_that_cannot_be_is_refused(tmp_path, said, complaint):
    with pytest.raises(SchemaError, match=complaint):
        load_schema(written(tmp_path, f"head = {said}"))


def test_a_task_of_clicks_has_no_other_head(tmp_path):
    path = tmp_path / "schema.toml"
    path.write_text(
        SMALL_SCHEMA.replace('name = "ctr"\n', 'name = "ctr"\nhead = { kind = "wlr" }\n')
    )
    with pytest.raises(SchemaError, match="head"):
        load_schema(path)


def test_a_flag_gives_every_task_but_clicks_another_head(tmp_path):
    schema = load_schema(written(tmp_path, 'head = { kind = "cread", bins = 7 }'))
    assert with_head(schema, "schema") == schema
    changed = with_head(schema, "egmn")
    assert said_of_head(changed.task("cvr").head) == {"kind": "egmn", "gaussians": 5}
    assert changed.task("ctr") == schema.task("ctr")
    with pytest.raises(SchemaError, match=r"--head: found .d2q.*watch_ratio.*names no duration"):
        with_head(schema, "d2q")
    with pytest.raises(SchemaError, match="--head: found 'wlr', expected schema"):
        with_head(schema.with_tasks(["ctr"]), "wlr")


@given(st.integers(2, 40), st.lists(st.floats(0, 50, width=32), min_size=1, max_size=60))
def test_bins_of_equal_shares_restore_the_mean(bins, values):
    found = quantiles(values)
    thresholds, means, shares = equal_bins(found, bins)
    assert ((shares > 0) & (shares < 1)).all()
    assert len(thresholds) == bins - 1
    assert len(means) == bins
    assert (np.diff(thresholds) >= 0).all()
    assert (np.diff(means) >= -1e-9).all()
    # Each label as the mean of its bin: their mean is that of the labels.
    fine = found.at((np.arange(20_000) + 0.5) / 20_000)
    restored = means[np.searchsorted(thresholds, fine, side="left")]
    assert restored.mean() == pytest.approx(fine.mean(), abs=0.01 * max(values) + 1e-9)


@given(st.integers(2, 60), st.lists(st.floats(0, 50, width=32), min_size=1, max_size=60))
def test_adaptive_bins_end_at_the_largest_label(bins, values):
    thresholds = adaptive_bins(quantiles(values), bins).thresholds
    assert thresholds.shape == (bins,)
    assert (np.diff(thresholds) >= 0).all()
    assert thresholds[-1] == pytest.approx(max(values))


def test_adaptive_bins_have_the_least_error_of_the_grid():
    found = quantiles(np.random.default_rng(0).beta(0.4, 2.0, size=50_000))
    errors = {}
    for a in np.arange(0.001, 5.0, 0.1):
        levels = [(1 - np.exp(-a * m / 10)) / (1 - np.exp(-a)) for m in range(11)]
        thresholds = [0.0, *found.at(np.array(levels[1:]))]
        shares, widths = np.diff(levels), np.diff(thresholds) / thresholds[-1]
        learning = sum(shares**2) * sum(widths**2 / shares)
        errors[learning + 50 * sum(shares**2) * sum(widths**2)] = thresholds[1:]
    best = errors[min(errors)]
    np.testing.assert_allclose(adaptive_bins(found, 10).thresholds, best)
    # The widest bin, of the largest labels, is narrower than with equal shares.
    assert max(np.diff(best)) < 0.9 * max(np.diff(found.at(np.arange(11) / 10)))


def test_groups_and_means():
    found = quantiles([0, 1], [0, 0], [1, 1], bounds=(30.0,))
    seconds = np.array([10, 30, 1e9, np.nan, 0])
    assert found.group_of(seconds).tolist() == [1, 2, 2, 0, 0]
    np.testing.assert_allclose(found.means(), [0.5, 0, 1])
    assert quantiles([0, 1]).group_of(seconds).tolist() == [0] * 5


def test_quantiles_are_read_back_as_they_were(tmp_path):
    path = tmp_path / "label_quantiles.json"
    write_label_quantiles(path, {})
    assert not path.exists()
    assert read_label_quantiles(path) == {}
    found = {"cvr": quantiles([0.1, 1 / 3], [0.2], [0.7], bounds=(1 / 7,))}
    write_label_quantiles(path, found)
    assert read_label_quantiles(path) == found
    path.write_text(path.read_text().replace("0.1", "9.1", 1))
    with pytest.raises(RunError, match=r"label_quantiles.json: cvr: .*do not fall"):
        read_label_quantiles(path)


@pytest.mark.parametrize(
    "change",
    [
        {"curves": ((0.0, 1.0),)},
        {"curves": (tuple([np.nan] * (LEVELS + 1)),)},
        {"curves": (tuple([-1.0] * (LEVELS + 1)),)},
        {"curves": (tuple([0.0] * (LEVELS + 1)),) * 3},
        {"curves": (tuple([0.0] * (LEVELS + 1)),) * 2, "bounds": (3.0,)},
        {"curves": (tuple([0.0] * (LEVELS + 1)),), "bounds": (3.0,)},
        {"curves": (tuple([0.0] * (LEVELS + 1)),) * 4, "bounds": (3.0, 2.0)},
    ],
)
def test_curves_that_no_head_can_invert_are_refused(change):
    with pytest.raises(ValueError, match=r"curves|bounds"):
        LabelQuantiles(**change)
