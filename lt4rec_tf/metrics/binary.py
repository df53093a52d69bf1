"""Metrics of binary tasks: AUC, AUC within groups, log loss and normalised entropy. Exact."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lt4rec_tf.metrics.in_parts import all_rows, as_they_are, counted_columns, mean_over, parts
from lt4rec_tf.metrics.inputs import same_length

_ROWS_OF_USERS = 1 << 21  # at a time, about
_USERS_SEEN = 1 << 18  # by which the users are parted


def auc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Returns the chance that a random positive scores above a random negative, ties counted half.

    AUC = (#{s_i > s_j} + #{s_i = s_j} / 2) / (P N) over all pairs of a positive i and a negative j
    (the Mann-Whitney statistic). Pairs are counted in whole numbers: the only rounding is that of
    the division. With weights a pair counts w_i w_j.

    >>> auc([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.8])   # 3 of 4 pairs right, 1 tied
    0.875

    Args:
        labels: 0 or 1, (rows,).
        scores: Any finite numbers, (rows,).
        weights: Of the rows, 0 or more, (rows,); None: all count once.

    Returns:
        A number in [0, 1]; nan where a class is absent.

    Raises:
        ValueError: The columns do not fit, or hold other values.

    Source: Hanley and McNeil (1982), doi 10.1148/radiology.143.1.7063747.
    """
    y, scored, w = _binary(labels, scores, weights)
    if w is None:
        return _share_won(y, scored)
    one_group = np.zeros(len(y), np.int64)
    per_group, _ = _auc_per_group(y, scored, one_group, w)
    return float(per_group[0]) if per_group.size else float("nan")


def gauc(
    labels: ArrayLike, scores: ArrayLike, groups: ArrayLike, weights: ArrayLike | None = None
) -> float:
    """Returns the AUC within groups (users), averaged by number of impressions.

    GAUC = sum_g n_g AUC_g / sum_g n_g over the groups g that have both classes, n_g rows each. With
    weights n_g is the sum of the group's.

    >>> labels, scores = [0, 1, 0, 1, 1, 1], [0.2, 0.3, 0.9, 0.5, 0.6, 0.1]
    >>> gauc(labels, scores, ["a", "a", "b", "b", "b", "c"])  # (2 * 1 + 3 * 0) / 5
    0.4

    Args:
        labels: 0 or 1, (rows,).
        scores: Any finite numbers, (rows,).
        groups: Integers or strings, equal for rows of one group, (rows,).
        weights: Of the rows, 0 or more, (rows,); None: all count once.

    Returns:
        A number in [0, 1]; nan where no group has both classes.

    Raises:
        ValueError: The columns do not fit, or hold other values.

    Source: Zhu et al., Optimized Cost per Click in Taobao Display Advertising (KDD 2017, arXiv
    1703.02091); Zhou et al., Deep Interest Network (KDD 2018, arXiv 1706.06978).
    """
    group_of = np.asarray(groups)
    if group_of.dtype.kind not in "iu":
        group_of = np.unique(group_of, return_inverse=True)[1]
    same_length(labels=np.asarray(labels), groups=group_of)
    if weights is not None:
        group_of = group_of[np.asarray(weights) > 0]
    y, scored, w = _binary(labels, scores, weights)
    per_group, rows = _auc_of_groups_in_parts(y, scored, group_of, w)
    defined = ~np.isnan(per_group)
    if not defined.any():
        return float("nan")
    return float(np.average(per_group[defined], weights=rows[defined]))


def log_loss(
    labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None
) -> float:
    """Returns the mean cross entropy, in nats: -mean(y ln p + (1 - y) ln(1 - p)).

    Probabilities are clipped to [e, 1 - e], e = 2^-52 (float64's epsilon), so that a certain and
    wrong prediction costs 36.04 and not infinity.

    >>> round(log_loss([1, 0], [0.5, 0.75]), 6)   # (ln 2 + ln 4) / 2
    1.039721

    Args:
        labels: 0 or 1, (rows,).
        probabilities: In [0, 1], (rows,).
        weights: Of the rows, 0 or more, (rows,); None: all count once.

    Returns:
        0 or more; nan without rows.

    Raises:
        ValueError: The columns do not fit, or hold other values.
    """
    y, p, w = _binary(labels, probabilities, weights, "probabilities")
    if not all_rows(lambda some: (some >= 0) & (some <= 1), p):
        first = np.flatnonzero((p < 0) | (p > 1))[0]
        raise ValueError(
            f"probabilities: found {float(p[first])} in row {first}, expected numbers in [0, 1]"
        )
    return mean_over(_entropies, w, y, p)


