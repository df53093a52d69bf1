"""Evaluation of a finished run: its folder is opened, its models are measured."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core.flags import ConfigError
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.experiment import logs, run_folder
from lt4rec_tf.experiment.feed import measuring_batches
from lt4rec_tf.experiment.paths import searches_of, table_search
from lt4rec_tf.experiment.ticket_search import read_searches
from lt4rec_tf.experiment.trained_models import measure_models, reported_tasks
from lt4rec_tf.schema.types import Schema


def open_run(run: str, data_dir: str) -> tuple[Path, Settings, Schema, Source]:
    """Opens a trained run and its logs.

    Args:
        run: RUN.
        data_dir: Folder of the logs; empty: the one that the run was trained on.

    Raises:
        ConfigError: No run is named.
        RunError: The folder is no run, or the logs are not those that it was trained on.
        DataError: The logs are not there.
    """
    if not run:
        raise ConfigError("--run: found nothing, expected the folder of a run")

    folder = Path(run)
    settings, schema = run_folder.read_run(folder)
    data = dataclasses.replace(settings.data, data_dir=data_dir or settings.data.data_dir)
    source = logs.open_logs(data, schema)
    run_folder.check_files(folder, logs.file_sizes(source))
    logs.refuse_other_contents(source, folder)
    source = logs.read_audited(source, folder)
    return folder, settings, source.schema, source


def evaluate_models(
    folder: Path, settings: Settings, schema: Schema, source: Source, split: str
) -> Any:
    """Measures every model; returns the content of evaluation.json.

    That is: split, tasks, "rows" with the models' metrics, ticket searches, and "tables", the
    search for a ticket of the embedding tables, null if there was none.
    """
    entries = measure_models(
        folder, settings, schema, lambda: measuring_batches(source, split, settings.data)
    )
    return {
        "split": split,
        "tasks": reported_tasks(schema),
        "rows": list(entries),
        "searches": read_searches(searches_of(folder), schema),
        "tables": table_search(searches_of(folder)),
    }
