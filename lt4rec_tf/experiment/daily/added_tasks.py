"""Tasks that come later: each finds its ticket in a trained network whose tasks stay as they are.

The tower's weights that the network's tasks wear, its embedding tables and its cross layer are
read by the new tasks and never changed. They train their heads and the weights that nobody wears.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lt4rec_tf.config.checks import own_embedding
from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.flags import expect
from lt4rec_tf.core.progress import Progress
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.data.audit.findings import Audit
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.experiment import logs, report, run_folder
from lt4rec_tf.experiment.calibration import calibrate_models
from lt4rec_tf.experiment.daily import inheritance
from lt4rec_tf.experiment.daily.parent import Parent, check_models, open_parent, with_known_values
from lt4rec_tf.experiment.evaluation import evaluate_models
from lt4rec_tf.experiment.feed import training_feed
from lt4rec_tf.experiment.kept_weights import check_unchanged, own_variables
from lt4rec_tf.experiment.level_search import (
    JointSearch,
    LevelSearch,
    check_levels,
    find_levels,
    pending_levels,
)
from lt4rec_tf.experiment.passes import may_end_early, note_on_passes, settled
from lt4rec_tf.experiment.paths import (
    ADDED,
    ADDED_LEVELS,
    EVALUATION,
    INITIAL,
    TENSORBOARD,
    TRAINING,
    stage_folder,
    theta_0_of,
)
from lt4rec_tf.experiment.run import Run, joint_trainer, theta_0
from lt4rec_tf.experiment.shared_tickets import input_shares, shared_masks
from lt4rec_tf.experiment.trained_models import (
    default_model,
    masked_network,
    reported_tasks,
    shares_tower,
)
from lt4rec_tf.reports.inputs import input_lines
from lt4rec_tf.reports.run_report import StageLog
from lt4rec_tf.reports.search_tables import joint_levels
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.schema.vocabularies import growth_between, with_growth
from lt4rec_tf.tickets.free_weights import free_weights
from lt4rec_tf.tickets.masks import Masks
from lt4rec_tf.tickets.search import WEIGHTS
from lt4rec_tf.training import checkpoint
from lt4rec_tf.training.plan import Feed

FLAG = "add_to"


@dataclass(frozen=True)
class Addition:
    """New tasks, and the run to whose network they are added.

    Attributes:
        parent: The run.
        model: The model of it that they are added to.
        new: Names of the new tasks, in order.
        schema: Of all tasks, with the vocabularies, bins and scales that the network knows.
        schema_text: Its TOML.
    """

    parent: Parent
    model: str
    new: tuple[str, ...]
    schema: Schema
    schema_text: str


def with_exported_model(settings: Settings) -> Settings:
    """Returns the settings with the model that --add_to exports, where flags name none.

    Raises:
        RunError: There is no such run.
    """
    parent = Path(settings.daily.add_to)
    theirs, their_schema = run_folder.read_run(parent)
    return dataclasses.replace(settings, models=(default_model(theirs, their_schema, parent),))


def train(settings: Settings, schema: Schema, folder: Path) -> tuple[Source, list[Path]]:
    """Finds the new tasks' tickets and measures all tasks; what was finished before is skipped.

    Args:
        settings: With --add_to.
        schema: By --schema.
        folder: RUN, locked.

    Returns:
        The logs, and the pictures' paths.

    Raises:
        RunError: The run that is named does not fit.
        DataError: The logs cannot be used.
    """
    addition, source, audit = open_addition(settings, schema, folder, f"run: {folder}")
    if not has_start(folder):
        inheritance.take_tables(addition.parent, folder, source.schema)
        inheritance.take_masks(addition.parent, addition.model, folder)
        _take_start(addition, settings, source.schema, folder)

    feed = training_feed(source, audit, settings)
    if note := note_on_passes(settings, feed):
        print(note)
    steps = steps_to_come(settings, feed, folder)
    settings = settled(settings, feed)
    training = settings.training
    fewer = may_end_early(training.search_epochs, training.patience)
    with (
        closing(StageLog(folder / TENSORBOARD)) as log,
        Progress(steps, training.batch_size, may_end_early=fewer) as progress,
    ):
        run = Run(settings, source.schema, folder, folder, feed, progress, log)
        free = _find_tickets(run, addition)

    calibrate_models(folder, settings, source, print)
    evaluation: Any = evaluate_models(folder, settings, source.schema, source, "test")
    artifacts.write_json(folder / EVALUATION, artifacts.undefined_as_null(evaluation))
    print(_found_text(run, addition, free))
    report.print_evaluation(evaluation)
    pictures = report.draw_run(settings, source.schema, folder, [], evaluation, addition.model)
    return source, pictures


def steps_to_come(settings: Settings, feed: Feed, folder: Path) -> int:
    """Returns the training steps that may still come.

    Args:
        settings: With --add_to.
        feed: The logs.
        folder: RUN.
    """
    planned = settled(settings, feed)
    (model,) = planned.models
    begun = has_start(folder)
    rounds = planned.tickets.rounds
    levels = pending_levels(*_places(folder, model), rounds) if begun else rounds + 1
    return levels * planned.training.search_epochs * feed.steps_per_epoch


def open_addition(
    settings: Settings, schema: Schema, folder: Path, title: str, *, lists: bool = True
) -> tuple[Addition, Source, Audit]:
    """Opens the run of --add_to, and audits the logs that its new tasks are trained on.

    Args:
        settings: With --add_to.
        schema: By --schema.
        folder: RUN.
        title: Printed once the folder is the run's.
        lists: As `logs.audited` takes it.

    Raises:
        RunError: The run does not fit, or has no tower that its tasks share.
        DataError: The logs cannot be used.
    """
    addition = _addition(settings, schema)
    source, audit = run_folder.open_audited(
        settings,
        addition.schema,
        folder,
        title,
        print,
        lists=lists,
        schema_text=addition.schema_text,
    )
    # The network predicts amounts in the units that it was trained with.
    known = {task.name: task for task in addition.parent.schema.tasks}
    tasks = tuple(known.get(task.name, task) for task in source.schema.tasks)
    logs.keep_standards(folder, dataclasses.replace(source.schema, tasks=tasks))
    return addition, logs.read_audited(source, folder), audit


def has_start(folder: Path) -> bool:
    """Tells if a run holds copies of all that its new tasks start from."""
    return artifacts.is_done(folder / INITIAL)


def _addition(settings: Settings, schema: Schema) -> Addition:
    folder = Path(settings.daily.add_to)
    _, their_schema = run_folder.read_run(folder)
    theirs = [task.name for task in their_schema.tasks]
    mine = [task.name for task in schema.tasks]
    new = tuple(name for name in mine if name not in theirs)
    expected = f"all of {', '.join(theirs)}, those of --{FLAG}, and one more or several"
    expect(set(theirs) <= set(mine) and bool(new), "tasks", ", ".join(mine), expected)

    one = len(settings.models) == 1
    expect(one, "models", settings.models, f"one model of --{FLAG}={folder}")
    (model,) = settings.models
    of_theirs = _without_embeddings_of(new, settings)
    parent = open_parent(FLAG, of_theirs, schema.with_tasks(theirs))
    check_models(FLAG, parent, settings.models)
    if not shares_tower(folder, model):
        raise artifacts.RunError(
            f"--models: found {model}, expected a model of {folder} whose tasks wear tickets of "
            "one tower"
        )

    known = with_known_values(schema, parent)
    text = Path(settings.data.schema).read_text(encoding="utf-8")
    return Addition(parent, model, new, known, with_growth(text, growth_between(schema, known)))


def _without_embeddings_of(new: Sequence[str], settings: Settings) -> Settings:
    """Returns the settings without --own_embedding of the new tasks, which no other task reads."""
    lengths = own_embedding(settings, ())
    kept = tuple(f"{task}={length}" for task, length in lengths.items() if task not in new)
    model = dataclasses.replace(settings.model, own_embedding=kept)
    return dataclasses.replace(settings, model=model)


def _take_start(addition: Addition, settings: Settings, schema: Schema, folder: Path) -> None:
    """Keeps theta_0: the model's weights, and a draw of what is the new tasks' alone.

    Values that the network has not seen get rows that equal its row of unknown values. Once it has
    returned, the run of --add_to is not needed for training.
    """
    network = masked_network(folder, addition.model, settings, schema, without_masks=addition.new)
    taken = folder / INITIAL / addition.model
    inheritance.take_weights(addition.parent, addition.model, settings, schema, taken)
    names = checkpoint.read_all(taken / WEIGHTS).keys()
    checkpoint.restore(taken / WEIGHTS, {name: network.variables[name] for name in names})
    checkpoint.save(theta_0_of(folder, settings), network.variables)
    artifacts.remove(taken)
    artifacts.mark_done(folder / INITIAL)


def _places(folder: Path, model: str) -> tuple[Path, Path]:
    """Returns the folder of a model's network and that of the levels of its new tasks."""
    parent = stage_folder(folder, model).parent
    return parent, parent / ADDED_LEVELS


