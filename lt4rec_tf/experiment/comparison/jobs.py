"""The jobs of a comparison, each a function that a process of its own can run.

`paths` shows the comparison's folder. Models whose search settings agree share a search's folder.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import os
from pathlib import Path
from typing import Any

import numpy as np

from lt4rec_tf.config.parse import fingerprint, to_dict
from lt4rec_tf.config.settings import (
    DailySettings,
    ModelSettings,
    Settings,
    TicketSettings,
    TrainingSettings,
)
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.progress import Progress
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.experiment import logs, run_folder
from lt4rec_tf.experiment.comparison.cost import cost_of
from lt4rec_tf.experiment.comparison.grid import ModelSpec
from lt4rec_tf.experiment.feed import repeated_batches, training_feed
from lt4rec_tf.experiment.initial_weights import keep_start
from lt4rec_tf.experiment.passes import may_end_early, settled
from lt4rec_tf.experiment.paths import (
    AUDIT,
    LABEL_QUANTILES,
    NUMBERS,
    ROWS,
    SEARCH_RUNS,
    SEARCH_SETTINGS,
    SEARCHED,
    SEARCHES,
    TEST,
    TEST_LABELS,
    VOCABULARIES,
    stage_folder,
)
from lt4rec_tf.experiment.run import Run, network_in
from lt4rec_tf.experiment.sharing_search import train_models
from lt4rec_tf.experiment.ticket_search import find_ticket, read_ticket
from lt4rec_tf.experiment.trained_models import (
    densities,
    load_model,
    shared_overlap,
    training_seconds,
)
from lt4rec_tf.models.heads.of_task import has_probability
from lt4rec_tf.models.registry import need_tickets
from lt4rec_tf.schema.fitted import vocabularies_of, write_vocabularies
from lt4rec_tf.schema.label_quantiles import label_quantiles_of, write_label_quantiles
from lt4rec_tf.schema.numbers import numbers_of, write_numbers
from lt4rec_tf.tickets.search import read_result
from lt4rec_tf.training.evaluation import measure
from lt4rec_tf.training.predictions import predictor_of
from lt4rec_tf.training.watch_time import timed_tasks, watch_time

DEPTHS = ("start", "dense", "tickets")
# Settings of models that no search trains.
_RIVAL_SETTINGS = (
    "counterfactual_share",
    "mask_penalty",
    "experts",
    "own_experts",
    "shared_experts",
    "expert_levels",
    "label_embedding",
    "representation",
    "fusion",
    "transfer_stop",
    "label_noise",
    "label_temperature",
    "label_temperature_decay",
    "label_temperature_steps",
    "label_temperature_floor",
)


def search_settings(settings: Settings) -> Settings:
    """Returns what a search depends on: settings that do not change it take their defaults.

    Models with equal search settings share theta_0 and tickets.
    """
    tickets, training, model = TicketSettings(), TrainingSettings(), ModelSettings()
    model_defaults = {name: getattr(model, name) for name in _RIVAL_SETTINGS}

    # A warm-up and the search for a ticket of the tables are joint trainings; without them, a
    # search does not depend on how tasks are balanced.
    balance_defaults: dict[str, Any] = {}
    if not settings.tickets.warmup_epochs and settings.tickets.embedding_density == 1:
        names = ["loss_weights", "task_schedule", "balance", "gradient_conflict"]
        names += [name for name in vars(training) if name.startswith(("conflict_", "core_"))]
        balance_defaults = {name: getattr(training, name) for name in names}

    return dataclasses.replace(
        settings,
        name="search",
        models=("s_weight",),
        model=dataclasses.replace(settings.model, **model_defaults),
        tickets=dataclasses.replace(
            settings.tickets,
            ticket_choice=tickets.ticket_choice,
            choice_tolerance=tickets.choice_tolerance,
            ticket_control=tickets.ticket_control,
            gate_epochs=tickets.gate_epochs,
            cascade_pruned=tickets.cascade_pruned,
        ),
        training=dataclasses.replace(
            settings.training,
            # Whether the logs decide on the passes of a search too, or flags do.
            epochs=min(1, settings.training.epochs),
            search_epochs=settings.training.search_epochs or settings.training.epochs,
            auto_trainings=training.auto_trainings,
            search_processes=training.search_processes,
            **balance_defaults,
        ),
    )


def search_folder(comparison: Path, settings: Settings) -> Path:
    """Returns the folder of the searches of a run with these settings."""
    key = fingerprint(search_settings(settings), "")
    return comparison / SEARCH_RUNS / key / f"seed_{settings.seed}"


def model_folder(comparison: Path, model: str, settings: Settings) -> Path:
    """Returns the folder of a line's run with these settings."""
    return comparison / ROWS / model / fingerprint(settings, "") / f"seed_{settings.seed}"


