"""Durations that a request holds, which a head or a calibration map may read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from lt4rec_tf.core.flags import ConfigError
from lt4rec_tf.data.input.labels import UNIT_SECONDS
from lt4rec_tf.models.calibration import Calibrations, needs_durations
from lt4rec_tf.models.heads.of_task import read_durations
from lt4rec_tf.schema.types import Feature, Schema


class DurationInput(NamedTuple):
    """The feature of a request that holds a video's duration.

    Attributes:
        feature: A single number.
        seconds: Of its unit.
    """

    feature: Feature
    seconds: float

    def of(self, raw: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns durations in seconds as batches of the logs hold them, float32.

        Args:
            raw: Raw features, any shape, or with a dimension of candidates behind the first.

        Returns:
            Of the feature's shape, NaN where it has its missing value.
        """
        values = tf.convert_to_tensor(raw[self.feature.name])
        seconds = tf.cast(tf.cast(values, tf.float64) * self.seconds, tf.float32)
        absent = values == tf.constant(self.feature.missing, values.dtype)
        return tf.where(absent, float("nan"), seconds)


def duration_input(
    schema: Schema, refused: str = "--calibration: found duration, expected another method"
) -> DurationInput:
    """Returns what holds a row's duration in a request: the one that batches hold in seconds.

    Args:
        schema: Of the request.
        refused: Begins the error: what cannot be without durations.

    Raises:
        ConfigError: No label names a column of durations, or no feature of single numbers is made
            of it.
    """
    labels = [label for label in schema.labels if label.duration is not None]
    if not labels:
        raise ConfigError(f"{refused}: no label of {schema.path} names a column of durations")
    column, unit = labels[0].duration, labels[0].duration_unit
    for feature in schema.features:
        if feature.column == column and feature.dtype != "string" and not feature.multivalued:
            return DurationInput(feature, UNIT_SECONDS[unit])
    raise ConfigError(
        f"{refused}: a request cannot hold a video's duration, as no feature of single numbers is "
        f"made of column {column}"
    )


def durations_of(
    schema: Schema, calibrations: Calibrations, raw: Mapping[str, tf.Tensor], rank: int
) -> tf.Tensor | None:
    """Returns what maps and heads need of a request, as `calibrated_logits` takes it.

    Args:
        schema: Of the request.
        calibrations: By task.
        raw: The request's features.
        rank: Of what is predicted: 1 for rows, 2 for (requests, candidates).

    Returns:
        Seconds, (rows,), (requests, candidates) or (requests, 1); None where nothing reads them.
    """
    tasks = [task.name for task in schema.tasks]
    if not needs_durations(calibrations) and not read_durations(schema, tasks):
        return None
    seconds = duration_input(schema).of(raw)
    return seconds[:, tf.newaxis] if seconds.shape.rank < rank else seconds
