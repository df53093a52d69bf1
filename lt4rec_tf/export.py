"""Publishes a trained row of a run as a SavedModel for TensorFlow Serving.

python -m lt4rec_tf.export --run=runs/quickstart-0123456789/seed_1 --export_dir=models/feed
"""

from __future__ import annotations

import os

if __name__ == "__main__":  # before TensorFlow is loaded, which reads it once
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lt4rec_tf import config, entry
from lt4rec_tf.config import Settings, flag
from lt4rec_tf.data.pipeline import batches, raw_batches
from lt4rec_tf.data.source import Source
from lt4rec_tf.evaluate import open_run
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.rows import load_row, row_names
from lt4rec_tf.schema import Schema
from lt4rec_tf.serving.publish import publish
from lt4rec_tf.serving.signatures import DEFAULT_SIGNATURE, ServedModel, answer_names
from lt4rec_tf.training.evaluation import make_predictor

# Rows of the test split on which a version must answer as the model does before it is published.
CHECKED_ROWS = 512


@dataclass(frozen=True)
class _Flags:
    run: str = flag("", "Folder that holds config.json: the run to export.")
    data_dir: str = flag("", "Where the run's logs lie now, if not where they were.")
    row: str = flag("", "Row to export; none: s_weight, or the run's last row.")
    export_dir: str = flag("", "The model's folder, which gets the next version.")


def main(argv: Sequence[str]) -> None:
    """Reads a run's row, publishes it, prints where."""
    values = config.parse_flags(argv, __doc__ or "", [_Flags])
    if not values["export_dir"]:
        raise config.ConfigError("--export_dir: found nothing, expected the model's folder")
    folder, settings, schema, source = open_run(values["run"], values["data_dir"])
    row = values["row"] or default_row(settings, schema)
    version = export_row(folder, row, settings, schema, source, Path(values["export_dir"]))
    print(f"published {row} as {version}")


def default_row(settings: Settings, schema: Schema) -> str:
    """What is exported unless a row is named: sparse sharing where the run has it."""
    names = row_names(settings, schema)
    return "s_weight" if "s_weight" in names else names[-1]


def export_row(
    folder: Path, row: str, settings: Settings, schema: Schema, source: Source, export_dir: Path
) -> Path:
    """Publishes a row after its answers were compared with the model's on rows of the test split.

    Returns:
        The version's folder.
    """
    network = load_row(folder, row, settings, schema)
    served = ServedModel(network, schema)
    raw = next(iter(raw_batches(source, "test", CHECKED_ROWS)))
    sample = {name: values.numpy() for name, values in raw.items()}
    expected = _answers(network, schema, source)
    return publish(served, served.signatures(), export_dir, sample, expected)


def _answers(
    network: RankingNetwork, schema: Schema, source: Source
) -> dict[str, dict[str, np.ndarray]]:
    """What every signature must answer for the checked rows, by the network in its own words."""
    predictions = make_predictor(network, network.tasks)(
        batches(source, "test", CHECKED_ROWS).take(1)
    )
    by_task = {task: predictions.probabilities(task) for task in network.tasks}
    expected = {task: {f"p{task}": by_task[task]} for task in network.tasks}
    names = answer_names(schema, network.tasks)
    expected[DEFAULT_SIGNATURE] = {
        name: np.prod([by_task[task] for task in factors], axis=0)
        for name, factors in names.items()
    }
    return expected


if __name__ == "__main__":
    sys.exit(entry.exit_on_error(main, sys.argv))
