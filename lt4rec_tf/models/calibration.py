"""Calibration maps: increasing, piecewise-linear functions of a logit, as a served graph has them.

A map acts on the logit and not on the probability: what it gives is a probability again, however
far a logit lies beyond the rows that it was fitted on, and Platt's map is a straight line.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
import tensorflow as tf

from lt4rec_tf.models.losses import log_kept
from lt4rec_tf.schema.types import Task

Method = Literal["isotonic", "platt", "duration"]


@dataclass(frozen=True)
class Curve:
    """A strictly increasing, continuous, piecewise-linear function of a logit.

    Attributes:
        logits: Of its knots: one or more finite numbers, increasing as float32.
        calibrated: What it gives there, the same.
        slope: Below the first knot and above the last one, above 0.

    Raises:
        ValueError: The numbers are others.
    """

    logits: tuple[float, ...]
    calibrated: tuple[float, ...]
    slope: float = 1.0

    def __post_init__(self) -> None:
        """Refuses knots that would change the order of logits."""
        if len(self.logits) != len(self.calibrated) or not self.logits:
            found = f"{len(self.logits)} and {len(self.calibrated)}"
            raise ValueError(f"knots: found {found} numbers, expected as many of both, 1 or more")
        for name in ("logits", "calibrated"):
            numbers = np.array(getattr(self, name), np.float32)
            if not np.isfinite(numbers).all() or not (np.diff(numbers) > 0).all():
                raise ValueError(f"{name}: expected finite numbers, each above the one before")
        if not 0 < self.slope < math.inf:
            raise ValueError(f"slope: found {self.slope}, expected a number above 0")

    @property
    def steepest(self) -> float:
        """Returns its largest slope."""
        slopes = np.diff(np.array(self.calibrated, np.float32)) / np.diff(
            np.array(self.logits, np.float32)
        )
        return float(max([self.slope, *slopes]))


@dataclass(frozen=True)
class Calibration:
    """The map of one task.

    Attributes:
        method: How it was fitted.
        curves: That of all rows; behind it, by duration, those of the groups.
        bounds: By duration: the seconds at which the second group and those after it begin.
        rows: That it was fitted on.
        steps: Of the isotonic regression of all rows; 0 where there was none.
        distance: The mean distance of predictions by this map to those by the isotonic regression
            itself, on the rows that it was fitted on; 0 where there was none.
    """

    method: Method
    curves: tuple[Curve, ...]
    bounds: tuple[float, ...] = ()
    rows: int = 0
    steps: int = 0
    distance: float = 0.0

    def __post_init__(self) -> None:
        """Refuses groups that have no curve."""
        groups = len(self.bounds) + 1 if self.by_duration else 0
        if len(self.curves) != 1 + groups:
            raise ValueError(
                f"curves: found {len(self.curves)}, expected {1 + groups} with {len(self.bounds)} "
                "bounds"
            )
        if not (np.diff(np.array(self.bounds, np.float32)) > 0).all():
            raise ValueError("bounds: expected increasing numbers")

    @property
    def by_duration(self) -> bool:
        """Tells if a row's duration decides which curve is its."""
        return self.method == "duration"

    @property
    def steepest(self) -> float:
        """Returns the largest slope of its curves."""
        return max(curve.steepest for curve in self.curves)

    @property
    def words(self) -> str:
        """Returns what it is, in words.

        >>> Calibration("platt", (Curve((0.0,), (0.25,), 1.5),), rows=900).words
        'platt, slope 1.5, offset 0.25, of 900 rows'
        """
        first = self.curves[0]
        if self.method == "platt":
            what = f"slope {first.slope:.4g}, offset {first.calibrated[0]:.4g}"
        else:
            plural = "s" * (len(first.logits) > 1)
            what = f"{len(first.logits)} knot{plural}"
        if self.by_duration:
            knots = [str(len(curve.logits)) for curve in self.curves[1:]]
            what = f"{len(knots)} groups of {', '.join(knots)} knots"
        return f"{self.method}, {what}, of {self.rows:,} rows"


Calibrations = Mapping[str, Calibration]  # by task; one that is not there keeps its predictions
NO_MAPS: Calibrations = MappingProxyType({})


