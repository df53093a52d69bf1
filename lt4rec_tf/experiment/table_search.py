"""Finds the ticket of a run's embedding tables, which all its rows wear."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

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
from lt4rec_tf.tickets.search import MASKS, level_folder
from lt4rec_tf.training import checkpoint
from lt4rec_tf.training.plan import HISTORY, WEIGHTS


def find_table_ticket(run: Run) -> None:
    """Algorithm 1 on the embedding tables, all tasks trained together, each with its own tower.

    Source: Wang et al. (arXiv 2108.00944), Algorithm 1, on the tables of a ranking model.
    """
    folder = run.searches / TABLES
    if artifacts.is_done(folder):
        return
    rounds = run.settings.tickets.embedding_rounds
    found = []
    for level in range(rounds + 1):
        here = level_folder(folder, level)
        ticket = _read(run, here, level)
        network, result = _train(run, here, level, ticket)
        found.append(_described(run, ticket, result))
        above = level_folder(folder, level + 1)
        if level < rounds and not (above / MASKS).exists():
            write_ticket(above / MASKS, _pruned(run, network, ticket, level + 1))
        artifacts.remove(here / TRAINING / WEIGHTS)
    write_ticket(folder / TABLE_MASKS, ticket)
    smaller = network_in(run, "s_weight")
    _load_theta_0(run, smaller)
    checkpoint.save(theta_0(run), smaller.variables)
    found_by = {"unit": ticket.unit, "levels": found}
    artifacts.write_json(folder / SEARCH, artifacts.undefined_as_null(found_by))
    artifacts.mark_done(folder)


def _read(run: Run, here: Path, level: int) -> TableTicket:
    unit, dimension = run.settings.tickets.embedding_unit, run.settings.model.embedding_dim
    if level == 0:
        return whole(unit, run.schema.table_rows, dimension)
    return read_ticket(here / MASKS, unit, run.schema.table_rows, dimension)


def _train(
    run: Run, here: Path, level: int, ticket: TableTicket
) -> tuple[RankingNetwork, dict[str, Any]]:
    """A level's network, at its best epoch where the next level still needs it."""
    network = network_of(run.settings, run.schema, "hard_sharing", tables=ticket if level else None)
    stage = here / TRAINING
    if artifacts.is_done(stage) and not (stage / WEIGHTS).exists():  # the next level is made
        epochs = run.settings.training.search_epochs
        run.progress.skip(epochs * run.feed.steps_per_epoch)
        return network, artifacts.read_json(stage / HISTORY)
    _load_theta_0(run, network)
    plan = plan_of(run, run.settings.training.search_epochs)
    result = joint_trainer(run, network).fit(stage, f"{TABLES}/level_{level}", plan)
    return network, result


def _pruned(run: Run, network: RankingNetwork, ticket: TableTicket, level: int) -> TableTicket:
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
    rows, dimension = run.schema.table_rows, run.settings.model.embedding_dim
    numbers = ticket.numbers(rows, dimension)
    return {
        "density": numbers / (sum(rows.values()) * dimension),
        "numbers": numbers,
        "kept": {name: int(np.count_nonzero(mask)) for name, mask in ticket.masks.items()},
        "validation": result["validation"],
    }


def _load_theta_0(run: Run, network: RankingNetwork) -> None:
    """Sets theta_0, of whose tables the network has what its ticket leaves."""
    names = {f"embedding/{part.name}" for part in _layout(network).parts}
    others = {name: v for name, v in network.variables.items() if name not in names}
    renames = {name: shared_name(name, network.tasks) for name in others}
    checkpoint.restore(run.searches / INITIAL, others, renames)
    tables = checkpoint.read(run.searches / INITIAL, "embedding/table")
    for name, values in _layout(network).taken(tables).items():
        network.variables[f"embedding/{name}"].assign(values)


def _layout(network: RankingNetwork) -> Layout:
    return network.model.get_layer("shared.embedding").layout
