"""Measures every row of a run over a whole split and writes evaluation.json.

python -m lt4rec_tf.evaluate --run=runs/quickstart-0123456789/seed_1
"""

from __future__ import annotations

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts as runs
from lt4rec_tf.core.command import exit_on_error
from lt4rec_tf.core.flags import ConfigError, flag, parse_flags
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.experiment import logs
from lt4rec_tf.experiment import run_folder as entry
from lt4rec_tf.experiment.paths import EVALUATION, searches_of, table_search
from lt4rec_tf.experiment.rows import measure_rows, reported_tasks
from lt4rec_tf.experiment.ticket_search import read_searches
from lt4rec_tf.reports.text_tables import evaluation_table, full_table
from lt4rec_tf.schema.types import Schema


@dataclass(frozen=True)
class _Flags:
    run: str = flag("", "Folder that holds config.json: the run to measure.")
    data_dir: str = flag("", "Where the run's logs lie now, if not where they were.")
    split: Literal["train", "validation", "test"] = flag("test", "Split to measure.")


def main(argv: Sequence[str]) -> None:
    """Reads a run, measures its rows, prints and writes what it found."""
    values = parse_flags(argv, __doc__ or "", [_Flags])
    folder, settings, schema, source = open_run(values["run"], values["data_dir"])
    # Where all rows train, evaluation.json holds what was measured before.
    split = "train" if settings.data.split == "none" else values["split"]
    evaluation = evaluate_rows(folder, settings, schema, source, split)
    print(evaluation_table(evaluation), full_table(evaluation), sep="\n\n")
    name = EVALUATION if split == "test" else f"evaluation_{split}.json"
    runs.write_json(folder / name, runs.undefined_as_null(evaluation))
    print(f"\nwritten to {folder / name}")


def open_run(run: str, data_dir: str) -> tuple[Path, Settings, Schema, Source]:
    """Opens a trained run and its logs.

    Args:
        run: RUN.
        data_dir: Where the logs lie; empty: where they were when it was trained.

    Raises:
        ConfigError: No run is named.
        RunError: The folder is no run.
        DataError: The logs are not there.
    """
    if not run:
        raise ConfigError("--run: found nothing, expected the folder of a run")
    folder = Path(run)
    settings, schema = entry.read_run(folder)
    data = dataclasses.replace(settings.data, data_dir=data_dir or settings.data.data_dir)
    source = logs.open_logs(data, schema)
    entry.check_files(folder, logs.file_sizes(source))
    source = logs.read_audited(source, folder)
    return folder, settings, source.schema, source


def evaluate_rows(
    folder: Path, settings: Settings, schema: Schema, source: Source, split: str
) -> Any:
    """The content of evaluation.json: tasks, split, rows with their metrics, ticket searches.

    "tables" is the search for a ticket of the embedding tables, null where there was none.
    """
    rows = measure_rows(
        folder, settings, schema, lambda: logs.measuring_batches(source, split, settings.data)
    )
    return {
        "split": split,
        "tasks": reported_tasks(schema),
        "rows": list(rows),
        "searches": read_searches(searches_of(folder), schema),
        "tables": table_search(searches_of(folder)),
    }


if __name__ == "__main__":
    sys.exit(exit_on_error(main, sys.argv))
