"""All models that `--models` may name, a line each: what a model is, and what builds its network.

docs/own_model.md adds one.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import tensorflow as tf

from lt4rec_tf.config.checks import own_embedding
from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core.flags import ConfigError, expect, from_settings, refuse
from lt4rec_tf.models.aitm import build_aitm
from lt4rec_tf.models.blueprint import Blueprint
from lt4rec_tf.models.dcmt import build_dcmt
from lt4rec_tf.models.escm2 import build_escm2
from lt4rec_tf.models.esmm import build_esmm
from lt4rec_tf.models.feature_encoder import Encoder
from lt4rec_tf.models.htlnet import Transfer, build_htlnet
from lt4rec_tf.models.layers.event_pooling import EventSizes
from lt4rec_tf.models.layers.label_embedding import Temperature
from lt4rec_tf.models.lt4rec import build_network
from lt4rec_tf.models.mmoe import build_mmoe
from lt4rec_tf.models.mssm import build_mssm
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.models.ple import build_ple
from lt4rec_tf.schema.events import sequences_of
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.tickets.embedding_tables import TableTicket

_MANY_NUMBERS = 2**24  # in a network's tables, whose memory is worth a search for unused networks


@dataclass(frozen=True)
class Model:
    """A model of the comparison.

    Attributes:
        build: Blueprint -> the network at its theta_0.
        description: A few words about it, for `--help`.
        starts_from_theta_0: Made of LT4REC's own layers: it starts from the theta_0 that the
            ticket searches start from.
        needs_tickets: Each task's ticket is searched before the model is trained.
        wears_tickets: Each task's ticket is applied to its tower.
    """

    build: Callable[[Blueprint], RankingNetwork]
    description: str
    starts_from_theta_0: bool = False
    needs_tickets: bool = False
    wears_tickets: bool = False


def _lt4rec(blueprint: Blueprint, *, separate_towers: bool) -> RankingNetwork:
    return build_network(
        blueprint.schema,
        blueprint.encoder,
        separate_towers=separate_towers,
        hidden_units=blueprint.hidden_units,
        own_embedding=blueprint.own_embedding,
        tower_dropout=blueprint.settings.tower_dropout,
        mask_attention=blueprint.mask_attention,
        seed=blueprint.seed,
    )


def _htlnet(blueprint: Blueprint, *, separate_towers: bool) -> RankingNetwork:
    model = blueprint.settings
    temperature = from_settings(
        Temperature, model, prefix="label_temperature_", start=model.label_temperature
    )
    transfer = from_settings(Transfer, model, temperature=temperature)
    return build_htlnet(
        blueprint.schema,
        blueprint.bottom(),
        hidden_units=blueprint.hidden_units,
        separate_towers=separate_towers,
        transfer=transfer,
        seed=blueprint.seed,
        tower_dropout=model.tower_dropout,
    )


def _published(
    build: Callable[..., RankingNetwork], **sizes: str
) -> Callable[[Blueprint], RankingNetwork]:
    """Returns a builder of a published model.

    Args:
        build: Takes schema, bottom, hidden_units, seed, tower_dropout and the model's own sizes.
        sizes: Argument of `build` -> the flag that it is given.
    """

    def from_blueprint(blueprint: Blueprint) -> RankingNetwork:
        return build(
            blueprint.schema,
            blueprint.bottom(),
            hidden_units=blueprint.hidden_units,
            seed=blueprint.seed,
            tower_dropout=blueprint.settings.tower_dropout,
            **{size: getattr(blueprint.settings, name) for size, name in sizes.items()},
        )

    return from_blueprint


_shared_tower = partial(_lt4rec, separate_towers=False)
_own_towers = partial(_lt4rec, separate_towers=True)
_htlnet_own_towers = partial(_htlnet, separate_towers=True)
_htlnet_shared_tower = partial(_htlnet, separate_towers=False)

_COUNTERFACTUAL = {"counterfactual_share": "counterfactual_share"}

# Flags of `Model`, for lines that fit a line.
_THETA_0 = {"starts_from_theta_0": True}
_SIZED_BY_TICKETS = {"needs_tickets": True}
_WEARING = {"starts_from_theta_0": True, "needs_tickets": True, "wears_tickets": True}

# In the order in which --help and errors name them.
MODELS: dict[str, Model] = {
    "base": Model(_shared_tower, "single tasks"),
    "shared_bottom": Model(_shared_tower, "all tasks share one tower", **_THETA_0),
    "hard_sharing": Model(
        _own_towers, "embedding and cross layer shared, a tower a task", **_THETA_0
    ),
    "esmm": Model(_published(build_esmm), "entire space multi-task model"),
    "escm2_ips": Model(
        _published(partial(build_escm2, doubly_robust=False), **_COUNTERFACTUAL),
        "entire space, clicks weighed by inverse propensities",
    ),
    "escm2_dr": Model(
        _published(partial(build_escm2, doubly_robust=True), **_COUNTERFACTUAL),
        "the same, doubly robust",
    ),
    "dcmt": Model(
        _published(build_dcmt), "entire space, a counterfactual twin where nobody clicked"
    ),
    "mmoe": Model(_published(build_mmoe, experts="experts"), "multi-gate mixture of experts"),
    "ple": Model(
        _published(
            build_ple,
            levels="expert_levels",
            own_experts="own_experts",
            shared_experts="shared_experts",
        ),
        "progressive layered extraction",
    ),
    "aitm": Model(_published(build_aitm), "adaptive information transfer"),
    "mssm": Model(
        _published(build_mssm, mask_penalty="mask_penalty"),
        "learned masks of fields and of the cells of other tasks",
    ),
    "htlnet": Model(
        _htlnet_own_towers, "transfers between discrete and continuous tasks", **_THETA_0
    ),
    "s_weight": Model(_shared_tower, "sparse sharing", **_WEARING),
    "s_weight_auto": Model(
        _shared_tower, "sparse sharing as much as validation says", **_SIZED_BY_TICKETS
    ),
    "s_joint": Model(
        _shared_tower,
        "sparse sharing, neurons and inputs cut while all tasks train together",
        starts_from_theta_0=True,
        wears_tickets=True,
    ),
    "s_gates": Model(
        _shared_tower,
        "sparse sharing, tickets learned in one joint training",
        starts_from_theta_0=True,
        wears_tickets=True,
    ),
    "csmf": Model(
        _shared_tower,
        "cascaded masks: each task in turn trains what pruning left of those before",
        starts_from_theta_0=True,
        wears_tickets=True,
    ),
    "pruned_towers": Model(
        _own_towers, "hard sharing, each tower wearing its task's ticket", **_WEARING
    ),
    "small_dense": Model(
        _own_towers, "hard sharing with towers of the tickets' size", **_SIZED_BY_TICKETS
    ),
    "htlnet_tickets": Model(
        _htlnet_own_towers, "htlnet with towers as in pruned_towers", **_WEARING
    ),
    "htlnet_s_weight": Model(
        _htlnet_shared_tower, "htlnet with a tower as in s_weight", **_WEARING
    ),
}


def descriptions() -> dict[str, str]:
    """Returns each model's description by its name, for flags."""
    return {name: model.description for name, model in MODELS.items()}


