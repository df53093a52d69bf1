"""DeepCTR's networks for quality.py, which imports this in their environment."""

from __future__ import annotations

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # DeepCTR knows no other Keras
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from deepctr.feature_column import DenseFeat, SparseFeat, VarLenSparseFeat
from deepctr.models import DIN, MMOE, PLE, SharedBottom
from quality_results import Result, Rows, loss

DIN_PEER = "DeepCTR DIN"
OF_EVENTS = "hist_"  # begins the names of the lists that DIN compares with candidates
KINDS = {"binary": "binary", "continuous": "regression"}  # as DeepCTR names them


def train(build: Callable[..., Any], rows: Rows, seed: int, flags: argparse.Namespace) -> Result:
    """Trains a network, keeps the pass that is best on validation, predicts test."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    kinds = [KINDS[kind] for kind in rows.kinds.values()]
    columns = columns_of(rows, flags.dimension, seed)
    model = build(columns, task_types=kinds, task_names=list(rows.kinds), seed=seed)
    model.compile(
        keras.optimizers.Adam(flags.learning_rate),
        loss=[partial_loss(kind) for kind in rows.kinds.values()],
        loss_weights=[flags.loss_weights[task] for task in rows.kinds],
    )

    targets = [
        np.stack([rows.label("train", task), rows.weight("train", task)], axis=1)
        for task in rows.kinds
    ]
    inputs = {split: inputs_of(rows, split) for split in ("train", "validation", "test")}
    lowest, best, kept = np.inf, 0, model.get_weights()
    for number in range(1, flags.passes + 1):
        model.fit(inputs["train"], targets, batch_size=flags.batch, verbose=0)
        predictions = predict(model, inputs["validation"], rows)
        value = sum(
            flags.loss_weights[task] * loss(rows, "validation", task, predictions[task])
            for task in rows.kinds
        )
        if value < lowest:
            lowest, best, kept = value, number, model.get_weights()
    model.set_weights(kept)
    return Result(predict(model, inputs["test"], rows), dict.fromkeys(rows.kinds, best))


def train_din(rows: Rows, seed: int, flags: argparse.Namespace) -> Result:
    """Trains a DIN for each task: lists of events are compared with their candidates."""
    if not any(feature["candidate"] for feature in rows.features):
        raise SystemExit(
            f"{DIN_PEER}: found no list of events with a candidate, expected one; --models leaves "
            "it out"
        )
    results = [train(_din, rows.of_task(task), seed, flags) for task in rows.kinds]
    predictions = {task: found for result in results for task, found in result.predictions.items()}
    return Result(predictions, {task: n for result in results for task, n in result.best.items()})


def _din(columns: list[Any], task_types: list[str], task_names: list[str], seed: int) -> Any:
    lists = [column for column in columns if isinstance(column, VarLenSparseFeat)]
    candidates = [c.embedding_name for c in lists if c.name.startswith(OF_EVENTS)]
    return DIN(columns, candidates, seed=seed, task=task_types[0])


def columns_of(rows: Rows, dimension: int, seed: int) -> list[Any]:
    """Returns DeepCTR's columns: a table for every field of ids, two numbers for a number.

    A list of events has the name by which DIN knows it, and shares its candidate's table.
    """
    columns: list[Any] = []
    for index, feature in enumerate(rows.features):
        name = feature["name"]
        if f"train/scaled/{name}" in rows.arrays:
            columns += [DenseFeat(name, 1), DenseFeat(f"{name} is missing", 1)]
            continue
        # Its own default draws the same numbers for all fields and seeds.
        draw = keras.initializers.RandomNormal(0.0, 1e-4, seed=1000 * seed + index)
        column = SparseFeat(
            _name(feature),
            feature["rows"],
            dimension,
            embeddings_initializer=draw,
            embedding_name=feature["candidate"] or name,
        )
        if feature["list"]:
            column = VarLenSparseFeat(column, rows.arrays[f"train/ids/{name}"].shape[1], "mean")
        columns.append(column)
    return columns


def inputs_of(rows: Rows, split: str) -> dict[str, np.ndarray]:
    """Returns a split's inputs by column."""
    inputs = {}
    for feature in rows.features:
        name = feature["name"]
        numbers = rows.arrays.get(f"{split}/scaled/{name}")
        if numbers is None:
            inputs[_name(feature)] = rows.arrays[f"{split}/ids/{name}"]
        else:
            missing = np.isnan(numbers)
            inputs[name] = np.where(missing, np.float32(0), numbers)
            inputs[f"{name} is missing"] = missing.astype(np.float32)
    return inputs


def _name(feature: Mapping[str, Any]) -> str:
    return f"{OF_EVENTS}{feature['candidate']}" if feature["candidate"] else feature["name"]


def partial_loss(kind: str) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns a loss that is the mean over a task's population."""

    def mean_loss(targets: tf.Tensor, predictions: tf.Tensor) -> tf.Tensor:
        labels, weights = targets[:, 0], targets[:, 1]
        values = tf.reshape(predictions, [-1])
        if kind == "binary":
            losses = keras.losses.binary_crossentropy(labels[:, None], values[:, None])
        else:
            losses = tf.square(labels - values)
        return tf.math.divide_no_nan(tf.reduce_sum(weights * losses), tf.reduce_sum(weights))

    return mean_loss


def predict(model: Any, inputs: dict[str, np.ndarray], rows: Rows) -> dict[str, np.ndarray]:
    """Returns the tasks' predictions, (rows,) each."""
    outputs = model.predict(inputs, batch_size=4096, verbose=0)
    outputs = outputs if len(rows.kinds) > 1 else [outputs]
    return {task: output[:, 0] for task, output in zip(rows.kinds, outputs, strict=True)}


NETWORKS = {
    "DeepCTR SharedBottom": partial(train, SharedBottom),
    "DeepCTR MMOE": partial(train, MMOE),
    "DeepCTR PLE": partial(train, PLE),
    DIN_PEER: train_din,
}
