"""Files that belong to a published version: warm-up requests, its maps, its model card."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import tensorflow as tf
import tf_keras as keras

from lt4rec_tf.core import artifacts
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.data.audit.findings import Audit
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.experiment.calibration_maps import ModelCalibration, content_of
from lt4rec_tf.experiment.feed import split_batches
from lt4rec_tf.experiment.paths import AUDIT, CALIBRATION_FILE
from lt4rec_tf.experiment.trained_models import task_masks
from lt4rec_tf.models.calibration import NO_MAPS, needs_durations
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.serving.model_card import (
    MODEL_CARD_FILE,
    CardFacts,
    deciles,
    folder_size,
    maps_table,
    model_card,
)
from lt4rec_tf.serving.publish import Arrays, OpenedVersion
from lt4rec_tf.serving.quantiles import NO_QUANTILES, Quantiles
from lt4rec_tf.serving.rank import Ranking
from lt4rec_tf.serving.signatures import DEFAULT_SIGNATURE, OF_CANDIDATES
from lt4rec_tf.serving.warmup import WARMUP_FILE, ServingApiMissingError, replay, warmup_records
from lt4rec_tf.tickets.masks import density
from lt4rec_tf.training.calibration import calibrated
from lt4rec_tf.training.evaluation import as_weights, measure
from lt4rec_tf.training.predictions import Predictions, predictor_of

WARMUP_BATCHES = (8, 64)


def files_beside(
    folder: Path,
    model: str,
    network: RankingNetwork,
    schema: Schema,
    source: Source,
    sample: Mapping[str, Arrays],
    ranking: Ranking | None,
    calibration: ModelCalibration | None = None,
    quantiles: Quantiles = NO_QUANTILES,
    *,
    warmup: bool,
    say_maps: bool = False,
) -> Callable[[OpenedVersion], dict[str, bytes]]:
    """Makes the files that belong to a version: warm-up requests and the model card.

    Args:
        folder: RUN.
        model: Name of the exported model.
        network: The trained network.
        schema: With the network's tasks.
        source: The run's logs.
        sample: Signature -> input -> values of real rows.
        ranking: How `rank` scores; None where there is no such signature.
        calibration: The version's maps; None: it has none.
        quantiles: That the version answers.
        warmup: Adds warm-up requests, if tensorflow-serving-api is installed.
        say_maps: Prints what the maps change of the metrics.

    Returns:
        A function from the checked version to {path: content}.
    """

    def files(version: OpenedVersion) -> dict[str, bytes]:
        contents, split = {}, source.split.held_out
        records = _warmup(sample) if warmup else b""
        count = len(replay(version, records)) if records else 0
        if records:
            contents[WARMUP_FILE] = records

        maps = calibration.maps if calibration else NO_MAPS
        predict = predictor_of(network, schema, durations=needs_durations(maps))
        own = predict(split_batches(source, split))
        predictions = calibrated(own, schema, maps)
        if calibration:
            contents[CALIBRATION_FILE] = json.dumps(content_of(calibration), indent=2).encode()
        metrics = artifacts.undefined_as_null(measure(predictions, schema, network.tasks))
        uncalibrated = measure(own, schema, network.tasks) if maps else {}
        facts = CardFacts(
            run=f"{folder.parent.name}/{folder.name}",
            model=model,
            data=read_typed(folder / AUDIT, Audit),
            measured="test" if split == "test" else "the rows it was trained on",
            metrics=metrics,
            calibration=_calibration(predictions, schema),
            densities={task: density(masks) for task, masks in task_masks(network).items()},
            versions={"tensorflow": tf.__version__, "tf_keras": keras.__version__},
            size=folder_size(version.folder) + len(records),
            warmup_requests=count,
            inputs=sample[DEFAULT_SIGNATURE],
            answers=version.answers(DEFAULT_SIGNATURE, sample[DEFAULT_SIGNATURE]),
            other_answers={"score": _score_meaning(ranking)} | _quantile_meanings(quantiles),
            maps={task: found.words for task, found in maps.items()},
            unmapped=calibration.left if calibration else {},
            fitted_on=calibration.fitted_on if calibration else "",
            uncalibrated=artifacts.undefined_as_null(uncalibrated),
        )
        if say_maps and maps:
            print(f"calibration, on {facts.measured}\n\n{maps_table(schema, facts)}\n")
        contents[MODEL_CARD_FILE] = model_card(schema, version.signatures, facts).encode()
        return contents

    return files


def _score_meaning(ranking: Ranking | None) -> str:
    written = "Eq. 3"
    if ranking and ranking.expression:
        written = f"`{ranking.expression.text}`"
    elif ranking and ranking.scenarios:
        tasks = ", ".join(f"`{task}`" for task in ranking.exponents)
        written = f"Eq. 3 of those of {tasks} whose scenario is the candidate's; 0 without one"
    return f"By which `rank` orders a request's candidates ({written})."


def _quantile_meanings(quantiles: Quantiles) -> dict[str, str]:
    return {
        f"p{name}": f"What the label of `{task}` is below in {level:.10g} of the rows like this."
        for name, (task, level) in quantiles.items()
    }


def _warmup(sample: Mapping[str, Arrays]) -> bytes:
    rows = {name: inputs for name, inputs in sample.items() if name not in OF_CANDIDATES}
    requests = {name: inputs for name, inputs in sample.items() if name in OF_CANDIDATES}
    try:
        # A request about candidates is many rows already. Record files laid end to end are one.
        return warmup_records(rows, WARMUP_BATCHES) + warmup_records(requests)
    except ServingApiMissingError as error:
        print(f"published without warm-up requests: {error}", flush=True)
        return b""


def _calibration(predictions: Predictions, schema: Schema) -> dict:
    bins = {}
    for task in schema.tasks:
        weights = predictions.measured_weights(task)
        in_population = weights > 0
        bins[task.name] = deciles(
            predictions.labels[task.name][in_population],
            predictions.of(task)[in_population],
            weights=as_weights(weights[in_population]),
        )
    return bins
