"""Tables that the API returns: NumPy arrays by column, which other libraries take as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from lt4rec_tf.data.formats.files import pyarrow_or_advice

_SHOWN_ROWS = 20


class Table(Mapping[str, np.ndarray]):
    """Columns of equally many rows.

    `table["pctr"]` is an array. pandas, Polars, DuckDB and Arrow take a table by the Arrow
    PyCapsule protocol: `pl.DataFrame(table)`, `pa.table(table)`, `table.to_pandas()`.

    >>> table = Table({"video": ["v1", "v2"], "pctr": np.array([0.25, 0.5])})
    >>> table["pctr"].tolist(), table.rows
    ([0.25, 0.5], 2)
    >>> table
    video  pctr
    v1     0.25
    v2     0.5
    [2 rows x 2 columns]

    Args:
        columns: Arrays or lists by name; None where a row has no value.

    Raises:
        ValueError: They are not equally long.
    """

    def __init__(self, columns: Mapping[str, Sequence[Any] | np.ndarray]) -> None:
        self._columns = {name: _array(values) for name, values in columns.items()}
        lengths = {name: len(values) for name, values in self._columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"found columns of {lengths} rows, expected equally many")
        self.rows = next(iter(lengths.values()), 0)

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._columns:
            raise KeyError(f"no column {name!r}; expected one of {', '.join(self._columns)}")
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        """Returns the number of columns, as that of any mapping; `rows` has that of the rows."""
        return len(self._columns)

    def sort(self, name: str, *, descending: bool = True) -> Table:
        """Returns the rows ordered by a column; equal ones stay in their order, NaN comes last."""
        values = self[name]
        order = np.argsort(-values if descending else values, kind="stable")
        return Table({column: array[order] for column, array in self._columns.items()})

    def head(self, rows: int) -> Table:
        """Returns the first rows."""
        return Table({column: array[:rows] for column, array in self._columns.items()})

    def to_arrow(self) -> Any:
        """Returns a table of Arrow's.

        Raises:
            DataError: pyarrow is absent.
        """
        pa = pyarrow_or_advice("tables")
        arrays = {name: pa.array(values, from_pandas=False) for name, values in self.items()}
        return pa.table(arrays)

    def to_pandas(self) -> Any:
        """Returns a DataFrame of pandas.

        Raises:
            ImportError: pandas is absent.
        """
        import pandas as pd

        return pd.DataFrame(dict(self._columns))

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def _texts(self) -> list[list[str]]:
        return [
            [_text(array[row]) for array in self._columns.values()]
            for row in range(min(self.rows, _SHOWN_ROWS))
        ]

    def _size(self) -> str:
        return f"[{self.rows} rows x {len(self)} columns]"

    def __repr__(self) -> str:
        lines = [[*self._columns], *self._texts()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        padded = [
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        more = ["..."] * (self.rows > _SHOWN_ROWS)
        return "\n".join([*padded, *more, self._size()])

    def _repr_html_(self) -> str:
        """Returns what a notebook displays."""
        head = "".join(f"<th>{escape(name)}</th>" for name in self._columns)
        rows = ""
        for texts in self._texts():
            rows += "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in texts) + "</tr>"
        return f"<table><tr>{head}</tr>{rows}</table><p>{self._size()}</p>"


def _array(values: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Returns an array of a dtype that holds what is there: numbers beside None become NaN."""
    if isinstance(values, np.ndarray):
        return values
    present = [value for value in values if value is not None]
    if present and all(isinstance(value, int | float) for value in present):
        if len(present) == len(values):
            return np.array(values)
        return np.array([np.nan if value is None else value for value in values], np.float64)
    array = np.empty(len(values), object)
    array[:] = list(values)
    return array


def _text(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return "-" if np.isnan(value) else f"{value:.6g}"
    return "-" if value is None else str(value)
