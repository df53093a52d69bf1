"""Attention to what a user did before, against a plain computation in NumPy."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from hypothesis import given
from hypothesis import strategies as st

from lt4rec_tf.models.feature_encoder import field_vectors
from lt4rec_tf.models.layers.event_attention import EventAttention
from lt4rec_tf.models.layers.event_pooling import EventSizes
from lt4rec_tf.models.layers.event_transformer import EventTransformer
from lt4rec_tf.models.layers.field_vectors import needed
from lt4rec_tf.schema.reader import load_schema
from tests.support.schemas import SMALL_SCHEMA, WATCHED

DIMENSION = 4


def draw(name):
    return keras.initializers.RandomNormal(stddev=0.7, seed=sum(map(ord, name)))


def attention(units=(5,), softmax=False, lists=2, compared=(0,)):
    return EventAttention(lists, compared, DIMENSION, units, softmax=softmax, draw=draw)


def weighed(layer, event, candidate):
    """a(e, c), the activation unit on one event and one candidate, as DIN writes it."""
    value = {name: variable.numpy() for name, variable in layer.parameters.items()}
    event, candidate = (
        x / (np.sqrt(np.mean(x**2, axis=-1, keepdims=True)) + 0.01) for x in (event, candidate)
    )
    product = (event[: len(candidate)] * candidate).reshape(-1)
    hidden = event.reshape(-1) @ value["event_kernel"] + product @ value["product_kernel"]
    hidden = np.maximum(
        hidden + candidate.reshape(-1) @ value["candidate_kernel"] + value["bias_0"], 0
    )
    if "kernel_1" in value:
        hidden = np.maximum(hidden @ value["kernel_1"] + value["bias_1"], 0)
    return (hidden @ value["output_kernel"] + value["output_bias"])[0]


def pooled(layer, events, candidate, softmax):
    weights = np.array([weighed(layer, event, candidate) for event in events])
    weights = np.exp(weights) / np.exp(weights).sum() if softmax else weights / len(events)
    return np.tensordot(weights, events, axes=1)


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("units", [(5,), (6, 3)])
def test_a_candidate_weighs_each_event(units, softmax):
    layer = attention(units, softmax)
    rng = np.random.default_rng(0)
    lengths = [3, 1, 4]
    events = [rng.normal(size=(n, 2, DIMENSION)).astype(np.float32) for n in lengths]
    candidates = rng.normal(size=(3, 2, 1, DIMENSION)).astype(np.float32)

    real = np.arange(5) < np.array(lengths)[:, np.newaxis]
    padded = np.full((3, 5, 2, DIMENSION), 9.0, np.float32)
    for row, of_row in enumerate(events):
        padded[row, : len(of_row)] = of_row
    of_candidates = layer.of_candidates(*map(tf.constant, (padded, real, candidates))).numpy()
    rows = np.repeat(np.arange(3), lengths)
    for place in range(2):
        of_rows = layer.of_rows(
            tf.constant(np.concatenate(events)),
            tf.constant(rows),
            tf.ones(len(rows), tf.bool),
            tf.constant(candidates[:, place]),
        ).numpy()
        for row, of_row in enumerate(events):
            expected = pooled(layer, of_row, candidates[row, place], softmax)
            np.testing.assert_allclose(of_rows[row], expected, atol=1e-5)
            np.testing.assert_allclose(of_candidates[row, place], expected, atol=1e-5)


def test_it_begins_as_the_mean():
    """While events and candidates are small, as rows of theta_0 are."""
    layer = attention()
    events = np.random.default_rng(1).normal(scale=1e-5, size=(4, 2, DIMENSION)).astype(np.float32)
    found = layer.of_rows(
        tf.constant(events), tf.zeros(4, tf.int64), tf.ones(4, tf.bool), tf.zeros((1, 1, DIMENSION))
    )
    np.testing.assert_allclose(found[0], events.mean(axis=0), rtol=0.02, atol=1e-8)


@pytest.mark.parametrize("softmax", [False, True])
def test_an_empty_list_is_what_stands_for_it(softmax):
    layer, stand_in = attention(softmax=softmax), np.full((1, 2, DIMENSION), 3.0, np.float32)
    candidate = np.ones((1, 1, DIMENSION), np.float32)
    found = layer.of_rows(
        tf.constant(stand_in), tf.zeros(1, tf.int64), tf.constant([False]), tf.constant(candidate)
    )
    np.testing.assert_array_equal(found, stand_in)
    events = np.concatenate([stand_in, 5 * stand_in])[np.newaxis]
    found = layer.of_candidates(
        tf.constant(events), tf.zeros((1, 2), tf.bool), tf.constant(candidate[np.newaxis])
    )
    np.testing.assert_array_equal(found[0], stand_in)


def test_events_see_each_other_in_a_transformer():
    """Against Keras's own layers, on rows of several lengths."""
    width, heads = 6, 2
    layer = EventTransformer(width, 5, blocks=1, heads=heads, draw=draw)
    value = {k.removeprefix("block_0_"): v.numpy() for k, v in layer.parameters.items()}
    rng = np.random.default_rng(2)
    events = rng.normal(size=(3, 5, width)).astype(np.float32)
    real = np.arange(5) < np.array([[5], [2], [1]])

    gate = rng.normal(size=width).astype(np.float32)
    layer.parameters["gate"].assign(gate)
    lengths = np.sqrt(np.mean(events**2, axis=-1, keepdims=True))
    seen = events / (lengths + 0.01) + value["position_kernel"]
    kernel = (width, heads, width // heads)
    mixing = keras.layers.MultiHeadAttention(heads, width // heads, use_bias=False)
    mixing(seen, seen)
    mixing.set_weights(
        [value[f"{name}_kernel"].reshape(kernel) for name in ("query", "key", "value")]
        + [value["mixed_kernel"].reshape(heads, width // heads, width)]
    )
    norm = keras.layers.LayerNormalization(epsilon=1e-6)
    seen = norm(seen + mixing(seen, seen, attention_mask=real[:, np.newaxis].repeat(5, 1)))
    hidden = np.maximum(seen @ value["wide_kernel"] + value["wide_bias"], 0)
    seen = norm(seen + hidden @ value["narrow_kernel"] + value["narrow_bias"]).numpy()
    expected = events + gate * seen
    found = layer.of_rows(tf.constant(events), tf.constant(real)).numpy()
    np.testing.assert_allclose(found[real], expected[real], atol=1e-5)


@pytest.fixture(scope="module", params=["attention", "softmax_attention", "transformer"])
def layer(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("schema") / "watched.toml"
    text = SMALL_SCHEMA + WATCHED.replace('"attention"', f'"{request.param}"')
    path.write_text(text, encoding="utf-8")
    fields = field_vectors(
        load_schema(path), DIMENSION, 0.5, seed=3, owner="shared", events=EventSizes((5,))
    )
    fields(ids_of([[1, 2, 3, 0]], [[1, 1, 2, 0]]))
    return fields


def ids_of(watched, ago, videos=None):
    rows = len(watched)
    videos = [7] * rows if videos is None else videos
    return {
        "user": tf.ones(rows, tf.int64),
        "video": tf.constant(videos, tf.int64),
        "tags": tf.zeros((rows, 1), tf.int64),
        "source": tf.zeros(rows, tf.int64),
        "age": tf.zeros(rows, tf.float32),
        "watched": tf.constant(watched, tf.int64),
        "ago": tf.constant(ago, tf.int64),
    }


def test_padding_changes_nothing(layer):
    short = layer(ids_of([[4, 9]], [[1, 3]])).numpy()
    padded = layer(ids_of([[4, 9, 0, 0]], [[1, 3, 0, 0]])).numpy()
    np.testing.assert_allclose(short, padded, atol=1e-6)


def test_lists_of_a_request_may_be_of_several_lengths(layer):
    together = layer(ids_of([[4, 9, 0, 0]], [[1, 3, 0, 0]])).numpy()
    apart = layer(ids_of([[4, 9, 0, 0]], [[1, 3]])).numpy()
    np.testing.assert_allclose(together, apart, atol=1e-6)


def test_without_an_event_each_list_is_its_missing_row(layer):
    fields = layer(ids_of([[0, 0]], [[0, 0]])).numpy()[0]
    first_row, table = layer.layout.first_row, layer.parts["table"].numpy()
    np.testing.assert_array_equal(fields[5], table[first_row["video"]])
    np.testing.assert_array_equal(fields[6], table[first_row["ago"]])


def test_a_missing_value_keeps_its_place(layer):
    """An event is one as long as any of its lists knows something of it."""
    whole = layer(ids_of([[4, 0, 9]], [[1, 2, 3]])).numpy()[0]
    moved = layer(ids_of([[4, 9, 0]], [[1, 2, 3]])).numpy()[0]
    assert np.abs(whole[5:] - moved[5:]).max() > 1e-4


def test_the_candidate_matters(layer):
    ids = ids_of([[4, 9, 2]] * 2, [[1, 2, 3]] * 2, videos=[4, 9])
    fields = layer(ids).numpy()
    assert np.abs(fields[0, 5:] - fields[1, 5:]).max() > 1e-4


@given(lengths=st.lists(st.integers(0, 4), min_size=1, max_size=5))
def test_rows_do_not_depend_on_each_other(layer, lengths):
    rng = np.random.default_rng(sum(lengths))
    is_event = np.arange(4) < np.array(lengths)[:, np.newaxis]
    watched = rng.integers(1, 31, is_event.shape) * is_event
    ago = rng.integers(1, 5, is_event.shape) * is_event
    together = layer(ids_of(watched, ago)).numpy()
    for row in range(len(lengths)):
        alone = layer(ids_of(watched[row : row + 1], ago[row : row + 1])).numpy()
        np.testing.assert_allclose(alone[0], together[row], atol=1e-6)


def test_what_a_list_needs_comes_in_the_schemas_order(layer):
    """A set would have another order in each process, and so would the graphs of versions."""
    by_name = {feature.name: feature for feature in layer.features}
    read = needed([by_name["ago"]], layer.pools)
    assert [feature.name for feature in read] == ["ago", "watched", "video"]
    assert needed([by_name["user"]], layer.pools) == [by_name["user"]]


def test_every_variable_has_a_gradient(layer):
    """And only the rows that a batch has."""
    with tf.GradientTape() as tape:
        fields = layer(ids_of([[4, 9, 0, 0], [0, 0, 0, 0]], [[1, 3, 0, 0], [0] * 4]), training=True)
        loss = tf.reduce_sum(fields**2)
    table = layer.parts["table"]
    gradients = tape.gradient(loss, layer.trainable_weights)
    for variable, gradient in zip(layer.trainable_weights, gradients, strict=True):
        assert gradient is not None, variable.name
        if variable is table:
            touched = set(tf.convert_to_tensor(gradient.indices).numpy().tolist())
            video = layer.layout.first_row["video"]
            assert {video + 4, video + 9, video + 7, video} <= touched
            assert len(touched) < 15