def test_name(spec: ModelSpec) -> str:
    """Returns the name that a line's model has in the line's run."""
    return f"base_{spec.task}" if spec.task else spec.model


def is_searched(comparison: Path, settings: Settings, depth: str) -> bool:
    """Tells if `search` went that far or further."""
    folder = search_folder(comparison, settings) / SEARCHED
    return any(artifacts.is_done(folder / reached) for reached in DEPTHS[DEPTHS.index(depth) :])


def is_trained(comparison: Path, spec: ModelSpec, settings: Settings) -> bool:
    """Tells if `train` is done."""
    return artifacts.is_done(model_folder(comparison, spec.name, settings) / ROWS)


def is_tested(comparison: Path, spec: ModelSpec, settings: Settings) -> bool:
    """Tells if `test` is done."""
    return test_file(model_folder(comparison, spec.name, settings), test_name(spec)).exists()


def test_file(folder: Path, model: str) -> Path:
    """Returns the file of a run's metrics on test; its logits lie beside it, as npz."""
    return folder / TEST / f"{model}.json"


def search(comparison: Path, settings: Settings, depth: str) -> None:
    """Makes what models start from: theta_0 or its warm-up, single tasks, tickets.

    Args:
        comparison: Its folder.
        settings: Of a model.
        depth: One of `DEPTHS`, each with what stands before it.
    """
    folder = search_folder(comparison, settings)
    model = "s_weight" if depth == "tickets" else "base"  # base: a search of no rounds
    settings = dataclasses.replace(search_settings(settings), models=(model,))

    with artifacts.locked(folder):
        artifacts.sweep(folder)
        artifacts.write_json(folder / SEARCH_SETTINGS, to_dict(settings))
        run = _open(comparison, folder, folder, settings)
        keep_start(run)
        if depth != "start":
            network = network_in(run, "s_weight")
            for task in run.tasks:
                find_ticket(run, network, task)
        artifacts.mark_done(folder / SEARCHED / depth)


def train(comparison: Path, line: str, settings: Settings) -> None:
    """Trains a line's model; its searches are done."""
    folder = model_folder(comparison, line, settings)
    searches = search_folder(comparison, settings)
    with artifacts.locked(folder):
        artifacts.sweep(folder)
        run = _open(comparison, folder, searches, settings)
        _make_a_run(comparison, run, settings)

        tickets = []
        if need_tickets(settings.models):
            network = network_in(run, "s_weight")
            tickets = [read_ticket(run, network, task) for task in run.tasks]
        train_models(run, tickets)
        artifacts.mark_done(folder / ROWS)


def test(comparison: Path, line: str, settings: Settings, model: str) -> None:
    """Measures a trained run on test, once: metrics, logits, cost."""
    folder = model_folder(comparison, line, settings)
    source = _source(comparison, settings)
    schema = source.schema
    network = load_model(folder, model, settings, schema)
    batches = repeated_batches(source, "test", settings.data)
    timed = bool(timed_tasks(schema, network.tasks))
    predictions = predictor_of(network, schema, durations=timed)(batches)

    # All runs are measured on the same rows: labels are kept once, by a model that has all tasks.
    labels = comparison / TEST_LABELS
    if len(network.tasks) == len(schema.tasks) and not labels.exists():
        weights = {task.name: predictions.measured_weights(task) for task in schema.tasks}
        _write_arrays(labels, predictions.labels, weights, users=predictions.users)
    path = test_file(folder, model)
    of_tasks = [schema.task(task) for task in network.tasks]
    logits = {t.name: predictions.logits[t.name] for t in of_tasks if has_probability(t)}
    others = {t.name: predictions.of(t) for t in of_tasks if not has_probability(t)}
    _write_arrays(path.with_suffix(".npz"), logits, others)

    result = {
        "metrics": measure(predictions, schema, network.tasks),
        "watch_time": watch_time(predictions, schema, network.tasks) if timed else {},
        "density": densities(network),
        "overlap": shared_overlap(network),
        "seconds": training_seconds(folder, model, network.tasks),
        "cost": cost_of(network),
        "nothing_learned": read_result(stage_folder(folder, model)).get("nothing_learned", {}),
    }
    artifacts.write_json(path, artifacts.undefined_as_null(result))


