"""Writes the rows of a run as NumPy arrays, so that other packages can learn from the same ones.

    python benchmarks/quality_rows.py --output=rows.npz --flagfile=configs/kuairand_feedback.cfg --data_dir=DIR

Takes the flags of `train`: schema, tasks, split. Hashed ids get a row for each value of train, and
one for all others, so that no package's rows collide. quality.py trains peers from the file; it
needs nothing of this project. What the file holds, by split (train, validation, test):

    SPLIT/ids/FEATURE      int32 (rows,) or, of a list, (rows, values): 0 missing or padding, 1 unknown
    SPLIT/scaled/FEATURE   float32 (rows,): a number as the schema scales it, NaN where missing
    SPLIT/number/FEATURE   float32 (rows,): a number as the log has it, NaN where missing
    SPLIT/label/TASK, SPLIT/weight/TASK   float32 (rows,): weight 0 outside of the task's population
    SPLIT/user             int64 (rows,)
    description            JSON: name of the data, features with the rows of their tables, and of lists of
                           events the feature that they are compared with; tasks
"""  # noqa: E501

from __future__ import annotations

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

import dataclasses
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lt4rec_tf.config.parse import parse_with
from lt4rec_tf.core import command
from lt4rec_tf.core.flags import flag
from lt4rec_tf.data.input.pipeline import batches, raw_batches
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.data.input.splits import SPLITS
from lt4rec_tf.experiment import logs, run_folder
from lt4rec_tf.schema.types import Feature, IdRule, Schema

CATEGORIES = ("hash", "fitted", "vocabulary", "integer")
FITTED = IdRule("fitted", min_count=1, max_size=10_000_000)
BATCH = 4096


@dataclass(frozen=True)
class Flags:
    """The file, beyond the settings of a run."""

    output: str = flag("", "File to write, .npz.", required=True)


def main(argv: Sequence[str]) -> None:
    """Reads the logs as a run does and writes the file."""
    settings, _, flags = parse_with(argv, __doc__ or "", Flags)
    schema = with_fitted_ids(run_folder.read_schema(settings.data.schema, settings))
    logs.simulate_if_asked(settings.data)
    source = logs.open_logs(settings.data, schema)
    with tempfile.TemporaryDirectory() as folder:
        source, _ = logs.audited(source, Path(folder), settings.data, print)
        content = {"description": np.array(json.dumps(description(source.schema)))}
        for split in SPLITS:
            content |= {f"{split}/{name}": array for name, array in rows(source, split).items()}
    np.savez_compressed(flags.output, **content)
    print(f"written to {flags.output}")


def with_fitted_ids(schema: Schema) -> Schema:
    """Returns the schema with a vocabulary of train in place of every hash."""
    features = [
        dataclasses.replace(feature, ids=FITTED) if feature.ids.kind == "hash" else feature
        for feature in schema.features
    ]
    return dataclasses.replace(schema, features=tuple(features))


def description(schema: Schema) -> dict[str, Any]:
    """Returns what a reader of the arrays has to know."""
    return {
        "data": schema.name,
        "features": [
            {
                "name": feature.name,
                "rows": feature.ids.rows,
                "list": feature.multivalued,
                "candidate": feature.candidate,
            }
            for feature in schema.features
        ],
        "tasks": [{"name": task.name, "kind": task.kind} for task in schema.tasks],
    }


def rows(source: Source, split: str) -> dict[str, np.ndarray]:
    """Reads a split in the order of its files."""
    pieces: dict[str, list[np.ndarray]] = {}
    features = {feature.name: feature for feature in source.schema.features}
    for batch in batches(source, split, BATCH):
        pieces.setdefault("user", []).append(batch["user"].numpy())
        for name, values in batch["features"].items():
            kind, array = network_input(features[name], values.numpy())
            pieces.setdefault(f"{kind}/{name}", []).append(array)
        for task in source.schema.tasks:
            for kind in ("label", "weight"):
                values = batch[f"{kind}s"][task.name].numpy()
                pieces.setdefault(f"{kind}/{task.name}", []).append(values)

    numbers = [feature for feature in features.values() if feature.ids.kind not in CATEGORIES]
    for batch in raw_batches(source, split, BATCH):
        for feature in numbers:
            values = number(feature, batch[feature.name].numpy())
            pieces.setdefault(f"number/{feature.name}", []).append(values)
    return {name: np.concatenate(arrays) for name, arrays in pieces.items()}


def network_input(feature: Feature, values: np.ndarray) -> tuple[str, np.ndarray]:
    """Returns what a network reads of a feature: ids, lists all equally long, or a number."""
    if not np.issubdtype(values.dtype, np.integer):
        return "scaled", values.astype(np.float32)
    if feature.multivalued:
        values = np.pad(values, ((0, 0), (0, feature.max_values - values.shape[1])))
    return "ids", values.astype(np.int32)


def number(feature: Feature, raw: np.ndarray) -> np.ndarray:
    """Returns a number as the log has it, NaN where it is missing."""
    values = raw.astype(np.float32)
    return np.where(raw == np.asarray(feature.missing, raw.dtype), np.float32("nan"), values)


if __name__ == "__main__":
    command.run(main)
