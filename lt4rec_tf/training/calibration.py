"""Fits calibration maps to the predictions for rows that no weight was trained on.

Isotonic regression: Zadrozny and Elkan, Transforming Classifier Scores into Accurate Multiclass
Probability Estimates (KDD 2002), doi 10.1145/775047.775151. A line through the centres of its steps
in place of the steps: Oron and Flournoy, Centered Isotonic Regression (2017), arXiv 1701.05964.
Platt's map: Platt, Probabilistic Outputs for Support Vector Machines (1999). Groups of durations:
Zhan et al., Deconfounding Duration Bias in Watch-time Prediction (KDD 2022), arXiv 2206.06003.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from lt4rec_tf.metrics.calibration import mass_bins
from lt4rec_tf.metrics.in_parts import parts
from lt4rec_tf.models.calibration import (
    Calibration,
    Curve,
    calibrated_logits,
    calibrated_outputs,
)
from lt4rec_tf.models.losses import log_kept, probability
from lt4rec_tf.schema.types import Schema, Task
from lt4rec_tf.training.predictions import Predictions

LEAST_ROWS = 100  # of a task's population
LEAST_OF_CLASS = 10  # rows with label 1, and with label 0, of a binary task
DURATION_GROUPS = 8
LEAST_ROWS_OF_GROUP = 200

# Of an isotonic map.
MOST_KNOTS = 64
LEAST_ROWS_OF_KNOT = 50
LEAST_GAP = 1e-3  # between the logits of two knots
# What is flatter would give many logits one float32; what is steeper would multiply rounding.
LEAST_SLOPE, MOST_SLOPE = 0.01, 100.0


class UncalibratedError(ValueError):
    """No map can be fitted; the message says what was found and what was expected."""


class Rows(NamedTuple):
    """Rows to which a map is fitted.

    Attributes:
        logits: Of their predictions, float64 (rows,).
        labels: In [0, 1], float64 (rows,).
        weights: Above 0, float64 (rows,): 1 for a row that counts as one.
    """

    logits: np.ndarray
    labels: np.ndarray
    weights: np.ndarray

    def of(self, rows: np.ndarray) -> Rows:
        """Returns some of the rows, in their order."""
        return Rows(self.logits[rows], self.labels[rows], self.weights[rows])


def fit(method: str, predictions: Predictions, task: Task) -> Calibration:
    """Fits a task's map to the rows of its population.

    Args:
        method: "isotonic", "platt", or "duration": an isotonic map for each group of durations.
        predictions: For rows that no weight was trained on; by duration with their durations.
        task: A binary one, or one of a ratio.

    Raises:
        UncalibratedError: The rows are too few or all alike, or predictions do not rise with
            labels.
    """
    logits, weights = predictions.logits[task.name], predictions.measured_weights(task)
    inside = np.flatnonzero(weights > 0)
    of_rows = weights[inside].astype(np.float64)
    rows = Rows(
        logits[inside].astype(np.float64) + log_kept(task),
        predictions.labels[task.name][inside].astype(np.float64),
        of_rows * (len(inside) / of_rows.sum()) if len(inside) else of_rows,
    )
    refuse_too_few(rows, task)

    if method == "platt":
        return Calibration("platt", (platt_curve(rows),), rows=len(inside))
    pooled = isotonic(rows)
    if method == "isotonic":
        return pooled
    if predictions.durations is None:
        raise ValueError(f"task {task.name}: found no durations, expected those of all rows")
    return _by_duration(pooled, rows, predictions.durations[inside])


def refuse_too_few(rows: Rows, task: Task) -> None:
    """Refuses rows to which no map can be fitted.

    Raises:
        UncalibratedError: Says what was found and what was expected.
    """
    count = len(rows.logits)
    if count < LEAST_ROWS:
        raise UncalibratedError(f"found {count} rows, expected {LEAST_ROWS} or more")
    if not np.isfinite(rows.logits).all():
        raise UncalibratedError("found predictions that are not finite: the network diverged")
    if task.kind == "binary":
        ones = int((rows.labels == 1).sum())
        if min(ones, count - ones) < LEAST_OF_CLASS:
            raise UncalibratedError(
                f"found {ones} rows with label 1 and {count - ones} with label 0, expected "
                f"{LEAST_OF_CLASS} or more of both"
            )
    elif rows.labels.min() == rows.labels.max():
        raise UncalibratedError(f"found label {rows.labels[0]:g} alone, expected several")


def platt_curve(rows: Rows) -> Curve:
    """Returns a z + b of the logits z by maximum likelihood of the labels, a ratio's in parts.

    A row with label y counts y times as 1 and 1 - y times as 0. Nothing is regularised.

    Raises:
        UncalibratedError: a is not between `LEAST_SLOPE` and `MOST_SLOPE`.
    """
    from sklearn.linear_model import LogisticRegression  # no user without calibration waits for it

    twice = np.concatenate([rows.logits, rows.logits])[:, np.newaxis]
    ends = np.repeat([1, 0], len(rows.logits))
    counts = np.concatenate([rows.weights * rows.labels, rows.weights * (1 - rows.labels)])
    counted = counts > 0
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that a logit separates: refused below
        model.fit(twice[counted], ends[counted], sample_weight=counts[counted])

    slope, offset = float(model.coef_[0, 0]), float(model.intercept_[0])
    if not LEAST_SLOPE <= slope <= MOST_SLOPE or not np.isfinite(offset):
        raise UncalibratedError(
            f"found labels whose log odds rise {slope:.4g} times as fast as predictions', expected "
            f"{LEAST_SLOPE:g} to {MOST_SLOPE:g} times"
        )
    return Curve((0.0,), (offset,), slope)


def isotonic(rows: Rows) -> Calibration:
    """Returns the map through the centres of the steps of isotonic regression.

    A step that spans logits of mean x and has value v gives the knot (x, log(v / (1 - v))). Below
    the first knot and above the last one odds keep their ratio to the predicted ones.
    """
    from sklearn.isotonic import isotonic_regression

    logits, place = np.unique(rows.logits, return_inverse=True)
    weights = np.bincount(place, rows.weights)
    labels = np.bincount(place, rows.weights * rows.labels)
    fitted = isotonic_regression(labels / weights, sample_weight=weights, y_min=0.0, y_max=1.0)

    step = np.concatenate([[0], np.cumsum(np.diff(fitted) > 0)])
    steps = _Steps(
        np.bincount(step, weights * logits),
        np.bincount(step, labels),
        np.bincount(step, weights),
        np.bincount(step, np.bincount(place)),
    )
    curve = _curve(_merged(steps))
    found = Calibration("isotonic", (curve,), rows=len(place), steps=int(step[-1]) + 1)
    answers = probability(calibrated_logits(found, logits.astype(np.float32))).numpy()
    distance = np.average(np.abs(answers - fitted), weights=weights)
    return replace(found, distance=float(distance))


class _Steps(NamedTuple):
    """Steps of an isotonic regression.

    Attributes:
        logits: Sums of weighted logits, (steps,).
        labels: Sums of weighted labels.
        weights: Sums of weights.
        rows: Their numbers.
    """

    logits: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    rows: np.ndarray

    @property
    def x(self) -> np.ndarray:
        """Returns the steps' mean logits, float32."""
        return (self.logits / self.weights).astype(np.float32)

    @property
    def values(self) -> np.ndarray:
        """Returns the steps' mean labels, away from 0 and 1 as by Laplace's rule of succession."""
        least = 1 / (self.weights + 2)
        return np.clip(self.labels / self.weights, least, 1 - least)

    @property
    def y(self) -> np.ndarray:
        """Returns the logits of `values`, float32."""
        return np.log(self.values / (1 - self.values)).astype(np.float32)


