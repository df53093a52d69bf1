"""A row as a tf.Example, against a batch of one row."""

import numpy as np
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from lt4rec_tf.data.formats.examples import Ragged, encode, encode_row

VALUES = {
    "string": st.binary(max_size=9),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float32": st.floats(width=32, allow_nan=False),
}
NUMPY = {"string": object, "int64": np.int64, "float32": np.float32}
COLUMN = st.sampled_from(sorted(VALUES)).flatmap(
    lambda dtype: st.tuples(st.just(dtype), st.lists(VALUES[dtype], max_size=5))
)
ROWS = st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), COLUMN, min_size=1)


@given(ROWS)
def test_a_row_and_a_batch_of_one_row_hold_the_same_values(row):
    batch = {
        name: Ragged(np.array(values, NUMPY[dtype]), np.array([len(values)]))
        for name, (dtype, values) in row.items()
    }
    (of_batch,) = encode(batch)
    assert tf.train.Example.FromString(encode_row(row)) == tf.train.Example.FromString(of_batch)


@given(ROWS)
def test_the_order_of_columns_leaves_no_trace(row):
    assert encode_row(dict(reversed(row.items()))) == encode_row(row)
