"""Cross layers, field vectors and masked layers, by their equations."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.models.layers.cross import CrossNetworkV2, GramCross, NoCross, TriangleCross
from lt4rec_tf.models.layers.field_vectors import FieldVectors
from lt4rec_tf.models.layers.masked_dense import MaskedDense
from lt4rec_tf.models.layers.table_layout import table_offsets
from lt4rec_tf.schema.fitted import Vocabulary
from lt4rec_tf.schema.types import IdRule
from tests.support.networks import small_batch

VECTORS = tf.constant([[[1.0, 2.0], [3.0, 4.0]]])  # one row, two fields of dimension 2


def test_gram_keeps_diagonal_both_triangles_and_the_vectors():
    # <1,1>=1+4, <1,2>=3+8, <2,2>=9+16
    assert GramCross()(VECTORS).numpy().tolist() == [[5, 11, 11, 25, 1, 2, 3, 4]]


def test_without_a_cross_layer_the_fields_stand_side_by_side():
    assert NoCross()(tf.constant([[[1.0, 2.0], [3.0, 4.0]]])).numpy().tolist() == [[1, 2, 3, 4]]


def test_triangle_keeps_each_pair_once():
    three = tf.constant([[[1.0], [2.0], [5.0]]])
    assert TriangleCross()(three).numpy().tolist() == [[2, 5, 10, 1, 2, 5]]


def test_dcn_v2_is_its_equation():
    layer = CrossNetworkV2([keras.initializers.Ones(), keras.initializers.Ones()])
    layer.build(tf.TensorShape((None, 2, 2)))
    layer.biases[0].assign([1.0, 0.0, 0.0, 0.0])
    x0 = np.array([1.0, 2.0, 3.0, 4.0])
    x1 = x0 * (x0.sum() + np.array([1.0, 0, 0, 0])) + x0
    x2 = x0 * x1.sum() + x1
    assert layer(VECTORS).numpy()[0].tolist() == [*x2, *x0]


def with_fitted(schema, values_by_feature):
    """The schema with fitted vocabularies of so many values in place of other rules."""

    def rule_of(feature):
        if feature.name not in values_by_feature:
            return feature.ids
        vocabulary = Vocabulary(np.array(values_by_feature[feature.name], np.int64))
        return dataclasses.replace(feature.ids, kind="fitted", fitted=vocabulary)

    return schema.with_rules(rule_of)


def field_vectors(schema):
    layer = FieldVectors(schema, 2, lambda _: keras.initializers.RandomNormal(seed=1))
    features = small_batch(rows=2)["features"]
    layer(features)
    return layer, features


def test_single_valued_fields_are_their_rows(small_schema):
    layer, features = field_vectors(small_schema)
    first = table_offsets(small_schema)
    table = layer.parts["table"].numpy()
    vectors = layer(features).numpy()
    for row in range(2):
        assert vectors[row, 0].tolist() == table[first["user"] + features["user"][row]].tolist()
        # "source" shares the table of "video"
        assert vectors[row, 3].tolist() == table[first["video"] + features["source"][row]].tolist()


def test_the_rows_of_values_that_a_fitted_vocabulary_lacks_are_not_trained(small_schema):
    fitted = {"user": range(18), "tags": range(8)}
    schema = with_fitted(small_schema, fitted)
    layer = FieldVectors(schema, 2, lambda _: keras.initializers.RandomNormal(seed=1))
    ids = {
        "user": tf.constant([1, 3], tf.int64),
        "video": tf.constant([1, 4], tf.int64),
        "tags": tf.constant([[1, 2], [3, 1]], tf.int64),
        "source": tf.constant([1, 1], tf.int64),
        "age": tf.constant([1.0, 2.0]),
    }
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(ids, training=True))
    gradient = tf.convert_to_tensor(tape.gradient(total, layer.parts["table"])).numpy()[:, 0]
    assert total.numpy() == pytest.approx(tf.reduce_sum(layer(ids)).numpy(), rel=1e-6)

    first = table_offsets(schema)
    of_table = {table: gradient[first[table] :].tolist() for table in first}
    assert of_table["user"][:4] == [0, 0, 0, 1]
    assert of_table["tag"][:4] == [0, 0, 0.5, 0.5]
    assert of_table["video"][:5] == [0, 3, 0, 0, 1]  # hashed: 1 is a bucket like others


def test_multi_valued_fields_are_the_mean_without_padding(small_schema):
    layer, features = field_vectors(small_schema)
    tags = table_offsets(small_schema)["tag"]
    features["tags"] = tf.constant([[4, 0, 6], [0, 0, 0]], tf.int64)
    table = layer.parts["table"].numpy()
    vectors = layer(features).numpy()
    np.testing.assert_allclose(vectors[0, 2], (table[tags + 4] + table[tags + 6]) / 2, rtol=1e-6)
    np.testing.assert_allclose(vectors[1, 2], table[tags], rtol=1e-6)  # the missing row


def test_numeric_fields_scale_a_vector_and_know_missing(small_schema):
    layer, features = field_vectors(small_schema)
    age = table_offsets(small_schema)["age"]
    features["age"] = tf.constant([-2.5, np.nan])
    vectors = layer(features).numpy()
    np.testing.assert_allclose(
        vectors[0, 4], -2.5 * layer.parts["table"][age + 1].numpy(), rtol=1e-6
    )
    np.testing.assert_allclose(vectors[1, 4], layer.parts["table"][age].numpy(), rtol=1e-6)


def test_piecewise_linear_fields_are_a_linear_map_of_the_encoding(small_schema):
    rule = IdRule("piecewise_linear", bins=3)
    schema = small_schema.with_rules(lambda feature: rule if feature.name == "age" else feature.ids)
    layer, ids = field_vectors(schema)
    ids["age"] = tf.constant([1.25, np.nan])
    with tf.GradientTape() as tape:
        vectors = layer(ids)
        total = tf.reduce_sum(vectors[:, 4])
    missing, base, *rows = layer.parts["table"].numpy()[-5:]
    np.testing.assert_allclose(vectors[0, 4], base + rows[0] + 0.25 * rows[1], rtol=1e-5)
    np.testing.assert_allclose(vectors[1, 4], missing, rtol=1e-6)

    gradient = tape.gradient(total, layer.parts["table"])
    assert isinstance(gradient, tf.IndexedSlices)
    of_table = tf.convert_to_tensor(gradient)[-5:]
    assert of_table.numpy().tolist() == [[share] * 2 for share in (1, 1, 1, 0.25, 0)]


def test_only_looked_up_rows_get_a_gradient(small_schema):
    layer, features = field_vectors(small_schema)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(features) ** 2)
    gradient = tape.gradient(total, layer.parts["table"])
    assert isinstance(gradient, tf.IndexedSlices)
    assert gradient.indices.shape[0] == 2 * (1 + 1 + 3 + 1 + 1)


def masked(mask, activation="relu"):
    shared = keras.layers.Dense(2, activation=activation)
    shared.build((None, 2))
    shared.kernel.assign([[1.0, -2.0], [3.0, 4.0]])
    shared.bias.assign([0.5, -0.5])
    layer = MaskedDense(shared, name="ctr_masked_0")
    layer(tf.zeros((1, 2)))
    layer.set_mask(np.array(mask))
    return layer


def test_masked_dense_by_hand():
    layer = masked([[1, 0], [0, 1]])
    # x W*M + b = [1*2 + .5, 4*-1 - .5], then relu
    assert layer(tf.constant([[2.0, -1.0]])).numpy().tolist() == [[2.5, 0.0]]


def test_a_cut_weight_gets_exactly_zero_gradient():
    layer = masked([[1, 0], [0, 1]], activation=None)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(tf.constant([[2.0, -1.0]])) * [3.0, 5.0])
    gradient = tape.gradient(loss, layer.shared.kernel)
    assert gradient.numpy().tolist() == [[6.0, 0.0], [0.0, -5.0]]


def test_a_mask_of_ones_is_the_dense_layer():
    layer = masked([[1, 1], [1, 1]])
    x = tf.random.stateless_normal((5, 2), [1, 2])
    np.testing.assert_array_equal(layer(x), layer.shared(x))


def test_two_views_share_weights_but_not_masks():
    first = masked([[1, 0], [0, 1]])
    second = MaskedDense(first.shared, name="cvr_masked_0")
    second(tf.zeros((1, 2)))
    assert second.shared.kernel is first.shared.kernel
    assert second.mask.numpy().tolist() == [[1, 1], [1, 1]]
    assert [v.name for v in second.trainable_variables] == ["kernel:0", "bias:0"]


@pytest.mark.parametrize(
    ("mask", "message"),
    [(np.ones((3, 2)), r"mask has shape \(3, 2\)"), (np.full((2, 2), 0.5), "0 and 1 only")],
)
def test_masks_that_do_not_fit_are_refused(mask, message):
    with pytest.raises(ValueError, match=message):
        masked(mask)
