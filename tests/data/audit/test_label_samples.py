"""Quantiles of labels in train, against NumPy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lt4rec_tf.data.audit.label_samples import LEAST_ROWS, LabelSamples
from lt4rec_tf.schema.label_quantiles import LEVELS, with_label_quantiles
from lt4rec_tf.schema.reader import load_schema
from tests.support.schemas import SMALL_SCHEMA

AT = np.linspace(0, 1, LEVELS + 1)


@pytest.fixture
def schema(tmp_path):
    path = tmp_path / "schema.toml"
    path.write_text(SMALL_SCHEMA, encoding="utf-8")
    return load_schema(path)


def rows(count, seed=0):
    """Labels that rise with the duration, rows outside the population, some unknown durations."""
    rng = np.random.default_rng(seed)
    duration = rng.choice([5.0, 20.0, 90.0, np.nan], count).astype(np.float32)
    known = np.where(np.isfinite(duration), duration, 50)
    labels = (rng.random(count) * known / 90).astype(np.float32)
    weights = (rng.random(count) < 0.6).astype(np.float32)
    return {"labels": {"cvr": labels}, "weights": {"cvr": weights}, "duration": duration}


def found_in(schema, *batches, **sampled):
    samples = LabelSamples(schema, **sampled)
    for batch in batches:
        samples.add(batch, np.ones(len(batch["duration"]), bool))
    return samples.fit()


def test_quantiles_of_all_rows_and_of_groups_of_equal_duration(schema):
    batches = [rows(3000, seed) for seed in range(3)]
    found = found_in(schema, *batches)["cvr"]
    inside = np.concatenate([batch["weights"]["cvr"] for batch in batches]) > 0
    labels = np.concatenate([batch["labels"]["cvr"] for batch in batches])[inside]
    seconds = np.concatenate([batch["duration"] for batch in batches])[inside]
    assert found.rows == inside.sum()
    assert not found.estimated
    np.testing.assert_allclose(found.curves[0], np.quantile(labels.astype(float), AT))
    assert found.bounds == (20.0, 90.0)
    for group, duration in enumerate([5.0, 20.0, 90.0]):
        expected = np.quantile(labels[seconds == duration].astype(float), AT)
        np.testing.assert_allclose(found.curves[1 + group], expected)


def test_rows_count_by_their_weights(schema):
    labels = np.array([0.1, 0.2, 0.4, 0.9], np.float32)
    weights = np.array([3.0, 1.0, 1.0, 2.0], np.float32)
    batch = {"labels": {"cvr": labels}, "weights": {"cvr": weights}, "duration": labels * np.nan}
    (found,) = found_in(schema, batch).values()
    assert not found.by_duration
    middles = np.array([1.5, 3.5, 4.5, 6.0])
    expected = np.interp(AT, (middles - 1.5) / 4.5, labels.astype(float))
    np.testing.assert_allclose(found.curves[0], expected)


def test_few_rows_have_no_groups_and_none_no_quantiles(schema):
    batch = rows(LEAST_ROWS)
    assert not found_in(schema, batch)["cvr"].by_duration
    outside = batch | {"weights": {"cvr": np.zeros(LEAST_ROWS, np.float32)}}
    assert found_in(schema, outside) == {}
    assert found_in(schema) == {}


def test_of_many_rows_a_sample_is_kept(schema):
    batches = [rows(3000, seed) for seed in range(4)]
    whole, part = found_in(schema, *batches)["cvr"], found_in(schema, *batches, sampled=2500)["cvr"]
    assert part.estimated
    assert part.rows == whole.rows
    np.testing.assert_allclose(part.curves[0], whole.curves[0], atol=0.05)
    assert found_in(schema, *batches, sampled=2500)["cvr"] == part


def test_what_an_earlier_run_found_stays(schema):
    earlier = found_in(schema, rows(2000))
    later = found_in(with_label_quantiles(schema, earlier), rows(2000, seed=9))
    assert later == {"cvr": dataclasses.replace(earlier["cvr"], earlier=True)}
