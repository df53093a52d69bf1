"""Publishes a model of a run: its checked answers, warm-up requests and model card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow as tf

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core.flags import expect, flag
from lt4rec_tf.data.input.pipeline import batches, request_rows
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.experiment.calibration import VALIDATION, fit_network, lines_of
from lt4rec_tf.experiment.calibration_maps import ModelCalibration, maps_of_model, methods_of
from lt4rec_tf.experiment.feed import measuring_batches
from lt4rec_tf.experiment.paths import SAVED_MODEL
from lt4rec_tf.experiment.trained_models import default_model, load_model
from lt4rec_tf.experiment.version_files import files_beside
from lt4rec_tf.models.calibration import (
    NO_MAPS,
    Calibrations,
    calibrated_outputs,
    needs_durations,
)
from lt4rec_tf.models.heads.of_task import prediction
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.serving.durations import durations_of
from lt4rec_tf.serving.embedding_tables import round_tables
from lt4rec_tf.serving.publish import (
    KEPT_VERSIONS,
    Arrays,
    publish,
    published_versions,
)
from lt4rec_tf.serving.quantiles import NO_QUANTILES, Quantiles, read_quantiles
from lt4rec_tf.serving.rank import Ranking, ranking_of, score
from lt4rec_tf.serving.requests import Signatures, rank_request, requests_of, without_users
from lt4rec_tf.serving.scenarios import UnknownScenarioError
from lt4rec_tf.serving.signatures import (
    DEFAULT_SIGNATURE,
    RANK,
    REGRESS,
    SCORE,
    TF_EXAMPLE,
    ServedModel,
    answer_names,
)
from lt4rec_tf.training.calibration import calibrated
from lt4rec_tf.training.predictions import predictor_of

# Largest difference to the model's own answers with which a version is published.
TOLERANCES = {"float32": 1e-6, "bfloat16": 0.01}

# Rows of the test split on which a version must answer as the model does before it is published.
CHECKED_ROWS = 1000
RANK_REQUESTS = 4  # into which these rows are parted for `rank`


def checked_answers(
    signatures: Signatures,
    network: RankingNetwork,
    schema: Schema,
    source: Source,
    ranking: Ranking | None,
    calibrations: Calibrations = NO_MAPS,
    quantiles: Quantiles = NO_QUANTILES,
) -> tuple[dict[str, Arrays], dict[str, Arrays]]:
    """Makes requests to every signature from rows of the test split, and the network's answers.

    The requests hold what the log holds: lists are not cut, as no client cuts them. The network
    reads these rows through the input pipeline, so a feature that gets another id in serving than
    in training is detected, and so is a list of which training read another part.

    Returns:
        Signature -> input -> values, and signature -> output -> float32 values.
    """
    split = source.split.held_out
    raw = request_rows(source, split, CHECKED_ROWS)
    first_batch = next(iter(batches(source, split, CHECKED_ROWS)))
    predictions = calibrated(
        predictor_of(network, schema, durations=needs_durations(calibrations))([first_batch]),
        schema,
        calibrations,
    )
    by_task = {task: predictions.of(schema.task(task)) for task in network.tasks}
    answers = {}
    for name, factors in answer_names(schema, network.tasks).items():
        answers[name] = np.prod([by_task[task] for task in factors], axis=0)
    for name, (task, level) in quantiles.items():
        answers[f"p{name}"] = predictions.quantile(schema.task(task), level)

    expected: dict[str, Arrays] = {
        name.removeprefix("p"): {name: values} for name, values in answers.items()
    }
    expected |= {DEFAULT_SIGNATURE: answers, TF_EXAMPLE: answers}
    expected |= {f"{REGRESS}{task}": {"outputs": by_task[task]} for task in network.tasks}

    sample = requests_of(schema, signatures, raw)
    if ranking:
        requests = min(RANK_REQUESTS, len(predictions.users))
        sample[RANK], _ = rank_request(schema, ranking, raw, requests)
        read = {name: values.numpy() for name, values in first_batch["features"].items()}
        _, ids = rank_request(schema, ranking, read, requests)
        expected[RANK] = _rank_answers(network, schema, ranking, sample[RANK], ids, calibrations)
        scores = {"score": expected[RANK]["score"]}
        if ranking.scores_alone:
            expected[RANK] = scores
        if SCORE in signatures:
            sample[SCORE], expected[SCORE] = sample[RANK], scores
    return sample, expected


def _rank_answers(
    network: RankingNetwork,
    schema: Schema,
    ranking: Ranking,
    sent: Arrays,
    ids: Arrays,
    calibrations: Calibrations,
) -> dict[str, np.ndarray]:
    """Returns the network's answers to requests whose rows have these ids in training."""
    tensors = {name: tf.constant(values) for name, values in ids.items()}
    logits = network.model(tensors, training=False)

    # (requests, candidates)
    shape = next(sent[f.name].shape[:2] for f in schema.features if f.side == "item")
    seconds = durations_of(schema, calibrations, sent, rank=2)
    by_task = {}
    for name in network.tasks:
        task = schema.task(name)
        outputs = tf.reshape(logits[name], [*shape, *logits[name].shape[1:]])
        outputs = calibrated_outputs(task, outputs, calibrations.get(name), seconds)
        by_task[name] = prediction(task, outputs, seconds)
    answers = {f"p{task}": values.numpy() for task, values in by_task.items()}
    return {"score": score(ranking, by_task, sent).numpy(), **answers}


