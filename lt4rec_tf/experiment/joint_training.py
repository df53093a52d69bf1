"""The rows whose tasks are trained together: sparse sharing, its controls, its alternatives."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lt4rec_tf.config.settings import TICKET_ROWS, Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.experiment.paths import (
    CHOICE,
    TABLES,
    TRAINING,
    WARMUP,
    WIDTHS,
    row_folder,
    row_masks,
    ticket_folder,
)
from lt4rec_tf.experiment.run import (
    Run,
    draw_afresh,
    joint_trainer,
    load_start,
    plan_of,
    row_network,
    table_ticket,
)
from lt4rec_tf.experiment.ticket_search import Ticket, prune_of, score_of, searched_levels
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.models.registry import HTLNET
from lt4rec_tf.tickets import masks as masks_file
from lt4rec_tf.tickets.controls import dense_widths, shuffle_layerwise
from lt4rec_tf.tickets.masks import Masks
from lt4rec_tf.tickets.search import level_folder
from lt4rec_tf.training import checkpoint
from lt4rec_tf.training.plan import WEIGHTS, Feed

# Rows made of LT4REC's own layers: they start from the theta_0 that the searches start from.
FROM_THETA_0 = ("shared_bottom", "hard_sharing", "s_weight", "pruned_towers", *HTLNET)
_WEARING = ("s_weight", "pruned_towers", "htlnet_tickets", "htlnet_s_weight")


def train_row(run: Run, row: str, tickets: Sequence[Ticket] = ()) -> dict[str, Any]:
    """Trains all tasks of a row's network together: Algorithm 1's second half, or a rival.

    Args:
        run: The run.
        row: The row's name, which names its folder.
        tickets: One a task, for rows that wear or measure themselves by them.

    Returns:
        The stage's result.
    """
    folder = row_folder(run.folder, row)
    if row == "small_dense":
        artifacts.write_json(folder / WIDTHS, _small_widths(run, tickets))
    tables = table_ticket(run.searches, run.settings, run.schema)
    network = row_network(folder, row, run.settings, run.schema, tables)
    if row in FROM_THETA_0:
        load_start(run, network)
    if row in _WEARING:
        wear_tickets(run, network, folder, tickets)
    return joint_trainer(run, network).fit(
        folder / TRAINING, row, plan_of(run, run.settings.training.epochs)
    )


def wear_tickets(
    run: Run, network: RankingNetwork, folder: Path, tickets: Sequence[Ticket]
) -> None:
    """Puts on the tickets, or what a control puts in their place, and keeps what is worn."""
    for ticket in tickets:
        path = row_masks(folder, ticket.task)
        if not path.exists():
            masks_file.write_masks(path, _worn(run, network, ticket))
        network.wear(ticket.task, masks_file.read_masks(path, network.kernel_shapes(ticket.task)))
    if run.settings.tickets.ticket_control == "reinitialize":
        draw_afresh(run, network, "joint")


def steps_to_come(
    settings: Settings, tasks: Sequence[str], folder: Path, searches: Path, feed: Feed
) -> int:
    """Training steps of the stages that are not finished, for the time left."""
    training, steps = settings.training, feed.steps_per_epoch
    total = 0
    if {"base", *TICKET_ROWS} & set(settings.rows):
        levels = [
            level_folder(ticket_folder(searches, task), level)
            for task in tasks
            for level in range(searched_levels(settings))
        ]
        total += (
            sum(not artifacts.is_done(level) for level in levels) * training.search_epochs * steps
        )
    if settings.tickets.embedding_density < 1:
        levels = [
            level_folder(searches / TABLES, level)
            for level in range(settings.tickets.embedding_rounds + 1)
        ]
        left = sum(not artifacts.is_done(level / TRAINING) for level in levels)
        total += left * training.search_epochs * steps
    if not artifacts.is_done(searches / WARMUP / TRAINING):
        total += settings.tickets.warmup_epochs * steps
    for row in set(settings.rows) - {"base", "s_weight_auto"}:
        if not artifacts.is_done(row_folder(folder, row) / TRAINING):
            total += training.epochs * steps
    auto = row_folder(folder, "s_weight_auto")
    if "s_weight_auto" in settings.rows and not (auto / CHOICE).exists():
        done = len([*auto.glob(f"*/{TRAINING}/{artifacts.DONE}")])
        total += (training.auto_trainings - done) * training.epochs * steps
    return total


def _worn(run: Run, network: RankingNetwork, ticket: Ticket) -> Masks:
    """A task's ticket, or a control of equal density."""
    control = run.settings.tickets.ticket_control
    if control == "shuffle":
        seed = zlib.crc32(f"{run.settings.seed}/{ticket.task}/shuffle".encode())
        return shuffle_layerwise(ticket.masks, seed)
    if control == "draw":
        load_start(run, network)
        drawn = {name: kernel.numpy() for name, kernel in network.kernels(ticket.task).items()}
        return prune_of(run.settings)(drawn, masks_file.ones_like(drawn), _alive(ticket.masks))
    if control == "one_shot":
        return _cut_at_once(run, network, ticket)
    return ticket.masks


def _cut_at_once(run: Run, network: RankingNetwork, ticket: Ticket) -> Masks:
    """The dense training's weights pruned in one go to the ticket's density."""
    dense = level_folder(ticket_folder(run.searches, ticket.task), 0)
    kernels = network.kernels(ticket.task)
    stored = {f"{name}/kernel": kernel for name, kernel in kernels.items()}
    checkpoint.restore(dense / TRAINING / WEIGHTS, stored)
    trained = {name: kernel.numpy() for name, kernel in kernels.items()}
    scores = score_of(run, network, ticket.task)(trained)
    load_start(run, network)
    return prune_of(run.settings)(scores, masks_file.ones_like(trained), _alive(ticket.masks))


def _small_widths(run: Run, tickets: Sequence[Ticket]) -> list[int]:
    inputs = next(iter(tickets[0].masks.values())).shape[0]
    alive = float(np.mean([_alive(ticket.masks) for ticket in tickets]))
    return list(dense_widths(run.settings.model.hidden_units, inputs, round(alive)))


def _alive(masks: Masks) -> int:
    return sum(int(mask.sum()) for mask in masks.values())
