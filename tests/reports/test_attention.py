"""What tickets keep of the attention, counted by hand."""

import numpy as np

from lt4rec_tf.reports.attention import attention_table, attention_title, shares_of_attention
from lt4rec_tf.schema.events import sequences_of
from tests.support.schemas import watched_schema

LINES = """\
| weights of        |   ctr |   cvr | overlap |
| :---------------- | ----: | ----: | ------: |
| event's watched   | 0.500 | 0.250 |   0.500 |
| event's ago       | 0.250 | 0.000 |   0.000 |
| candidate's video | 1.000 | 1.000 |   1.000 |
| watched x video   | 0.000 | 0.000 |       - |
| kernel_1          | 0.500 | 1.000 |   0.500 |
| all               | 0.444 | 0.389 |   0.667 |"""


def masks(watched, ago, above):
    """Of vectors of 2 numbers and layers of 2 units and 1."""
    return {
        "event_kernel": np.array([*watched, *ago], bool),
        "candidate_kernel": np.ones((2, 2), bool),
        "product_kernel": np.zeros((2, 2), bool),
        "kernel_1": np.array(above, bool),
    }


def test_shares_are_those_of_each_list_s_rows(tmp_path):
    (sequence,) = sequences_of(watched_schema(tmp_path))
    by_task = {
        "ctr": masks([[1, 1], [0, 0]], [[0, 0], [0, 1]], [[1], [0]]),
        "cvr": masks([[1, 0], [0, 0]], [[0, 0], [0, 0]], [[1], [1]]),
    }
    shares = shares_of_attention(sequence, 2, by_task)
    assert shares.weights == 18
    assert shares.kept == {"ctr": 2 + 1 + 4 + 0 + 1, "cvr": 1 + 0 + 4 + 0 + 2}
    table = attention_table(shares)
    title = attention_title(shares, "s_gates")
    assert title.endswith("attention to watched: ctr 8 and cvr 7 of 18 weights")
    assert table == LINES
