"""The clients' own writing of tf.Examples, read back by TensorFlow."""

import importlib.util
import math

import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tests.support.paths import PROJECT

SPEC = importlib.util.spec_from_file_location("tf_example", PROJECT / "export" / "tf_example.py")
tf_example = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tf_example)

INT64 = st.integers(-(2**63), 2**63 - 1)
FLOAT32 = st.floats(width=32, allow_nan=False)
VALUES = st.one_of(
    *(st.one_of(one, st.lists(one, min_size=1)) for one in (st.text(), INT64, FLOAT32))
)


@given(features=st.dictionaries(st.text(), VALUES))
def test_a_tf_example_written_without_tensorflow_reads_back(features):
    example = tf.train.Example.FromString(tf_example.serialize(features))
    found = {}
    for name, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        values = list(getattr(feature, kind).value)
        found[name] = [value.decode() for value in values] if kind == "bytes_list" else values
    expected = {name: v if isinstance(v, list) else [v] for name, v in features.items()}
    assert found == expected
    assert all(
        [type(value) for value in found[name]] == [type(value) for value in values]
        for name, values in expected.items()
    )


def test_numbers_that_float32_does_not_have():
    given = {"huge": 1e40, "least": -1e40, "none": math.nan, "tiny": 1e-60}
    example = tf.train.Example.FromString(tf_example.serialize(given))
    found = {name: f.float_list.value[0] for name, f in example.features.feature.items()}
    assert math.isnan(found.pop("none"))
    assert found == {"huge": math.inf, "least": -math.inf, "tiny": 0.0}