def _open(comparison: Path, folder: Path, searches: Path, settings: Settings) -> Run:
    """Opens the run that a job trains; nothing is logged of its steps."""
    source = _source(comparison, settings)
    feed = training_feed(source, logs.read_audit(comparison), settings)
    settings = settled(settings, feed)
    # Of what a job trains at most; a log needs no better estimate.
    training = settings.training
    steps = training.epochs * feed.steps_per_epoch
    fewer = may_end_early(training.epochs, training.patience)
    progress = Progress(steps, training.batch_size, may_end_early=fewer)
    return Run(settings, source.schema, folder, searches, feed, progress, _log_nothing)


def _log_nothing(stage: str, step: int, values: dict[str, float]) -> None:
    """Stands for a log of losses and metrics."""


def _source(comparison: Path, settings: Settings) -> Source:
    """Returns the comparison's logs, audited; a process opens them once for all models alike."""
    alike = Settings(
        settings.data,
        dataclasses.replace(
            ModelSettings(),
            bucket_share=settings.model.bucket_share,
            history=settings.model.history,
            head=settings.model.head,
        ),
        TicketSettings(),
        TrainingSettings(),
        DailySettings(),
        tasks=settings.tasks,
    )
    return _opened(comparison, alike)


# Of all tasks and of single ones. A source's reader is traced once: else it takes a job seconds.
@functools.lru_cache(maxsize=4)
def _opened(comparison: Path, settings: Settings) -> Source:
    """Opens the comparison's logs, audited, by the settings that they depend on."""
    schema = run_folder.read_schema(settings.data.schema, settings)
    return logs.read_audited(logs.open_logs(settings.data, schema), comparison)


def _make_a_run(comparison: Path, run: Run, settings: Settings) -> None:
    """Writes the files that `evaluate` and `export` read from a run's folder."""
    run_folder.claim_folder(run.folder, settings, run_folder.read_files(comparison))
    audit = (comparison / AUDIT).read_bytes()
    artifacts.write_atomically(run.folder / AUDIT, audit)
    write_vocabularies(run.folder / VOCABULARIES, vocabularies_of(run.schema))
    write_numbers(run.folder / NUMBERS, numbers_of(run.schema))
    write_label_quantiles(run.folder / LABEL_QUANTILES, label_quantiles_of(run.schema))
    artifacts.write_json(run.folder / SEARCHES, os.path.relpath(run.searches, run.folder))


def _write_arrays(path: Path, *by_task: dict[str, np.ndarray], **single: np.ndarray) -> None:
    arrays = {}
    for position, arrays_by_task in enumerate(by_task):
        for task, array in arrays_by_task.items():
            arrays[f"{position}/{task}"] = array
    content = io.BytesIO()
    np.savez_compressed(content, **arrays, **single)  # type: ignore[arg-type]
    artifacts.write_atomically(path, content.getvalue())


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads what `test` wrote: "<position>/<task>" -> values, in the order of the arguments.

    Raises:
        RunError: The file is absent, damaged, or holds anything but numbers.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:  # NumPy raises a dozen kinds on bytes that are no archive
        raise artifacts.RunError(f"{path}: found {error}, expected arrays in npz") from error
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu":
            raise artifacts.RunError(f"{path}: {name}: found {array.dtype}, expected numbers")
    return arrays
