"""Embedding tables of a version in float32, bfloat16 and int8."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lt4rec_tf.serving.embedding_tables import embedding_layers, quantised, round_tables
from lt4rec_tf.serving.publish import opened
from lt4rec_tf.serving.signatures import ServedModel
from tests.serving.test_signatures import publish_network
from tests.support.served_networks import NETWORKS, expected_answers, raw_rows, trained_network

TABLES = arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(1, 9)),
    elements=st.floats(-1e6, 1e6, width=32),
)


@given(TABLES)
def test_a_number_is_off_by_half_the_step_of_its_row_at_most(table):
    integers, steps = (tensor.numpy() for tensor in quantised(table))
    steps = steps.astype(np.float32)
    assert integers.dtype == np.int8
    assert integers.min() >= -127
    # Where the step was rounded down, the largest number is cut: by a quarter of a step at most.
    assert (np.abs(integers * steps - table) <= 0.5001 * steps + 1e-30).all()


@given(TABLES)
def test_rounded_tables_are_stored_as_they_are(table):
    integers, steps = quantised(table)
    rounded = tf.cast(integers, tf.float32) * tf.cast(steps, tf.float32)
    again, same_steps = quantised(rounded)
    np.testing.assert_array_equal(
        tf.cast(again, tf.float32) * tf.cast(same_steps, tf.float32), rounded
    )


def test_a_row_has_a_step_of_its_own():
    integers, steps = quantised([[1.27, -0.5], [127e-9, 0.0], [0.0, 0.0]])
    assert integers.numpy().tolist() == [[127, -50], [127, 0], [0, 0]]
    expected = [[0.01], [1e-9], [0.0]]
    np.testing.assert_allclose(tf.cast(steps, tf.float32), expected, rtol=2**-8)


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize(
    "kind", ["sparse sharing", "rows cut", "dimensions cut", "numbers cut", "mmoe", "own views"]
)
def test_a_version_answers_as_the_network_with_rounded_tables(schema, kind, dtype):
    schema = schema.with_tasks(NETWORKS[kind][0])
    network = trained_network(schema, kind)
    raw = raw_rows(schema, 33)
    exact = expected_answers(network, schema, raw)["serving_default"]

    served = ServedModel(network, schema, table_precision=dtype)
    answers = served.signatures("serving_default")["serving_default"](
        **{name: tf.constant(values) for name, values in raw.items()}
    )
    round_tables(network, tf.as_dtype(dtype))
    rounded = expected_answers(network, schema, raw)["serving_default"]
    for name, values in rounded.items():
        np.testing.assert_allclose(answers[name], values, rtol=0, atol=1e-6)
        assert not np.array_equal(values, exact[name])
        np.testing.assert_allclose(values, exact[name], rtol=0, atol=0.05)


def test_a_loaded_version_reads_integers(schema, tmp_path):
    schema = schema.with_tasks(["ctr", "cvr"])
    network = trained_network(schema, "numbers cut")  # whose tables are made on loading
    round_tables(network, tf.int8)
    version = publish_network(network, schema, tmp_path / "feed", table_precision="int8")
    raw = raw_rows(schema, 7, seed=5)
    expected = expected_answers(network, schema, raw)["serving_default"]
    with opened(version) as loaded:
        answers = loaded.answers("serving_default", raw)
    for name, values in expected.items():
        np.testing.assert_allclose(answers[name], values, rtol=0, atol=1e-6)


def test_tables_of_16_numbers_take_3_5_times_fewer_bytes(schema):
    network = trained_network(schema.with_tasks(["ctr", "cvr"]), "sparse sharing")
    (layer,) = embedding_layers(network)
    (table,) = layer.parts.values()
    rows, width = table.shape

    held = {}
    for dtype in ("float32", "bfloat16", "int8"):
        served = ServedModel(network, schema, table_precision=dtype)
        (tables,) = served.network.tables.values()
        held[dtype] = sum(variable.numpy().nbytes for variable in tables.variables)
    assert held == {
        "float32": 4 * rows * width,
        "bfloat16": 2 * rows * width,
        "int8": rows * width + 2 * rows,
    }
