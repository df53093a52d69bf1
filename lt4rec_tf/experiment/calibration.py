"""Calibrates the models of a run, after training, on rows that no weight was trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.experiment.calibration_maps import (
    ModelCalibration,
    fit_maps,
    maps_of_model,
    methods_of,
    write_maps,
)
from lt4rec_tf.experiment.feed import measuring_batches
from lt4rec_tf.experiment.paths import calibration_file
from lt4rec_tf.experiment.trained_models import load_model, model_names
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
) -> ModelCalibration:
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


def calibrate_models(
    folder: Path, settings: Settings, source: Source, say: Callable[[str], None]
) -> None:
    """Fits the maps of every model on validation; what an earlier process finished is read.

    Args:
        folder: RUN, whose models are trained.
        settings: The run's.
        source: Its audited logs.
        say: Called with each line to print.
    """
    schema = source.schema
    methods = methods_of(settings.training.calibration, schema)
    if not methods:
        return

    for model in model_names(settings, schema):
        if not calibration_file(folder, model).exists():
            network = load_model(folder, model, settings, schema)
            batches = measuring_batches(source, VALIDATION, settings.data)
            write_maps(folder, model, fit_network(network, schema, methods, batches, VALIDATION))
    say_maps(folder, settings, schema, say)


def say_maps(folder: Path, settings: Settings, schema: Schema, say: Callable[[str], None]) -> None:
    """Says which maps the models of a run have."""
    for model in model_names(settings, schema):
        found = maps_of_model(folder, model, settings, schema)
        for line in [] if found is None else lines_of(model, found):
            say(line)


def lines_of(model: str, found: ModelCalibration) -> list[str]:
    """Returns a line for each task of a model: its map, or why it has none.

    Args:
        model: Its name.
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
        lines.append(f"calibration of {model} on {found.fitted_on}: {task}: {what}")
    return lines