class _Segments(NamedTuple):
    """The lines between and beyond knots, by curve and number of knots up to a logit.

    Attributes:
        knots: float32 (curves, most knots), infinity behind a curve's own.
        logits: Where each line's value is known, float32 (curves * (most knots + 1),).
        calibrated: The value.
        slopes: Its slope.
        most: The value of the knot at its end.
    """

    knots: np.ndarray
    logits: np.ndarray
    calibrated: np.ndarray
    slopes: np.ndarray
    most: np.ndarray


def _segments(curves: Sequence[Curve]) -> _Segments:
    width = max(len(curve.logits) for curve in curves)
    knots = np.full((len(curves), width), np.inf, np.float32)
    lines = np.zeros((4, len(curves), width + 1), np.float32)
    for place, curve in enumerate(curves):
        count = len(curve.logits)
        x, y = np.array(curve.logits, np.float32), np.array(curve.calibrated, np.float32)
        inner = np.diff(y.astype(np.float64)) / np.diff(x.astype(np.float64))

        knots[place, :count] = x
        lines[0, place, : count + 1] = [x[0], *x]
        lines[1, place, : count + 1] = [y[0], *y]
        lines[2, place, : count + 1] = [curve.slope, *inner, curve.slope]
        lines[3, place, : count + 1] = [*y, np.inf]
    return _Segments(knots, *lines.reshape(4, -1))


def calibrated_logits(
    calibration: Calibration, logits: tf.Tensor, seconds: tf.Tensor | None = None
) -> tf.Tensor:
    """Applies a task's map.

    With n knots (x_k, y_k) up to a logit z, and s_n the slope behind the n-th, the answer is
    min(y_n + s_n (z - x_n), y_(n+1)): rounding then never makes a larger logit's answer smaller.

    >>> doubled = Calibration("platt", (Curve((0.0,), (1.0,), 2.0),))
    >>> calibrated_logits(doubled, tf.constant([-1.0, 0.5])).numpy().tolist()
    [-1.0, 2.0]

    Args:
        calibration: The map.
        logits: float32, any shape.
        seconds: By duration: the durations, in a shape that broadcasts to that one; NaN, or 0 and
            less, where they are unknown.

    Returns:
        float32 in that shape.
    """
    flat = tf.reshape(tf.cast(logits, tf.float32), [-1])
    segments = _segments(calibration.curves)
    knots, place = tf.constant(segments.knots), tf.zeros_like(flat, tf.int32)
    if calibration.by_duration:
        curve = _curve_of(calibration, tf.broadcast_to(seconds, tf.shape(logits)))
        knots, place = tf.gather(knots, curve), curve * (segments.knots.shape[1] + 1)

    place += tf.reduce_sum(tf.cast(flat[:, tf.newaxis] >= knots, tf.int32), axis=1)
    x, y, slope, most = (tf.gather(tf.constant(column), place) for column in segments[1:])
    return tf.reshape(tf.minimum(y + slope * (flat - x), most), tf.shape(logits))


def _curve_of(calibration: Calibration, seconds: tf.Tensor) -> tf.Tensor:
    """Returns which curve is whose, int32: the one of all rows where a duration is unknown."""
    seconds = tf.reshape(tf.cast(seconds, tf.float32), [-1])
    bounds = tf.constant(calibration.bounds, tf.float32, [len(calibration.bounds)])
    group = tf.reduce_sum(tf.cast(seconds[:, tf.newaxis] >= bounds, tf.int32), axis=1)
    is_known = tf.math.is_finite(seconds) & (seconds > 0.0)
    return tf.where(is_known, 1 + group, 0)


def calibrated_outputs(
    task: Task,
    outputs: tf.Tensor,
    calibration: Calibration | None,
    seconds: tf.Tensor | None = None,
) -> tf.Tensor:
    """Returns outputs of which `losses.prediction` makes calibrated predictions.

    Where negatives were sampled, the map is one of the log before: it acts on o + log w.

    Args:
        task: A binary one, or one of a ratio, where it has a map.
        outputs: float32, any shape.
        calibration: Its map; None: the outputs stay as they are.
        seconds: As `calibrated_logits` takes them.
    """
    if calibration is None:
        return outputs
    kept = log_kept(task)
    if not kept:
        return calibrated_logits(calibration, outputs, seconds)
    return calibrated_logits(calibration, outputs + kept, seconds) - kept


def needs_durations(calibrations: Calibrations) -> bool:
    """Tells if a map reads rows' durations."""
    return any(calibration.by_duration for calibration in calibrations.values())
