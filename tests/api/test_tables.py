"""Tables of the API: what they hold, show and hand on."""

import numpy as np
import pyarrow as pa
import pytest

from lt4rec_tf.api.tables import Table


def test_columns_come_back_as_arrays_and_go_on_by_the_protocol():
    table = Table({"id": ["a", None], "p": np.array([0.25, 0.5], np.float32), "n": [1, None]})
    assert table["p"].dtype == np.float32
    np.testing.assert_array_equal(table["n"], [1.0, np.nan])
    assert (table.rows, list(table)) == (2, ["id", "p", "n"])
    arrow = pa.table(table)
    assert arrow.column("p").to_pylist() == [0.25, 0.5]
    assert arrow.column("id").to_pylist() == ["a", None]


def test_rows_are_sorted_with_equal_ones_in_their_order_and_nan_last():
    table = Table({"p": [0.5, np.nan, 0.9, 0.5], "id": [0, 1, 2, 3]})
    assert table.sort("p")["id"].tolist() == [2, 0, 3, 1]
    assert table.sort("p", descending=False).head(2)["id"].tolist() == [0, 3]


def test_a_notebook_shows_the_first_rows_with_their_number():
    table = Table({"video": [f"<v{n}>" for n in range(30)]})
    assert "<td>&lt;v0&gt;</td>" in table._repr_html_()
    assert "v29" not in table._repr_html_()
    assert "[30 rows x 1 columns]" in table._repr_html_()
    assert repr(table).splitlines()[-2:] == ["...", "[30 rows x 1 columns]"]


def test_what_is_no_table_is_refused():
    with pytest.raises(ValueError, match="equally many"):
        Table({"a": [1], "b": [1, 2]})
    with pytest.raises(KeyError, match="no column 'c'; expected one of a"):
        Table({"a": [1]})["c"]
