"""Joint training of a model's tasks: sparse sharing, its controls, its alternatives."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.experiment.paths import TRAINING, WIDTHS, model_folder, model_masks, ticket_folder
from lt4rec_tf.experiment.run import (
    Run,
    draw_afresh,
    joint_trainer,
    load_start,
    model_network,
    plan_of,
    table_ticket,
)
from lt4rec_tf.experiment.ticket_search import Ticket, prune_of, score_of
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.models.registry import MODELS
from lt4rec_tf.tickets.controls import dense_widths, shuffle_layerwise
from lt4rec_tf.tickets.masks import Masks, ones_like, read_masks, write_masks
from lt4rec_tf.tickets.parts import prune_parts, variable_of
from lt4rec_tf.tickets.search import WEIGHTS, level_folder
from lt4rec_tf.training import checkpoint


def train_model(run: Run, model: str, tickets: Sequence[Ticket] = ()) -> dict[str, Any]:
    """Trains all tasks of a model's network together: Algorithm 1's second half, or a rival.

    Args:
        run: The run.
        model: The model's name, which names its folder.
        tickets: One for each task, for models whose masks or widths depend on them.

    Returns:
        The stage's result.
    """
    folder = model_folder(run.folder, model)
    if model == "small_dense":
        artifacts.write_json(folder / WIDTHS, _small_widths(run, tickets))
    tables = table_ticket(run.searches, run.settings, run.schema)
    network = model_network(folder, model, run.settings, run.schema, tables)

    if MODELS[model].starts_from_theta_0:
        load_start(run, network)
    if MODELS[model].wears_tickets:
        apply_tickets(run, network, folder, tickets)

    plan = plan_of(run, run.settings.training.epochs)
    return joint_trainer(run, network).fit(folder / TRAINING, model, plan)


def apply_tickets(
    run: Run, network: RankingNetwork, folder: Path, tickets: Sequence[Ticket]
) -> None:
    """Applies the tickets, or a control's masks in their place, and saves these masks.

    Masks that an earlier process saved are read back.
    """
    for ticket in tickets:
        path = model_masks(folder, ticket.task)
        if not path.exists():
            write_masks(path, _task_masks(run, network, ticket))
        network.wear(ticket.task, read_masks(path, network.kernel_shapes(ticket.task)))
    if run.settings.tickets.ticket_control == "reinitialize":
        draw_afresh(run, network, "joint")


def pending_epochs(settings: Settings, folder: Path, model: str) -> int:
    """Returns the epochs that a model's training may still take.

    Args:
        settings: The run's.
        folder: RUN.
        model: The model's name.
    """
    done = artifacts.is_done(model_folder(folder, model) / TRAINING)
    return 0 if done else settings.training.epochs


def _task_masks(run: Run, network: RankingNetwork, ticket: Ticket) -> Masks:
    """Returns a task's ticket, or a control of equal density."""
    control = run.settings.tickets.ticket_control

    if control == "shuffle":
        seed = zlib.crc32(f"{run.settings.seed}/{ticket.task}/shuffle".encode())
        return shuffle_layerwise(ticket.masks, seed)

    if control == "draw":
        load_start(run, network)
        drawn = {name: kernel.numpy() for name, kernel in network.kernels(ticket.task).items()}
        return _cut_to_density(run, drawn, ticket)

    if control == "one_shot":
        return _cut_at_once(run, network, ticket)
    return ticket.masks


def _cut_at_once(run: Run, network: RankingNetwork, ticket: Ticket) -> Masks:
    """Prunes the dense training's weights in one go to the ticket's density."""
    dense = level_folder(ticket_folder(run.searches, ticket.task), 0)
    kernels = network.kernels(ticket.task)
    stored = {variable_of(name): kernel for name, kernel in kernels.items()}
    checkpoint.restore(dense / TRAINING / WEIGHTS, stored)
    trained = {name: kernel.numpy() for name, kernel in kernels.items()}

    scores = score_of(run, network, ticket.task)(trained)
    load_start(run, network)  # reading the dense weights has overwritten the model's start
    return _cut_to_density(run, scores, ticket)


def _cut_to_density(run: Run, scores: Mapping[str, np.ndarray], ticket: Ticket) -> Masks:
    """Prunes whole kernels to as many weights as a ticket keeps."""

    def keep_of(part: Masks) -> int:
        return _alive({name: ticket.masks[name] for name in part})

    return prune_parts(prune_of(run.settings), scores, ones_like(scores), keep_of)


def _small_widths(run: Run, tickets: Sequence[Ticket]) -> list[int]:
    """Returns the widths of a dense tower that has as many weights as a ticket keeps on average."""
    inputs = next(iter(tickets[0].masks.values())).shape[0]
    alive = float(np.mean([_alive(ticket.masks) for ticket in tickets]))
    return list(dense_widths(run.settings.model.hidden_units, inputs, round(alive)))


def _alive(masks: Masks) -> int:
    return sum(int(mask.sum()) for mask in masks.values())