@dataclass(frozen=True)
class ExportFlags:
    """What is exported, and what a version answers."""

    model: str = flag(
        "",
        "Model to export; none: of sparse sharing the best on validation, or the run's last.",
        alias="row",
    )
    keep_versions: int = flag(
        0,
        "Versions to keep, the newest, 2 or more; older ones are removed; 0: all.",
        at_least=0,
        expected=KEPT_VERSIONS,
    )
    calibration: tuple[str, ...] = flag(
        (),
        "As --calibration of train: maps that are fitted now, on the run's validation; none: "
        "predictions as the network has them. Without it: the run's own maps.",
    )
    precision: Literal["float32", "bfloat16"] = flag(
        "float32", "In which kernels are stored and multiplied, and tables stored."
    )
    table_precision: Literal["same", "float32", "bfloat16", "int8"] = flag(
        "same",
        "In which embedding tables are stored; same: as --precision; int8: a byte a number, and a "
        "step for each row.",
    )
    rank_exponents: tuple[str, ...] = flag(
        (), "Exponents of the rank score (Eq. 3) as task=exponent; none: 1 for ctr and cvr."
    )
    rank_expression: str = flag(
        "", "Rank score instead of Eq. 3: arithmetic of tasks, such as ctr * log1p(watch_time)."
    )
    length_feature: str = flag(
        "", "Rank score: item feature, or duration column of a ratio label, that says the length."
    )
    length_exponent: float = flag(1.0, "Rank score: exponent of the length.")
    rank_answers: Literal["all", "score"] = flag(
        "all", "What rank answers of a candidate: score and predictions, or as score does."
    )
    quantiles: tuple[str, ...] = flag(
        (),
        "Quantiles to answer beside predictions, as task=level, of tasks with the head cqe: "
        "cvr=0.9 gives pcvr_q90.",
    )
    signature_inputs: Literal["all", "used"] = flag(
        "all", "Whether a signature asks for all features or for those alone that it reads."
    )
    warmup: bool = flag(True, "Add requests that a server replays before it takes traffic.")
    real_users: bool = flag(
        False, "Keep users' ids in these requests and in the model card; else they are missing."
    )

    def __post_init__(self) -> None:
        """Refuses the one number that a range cannot leave out."""
        expect(self.keep_versions != 1, "keep_versions", self.keep_versions, KEPT_VERSIONS)


