"""LightGBM for quality.py: categories as they are, or as means of labels and counts."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import lightgbm
import numpy as np
from quality_results import SPLITS, Result, Rows

SETTINGS = {"learning_rate": 0.03, "num_leaves": 31, "min_data_in_leaf": 50, "verbose": -1}
SAMPLED = {"feature_fraction": 0.8, "bagging_fraction": 0.8, "bagging_freq": 1}
MOST_TREES, PATIENCE = 3000, 100
OBJECTIVES = {"binary": ("binary", "auc"), "continuous": ("regression", "l2")}
FOLDS = 5  # a row of train is encoded by labels of the other folds
PRIOR = 20.0  # rows of the mean over all that a value's own mean starts with
Columns = dict[str, list[np.ndarray]]  # by split


def train(
    encode: Callable[..., tuple[Columns, list[int]]],
    rows: Rows,
    seed: int,
    flags: argparse.Namespace,
) -> Result:
    """Trains a model for each task; validation chooses its number of trees."""
    predictions, best = {}, {}
    for task, kind in rows.kinds.items():
        columns, categories = encode(rows, task, seed, flags)
        inputs = {split: np.stack(columns[split], axis=1) for split in SPLITS}
        sets = {}
        for split in ("train", "validation"):
            counted = rows.weight(split, task) > 0
            sets[split] = lightgbm.Dataset(
                inputs[split][counted],
                rows.label(split, task)[counted],
                weight=rows.weight(split, task)[counted],
                categorical_feature=categories,
                reference=sets.get("train"),
            )
        objective, metric = OBJECTIVES[kind]
        model = lightgbm.train(
            SETTINGS | SAMPLED | {"objective": objective, "metric": metric, "seed": seed},
            sets["train"],
            MOST_TREES,
            valid_sets=[sets["validation"]],
            callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
        )
        predictions[task] = model.predict(inputs["test"], num_iteration=model.best_iteration)
        best[task] = model.best_iteration
    return Result(predictions, best)


def native(
    rows: Rows, task: str, seed: int, flags: argparse.Namespace
) -> tuple[Columns, list[int]]:
    """Returns numbers, categories with few values, and whether each value is in a list."""
    columns: Columns = {split: [] for split in SPLITS}
    categories = []
    for feature in rows.features:
        name, is_number = feature["name"], f"train/number/{feature['name']}" in rows.arrays
        if not is_number and feature["rows"] > flags.most_categories:
            continue
        if not is_number and not feature["list"]:
            categories.append(len(columns["train"]))
        for split in SPLITS:
            if is_number:
                columns[split].append(rows.arrays[f"{split}/number/{name}"])
            elif feature["list"]:
                ids = rows.arrays[f"{split}/ids/{name}"]
                columns[split] += [
                    (ids == value).any(axis=1) for value in range(1, feature["rows"])
                ]
            else:
                columns[split].append(rows.arrays[f"{split}/ids/{name}"])
    return columns, categories


def encoded(
    rows: Rows, task: str, seed: int, flags: argparse.Namespace
) -> tuple[Columns, list[int]]:
    """Returns numbers, and of every category and id the label's mean and the count in train."""
    columns: Columns = {split: [] for split in SPLITS}
    labels, weights = rows.label("train", task), rows.weight("train", task)
    fold = np.random.default_rng(seed).integers(0, FOLDS, len(labels))
    for feature in rows.features:
        name = feature["name"]
        if f"train/number/{name}" in rows.arrays:
            for split in SPLITS:
                columns[split].append(rows.arrays[f"{split}/number/{name}"])
            continue
        ids = {split: as_lists(rows.arrays[f"{split}/ids/{name}"]) for split in SPLITS}
        means, counts = encodings(ids["train"], labels, weights, feature["rows"])
        out_of_fold = np.empty(len(labels))
        for number in range(FOLDS):
            others = np.where(fold == number, 0, weights)
            inside = fold == number
            fold_means, _ = encodings(ids["train"], labels, others, feature["rows"])
            out_of_fold[inside] = mean_of(fold_means, ids["train"][inside])
        for split in SPLITS:
            of_label = out_of_fold if split == "train" else mean_of(means, ids[split])
            columns[split] += [of_label, mean_of(np.log1p(counts), ids[split])]
    return columns, []


def encodings(
    ids: np.ndarray, labels: np.ndarray, weights: np.ndarray, rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns by id the label's smoothed mean, and how many rows of train have it, (rows,) each."""
    width = ids.shape[1]
    flat = ids.ravel()
    shown = np.bincount(flat, minlength=rows)
    weight = np.bincount(flat, np.repeat(weights, width), minlength=rows)
    total = np.bincount(flat, np.repeat(weights * labels, width), minlength=rows)
    overall = (weights * labels).sum() / weights.sum()
    return (total + PRIOR * overall) / (weight + PRIOR), shown


def as_lists(ids: np.ndarray) -> np.ndarray:
    """Returns ids as lists (rows, values)."""
    return ids if ids.ndim == 2 else ids[:, None]


def mean_of(values: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Returns the mean of a list's values, without padding; of an empty list the padding's."""
    real = ids > 0
    real[:, 0] |= ~real.any(axis=1)
    return (values[ids] * real).sum(axis=1) / real.sum(axis=1)


TREES = {
    "LightGBM, native categories without ids": partial(train, native),
    "LightGBM, means of labels and counts": partial(train, encoded),
}
