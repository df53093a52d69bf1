"""A trained model of a run, as an object."""

from __future__ import annotations

from typing import Any

import tf_keras as keras

from lt4rec_tf.api.tables import Table
from lt4rec_tf.experiment.predictor import Predictor
from lt4rec_tf.models.layers.masked_dense import MaskedDense
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.tickets.masks import Masks


class Model:
    """A trained model: its network, its tickets, its predictions.

    Made by `Run.model`.

    Args:
        predictor: What scores.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    @property
    def name(self) -> str:
        """Returns its name, such as "s_weight"."""
        return self._predictor.name

    @property
    def tasks(self) -> tuple[str, ...]:
        """Returns the tasks that it predicts."""
        return self._predictor.network.tasks

    @property
    def schema(self) -> Schema:
        """Returns the run's schema with these tasks, and what was fitted to train."""
        return self._predictor.schema

    @property
    def outputs(self) -> tuple[str, ...]:
        """Returns the columns that `predict` returns: those of a served version."""
        return self._predictor.outputs

    @property
    def keras(self) -> keras.Model:
        """Returns the functional model: {feature: ids} -> {task: logit}, masks applied."""
        return self._predictor.network.model

    def tower(self, task: str) -> tuple[MaskedDense, ...]:
        """Returns a task's masked layers, from the bottom up; none where nothing is masked.

        Raises:
            ValueError: It has no such task.
        """
        return tuple(self._predictor.network.towers[self._known(task)])

    def masks(self, task: str) -> Masks:
        """Returns a task's ticket: by kernel bool in its shape, True where a weight is kept.

        Raises:
            ValueError: It has no such task.
        """
        return self._predictor.network.masks(self._known(task))

    def predict(self, frame: Any) -> Table:
        """Scores rows as they stand in the logs; a served version gives the same numbers.

        Args:
            frame: A dict of arrays, or a table of pandas, Polars, DuckDB or Arrow, with the columns
                of the run's logs that features are made of. Labels are not needed. Columns of side
                tables may be in it, or are looked up. An absent value (None, NaN, an empty text,
                one of the schema's nulls) is the schema's missing value, an unknown one unknown.

        Returns:
            By output float32: p<task> of each task, and products of chained ones such as pctcvr;
            rows in the frame's order.

        Raises:
            InputError: A column is absent, or holds a value that cannot be read as its feature's
                dtype; names the column and the row, from 0.
        """
        return Table(self._predictor.of_frame(frame))

    def _known(self, task: str) -> str:
        if task not in self.tasks:
            raise ValueError(f"task: found {task!r}, expected one of {', '.join(self.tasks)}")
        return task

    def __repr__(self) -> str:
        return f"Model({self.name!r} of {self._predictor.folder}: {', '.join(self.outputs)})"
