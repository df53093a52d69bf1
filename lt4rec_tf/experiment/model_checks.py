"""Chooses and checks models by the schema's tasks, before the logs are read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core.flags import expect
from lt4rec_tf.experiment.paths import CONFIG
from lt4rec_tf.experiment.run_folder import read_run
from lt4rec_tf.models.aitm import calibrated_pairs
from lt4rec_tf.models.dcmt import counterfactual_chain
from lt4rec_tf.models.esmm import chain
from lt4rec_tf.models.heads.of_task import smooths
from lt4rec_tf.models.registry import masks_attention
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.serving.durations import duration_input
from lt4rec_tf.training.conflict import pairs_in_conflict

SINGLE_TASK = "base"
# Of one task hard sharing is its tower, and ways of sharing are the levels of its search.
SAME_OF_ONE_TASK = {"hard_sharing": "base", "s_weight_auto": "s_weight"}
# Models that learn tasks on clicks over all impressions -> what refuses tasks that they do not fit.
ENTIRE_SPACE: dict[str, Callable[[Schema], object]] = {
    "esmm": chain,
    "escm2_ips": partial(chain, model="ESCM2"),
    "escm2_dr": partial(chain, model="ESCM2"),
    "dcmt": counterfactual_chain,
}


def distinct_models(settings: Settings, schema: Schema, folder: Path) -> Settings:
    """Returns the settings of a run whose models nobody named, without those that are the same.

    A run that was begun with all models keeps them.

    Args:
        settings: With the default models.
        schema: The run's, with its tasks.
        folder: RUN, by these settings.

    Raises:
        RunError: The folder holds something else than a run.
    """
    if len(schema.tasks) > 1 or settings.tickets.ticket_search == "fast":
        return settings
    begun = (folder / CONFIG).exists()
    if begun and read_run(folder)[0].models == settings.models:
        return settings
    models = tuple(model for model in settings.models if model not in SAME_OF_ONE_TASK)
    return dataclasses.replace(settings, models=models)


def check_models(settings: Settings, schema: Schema) -> None:
    """Refuses models and rules of the joint stage that the tasks do not allow.

    Args:
        settings: All flags.
        schema: The run's, with its tasks.

    Raises:
        UnfitError: A model or a rule needs other tasks.
        ConfigError: Two flags do not go together.
    """
    masks_attention(settings, schema)
    tasks = [task.name for task in schema.tasks]
    joint = [model for model in settings.models if model != SINGLE_TASK]
    for model in joint:
        if model in ENTIRE_SPACE:
            ENTIRE_SPACE[model](schema)

    training = settings.training
    # Importance and scores are measured by one process on its batches; a cascade is tried on one.
    for model in ("s_joint", "s_gates", "csmf"):
        expected = f"none with --models={model}"
        alone = model not in joint or training.distribution == "none"
        expect(alone, "distribution", training.distribution, expected)
    if joint and training.gradient_conflict:
        pairs_in_conflict(schema, tasks)
        own_losses = {*ENTIRE_SPACE} | ({"aitm"} if calibrated_pairs(schema) else set())
        found = sorted(own_losses & set(joint))
        expected = "none with --gradient_conflict that has losses of its own"
        expect(not found, "models", found, expected)
    if joint and training.balance != "none":
        expected = f"two or more with --balance={training.balance}"
        expect(len(tasks) > 1, "tasks", tuple(tasks), expected)
    _check_smoothing(training.label_smoothing, schema)
    for task in schema.tasks:
        if task.reads_duration:
            refused = f"{schema.path}: tasks[{task.name}].head.kind: found {task.head.kind!r}"
            duration_input(schema, f"{refused}, expected another kind")


def _check_smoothing(smoothing: float, schema: Schema) -> None:
    if not smoothing:
        return
    smoothed = [task for task in schema.tasks if smooths(task)]
    expect(
        bool(smoothed), "label_smoothing", smoothing, "0 without a binary task with cross entropy"
    )
    # What is added to the logits of such a task holds for probabilities of the rows themselves.
    sampled = [t.name for t in smoothed if t.negatives_kept < 1 or t.kept_column is not None]
    expected = f"0, as negatives_kept corrects the probabilities of task {', '.join(sampled)}"
    expect(not sampled, "label_smoothing", smoothing, expected)
