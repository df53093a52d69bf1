"""A served version in a session of this process, as TensorFlow Serving has it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lt4rec_tf.api.tables import Table
from lt4rec_tf.core.artifacts import RunError
from lt4rec_tf.data.formats import parquet
from lt4rec_tf.data.formats.column_types import ColumnType, to_type
from lt4rec_tf.data.formats.examples import Ragged, encode
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.formats.frames import FRAME, record_batches
from lt4rec_tf.serving.model_card import MODEL_CARD_FILE
from lt4rec_tf.serving.publish import OpenedVersion, opened, published_versions
from lt4rec_tf.serving.signatures import DEFAULT_SIGNATURE, TF_EXAMPLE

_ROWS = 4096  # that are answered together
_DTYPES = {"DT_STRING": "string", "DT_INT64": "int64", "DT_FLOAT": "float32"}


def load_version(folder: str | Path) -> Version:
    """Loads a version by the session loader, the path that TensorFlow Serving takes.

    Args:
        folder: Such as "models/feed/3", or the model's folder: its newest version.

    Raises:
        InputError: It is no version, or no server can load it.
    """
    folder = Path(folder)
    if not (folder / "saved_model.pb").exists():
        versions = published_versions(folder) if folder.is_dir() else []
        if not versions:
            raise RunError(f"{folder}: found no version, expected a folder with saved_model.pb")
        folder = versions[-1]
    return Version(folder)


class Version:
    """A version, loaded; `close` frees its memory, as the end of a `with` block does.

    Attributes:
        folder: Where it lies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = contextlib.ExitStack()
        self._version: OpenedVersion = self._stack.enter_context(opened(folder))

    @property
    def signatures(self) -> tuple[str, ...]:
        """Returns the names of its signatures."""
        return tuple(sorted(self._version.signatures))

    @property
    def features(self) -> dict[str, str]:
        """Returns the inputs of `serving_default`, each with its dtype."""
        inputs = self._version.signatures[DEFAULT_SIGNATURE].inputs
        names = _types()
        return {name: _DTYPES[names(info.dtype)] for name, info in sorted(inputs.items())}

    @property
    def card(self) -> str:
        """Returns its model card, Markdown; "" where it has none."""
        path = self.folder / MODEL_CARD_FILE
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def answers(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns a server's answer to one request, such as one to `rank`.

        Args:
            signature: Its name.
            inputs: By input name: exactly the signature's inputs.

        Raises:
            InputError: There is no such signature, it has other inputs, or refuses their values.
        """
        return self._version.answers(signature, inputs)

    def predict(self, frame: Any) -> Table:
        """Answers rows as `serving_default` does.

        Args:
            frame: As `Model.predict` takes it, its columns named as the features. A version knows
                no logs: a list is a list, and other columns are passed over. An absent value is the
                feature's missing value.

        Returns:
            By output float32, rows in the frame's order.

        Raises:
            InputError: A feature is absent, or a value is none of its dtype; names the column and
                the row, from 0.
        """
        arrow_schema, batches = record_batches(frame, _ROWS)
        found = parquet.columns_of(arrow_schema, FRAME)
        absent = [name for name in self.features if name not in found]
        if absent:
            raise DataError(
                f"{FRAME}: found no column {absent[0]!r}, which {self.folder} asks for; the "
                f"columns are {', '.join(found)}"
            )
        outputs = self._version.signatures[TF_EXAMPLE].outputs
        pieces: dict[str, list[np.ndarray]] = {name: [] for name in outputs}
        for records in self._examples(batches, found):
            answers = self.answers(TF_EXAMPLE, {"examples": records})
            for name in pieces:
                pieces[name].append(answers[name])
        empty = np.zeros(0, np.float32)
        return Table({name: np.concatenate([empty, *parts]) for name, parts in pieces.items()})

    def _examples(
        self, batches: Iterator[Any], found: Mapping[str, parquet.Column]
    ) -> Iterator[np.ndarray]:
        """Serializes rows as `tf_example` takes them: what is absent is left out."""
        rows = 0
        for batch in batches:
            columns: dict[str, Ragged] = {}
            for name, dtype in self.features.items():
                if not found[name].kind:
                    raise DataError(
                        f"{FRAME}: column {name}: found the type {found[name].arrow_type}, "
                        f"expected {dtype}, or a list of it"
                    )
                raw = parquet.ragged_of(batch.column(batch.schema.names.index(name)), found[name])
                columns[name], bad = to_type(ColumnType(dtype), raw)
                if bad.any():
                    row = int(np.flatnonzero(bad)[0])
                    raise DataError(
                        f"{FRAME}: row {rows + row}: column {name}: found "
                        f"{batch.column(name)[row].as_py()!r}, expected {dtype}"
                    )
            rows += len(batch)
            yield _serialized(columns)

    def close(self) -> None:
        """Frees its memory."""
        self._stack.close()

    def __enter__(self) -> Version:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Version({str(self.folder)!r}: {', '.join(self.signatures)})"


def _serialized(columns: Mapping[str, Ragged]) -> np.ndarray:
    """Serializes rows as tf.Examples in which a feature without a value does not stand.

    A graph takes the default of a feature that is left out, and refuses one that is empty.
    """
    present = np.stack([column.lengths > 0 for column in columns.values()], axis=1)
    records = np.empty(len(present), object)
    for pattern in np.unique(present, axis=0):
        rows = (present == pattern).all(axis=1)
        held = [name for name, is_held in zip(columns, pattern, strict=True) if is_held]
        some = {name: columns[name].of_rows(rows) for name in held}
        records[rows] = encode(some) if some else b""
    return records


def _types() -> Any:
    from tensorflow.core.framework import types_pb2

    return types_pb2.DataType.Name