def need_tickets(names: Sequence[str]) -> bool:
    """Tells if one of the models needs tickets.

    >>> need_tickets(["base", "s_weight"]), need_tickets(["base", "mmoe"])
    (True, False)
    """
    return any(MODELS[name].needs_tickets for name in names)


def network_of(
    settings: Settings,
    schema: Schema,
    model_name: str,
    *,
    hidden_units: Sequence[int] = (),
    seed: int | None = None,
    tables: TableTicket | None = None,
) -> RankingNetwork:
    """Builds a model's network for the schema's tasks, at its theta_0.

    Args:
        settings: The run's.
        schema: The tasks to build: all of the run, or one alone for a search.
        model_name: One of `MODELS`.
        hidden_units: Widths in place of the settings'; none: the settings'.
        seed: Of the draw, in place of the settings'; None: the settings'.
        tables: Ticket of the embedding tables; None: they are whole.

    Raises:
        ConfigError: There is no such model, as in a run of a version that had more.
    """
    if model_name not in MODELS:
        raise ConfigError(f"--models: found {model_name!r}, expected some of {', '.join(MODELS)}")

    model = settings.model
    numbers = sum(schema.table_rows.values()) * model.embedding_dim
    if numbers >= _MANY_NUMBERS:
        # A network that is no longer used lies in circles of references, with its tables, until
        # Python looks for circles: a third of a second, for which two networks need not fit.
        gc.collect()

    blueprint = Blueprint(
        schema=schema,
        settings=model,
        encoder=from_settings(Encoder, model, tables=tables, events=_event_sizes(settings, schema)),
        hidden_units=tuple(hidden_units) or model.hidden_units,
        own_embedding=_own_embedding(settings, schema),
        seed=settings.seed if seed is None else seed,
        mask_attention=masks_attention(settings, schema),
    )

    # No layer needs AutoGraph, whose rewriting of them is a fifteenth of a small run.
    build = tf.autograph.experimental.do_not_convert(MODELS[model_name].build)
    return build(blueprint)


def masks_attention(settings: Settings, schema: Schema) -> bool:
    """Tells if tasks wear masks on the attention to events.

    Raises:
        ConfigError: They shall, but there is none.
    """
    wanted = settings.tickets.mask_attention
    if wanted and not sequences_of(schema):
        expected = "False without a list to which candidates attend, see docs/attention.md"
        refuse("mask_attention", wanted, expected)
    return wanted


def _event_sizes(settings: Settings, schema: Schema) -> EventSizes:
    """Returns the sizes of the layers that pool events.

    Raises:
        ConfigError: The heads of a transformer do not divide its events.
    """
    heads = settings.model.transformer_heads
    dimensions = [settings.model.embedding_dim, *_own_embedding(settings, schema).values()]
    for sequence in [one for one in sequences_of(schema) if one.pooling == "transformer"]:
        for width in [len(sequence.lists) * dimension for dimension in dimensions]:
            expected = f"a divisor of {width}, the numbers of an event of {sequence.name}"
            expect(width % heads == 0, "transformer_heads", heads, expected)
    return from_settings(EventSizes, settings.model)


def _own_embedding(settings: Settings, schema: Schema) -> Mapping[str, int]:
    """Returns the lengths that the settings give, of the schema's tasks alone."""
    tasks = {task.name for task in schema.tasks}
    lengths = own_embedding(settings, ())
    return {task: length for task, length in lengths.items() if task in tasks}
