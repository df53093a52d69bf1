"""Inheritance from an earlier run: weights, masks, tickets of tables, vocabularies.

All of it is copied, so that a finished run needs no other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from lt4rec_tf.config.checks import own_embedding
from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.flags import from_settings
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.data.audit.marginals import UNKNOWN_ID
from lt4rec_tf.experiment.daily.parent import Parent
from lt4rec_tf.experiment.paths import (
    CHOICE,
    INITIAL,
    TABLE_MASKS,
    TABLES,
    WIDTHS,
    is_separate,
    model_folder,
    model_masks,
    read_choice,
    searches_of,
    stage_folder,
    theta_0_of,
)
from lt4rec_tf.experiment.run import table_ticket
from lt4rec_tf.experiment.trained_models import load_model
from lt4rec_tf.models.feature_encoder import is_table
from lt4rec_tf.models.layers.table_layout import layout_of, with_copied_rows
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.tickets.embedding_tables import TableTicket, grown, write_ticket
from lt4rec_tf.tickets.masks import write_masks
from lt4rec_tf.tickets.search import WEIGHTS
from lt4rec_tf.training import checkpoint
from lt4rec_tf.training.plan import STATE, Optimization


def take_masks(parent: Parent, model: str, folder: Path) -> None:
    """Copies the masks of a model of several tasks, and what its shape depends on.

    Args:
        parent: Whose model of this name it is.
        model: The model.
        folder: RUN.
    """
    theirs = stage_folder(parent.folder, model).parent
    if model == "s_weight_auto":
        # None was tried here: `daily.procedure.train` fills in the seconds.
        their_choice = read_choice(model_folder(parent.folder, model))
        separate = is_separate(their_choice)
        choice = {"chosen": their_choice["chosen"], "separate": separate, "tried": []}
        artifacts.write_json(model_folder(folder, model) / CHOICE, choice)
    mine = stage_folder(folder, model).parent

    if (theirs / WIDTHS).exists():
        artifacts.write_json(mine / WIDTHS, read_typed(theirs / WIDTHS, list[int]))

    network = load_model(parent.folder, model, parent.settings, parent.schema)
    for task in network.tasks:
        if model_masks(theirs, task).exists():  # of models that wear none there is no file
            write_masks(model_masks(mine, task), network.masks(task))


def take_tables(parent: Parent, folder: Path, schema: Schema) -> None:
    """Copies the ticket of the embedding tables, if one was found; new rows are kept rows.

    Args:
        parent: Whose ticket it is.
        folder: RUN.
        schema: Of the run, its vocabularies grown.
    """
    ticket = _ticket(parent)
    if ticket is not None and parent.settings.tickets.embedding_density < 1:
        write_ticket(folder / TABLES / TABLE_MASKS, _grown_ticket(ticket, parent.schema, schema))


def take_theta_0(parent: Parent, folder: Path) -> None:
    """Copies the weights that a run's searches started from, as the last step of all copying.

    Raises:
        RunError: That run began with another's weights, and has no theta_0.
    """
    if parent.settings.daily.warm_start:
        raise artifacts.RunError(
            f"--masks: found {parent.folder}, which goes on from another run, expected one that "
            "began with theta_0, or --warm_start beside it"
        )
    theirs = theta_0_of(searches_of(parent.folder), parent.settings)
    mine = theta_0_of(folder, parent.settings)
    artifacts.copy_folder(theirs, mine)
    if mine != folder / INITIAL:
        artifacts.copy_folder(searches_of(parent.folder) / INITIAL, folder / INITIAL)
    artifacts.mark_done(folder / INITIAL)


def take_weights(
    parent: Parent, model: str, settings: Settings, schema: Schema, folder: Path
) -> None:
    """Copies a model's weights, and the optimiser's state where it is kept and of one kind.

    New rows of a table begin as its row of unknown values, with that row's state.

    Args:
        parent: Whose model of this name it is.
        model: The model.
        settings: Of the run.
        schema: Of the run, its vocabularies grown.
        folder: Gets "weights" and "state".

    Raises:
        CheckpointError: One of them cannot be read.
        RunError: The state of a run that kept one is gone.
    """
    for source, values in read_start(parent, model, settings):
        if schema.table_rows == parent.schema.table_rows:
            artifacts.copy_folder(source, folder / source.name)
        else:
            values = _grown_values(parent, settings, schema, values)
            with tf.device("CPU:0"):
                variables = {name: tf.Variable(value) for name, value in values.items()}
            checkpoint.save(folder / source.name, variables)


def read_start(
    parent: Parent, model: str, settings: Settings
) -> Iterator[tuple[Path, dict[str, np.ndarray]]]:
    """Reads what a model's training starts from: weights, and the optimiser's state if kept.

    All of it is read before a copy of it is relied on, since afterwards the day is bound to that.

    Args:
        parent: Whose model of this name it is.
        model: The model.
        settings: Of the run.

    Yields:
        The folder, and the variables in it by name.

    Raises:
        CheckpointError: One of them cannot be read.
        RunError: The state of a run that kept one is gone.
    """
    stage = stage_folder(parent.folder, model)
    yield stage / WEIGHTS, checkpoint.read_all(stage / WEIGHTS)

    if _optimizers(parent.settings) != _optimizers(settings):
        return
    if (stage / STATE).exists():
        yield stage / STATE, checkpoint.read_all(stage / STATE)
    elif parent.settings.daily.warm_start:
        raise artifacts.RunError(
            f"--warm_start: {stage / STATE}: no such folder, expected the state of the optimizer; "
            "put it back, or start from another run"
        )


def _optimizers(settings: Settings) -> tuple[str, str, bool]:
    """Returns what must be equal for a training to go on from another's optimiser's state."""
    training = from_settings(Optimization, settings.training)
    tables, _ = training.of_tables
    one_for_all = training.of_tables == (training.optimizer, training.learning_rate)
    return training.optimizer, tables, one_for_all


def _ticket(parent: Parent) -> TableTicket | None:
    return table_ticket(searches_of(parent.folder), parent.settings, parent.schema)


def _grown_ticket(ticket: TableTicket, before: Schema, after: Schema) -> TableTicket:
    rows = before.table_rows
    return grown(ticket, {table: count - rows[table] for table, count in after.table_rows.items()})


def _grown_values(
    parent: Parent, settings: Settings, schema: Schema, values: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Returns a checkpoint's variables, each table with the new rows of its schema."""
    grown_values: dict[str, np.ndarray] = {}
    tables_by_owner: dict[str, dict[str, np.ndarray]] = {}
    for name, value in values.items():
        if is_table(name):
            owner, _, part = name.rpartition("/")
            tables_by_owner.setdefault(owner, {})[part] = value
        else:
            grown_values[name] = value

    before, after = parent.schema, schema
    for owner, parts in tables_by_owner.items():
        dimension, ticket = _owner_tables(parent, settings, owner)
        grown_ticket = ticket and _grown_ticket(ticket, before, after)
        grown_parts = with_copied_rows(
            parts,
            (layout_of(before, dimension, ticket), before.table_rows),
            (layout_of(after, dimension, grown_ticket), after.table_rows),
            UNKNOWN_ID,
        )
        grown_values |= {f"{owner}/{part}": value for part, value in grown_parts.items()}
    return grown_values


def _owner_tables(parent: Parent, settings: Settings, owner: str) -> tuple[int, TableTicket | None]:
    """Returns field vectors' length and ticket of tables in "embedding" or "<task>/embedding"."""
    for task, dimension in own_embedding(settings, ()).items():
        if owner.endswith(f"{task}/embedding"):
            return dimension, None
    return settings.model.embedding_dim, _ticket(parent)
