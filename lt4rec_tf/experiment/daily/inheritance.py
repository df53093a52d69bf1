"""Inheritance from an earlier run: weights, masks, tickets of tables, vocabularies.

All of it is copied, so that a finished run needs no other.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from lt4rec_tf.config.checks import own_embedding
from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.flags import differences
from lt4rec_tf.data.audit.marginals import UNKNOWN_ID
from lt4rec_tf.experiment import logs, run_folder
from lt4rec_tf.experiment.paths import (
    CHOICE,
    CONFIG,
    DAYS,
    INITIAL,
    TABLE_MASKS,
    TABLES,
    WIDTHS,
    is_separate,
    network_row,
    read_choice,
    row_folder,
    row_masks,
    searches_of,
    stage_folder,
    theta_0_of,
)
from lt4rec_tf.experiment.rows import load_row, row_names
from lt4rec_tf.experiment.run import table_ticket
from lt4rec_tf.models.feature_encoder import is_table
from lt4rec_tf.models.layers.table_layout import layout_of, with_copied_rows
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.schema.vocabularies import growth_between
from lt4rec_tf.tickets import masks as masks_file
from lt4rec_tf.tickets.embedding_tables import TableTicket, grown, write_ticket
from lt4rec_tf.training import checkpoint
from lt4rec_tf.training.plan import STATE, WEIGHTS

# Settings of the model that do not change its shape: how weights are drawn, labels sampled.
_SHAPELESS = ("embedding_stddev", "label_noise", "label_temperature")


@dataclass(frozen=True)
class Parent:
    """A finished run whose weights or masks another run starts from.

    Attributes:
        folder: Its RUN.
        settings: Its own.
        schema: Its own, with the vocabularies and the amounts' units that its networks know.
    """

    folder: Path
    settings: Settings
    schema: Schema


def open_parent(flag: str, settings: Settings, schema: Schema) -> Parent:
    """Opens the run that a flag names, and refuses one that does not fit.

    Args:
        flag: "warm_start", "masks" or "frozen".
        settings: Of the new run.
        schema: The same, by --schema.

    Raises:
        RunError: There is no such run, or it is not finished, or differs; names each difference.
    """
    folder = Path(getattr(settings.daily, flag))
    if not (folder / CONFIG).exists():
        raise artifacts.RunError(f"--{flag}: found no run in {folder}, expected the folder of one")
    theirs, their_schema = run_folder.read_run(folder)
    if theirs.daily.warm_start and not (folder / DAYS).exists():
        raise artifacts.RunError(f"--{flag}: {folder} is not finished; run its command again")
    differing = _differences(theirs, their_schema, settings, schema)
    if differing:
        listed = "\n  ".join(differing)
        raise artifacts.RunError(f"--{flag}: {folder} does not fit this run:\n  {listed}")
    return Parent(folder, theirs, logs.learned_schema(their_schema, folder))


def _differences(
    theirs: Settings, their_schema: Schema, mine: Settings, schema: Schema
) -> list[str]:
    """Returns what keeps a network of one run from fitting the other, in words."""
    differing = differences(_shape(theirs, their_schema), _shape(mine, schema))
    if not differing:
        try:
            growth_between(schema, their_schema)
        except ValueError as error:
            return [str(error)]
    return differing


def _shape(settings: Settings, schema: Schema) -> dict[str, Any]:
    """Returns all that two runs must agree about; columns may lie elsewhere in the logs."""
    tickets, model = settings.tickets, dataclasses.asdict(settings.model)
    return {
        "tasks": [task.name for task in schema.tasks],
        "task": {
            task.name: {
                "kind": task.kind,
                "population": task.population,
                "outputs of": task.loss if task.kind == "amount" else task.kind,
            }
            for task in schema.tasks
        },
        "features": [feature.name for feature in schema.features],
        "feature": {
            feature.name: {
                "side": feature.side,
                "table": feature.table,
                "max_values": feature.max_values,
                "ids": dataclasses.asdict(dataclasses.replace(feature.ids, vocabulary=())),
            }
            for feature in schema.features
        },
        "model": {name: value for name, value in model.items() if not name.startswith(_SHAPELESS)},
        "tickets": {
            "embedding_density": tickets.embedding_density,
            "embedding_unit": tickets.embedding_unit if tickets.embedding_density < 1 else None,
        },
    }


def check_rows(flag: str, parent: Parent, rows: Sequence[str]) -> None:
    """Refuses rows that a run does not have, or has not trained to the end.

    Raises:
        RunError: Names the row and the run's rows.
    """
    names = row_names(parent.settings, parent.schema)
    for row in rows:
        if row not in names:
            raise artifacts.RunError(
                f"--rows: found {row!r}, expected rows of --{flag}={parent.folder}: "
                f"{', '.join(names)}"
            )
        if not artifacts.is_done(stage_folder(parent.folder, row)):
            raise artifacts.RunError(
                f"--{flag}: {parent.folder}: row {row} is not trained to the end"
            )


def take_masks(parent: Parent, row: str, folder: Path) -> None:
    """Copies the masks of a row of several tasks, and what its shape depends on.

    Args:
        parent: Whose row of this name it is.
        row: The row.
        folder: RUN.
    """
    theirs = stage_folder(parent.folder, row).parent
    if row == "s_weight_auto":
        # None was tried here: `daily.procedure.train` fills in the seconds.
        their_choice = read_choice(row_folder(parent.folder, row))
        separate = is_separate(their_choice)
        choice = {"chosen": their_choice["chosen"], "separate": separate, "tried": []}
        artifacts.write_json(row_folder(folder, row) / CHOICE, choice)
    mine = stage_folder(folder, row).parent

    if (theirs / WIDTHS).exists():
        artifacts.write_json(mine / WIDTHS, artifacts.read_json(theirs / WIDTHS))

    network = load_row(parent.folder, row, parent.settings, parent.schema)
    for task in network.tasks:
        if row_masks(theirs, task).exists():
            masks_file.write_masks(row_masks(mine, task), network.masks(task))


def check_sharing(row: str, weights: Parent, masks: Parent) -> None:
    """Refuses to apply masks of shared towers to separate ones, or the other way round.

    Raises:
        RunError: The two runs' ways of sharing differ.
    """
    parents = (weights, masks)
    if network_row(weights.folder, row) != network_row(masks.folder, row):
        ways = [stage_folder(parent.folder, row).parent.name for parent in parents]
        raise artifacts.RunError(
            f"--masks: found {row} as {ways[1]} in {masks.folder}, expected towers shared "
            f"as in {ways[0]} of {weights.folder}"
        )


def take_tables(parent: Parent, folder: Path, schema: Schema) -> None:
    """Copies the ticket of the embedding tables, if there is one; new rows are kept rows.

    Args:
        parent: Whose ticket it is.
        folder: RUN.
        schema: Of the run, its vocabularies grown.
    """
    ticket = _ticket(parent)
    if ticket is not None:
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
    parent: Parent, row: str, settings: Settings, schema: Schema, folder: Path
) -> None:
    """Copies a row's weights, and the optimiser's state where it is kept and of one kind.

    New rows of a table begin as its row of unknown values, with that row's state.

    Args:
        parent: Whose row of this name it is.
        row: The row.
        settings: Of the run.
        schema: Of the run, its vocabularies grown.
        folder: Gets "weights" and "state".
    """
    stage = stage_folder(parent.folder, row)
    kinds = [WEIGHTS]
    same = parent.settings.training.optimizer == settings.training.optimizer
    if same and (stage / STATE).exists():
        kinds.append(STATE)
    for kind in kinds:
        if schema.table_rows == parent.schema.table_rows:
            artifacts.copy_folder(stage / kind, folder / kind)
        else:
            values = _grown_values(parent, settings, schema, checkpoint.read_all(stage / kind))
            with tf.device("CPU:0"):
                variables = {name: tf.Variable(value) for name, value in values.items()}
            checkpoint.save(folder / kind, variables)


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


def period_of(parent: Parent) -> dict[str, Any]:
    """Describes the logs of a run that began a chain, from what the run itself keeps.

    Returns:
        An entry of days.json without measurements: name, run, files {name: {"bytes", "sha256":
        None}}, rows, times. The last time is known of a split by time alone: where its test begins,
        a time that the run surely saw.
    """
    audit = logs.read_audit(parent.folder)
    sizes = artifacts.read_json(parent.folder / CONFIG)["files"]
    read_files: set[str] = set()
    for files in audit.files.values():
        read_files.update(files)

    test_from = audit.test_from
    return {
        "name": Path(parent.settings.data.data_dir).resolve().name,
        "run": str(parent.folder),
        "files": {name: {"bytes": sizes[name], "sha256": None} for name in sorted(read_files)},
        "rows": sum(counts.rows for counts in audit.splits.values()),
        "first_time": None,
        "last_time": None if test_from is None or not math.isfinite(test_from) else test_from,
    }
