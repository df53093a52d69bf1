"""Calibration: does the mean prediction agree with the mean label."""

from __future__ import annotations

from numpy.typing import ArrayLike

from lt4rec_tf.metrics.inputs import finite_columns


def pcoc(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Predicted clicks over observed clicks: mean(p) / mean(y).

    >>> pcoc([1, 0, 0, 1], [0.5, 0.25, 0.25, 0.5])   # predicts 3 clicks where 4 happen
    0.75

    Args:
        labels: 0 or 1, or ratios in [0, 1], (rows,).
        probabilities: In [0, 1], (rows,).

    Returns:
        0 or more: 1 is calibrated, above 1 promises too much; nan where no label is above 0.

    Raises:
        ValueError: The columns do not fit, or hold other values.

    Source: He et al., Practical Lessons from Predicting Clicks on Ads at Facebook (ADKDD 2014),
    where it is called calibration.
    """
    labels, probabilities = finite_columns(labels=labels, probabilities=probabilities)
    observed = float(labels.sum())
    # Python's division, unlike NumPy's, says nothing when the smallest labels overflow it.
    return float(probabilities.sum()) / observed if observed else float("nan")