def _find_tickets(run: Run, addition: Addition) -> Mapping[str, np.ndarray]:
    """Finds the new tasks' tickets; returns where weights may have changed, see `free_weights`."""
    folder, levels = _places(run.folder, addition.model)
    network = masked_network(
        run.folder, addition.model, run.settings, run.schema, without_masks=addition.new
    )
    free = free_weights([network.masks(task) for task in network.tasks if task not in addition.new])
    changeable = free | own_variables(network, addition.new)

    trainer = joint_trainer(run, network, tasks=addition.new, changeable=changeable)
    search = LevelSearch(run, network, trainer, folder, levels, addition.model)
    find_levels(search, folder / ADDED)
    weights = folder / TRAINING / WEIGHTS
    check_unchanged(network.variables, theta_0(run), weights, changeable)
    return free


def _found_text(run: Run, addition: Addition, free: Mapping[str, np.ndarray]) -> str:
    """Returns what is printed about the new tasks' tickets."""
    folder, _ = _places(run.folder, addition.model)
    tasks: Any = [task for task in reported_tasks(run.schema) if task["name"] in addition.new]
    found: JointSearch = read_typed(folder / ADDED, JointSearch)
    check_levels(folder / ADDED, found, addition.new, run.tasks)
    masks_by_task = shared_masks(run.folder, addition.model, run.settings, run.schema)
    inputs = input_shares(addition.model, masks_by_task, run.settings, run.schema)

    others = " and ".join(task for task in run.tasks if task not in addition.new)
    lines = [
        f"\n{', '.join(addition.new)}, added to {addition.model} of {addition.parent.folder}, "
        f"on validation\n\n{joint_levels(found, tasks)}\n",
        input_lines(inputs),
        f"{others}: all weights compared with those before, none moved",
    ]
    for task in addition.new:
        worn, all_worn = _worn_before(masks_by_task[task], free)
        lines.append(
            f"{task} wears {all_worn:,} weights, of which {worn:,} ({100 * worn / all_worn:.0f} %) "
            f"are read from {others}"
        )
    return "\n".join(lines)


def _worn_before(masks: Masks, free: Mapping[str, np.ndarray]) -> tuple[int, int]:
    """Returns how many of a ticket's weights are not free, and how many it has."""
    worn = sum(
        int(np.count_nonzero(mask & ~free[f"{name}/kernel"])) for name, mask in masks.items()
    )
    return worn, sum(int(np.count_nonzero(mask)) for mask in masks.values())
