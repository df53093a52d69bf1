"""Which network a row of the comparison trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar, cast

import tensorflow as tf

from lt4rec_tf.config.checks import own_embedding
from lt4rec_tf.config.settings import ModelSettings, Settings
from lt4rec_tf.core.flags import from_settings
from lt4rec_tf.models.aitm import build_aitm
from lt4rec_tf.models.esmm import build_esmm
from lt4rec_tf.models.feature_encoder import build_bottom
from lt4rec_tf.models.htlnet import Transfer, build_htlnet
from lt4rec_tf.models.layers.label_embedding import Temperature
from lt4rec_tf.models.lt4rec import build_network
from lt4rec_tf.models.mmoe import build_mmoe
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.models.ple import build_ple
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.tickets.embedding_tables import TableTicket

# Every task has kernels of its own: only embedding and cross layer are shared.
SEPARATE_TOWERS = ("hard_sharing", "pruned_towers", "small_dense")
HTLNET = ("htlnet", "htlnet_tickets", "htlnet_s_weight")


P = ParamSpec("P")
R = TypeVar("R")


def _without_autograph(build: Callable[P, R]) -> Callable[P, R]:
    """No layer needs AutoGraph, whose rewriting of them is a fifteenth of a small run."""
    return cast("Callable[P, R]", tf.autograph.experimental.do_not_convert(build))


@_without_autograph
def network_of(
    settings: Settings,
    schema: Schema,
    row: str,
    *,
    hidden_units: Sequence[int] = (),
    seed: int | None = None,
    tables: TableTicket | None = None,
) -> RankingNetwork:
    """Builds a row's network for the schema's tasks, at its theta_0.

    Args:
        settings: The run's.
        schema: The tasks to build: all of the run, or one alone for a search.
        row: One of `settings.ROWS`.
        hidden_units: Widths in place of the settings'; none: the settings'.
        seed: Of the draw, in place of the settings'; None: the settings'.
        tables: What is left of the embedding tables; None: all.
    """
    model = settings.model
    seed = settings.seed if seed is None else seed
    units = tuple(hidden_units) or model.hidden_units
    bottom: dict[str, Any] = {
        "embedding_dim": model.embedding_dim,
        "embedding_stddev": model.embedding_stddev,
        "cross": model.cross,
        "dcn_layers": model.dcn_layers,
        "seed": seed,
        "tables": tables,
    }
    if row in ("esmm", "mmoe", "ple", "aitm", *HTLNET):
        return _published_model(settings, schema, row, units, seed, bottom)
    tasks = {task.name for task in schema.tasks}
    own = own_embedding(settings, ())
    return build_network(
        schema,
        separate_towers=row in SEPARATE_TOWERS,
        hidden_units=units,
        own_embedding={task: length for task, length in own.items() if task in tasks},
        **bottom,
    )


def _published_model(
    settings: Settings,
    schema: Schema,
    row: str,
    units: Sequence[int],
    seed: int,
    bottom_settings: dict[str, Any],
) -> RankingNetwork:
    model, bottom = settings.model, build_bottom(schema, **bottom_settings)
    if row == "esmm":
        return build_esmm(schema, bottom, hidden_units=units, seed=seed)
    if row == "mmoe":
        return build_mmoe(schema, bottom, hidden_units=units, experts=model.experts, seed=seed)
    if row == "aitm":
        return build_aitm(schema, bottom, hidden_units=units, seed=seed)
    if row in HTLNET:
        return build_htlnet(
            schema,
            bottom,
            hidden_units=units,
            separate_towers=row != "htlnet_s_weight",
            transfer=_transfer(model),
            seed=seed,
        )
    return build_ple(
        schema,
        bottom,
        hidden_units=units,
        levels=model.expert_levels,
        own_experts=model.own_experts,
        shared_experts=model.shared_experts,
        seed=seed,
    )


def _transfer(model: ModelSettings) -> Transfer:
    temperature = from_settings(
        Temperature, model, prefix="label_temperature_", start=model.label_temperature
    )
    return from_settings(Transfer, model, temperature=temperature)
