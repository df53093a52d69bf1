"""Refuses rows that cannot be trained on the schema's tasks, before the logs are read."""

from __future__ import annotations

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core.flags import expect
from lt4rec_tf.models.aitm import calibrated_pairs
from lt4rec_tf.models.esmm import chain
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.training.conflict import pairs_in_conflict

SINGLE_TASK = "base"


def check_rows(settings: Settings, schema: Schema) -> None:
    """Refuses models and rules of the joint stage that the tasks do not allow.

    Args:
        settings: All flags.
        schema: The run's, with its tasks.

    Raises:
        UnfitError: A model or a rule needs other tasks.
        ConfigError: Two flags do not go together.
    """
    tasks = [task.name for task in schema.tasks]
    joint = [row for row in settings.rows if row != SINGLE_TASK]
    if "esmm" in joint:
        chain(schema)

    training = settings.training
    if joint and training.gradient_conflict:
        pairs_in_conflict(schema, tasks)
        own_losses = {"esmm"} | ({"aitm"} if calibrated_pairs(schema) else set())
        found = sorted(own_losses & set(joint))
        expected = "none with --gradient_conflict that has losses of its own"
        expect(not found, "rows", found, expected)
    if joint and training.balance != "none":
        expected = f"two or more with --balance={training.balance}"
        expect(len(tasks) > 1, "tasks", tuple(tasks), expected)