def _merged(steps: _Steps) -> _Steps:
    """Merges neighbours until each step can be a knot and there are few; the cheapest pair first.

    A merger costs w_1 w_2 / (w_1 + w_2) (v_1 - v_2)^2, by which the squared error of the regression
    rises.
    """
    while len(steps.rows) > 1:
        run, rise = np.diff(steps.x.astype(np.float64)), np.diff(steps.y.astype(np.float64))
        must = (run < LEAST_GAP) | (rise <= 0) | (rise > MOST_SLOPE * run)
        must |= np.minimum(steps.rows[:-1], steps.rows[1:]) < LEAST_ROWS_OF_KNOT
        if not must.any() and len(steps.rows) <= MOST_KNOTS:
            break

        below, above = steps.weights[:-1], steps.weights[1:]
        cost = below * above / (below + above) * np.diff(steps.values) ** 2
        first = int(np.argmin(np.where(must, cost, np.inf) if must.any() else cost))
        starts = np.delete(np.arange(len(steps.rows)), first + 1)
        steps = _Steps(*(np.add.reduceat(column, starts) for column in steps))
    return steps


def _curve(steps: _Steps) -> Curve:
    x, y = steps.x.astype(np.float64), steps.y.astype(np.float64)
    for place in range(1, len(x)):
        rise = LEAST_SLOPE * (x[place] - x[place - 1])
        y[place] = max(y[place], y[place - 1] + rise)
    return Curve(tuple(x.tolist()), tuple(y.astype(np.float32).tolist()))


def _by_duration(pooled: Calibration, rows: Rows, seconds: np.ndarray) -> Calibration:
    """Returns a map for each group of durations, of about equally many rows.

    A group whose labels are all alike has that of all rows.
    """
    known = np.flatnonzero(np.isfinite(seconds) & (seconds > 0))
    groups = min(DURATION_GROUPS, len(known) // LEAST_ROWS_OF_GROUP)
    if groups < 2:
        raise UncalibratedError(
            f"found {len(known)} rows with a duration, expected {2 * LEAST_ROWS_OF_GROUP} or more"
        )

    durations = seconds[known]
    group_of = mass_bins(durations, bins=groups)
    curves, bounds, last = [*pooled.curves], [], -np.inf
    for group in np.unique(group_of):
        inside = group_of == group
        least = float(durations[inside].min())
        if np.isfinite(last):
            between = np.float32((last + least) / 2)
            bounds.append(float(between) if between > last else least)
        last = float(durations[inside].max())
        of_group = rows.of(known[inside])
        is_enough = len(of_group.labels) >= LEAST_ROWS and np.ptp(of_group.labels) > 0
        curves += isotonic(of_group).curves if is_enough else pooled.curves
    return replace(pooled, method="duration", curves=tuple(curves), bounds=tuple(bounds))


def calibrated(
    predictions: Predictions, schema: Schema, calibrations: Mapping[str, Calibration]
) -> Predictions:
    """Returns predictions as maps change them.

    Args:
        predictions: Of a split; where a map is by duration, with durations.
        schema: With the tasks.
        calibrations: By task; one that is not there keeps its predictions.
    """
    logits = dict(predictions.logits)
    for name, calibration in calibrations.items():
        if name not in logits:
            continue
        whole = np.empty_like(logits[name])
        for rows in parts(len(whole)):  # as in `Predictions.of`
            durations = predictions.durations
            seconds = None if durations is None else durations[rows]
            answers = calibrated_outputs(
                schema.task(name), logits[name][rows], calibration, seconds
            )
            whole[rows] = np.asarray(answers)
        logits[name] = whole
    return replace(predictions, logits=logits)
