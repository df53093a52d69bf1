"""Dropout of field vectors, and of ids."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.models.layers.dropout import UnitDropout, UnknownDropout
from lt4rec_tf.schema.fitted import Vocabulary
from lt4rec_tf.training.plan import Plan
from tests.support.networks import build_small, read_variables, small_batch
from tests.support.training import STEPS, Killed, KilledProgress, quiet_progress, small_trainer


def test_whole_vectors_are_dropped_and_the_others_keep_the_mean():
    layer = UnitDropout(0.25, seed=4)
    vectors = tf.constant(np.random.default_rng(0).normal(size=(2000, 5, 3)), tf.float32)
    found = layer(vectors, training=True).numpy()
    kept = (found != 0).any(axis=2)
    np.testing.assert_allclose(found[kept], vectors.numpy()[kept] / 0.75, rtol=1e-6)
    assert not found[~kept].any()
    # Five deviations of a share of 10,000 draws, and of a field's 2,000.
    assert abs(kept.mean() - 0.75) < 5 * np.sqrt(0.25 * 0.75 / 10_000)
    assert np.all(np.abs(kept.mean(axis=0) - 0.75) < 5 * np.sqrt(0.25 * 0.75 / 2000))


def test_inference_changes_nothing_and_draws_nothing():
    layer = UnitDropout(0.5, seed=4)
    vectors = tf.ones((3, 2, 4))
    np.testing.assert_array_equal(layer(vectors), vectors)
    assert int(layer.calls) == 0


def test_draws_differ_between_calls_and_repeat_after_a_restart():
    layer = UnitDropout(0.5, seed=4)
    vectors = tf.ones((50, 4, 2))
    first, second = layer(vectors, training=True), layer(vectors, training=True)
    assert np.any(first.numpy() != second.numpy())
    layer.calls.assign(0)
    np.testing.assert_array_equal(layer(vectors, training=True), first)
    other = UnitDropout(0.5, seed=5)
    assert np.any(other(vectors, training=True).numpy() != first.numpy())


def test_a_network_drops_fields_in_training_alone(small_schema):
    plain = build_small(small_schema)
    network = build_small(small_schema, field_dropout=0.5)
    features = small_batch(8, 0)["features"]
    assert list(network.variables) == list(plain.variables)
    crossed = network.bottom(features, training=False)
    np.testing.assert_array_equal(crossed, plain.bottom(features, training=False))

    # The cross layer ends with the field vectors: dropped ones are 0, and so are their products.
    dropped = network.bottom(features, training=True).numpy()
    fields = len(small_schema.features)
    vectors = dropped[:, fields * fields :].reshape(8, fields, -1)
    is_dropped = ~vectors.any(axis=2)
    assert 0.2 < is_dropped.mean() < 0.8
    gram = dropped[:, : fields * fields].reshape(8, fields, fields)
    np.testing.assert_allclose(gram, vectors @ vectors.transpose(0, 2, 1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("dropout", "counter"),
    [("field_dropout", "field_dropout_calls"), ("tower_dropout", "cvr/tower_1/dropout_calls")],
)
def test_a_killed_stage_goes_on_with_the_draws_that_it_would_have_had(
    small_schema, tmp_path, dropout, counter
):
    def fitted(folder, progress):
        network = build_small(small_schema, **{dropout: 0.5})
        trainer = small_trainer(network, small_schema, schedule="both", progress=progress)
        trainer.fit(folder, "stage", Plan(2, keep_last=True, checkpoint_steps=2))
        return network

    unbroken = fitted(tmp_path / "unbroken", quiet_progress())
    assert int(unbroken.counters[counter]) == 2 * STEPS
    with pytest.raises(Killed):
        fitted(tmp_path / "killed", KilledProgress(STEPS + 3))
    resumed = fitted(tmp_path / "killed", quiet_progress())
    for name, values in read_variables(unbroken).items():
        np.testing.assert_array_equal(read_variables(resumed)[name], values, err_msg=name)


def test_known_ids_become_unknown_at_their_rates_and_others_stay():
    layer = UnknownDropout({"video": 0.25, "tags": 0.5}, seed=4)
    video = tf.constant(np.arange(4000) % 4, tf.int64)
    tags = tf.constant(np.arange(8000).reshape(4000, 2) % 5, tf.int64)
    found = layer({"video": video, "tags": tags}, training=True)
    for name, ids, rate in (("video", video, 0.25), ("tags", tags, 0.5)):
        before, after = ids.numpy(), found[name].numpy()
        changed = before != after
        assert np.all(after[changed] == 1)
        assert np.all(before[changed] >= 2)
        known = (before >= 2).sum()
        assert abs(changed.sum() / known - rate) < 5 * np.sqrt(rate * (1 - rate) / known)
    again = layer({"video": video, "tags": tags}, training=True)
    assert np.any(again["video"].numpy() != found["video"].numpy())
    layer.calls.assign(0)
    repeated = layer({"video": video, "tags": tags}, training=True)
    np.testing.assert_array_equal(repeated["tags"], found["tags"])
    np.testing.assert_array_equal(layer({"video": video})["video"], video)


def test_a_network_takes_ids_for_unknown_in_training_alone(small_schema):
    video = small_schema.feature("video")
    vocabulary = Vocabulary(np.arange(28), dropout={"video": 1.0})
    ids = dataclasses.replace(video.ids, kind="fitted", fitted=vocabulary)
    schema = small_schema.with_rules(
        lambda feature: ids if feature.table == "video" else feature.ids
    )
    batch = small_batch(8, 0)["features"]
    unknown = batch | {
        "video": tf.where(batch["video"] >= 2, tf.constant(1, tf.int64), batch["video"])
    }

    network = build_small(schema, unknown_dropout="validation", own_embedding={"cvr": 2})
    np.testing.assert_array_equal(network.bottom(batch), network.bottom(batch, training=False))
    trained = network.model(batch, training=True)
    for task, logits in network.model(unknown, training=False).items():
        np.testing.assert_allclose(trained[task], logits, rtol=1e-5, atol=1e-7)
    assert int(network.counters["unknown_dropout_calls"]) == 1
    assert not build_small(schema).counters
