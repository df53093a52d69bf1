"""What the gates of a run's MSSM leave open: cells of other tasks by layer, fields by test row.

    python benchmarks/open_gates.py --run=RUN

RUN is a run with the model mssm, such as one of a comparison. The first table has the share of the
coding variables that a task's layer, or the shared subnetwork's, has above 0, by whose cells they
read. The second has the share of test rows for which a task's gate of a field is open, and the mean
of the gate where it is. Nothing is trained.
"""

from __future__ import annotations

import argparse

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tf_keras as keras

from lt4rec_tf.experiment.evaluation import open_run
from lt4rec_tf.experiment.feed import split_batches
from lt4rec_tf.experiment.trained_models import load_model
from lt4rec_tf.models.mssm import SHARED
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.reports.text_tables import markdown_table

MODEL = "mssm"


def main() -> None:
    """Reads the model and prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True, help="folder that holds config.json")
    parser.add_argument("--data_dir", default="", help="where the logs lie now")
    flags = parser.parse_args()

    folder, settings, schema, source = open_run(flags.run, flags.data_dir)
    network = load_model(folder, MODEL, settings, schema)
    print(cells_table(network))
    fields = [feature.name for feature in schema.features]
    print(f"\n{fields_table(fields, open_fields(network, split_batches(source, 'test')))}")


def cells_table(network: RankingNetwork) -> str:
    """Returns the shares of open coding variables: a line a layer, a column for whose cells."""
    cells = [f"{task}/cell" for task in network.tasks]
    read = [*cells, SHARED]
    lines = []
    for cell in read:
        depth = 1
        while f"{cell}/{depth}/coding" in network.variables:
            layer = network.model.get_layer(f"{cell}/{depth}".replace("/", "."))
            of_cells = np.split(layer.gates().numpy() > 0, len(read))
            shares = [f"{share.mean():.3f}" for share in of_cells]
            lines.append([_named(cell), str(depth), *shares])
            depth += 1
    header = ["layer of", "depth", *(f"of {_named(cell)}" for cell in read)]
    return markdown_table(header, lines, texts=1)


def _named(cell: str) -> str:
    return "shared" if cell == SHARED else cell.partition("/")[0]


def open_fields(
    network: RankingNetwork, batches: Iterable[Mapping[str, Any]]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns task -> share of rows with an open gate, mean gate of these; each (fields,)."""
    layers = {task: network.model.get_layer(f"{task}.cell.gates") for task in network.tasks}
    # What each layer reads: the vectors of all fields.
    reading = keras.Model(network.model.input, layers[network.tasks[0]].input)
    gates: dict[str, list[np.ndarray]] = {task: [] for task in layers}
    for batch in batches:
        vectors = reading(batch["features"], training=False)
        for task, layer in layers.items():
            gates[task].append(layer.gates(vectors).numpy())

    found = {}
    for task, parts in gates.items():
        of_rows = np.concatenate(parts)
        is_open = of_rows > 0
        mean = of_rows.sum(axis=0) / np.maximum(1, is_open.sum(axis=0))
        found[task] = (is_open.mean(axis=0), mean)
    return found


def fields_table(fields: list[str], found: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> str:
    """Returns what `open_fields` found, a line a field and one of all."""
    lines = [
        [field, *(f"{values[place]:.3f}" for of_task in found.values() for values in of_task)]
        for place, field in enumerate(fields)
    ]
    means = [f"{values.mean():.3f}" for of_task in found.values() for values in of_task]
    header = [f"{task} {what}" for task in found for what in ("open", "gate where open")]
    return markdown_table(["field", *header], [*lines, ["all", *means]], texts=1)


if __name__ == "__main__":
    main()
