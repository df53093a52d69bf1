"""The models of a run, read back from its folder and measured.

`train`, `evaluate` and `export` all use them, so they agree about what a model is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.experiment.calibration_maps import maps_of_model, measured_with
from lt4rec_tf.experiment.joint_search import read_joint_search
from lt4rec_tf.experiment.level_search import JointSearch
from lt4rec_tf.experiment.paths import (
    ADDED,
    GATES,
    TABLES,
    TRAINING,
    WARMUP,
    model_folder,
    model_masks,
    network_model,
    read_choice,
    searches_of,
    sharing_model,
    single_task,
    stage_folder,
)
from lt4rec_tf.experiment.run import model_network, table_ticket
from lt4rec_tf.experiment.ticket_search import read_task_masks, search_seconds
from lt4rec_tf.models.calibration import needs_durations
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.models.registry import MODELS
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.tickets.masks import Masks, density, overlap
from lt4rec_tf.tickets.search import HISTORY, WEIGHTS, read_result
from lt4rec_tf.training import checkpoint
from lt4rec_tf.training.error_analysis import error_bins
from lt4rec_tf.training.evaluation import measure, population_sizes, without_user
from lt4rec_tf.training.plan import Batches
from lt4rec_tf.training.predictions import Predictions, predictor_of
from lt4rec_tf.training.watch_time import timed_tasks, watch_time

# Models of this project whose tasks may wear tickets on one tower; one of them is exported.
SPARSE_SHARING = ("s_gates", "s_joint", "s_weight_auto", "s_weight")
# These, and rivals that do: they are exported where they are named.
ON_ONE_TOWER = (*SPARSE_SHARING, "csmf")


def model_names(settings: Settings, schema: Schema) -> list[str]:
    """Returns the models of a run, in the order of its table: base becomes one for each task."""
    names = []
    for model in settings.models:
        names += [f"base_{task.name}" for task in schema.tasks] if model == "base" else [model]
    return names


def default_model(settings: Settings, schema: Schema, folder: Path) -> str:
    """Returns the model to export where none is named: sparse sharing if the run has it.

    Of several such models it is the one with the best loss on validation (Eq. 2's, of all tasks),
    once all of them are trained. Before, and where nothing validates or the run goes on from
    another, it is the first of `SPARSE_SHARING`.

    Args:
        settings: The run's.
        schema: The run's.
        folder: RUN.
    """
    names = model_names(settings, schema)
    preferred = [model for model in SPARSE_SHARING if model in names]
    if not preferred:
        return names[-1]
    found = [_validation_score(folder, model) for model in preferred]
    scores = [score for score in found if score is not None]
    if len(scores) < len(found) or settings.daily.warm_start or settings.daily.masks:
        return preferred[0]
    return preferred[scores.index(max(scores))]


def _validation_score(folder: Path, model: str) -> float | None:
    """Returns the score of a model's best epoch, higher is better; None: it is not trained yet."""
    stage = stage_folder(folder, model)
    if not artifacts.is_done(stage):
        return None
    result = read_result(stage)
    score: float | None = result["history"][result["best_epoch"]]["score"]
    return score


def shares_tower(folder: Path, model: str) -> bool:
    """Tells if the tasks of a trained model wear tickets on one tower.

    Args:
        folder: RUN.
        model: One of the run's.
    """
    return model in ON_ONE_TOWER and network_model(folder, model) != sharing_model(separate=True)


def load_model(folder: Path, model: str, settings: Settings, schema: Schema) -> RankingNetwork:
    """Reads a trained model: its network with its masks and weights.

    Args:
        folder: RUN.
        model: One of `model_names`.
        settings: The run's.
        schema: The run's, with all its tasks.

    Raises:
        RunError: The run has no such model, or it is not trained.
    """
    names = model_names(settings, schema)
    if model not in names:
        raise artifacts.RunError(
            f"{folder}: no model {model!r}, expected one of {', '.join(names)}"
        )
    stage = stage_folder(folder, model)
    if not artifacts.is_done(stage):
        raise artifacts.RunError(
            f"{folder}: model {model} is not trained; run train again to finish it"
        )

    task = single_task(model)
    if task is not None:
        schema = schema.with_tasks([task])
        built_as = "base"
    else:
        built_as = network_model(folder, model)
    network = _network_with_masks(folder, stage.parent, built_as, settings, schema)
    checkpoint.restore(stage / WEIGHTS, network.variables)
    return network


def masked_network(
    folder: Path,
    model: str,
    settings: Settings,
    schema: Schema,
    *,
    without_masks: Sequence[str] = (),
) -> RankingNetwork:
    """Builds the network of a model of several tasks with the masks that lie in its folder.

    Args:
        folder: RUN.
        model: One of the run's models, not of single tasks.
        settings: The run's.
        schema: The run's, with all its tasks.
        without_masks: Tasks whose masks are still sought; nothing is cut for them.
    """
    parent, built_as = stage_folder(folder, model).parent, network_model(folder, model)
    return _network_with_masks(folder, parent, built_as, settings, schema, without_masks)


def _network_with_masks(
    folder: Path,
    parent: Path,
    built_as: str,
    settings: Settings,
    schema: Schema,
    without_masks: Sequence[str] = (),
) -> RankingNetwork:
    """Builds a network by the files in a model's folder and applies the masks that lie there."""
    tables = table_ticket(searches_of(folder), settings, schema)
    network = model_network(parent, built_as, settings, schema, tables)
    for task in network.tasks:
        path = model_masks(parent, task)
        if task in without_masks:
            continue
        if path.exists() or MODELS[built_as].wears_tickets:  # without masks it is another network
            network.wear(task, read_task_masks(network, task, path))
    return network


def measure_models(
    folder: Path,
    settings: Settings,
    schema: Schema,
    batches: Callable[[], Batches],
) -> Iterator[dict[str, Any]]:
    """Measures every model over a whole split.

    Args:
        folder: RUN.
        settings: The run's.
        schema: The run's.
        batches: () -> the split's batches.

    Yields:
        {"row": the model's name, "metrics": {task: {metric: value}}, with None for GAUC where no
        row has a user, and none where the schema names no column of users; "rows": {task: those of
        its population}; "without_user": {binary task: {"rows", "without_user"}}, the rows that GAUC
        leaves out;
        "density": {task: share}, "overlap": |AND|/|OR| of the tasks' masks or None; "reliability"
        and "by_label" of `training.error_analysis.error_bins`; "seconds": training time}. All
        are of the network's own predictions. With --calibration "calibrated" has "maps" in words,
        the tasks that are "left" as they are, "metrics" and "reliability" of calibrated ones.
    """
    for model in model_names(settings, schema):
        yield _measure_one(folder, model, settings, schema, batches)


def _measure_one(
    folder: Path,
    model: str,
    settings: Settings,
    schema: Schema,
    batches: Callable[[], Batches],
) -> dict[str, Any]:
    network = load_model(folder, model, settings, schema)
    calibration = maps_of_model(folder, model, settings, schema)
    needs = calibration is not None and needs_durations(calibration.maps)
    needs |= bool(timed_tasks(schema, network.tasks))
    predictions = predictor_of(network, schema, durations=needs)(batches())

    entry = _measured(model, network, schema, predictions)
    if predictions.durations is not None:
        entry["watch_time"] = watch_time(predictions, schema, network.tasks)
    entry |= error_bins(predictions, schema, network.tasks)
    if calibration is not None:
        entry["calibrated"] = measured_with(calibration, schema, network.tasks, predictions)
    return entry | {"seconds": training_seconds(folder, model, network.tasks)}


def measure_model(
    model: str, network: RankingNetwork, schema: Schema, batches: Batches
) -> dict[str, Any]:
    """Measures a network on batches.

    Returns:
        What `measure_models` yields, without the seconds and the bins of errors.
    """
    return _measured(model, network, schema, predictor_of(network, schema)(batches))


def _measured(
    model: str, network: RankingNetwork, schema: Schema, predictions: Predictions
) -> dict[str, Any]:
    metrics: dict[str, dict[str, Any]] = dict(measure(predictions, schema, network.tasks))
    left_out = without_user(predictions, schema, network.tasks)
    for task, counts in left_out.items():
        if counts["without_user"] == counts["rows"]:
            metrics[task] = metrics[task] | {"gauc": None}

    return {
        "row": model,
        "metrics": metrics,
        "rows": population_sizes(predictions, network.tasks),
        "without_user": left_out,
        "density": densities(network),
        "overlap": shared_overlap(network),
    }


def task_masks(network: RankingNetwork) -> dict[str, Masks]:
    """Returns each task's masks; none for models whose layers have none."""
    return {task: network.masks(task) for task in network.tasks if network.towers[task]}


def densities(network: RankingNetwork) -> dict[str, float]:
    """Returns the density of each task's masks or open gates, in [0, 1]."""
    if network.kept_shares is not None:
        return network.kept_shares()
    return {task: density(masks) for task, masks in task_masks(network).items()}


def shared_overlap(network: RankingNetwork) -> float | None:
    """Returns |AND| / |OR| of the masks of tasks that share kernels; None if they share none."""
    masks = task_masks(network)
    kernels = {task: network.towers[task][0].shared.kernel.ref() for task in masks}
    if len(masks) < 2 or len(set(kernels.values())) > 1:
        return None
    return overlap(list(masks.values()))


def reported_tasks(schema: Schema) -> list[dict[str, Any]]:
    """Returns what tables print about the tasks."""
    names = ("name", "kind", "metric", "direction", "population")
    entries = []
    for task in schema.tasks:
        where = {"where": task.scenario} if task.where else {}
        entries.append({name: getattr(task, name) for name in names} | where)
    return entries


def training_seconds(folder: Path, model: str, tasks: tuple[str, ...]) -> float:
    """Returns the training time of a model in seconds, with the searches of all its tickets."""
    searches = searches_of(folder)

    added = stage_folder(folder, model).parent / ADDED
    if added.exists():
        seconds = sum(level["seconds"] for level in read_typed(added, JointSearch)["levels"])
    elif model == "s_weight_auto":
        tried = read_choice(model_folder(folder, model))["tried"]
        seconds = sum(way["seconds"] for way in tried)
    elif model == "s_joint" and (search := read_joint_search(model_folder(folder, model), tasks)):
        seconds = sum(level["seconds"] for level in search["levels"])
    else:
        seconds = read_result(stage_folder(folder, model))["seconds"]

    learned = model_folder(folder, model) / GATES / TRAINING  # of its tickets, by s_gates
    seconds += read_result(learned)["seconds"] if learned.exists() else 0.0

    stages = (searches / TABLES).glob(f"level_*/{TRAINING}")
    seconds += sum(read_result(stage)["seconds"] for stage in stages)

    if model in MODELS and MODELS[model].needs_tickets:
        seconds += sum(search_seconds(searches, task) for task in tasks)
        warm = searches / WARMUP / TRAINING
        seconds += read_result(warm)["seconds"] if (warm / HISTORY).exists() else 0.0
    return seconds
