"""Calibrates the rows of a run, after training, on rows that no weight was trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.experiment.calibration_maps import (
    RowCalibration,
    fit_maps,
    maps_of_row,
    methods_of,
    write_maps,
)
from lt4rec_tf.experiment.feed import measuring_batches
from lt4rec_tf.experiment.paths import calibration_file
from lt4rec_tf.experiment.rows import load_row, row_names
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.training.plan import Batches
from lt4rec_tf.training.predictions import predictor_of

VALIDATION = "validation"


def fit_network(
    network: RankingNetwork,
    schema: Schema,
    methods: Mapping[str, str],
    batches: Batches,
    fitted_on: str,
) -> RowCalibration:
    """Fits the maps of a network's tasks.

    Args:
        network: Trained, with its masks.
        schema: The run's.
        methods: Of `methods_of`.
        batches: Of rows that no weight was trained on.
        fitted_on: Those rows, in words.
    """
    predict = predictor_of(network, schema, durations="duration" in methods.values())
    return fit_maps(predict(batches), schema, methods, fitted_on)


def calibrate_rows(
    folder: Path, settings: Settings, source: Source, say: Callable[[str], None]
) -> None:
    """Fits the maps of every row on validation; what an earlier process finished is read.

    Args:
        folder: RUN, whose rows are trained.
        settings: The run's.
        source: Its audited logs.
        say: Called with each line to print.
    """
    schema = source.schema
    methods = methods_of(settings.training.calibration, schema)
    if not methods:
        return

    for row in row_names(settings, schema):
        if not calibration_file(folder, row).exists():
            network = load_row(folder, row, settings, schema)
            batches = measuring_batches(source, VALIDATION, settings.data)
            write_maps(folder, row, fit_network(network, schema, methods, batches, VALIDATION))
    say_maps(folder, settings, schema, say)


def say_maps(folder: Path, settings: Settings, schema: Schema, say: Callable[[str], None]) -> None:
    """Says which maps the rows of a run have."""
    for row in row_names(settings, schema):
        found = maps_of_row(folder, row, settings, schema)
        for line in [] if found is None else lines_of(row, found):
            say(line)


def lines_of(row: str, found: RowCalibration) -> list[str]:
    """Returns a line for each task of a row: its map, or why it has none.

    Args:
        row: Its name.
        found: Its maps.
    """
    lines = []
    for task in found.methods:
        if task in found.left:
            what = f"predictions stay as they are: {found.left[task]}"
        else:
            fitted = found.maps[task]
            what = fitted.words
            if fitted.steps:
                what += (
                    f"; of all rows together {fitted.distance:.4f} from the {fitted.steps:,} steps "
                    "of isotonic regression on average"
                )
        lines.append(f"calibration of {row} on {found.fitted_on}: {task}: {what}")
    return lines