def _entropies(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Returns each row's cross entropy, (rows,)."""
    epsilon = np.finfo(np.float64).eps
    clipped = np.clip(probabilities, epsilon, 1.0 - epsilon)
    # log1p keeps the digits of 1 - p where p is small.
    return np.where(labels == 1, -np.log(clipped), -np.log1p(-clipped))


def ne(labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Returns the normalised entropy: the log loss over that of predicting the labels' mean m.

    NE = log_loss / -(m ln m + (1 - m) ln(1 - m)), m measured on the same rows. Below 1 predictions
    say more than the mean does; unlike the log loss it compares populations of different means.

    >>> ne([1, 0], [0.5, 0.5]), round(ne([1, 0, 0, 0], [0.25, 0.25, 0.25, 0.25]), 12)
    (1.0, 1.0)

    Args:
        labels: 0 or 1, (rows,).
        probabilities: In [0, 1], (rows,).
        weights: Of the rows, 0 or more, (rows,); None: all count once.

    Returns:
        0 or more; nan where a class is absent.

    Raises:
        ValueError: The columns do not fit, or hold other values.

    Source: He et al., Practical Lessons from Predicting Clicks on Ads at Facebook (ADKDD 2014).
    """
    loss = log_loss(labels, probabilities, weights)
    y, _, w = _binary(labels, probabilities, weights, "probabilities")
    positive = mean_over(as_they_are, w, y)
    if not 0 < positive < 1:
        return float("nan")
    entropy = -(positive * np.log(positive) + (1 - positive) * np.log1p(-positive))
    return float(loss / entropy)


def _share_won(labels: np.ndarray, scores: np.ndarray) -> float:
    """Returns the AUC of rows that count once: each positive is looked up among the negatives."""
    positives, negatives = scores[labels == 1], scores[labels == 0]
    positives.sort()
    negatives.sort()
    twice_won = 0  # as ties count half
    for rows in parts(len(positives)):
        for side in ("left", "right"):
            twice_won += int(np.searchsorted(negatives, positives[rows], side).sum())

    pairs = len(positives) * len(negatives)
    return float(np.float64(twice_won) / np.float64(2 * pairs)) if pairs else float("nan")


def _auc_of_groups_in_parts(
    labels: np.ndarray, scores: np.ndarray, groups: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns what `_auc_per_group` does; a range of groups at a time where rows are many."""
    count = -(-len(labels) // _ROWS_OF_USERS)
    if count <= 1:
        return _auc_per_group(labels, scores, groups, weights)

    seen = np.sort(groups[:: -(-len(groups) // _USERS_SEEN)])
    firsts = np.unique(seen[np.arange(1, count) * len(seen) // count])
    found = []
    for number in range(len(firsts) + 1):
        inside = groups < firsts[number] if number < len(firsts) else np.ones(len(groups), bool)
        if number:
            inside &= groups >= firsts[number - 1]
        of_rows = None if weights is None else weights[inside]
        found.append(_auc_per_group(labels[inside], scores[inside], groups[inside], of_rows))
    per_group, rows = zip(*found, strict=True)
    return np.concatenate(per_group), np.concatenate(rows)


def _auc_per_group(
    labels: np.ndarray, scores: np.ndarray, groups: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns each group's AUC, nan where a class is absent, and its rows, by rising group.

    Without weights, rows are whole numbers, which sums keep exact.
    """
    if not labels.size:
        return np.zeros(0), np.zeros(0, np.int64)
    of_rows = np.ones(len(labels), np.int64) if weights is None else weights
    order = np.lexsort((scores, groups))
    scores, groups, of_rows = scores[order], groups[order], of_rows[order]
    is_positive = labels[order] == 1
    group_starts = _starts(groups)

    # A run: the rows of one group that tie.
    run_starts = _starts(groups, scores)
    positives = np.add.reduceat(of_rows * is_positive, run_starts)
    negatives = np.add.reduceat(of_rows * ~is_positive, run_starts)

    group_of_run = np.searchsorted(group_starts, run_starts, side="right") - 1
    first_run = np.searchsorted(run_starts, group_starts)
    negatives_before = np.cumsum(negatives) - negatives
    negatives_below = negatives_before - negatives_before[first_run][group_of_run]

    # Twice the pairs won, as ties count half: whole numbers are exact.
    twice_won = np.add.reduceat(positives * (2 * negatives_below + negatives), first_run)
    pairs = np.add.reduceat(positives, first_run) * np.add.reduceat(negatives, first_run)

    per_group = np.full(len(group_starts), np.nan)
    np.divide(twice_won, 2 * pairs, out=per_group, where=pairs > 0)
    # Sums of weights are rounded, so that a share may come out a little outside.
    return np.clip(per_group, 0.0, 1.0), np.add.reduceat(of_rows, group_starts)


def _starts(*columns: np.ndarray) -> np.ndarray:
    """Returns the first row, and the rows that differ from the row before in any column."""
    changes = np.zeros(len(columns[0]), bool)
    changes[0] = True
    for column in columns:
        changes[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(changes)


def _binary(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None, name: str = "scores"
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Returns the labels, checked, the scores and the weights of the rows that count."""
    (checked, other), w = counted_columns(weights, **{"labels": labels, name: scores})
    if not all_rows(lambda some: (some == 0) | (some == 1), checked):
        first = np.flatnonzero((checked != 0) & (checked != 1))[0]
        raise ValueError(f"labels: found {float(checked[first])} in row {first}, expected 0 or 1")
    return checked, other, w
