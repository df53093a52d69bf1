"""Tables in memory as Arrow's record batches, from every kind that hands them on."""

import numpy as np
import pyarrow as pa
import pytest

from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.formats.frames import frame_layout, record_batches


class Stream:
    """What any library has: the protocol, and nothing else."""

    def __init__(self, table):
        self._table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self._table.__arrow_c_stream__(requested_schema)


ROWS = {"n": [1, 2, 3], "text": ["a", None, "c"], "tags": [["x"], [], None]}


@pytest.mark.parametrize(
    "frame",
    [
        ROWS,
        pa.table(ROWS),
        Stream(pa.table(ROWS)),
        pa.record_batch(pa.table(ROWS).to_batches()[0]),
        pa.RecordBatchReader.from_batches(pa.table(ROWS).schema, pa.table(ROWS).to_batches()),
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_every_kind_gives_the_same_rows_cut_into_batches(frame):
    schema, batches = record_batches(frame, 2)
    batches = list(batches)
    assert [len(batch) for batch in batches] == [2, 1]
    assert pa.Table.from_batches(batches).to_pydict() == ROWS
    layout = frame_layout(schema)
    assert (layout.columns, layout.listed) == (("n", "text", "tags"), {"tags"})


def test_arrays_of_two_dimensions_are_lists_and_nan_among_texts_is_absent():
    frame = {"ids": np.arange(6).reshape(3, 2), "text": np.array(["a", np.nan, "c"], object)}
    _, batches = record_batches(frame, 9)
    assert pa.Table.from_batches(batches).to_pydict() == {
        "ids": [[0, 1], [2, 3], [4, 5]],
        "text": ["a", None, "c"],
    }


def test_a_column_of_another_type_is_left_out_of_the_layout():
    schema, _ = record_batches({"n": [1], "record": [{"a": 1}]}, 9)
    assert frame_layout(schema).columns == ("n",)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (7, "frame: found int, expected a dict of arrays, or a table"),
        ({"a": [1], "b": [1, 2]}, "frame: column b: found 2 rows, expected 1 as in a"),
        ({"a": [object()]}, "frame: column a: cannot be read"),
        ({"a": [1, "x"]}, "frame: column a: cannot be read"),
    ],
)
def test_what_is_no_table_is_named(frame, message):
    with pytest.raises(DataError, match=message):
        record_batches(frame, 9)


def test_two_columns_of_one_name_are_refused():
    table = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(DataError, match="expected distinct names"):
        frame_layout(table.schema)
