"""Daily training: masks are found once, then the network is trained day after day on new logs.

A day is first measured (progressive validation) and compared with the day before. Then the network
is trained on it and exported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import Any

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.progress import Progress
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.data.audit.checks import absent_tasks
from lt4rec_tf.data.audit.findings import Audit
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.experiment import calibration, run_folder
from lt4rec_tf.experiment.calibration_maps import methods_of, write_maps
from lt4rec_tf.experiment.daily import added_tasks, inheritance
from lt4rec_tf.experiment.daily.new_day import open_day, prepare_day
from lt4rec_tf.experiment.daily.parent import (
    Parent,
    check_models,
    check_vocabularies,
    open_parent,
    with_known_values,
)
from lt4rec_tf.experiment.evaluation import evaluate_models
from lt4rec_tf.experiment.feed import measuring_batches, training_feed
from lt4rec_tf.experiment.passes import may_end_early, settled
from lt4rec_tf.experiment.paths import (
    CHOICE,
    DAY,
    DAYS,
    EARLIER_DAYS,
    EVALUATION,
    INITIAL,
    TENSORBOARD,
    calibration_file,
    has_begun,
    model_folder,
    network_model,
    read_choice,
    stage_folder,
    table_search,
)
from lt4rec_tf.experiment.publishing import published_version
from lt4rec_tf.experiment.report import print_evaluation, print_places
from lt4rec_tf.experiment.run import Run, joint_trainer, load_start, plan_of
from lt4rec_tf.experiment.trained_models import (
    default_model,
    load_model,
    masked_network,
    measure_model,
    model_names,
    reported_tasks,
)
from lt4rec_tf.models.registry import MODELS
from lt4rec_tf.reports.daily import Day, DayEvaluation, days_table, log_days
from lt4rec_tf.reports.run_report import StageLog
from lt4rec_tf.reports.text_tables import evaluation_table
from lt4rec_tf.schema.label_quantiles import label_quantiles_of, with_label_quantiles
from lt4rec_tf.schema.numbers import numbers_of, with_numbers
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.tickets.search import WEIGHTS, read_result
from lt4rec_tf.training import checkpoint
from lt4rec_tf.training.plan import STATE


def starts_from_another(settings: Settings) -> bool:
    """Tells if a run starts from another's weights or masks."""
    daily = settings.daily
    return bool(daily.warm_start or daily.masks or daily.add_to)


def train(settings: Settings, schema: Schema, folder: Path) -> None:
    """Trains, measures and exports; what an earlier process finished is skipped.

    Args:
        settings: With --warm_start, --masks, both of these, or --add_to.
        schema: By --schema.
        folder: RUN, locked.

    Raises:
        RunError: A run that is named does not fit.
        DayError: The chain was trained on these logs, or on later ones.
    """
    artifacts.sweep(folder)
    pictures = None
    if settings.daily.warm_start:
        source = _train_day(settings, schema, folder)
    elif settings.daily.add_to:
        source, pictures = added_tasks.train(settings, schema, folder)
    else:
        source = _train_with_masks(settings, schema, folder)
    _export(settings, source, folder, pictures)


def _train_with_masks(settings: Settings, schema: Schema, folder: Path) -> Source:
    """Trains jointly from another run's theta_0 with its masks, by an ordinary split."""
    parent, source, audit = open_with_masks(settings, schema, folder, f"run: {folder}")

    if not has_begun(folder):
        inheritance.take_tables(parent, folder, source.schema)
        for model in settings.models:
            inheritance.take_masks(parent, model, folder)
        inheritance.take_theta_0(parent, folder)

    train_models(settings, source, audit, folder)

    calibration.calibrate_models(folder, settings, source, print)
    evaluation: Any = evaluate_models(folder, settings, source.schema, source, "test")
    artifacts.write_json(folder / EVALUATION, artifacts.undefined_as_null(evaluation))
    print_evaluation(evaluation)
    return source


def open_with_masks(
    settings: Settings, schema: Schema, folder: Path, title: str, *, lists: bool = True
) -> tuple[Parent, Source, Audit]:
    """Opens the run of --masks, and audits the logs that are trained on with its masks.

    Args:
        settings: With --masks alone.
        schema: By --schema.
        folder: RUN.
        title: Printed once the folder is the run's.
        lists: As `logs.audited` takes it.

    Raises:
        RunError: The run does not fit, or its vocabularies are others.
        DataError: The logs cannot be used.
    """
    parent = open_parent("masks", settings, schema)
    check_models("masks", parent, settings.models)
    schema = with_numbers(schema, numbers_of(parent.schema))  # masks were found with its bins
    schema = with_label_quantiles(schema, label_quantiles_of(parent.schema))
    source, audit = run_folder.open_audited(settings, schema, folder, title, print, lists=lists)
    check_vocabularies("masks", parent, source.schema)
    return parent, source, audit


def _train_day(settings: Settings, schema: Schema, folder: Path) -> Source:
    """Measures and trains a chain's new day from the weights of the day before."""
    print(f"run: {folder}")
    if not has_begun(folder):
        prepare_day(settings, schema, folder)
    source, audit = open_day(settings, schema, folder)

    day = read_typed(folder / DAY, Day)
    evaluation: Any = measure_before(settings, schema, source, folder)
    print(f"\n{day['name']}, before training on it\n\n{evaluation_table(evaluation)}\n")
    _calibrate_before(settings, source, folder)

    train_models(settings, source, audit, folder)

    day |= {"measured": evaluation["rows"], "frozen": evaluation["frozen"]}
    days = [*read_typed(folder / EARLIER_DAYS, list[Day]), day]
    artifacts.write_json(folder / DAYS, days)
    for model in settings.models:  # copies of yesterday's weights, which nothing needs any more
        artifacts.remove(folder / INITIAL / model)

    log_days(folder / TENSORBOARD, days)
    table = days_table(evaluation["tasks"], days)
    print(f"\neach day, before it was trained on\n\n{table}\n")
    return source