def published_version(folder: Path, settings: Settings, schema: Schema, source: Source) -> Path:
    """Returns the newest version below a run; publishes one if there is none.

    Args:
        folder: RUN.
        settings: The run's.
        schema: The run's.
        source: Its audited logs.
    """
    export_dir = folder / SAVED_MODEL
    published = published_versions(export_dir)
    if published:
        return published[-1]
    return export_model(folder, settings, schema, source, export_dir, ExportFlags())


def chosen_ranking(schema: Schema, flags: ExportFlags) -> Ranking | None:
    """Builds the rank score; where no flag says it and none can be chosen, there is none.

    Raises:
        ConfigError: Flags say what cannot be; see `ranking_of`.
    """
    try:
        return ranking_of(
            schema,
            flags.rank_exponents,
            flags.length_feature,
            flags.length_exponent,
            flags.rank_expression,
        )
    except UnknownScenarioError as error:
        if flags.rank_exponents or flags.length_feature or flags.rank_expression:
            raise
        print(f"published without the signatures {RANK} and {SCORE}: {error}", flush=True)
        return None


def export_model(
    folder: Path,
    settings: Settings,
    schema: Schema,
    source: Source,
    export_dir: Path,
    flags: ExportFlags,
) -> Path:
    """Publishes a model whose answers equal its network's on rows of the test split.

    Returns:
        The version's folder.
    """
    model = flags.model or default_model(settings, schema, folder)
    network = load_model(folder, model, settings, schema)
    calibration = _calibration_of(
        folder, model, settings, schema, source, network, flags.calibration
    )
    maps = calibration.maps if calibration else NO_MAPS
    schema = schema.with_tasks(network.tasks)

    table_precision = flags.precision if flags.table_precision == "same" else flags.table_precision
    round_tables(network, tf.as_dtype(table_precision))

    ranking = chosen_ranking(schema, flags)
    if ranking:
        ranking = replace(ranking, scores_alone=flags.rank_answers == "score")
    quantiles = read_quantiles(flags.quantiles, schema)
    served = ServedModel(
        network,
        schema,
        ranking=ranking,
        precision=flags.precision,
        table_precision=table_precision,
        minimal=flags.signature_inputs == "used",
        calibrations=maps,
        quantiles=quantiles,
    )
    signatures = served.signatures()

    sample, expected = checked_answers(
        signatures, network, schema, source, ranking, maps, quantiles
    )
    shown = sample if flags.real_users else without_users(schema, sample)
    # Where a map is steep, it multiplies the rounding of a logit.
    steepest = max([1.0, *(found.steepest for found in maps.values())])
    return publish(
        served,
        signatures,
        export_dir,
        sample,
        expected,
        extra=files_beside(
            folder,
            model,
            network,
            schema,
            source,
            shown,
            ranking,
            calibration,
            quantiles,
            warmup=flags.warmup,
            say_maps=bool(flags.calibration),
        ),
        keep_versions=flags.keep_versions,
        tolerance=TOLERANCES[flags.precision] * steepest,
    )


def _calibration_of(
    folder: Path,
    model: str,
    settings: Settings,
    schema: Schema,
    source: Source,
    network: RankingNetwork,
    asked: Sequence[str],
) -> ModelCalibration | None:
    """Returns a version's maps: the run's own, or those that --calibration of export asks for."""
    if not asked:
        return maps_of_model(folder, model, settings, schema)
    methods = methods_of(asked, schema)
    if not methods:
        return None
    expected = "none: all rows of this run train, so that none tells how well it is calibrated"
    expect(settings.data.split != "none", "calibration", ",".join(asked), expected)
    batches = measuring_batches(source, VALIDATION, settings.data)
    found = fit_network(network, schema, methods, batches, VALIDATION)
    print(*lines_of(model, found), sep="\n", flush=True)
    return found
