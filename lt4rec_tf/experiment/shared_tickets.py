"""The tickets of a run's models of sparse sharing, read back for pictures and tables."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.experiment.level_search import groups_of_inputs
from lt4rec_tf.experiment.paths import model_masks, stage_folder
from lt4rec_tf.experiment.trained_models import ON_ONE_TOWER, default_model, shares_tower
from lt4rec_tf.models.layers.cross import crossed_width
from lt4rec_tf.models.layers.event_pooling import attention_shapes
from lt4rec_tf.reports.attention import AttentionShares, shares_of_attention
from lt4rec_tf.reports.inputs import InputShares
from lt4rec_tf.schema.events import sequences_of
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.tickets.groups import shares_kept
from lt4rec_tf.tickets.masks import Masks, read_masks
from lt4rec_tf.tickets.parts import ATTENTION, of_attention, of_towers


def shared_masks(folder: Path, model: str, settings: Settings, schema: Schema) -> dict[str, Masks]:
    """Reads each task's ticket of a trained model of sparse sharing.

    Args:
        folder: RUN.
        model: One of the run's.
        settings: The run's.
        schema: The run's, with all its tasks.

    Returns:
        Task -> masks; none of other models, of a single task, and where each task has a tower of
        its own.

    Raises:
        MaskError: A file is gone or damaged.
    """
    if len(schema.tasks) < 2 or not shares_tower(folder, model):
        return {}

    network = settings.model
    shapes: dict[str, tuple[int, ...]] = {}
    if settings.tickets.mask_attention:
        for sequence in sequences_of(schema):
            of_list = attention_shapes(sequence, network.embedding_dim, network.attention_units)
            shapes |= {f"{ATTENTION}{sequence.name}/{name}": s for name, s in of_list.items()}
    inputs = crossed_width(network.cross, len(schema.features), network.embedding_dim)
    widths = pairwise([inputs, *network.hidden_units])
    shapes |= {f"tower_{depth}": shape for depth, shape in enumerate(widths)}
    parent = stage_folder(folder, model).parent
    return {t.name: read_masks(model_masks(parent, t.name), shapes) for t in schema.tasks}


def drawn_tickets(folder: Path, settings: Settings, schema: Schema) -> tuple[str, dict[str, Masks]]:
    """Returns the model whose tickets a run draws, with them.

    It is the exported one, or the first of `ON_ONE_TOWER` that has `shared_masks`.

    Args:
        folder: RUN.
        settings: The run's.
        schema: The run's, with all its tasks.

    Returns:
        The model and its masks by task; an empty name and no masks where no model has any.
    """
    for model in (default_model(settings, schema, folder), *ON_ONE_TOWER):
        if model in settings.models and (masks := shared_masks(folder, model, settings, schema)):
            return model, masks
    return "", {}


def input_shares(
    model: str, masks_by_task: dict[str, Masks], settings: Settings, schema: Schema
) -> InputShares:
    """Returns what tickets keep of each field's vector and of each product of two fields.

    Args:
        model: Whose tickets they are.
        masks_by_task: As `shared_masks` returns them, of two tasks or more.
        settings: The run's.
        schema: The run's.
    """
    fields = [feature.name for feature in schema.features]
    groups = groups_of_inputs(settings, schema)
    shares = {task: shares_kept(of_towers(masks), groups) for task, masks in masks_by_task.items()}
    return InputShares(model, fields, shares)


def attention_shares(
    masks_by_task: dict[str, Masks], settings: Settings, schema: Schema
) -> list[AttentionShares]:
    """Returns what tickets keep of the attention to each sequence; none if it is not masked.

    Args:
        masks_by_task: As `shared_masks` returns them, of two tasks or more.
        settings: The run's.
        schema: The run's.
    """
    if not settings.tickets.mask_attention:
        return []
    return [
        shares_of_attention(
            sequence,
            settings.model.embedding_dim,
            {task: of_attention(masks, sequence.name) for task, masks in masks_by_task.items()},
        )
        for sequence in sequences_of(schema)
    ]