def measure_before(
    settings: Settings, flag_schema: Schema, source: Source, folder: Path
) -> dict[str, Any]:
    """Measures every model on the day with yesterday's weights; kept as evaluation.json.

    Returns:
        As `evaluate_models`, and "frozen": the models of --frozen, which is not updated.
    """
    path = folder / EVALUATION
    if path.exists():
        kept: dict[str, Any] = read_typed(path, DayEvaluation)
        return kept

    schema = source.schema
    entries = []
    for model in model_names(settings, schema):
        network = masked_network(folder, model, settings, schema)
        checkpoint.restore(folder / INITIAL / model / WEIGHTS, network.variables)
        batches = measuring_batches(source, "train", settings.data)
        entries.append(measure_model(model, network, schema, batches) | {"seconds": None})

    evaluation = {
        "split": "train, before training",
        "tasks": reported_tasks(schema),
        "rows": entries,
        "frozen": _measure_frozen(settings, flag_schema, source),
        "searches": {},
        "tables": table_search(folder),
    }
    evaluation = artifacts.undefined_as_null(evaluation)
    artifacts.write_json(path, evaluation)
    return evaluation


def _calibrate_before(settings: Settings, source: Source, folder: Path) -> None:
    """Fits every model's maps on the day, whose rows yesterday's weights have not seen.

    The weights that are then trained on the day are served with these maps.
    """
    schema = source.schema
    methods = methods_of(settings.training.calibration, schema)
    for model in model_names(settings, schema) if methods else ():
        if not calibration_file(folder, model).exists():
            network = masked_network(folder, model, settings, schema)
            checkpoint.restore(folder / INITIAL / model / WEIGHTS, network.variables)
            batches = measuring_batches(source, "train", settings.data)
            words = "the day, before training on it"
            found = calibration.fit_network(network, schema, methods, batches, words)
            write_maps(folder, model, found)
    calibration.say_maps(folder, settings, schema, print)


def _measure_frozen(
    settings: Settings, flag_schema: Schema, source: Source
) -> list[dict[str, Any]]:
    """Measures the models of --frozen on the day."""
    if not settings.daily.frozen:
        return []
    frozen = open_parent("frozen", settings, flag_schema)
    check_models("frozen", frozen, settings.models)

    # The day's columns by the vocabularies and units that the frozen run knows.
    schema = with_known_values(flag_schema, frozen)
    schema = dataclasses.replace(schema, tasks=frozen.schema.tasks)
    frozen_source = dataclasses.replace(source, schema=schema)

    entries = []
    for model in settings.models:
        network = load_model(frozen.folder, model, frozen.settings, frozen.schema)
        batches = measuring_batches(frozen_source, "train", settings.data)
        entries.append(measure_model(model, network, schema, batches) | {"seconds": None})
    return entries


def train_models(settings: Settings, source: Source, audit: Audit, folder: Path) -> None:
    """Trains every model from what was copied; what an earlier process finished is skipped."""
    feed = training_feed(source, audit, settings)
    settings = settled(settings, feed)
    pending = [
        model for model in settings.models if not artifacts.is_done(stage_folder(folder, model))
    ]
    training = settings.training
    steps = len(pending) * training.epochs * feed.steps_per_epoch
    fewer = not settings.daily.warm_start and may_end_early(training.epochs, training.patience)

    with (
        closing(StageLog(folder / TENSORBOARD)) as log,
        Progress(steps, training.batch_size, may_end_early=fewer) as progress,
    ):
        run = Run(settings, source.schema, folder, folder, feed, progress, log)
        for model in pending:
            _train_model(run, model, absent_tasks(audit))

    for model in settings.models:
        _keep_seconds(folder, model)


def _train_model(run: Run, model: str, absent: Collection[str]) -> None:
    """Trains a model: a day goes through all its epochs, from the weights of the day before.

    Tasks without a row in the logs keep what is theirs.
    """
    stage, start = stage_folder(run.folder, model), run.folder / INITIAL / model
    network = masked_network(run.folder, model, run.settings, run.schema)
    plan = plan_of(run, run.settings.training.epochs)

    if run.settings.daily.warm_start:
        checkpoint.restore(start / WEIGHTS, network.variables)
        state = start / STATE if (start / STATE).exists() else None
        plan = dataclasses.replace(plan, patience=0, keep_last=True, state=state, keep_state=True)
    elif MODELS[network_model(run.folder, model)].starts_from_theta_0:
        load_start(run, network)

    joint_trainer(run, network, absent).fit(stage, model, plan)


def _keep_seconds(folder: Path, model: str) -> None:
    """Writes the training time of the one way of sharing that this run trained."""
    if model != "s_weight_auto":
        return
    seconds = read_result(stage_folder(folder, model))["seconds"]
    choice = read_choice(model_folder(folder, model))
    choice["tried"] = [{"name": choice["chosen"], "seconds": seconds}]
    artifacts.write_json(model_folder(folder, model) / CHOICE, choice)


def _export(settings: Settings, source: Source, folder: Path, pictures: list[Path] | None) -> None:
    version = published_version(folder, settings, source.schema, source)
    print_places(folder, default_model(settings, source.schema, folder), version, pictures)
