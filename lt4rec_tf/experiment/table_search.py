"""Search for a ticket of the embedding tables, which all models of a run use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.experiment.paths import INITIAL, SEARCH, TABLE_MASKS, TABLES, TRAINING
from lt4rec_tf.experiment.run import Run, joint_trainer, network_in, plan_of, theta_0
from lt4rec_tf.models.layers.table_layout import Layout, table_offsets
from lt4rec_tf.models.lt4rec import shared_name
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.models.registry import network_of
from lt4rec_tf.tickets.embedding_tables import (
    TableTicket,
    prune_tables,
    read_ticket,
    units,
    whole,
    write_ticket,
)
from lt4rec_tf.tickets.magnitude import alive_at_level
from lt4rec_tf.tickets.search import MASKS, WEIGHTS, level_folder, read_result
from lt4rec_tf.training import checkpoint


def find_table_ticket(run: Run) -> None:
    """Runs Algorithm 1 on the embedding tables, if flags ask for it.

    All tasks are trained together, each with a tower of its own.

    Source: Wang et al. (arXiv 2108.00944), Algorithm 1, on the tables of a ranking model.
    """
    folder, level_folders = run.searches / TABLES, _level_folders(run.settings, run.searches)
    if not level_folders or artifacts.is_done(folder):
        return

    levels = []
    for level, here in enumerate(level_folders):
        ticket = _read(run, here, level)
        network, result = _train(run, here, level, ticket)
        levels.append(_described(run, ticket, result))

        if here != level_folders[-1]:
            next_masks = level_folders[level + 1] / MASKS
            if not next_masks.exists():
                write_ticket(next_masks, _pruned(run, network, ticket, level + 1))
        artifacts.remove(here / TRAINING / WEIGHTS)  # a table's checkpoint is large

    write_ticket(folder / TABLE_MASKS, ticket)
    smaller = network_in(run, "s_weight")
    _load_theta_0(run, smaller)
    checkpoint.save(theta_0(run), smaller.variables)

    search = {"unit": ticket.unit, "levels": levels}
    artifacts.write_json(folder / SEARCH, artifacts.undefined_as_null(search))
    artifacts.mark_done(folder)


def pending_epochs(settings: Settings, searches: Path) -> int:
    """Returns the epochs that the search may still take.

    Args:
        settings: The run's.
        searches: Folder of the run's searches.
    """
    levels = _level_folders(settings, searches)
    pending = sum(not artifacts.is_done(level / TRAINING) for level in levels)
    return pending * settings.training.search_epochs


def _level_folders(settings: Settings, searches: Path) -> list[Path]:
    """Returns the folders of the levels, in order; none if the tables stay whole."""
    if settings.tickets.embedding_density == 1:
        return []
    levels = range(settings.tickets.embedding_rounds + 1)
    return [level_folder(searches / TABLES, level) for level in levels]


def _read(run: Run, here: Path, level: int) -> TableTicket:
    unit, dimension = run.settings.tickets.embedding_unit, run.settings.model.embedding_dim
    if level == 0:
        return whole(unit, run.schema.table_rows, dimension)
    return read_ticket(here / MASKS, unit, run.schema.table_rows, dimension)


def _train(
    run: Run, here: Path, level: int, ticket: TableTicket
) -> tuple[RankingNetwork, dict[str, Any]]:
    """Trains a level, which leaves its network at its best epoch.

    A finished level's weights are removed once the next masks are made: its network is then left
    as it was drawn.
    """
    network = network_of(run.settings, run.schema, "hard_sharing", tables=ticket if level else None)
    stage, epochs = here / TRAINING, run.settings.training.search_epochs
    if artifacts.is_done(stage) and not (stage / WEIGHTS).exists():
        run.progress.skip(epochs * run.feed.steps_per_epoch)
        return network, read_result(stage)

    _load_theta_0(run, network)
    plan = plan_of(run, epochs)
    result = joint_trainer(run, network).fit(stage, f"{TABLES}/level_{level}", plan)
    return network, result


def _pruned(run: Run, network: RankingNetwork, ticket: TableTicket, level: int) -> TableTicket:
    """Returns a level's ticket: the largest units of the trained tables below it."""
    tickets, rows = run.settings.tickets, run.schema.table_rows

    values = {
        part.name: network.variables[f"embedding/{part.name}"].numpy()
        for part in _layout(network).parts
    }
    tables = _layout(network).spread(values)
    if ticket.unit == "row":
        # How far training moved each: one that no example looked up is as long as its draw, and
        # takes the place of one that was (docs/embedding_tickets.md).
        tables = tables - checkpoint.read(run.searches / INITIAL, "embedding/table")

    first = table_offsets(run.schema)
    by_name = {name: tables[first[name] :][:count] for name, count in rows.items()}

    total = units(ticket, rows, run.settings.model.embedding_dim)
    keep = alive_at_level(total, tickets.embedding_density, tickets.embedding_rounds, level)
    return prune_tables(ticket, by_name, keep)


def _described(run: Run, ticket: TableTicket, result: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a level's entry in search.json."""
    rows, dimension = run.schema.table_rows, run.settings.model.embedding_dim
    numbers = ticket.numbers(rows, dimension)
    return {
        "density": numbers / (sum(rows.values()) * dimension),
        "numbers": numbers,
        "kept": {name: int(np.count_nonzero(mask)) for name, mask in ticket.masks.items()},
        "validation": result["validation"],
    }


def _load_theta_0(run: Run, network: RankingNetwork) -> None:
    """Sets theta_0, of whose tables the network has what its ticket keeps."""
    table_names = {f"embedding/{part.name}" for part in _layout(network).parts}
    others = {name: v for name, v in network.variables.items() if name not in table_names}
    renames = {name: shared_name(name, network.tasks) for name in others}
    checkpoint.restore(run.searches / INITIAL, others, renames)

    tables = checkpoint.read(run.searches / INITIAL, "embedding/table")
    for name, values in _layout(network).taken(tables).items():
        network.variables[f"embedding/{name}"].assign(values)


def _layout(network: RankingNetwork) -> Layout:
    return network.model.get_layer("shared.embedding").layout
