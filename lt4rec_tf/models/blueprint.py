"""Inputs of every network's builder: the schema, the settings and the seed of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lt4rec_tf.config.settings import ModelSettings
from lt4rec_tf.models.feature_encoder import Bottom, Encoder, build_bottom
from lt4rec_tf.schema.types import Schema


@dataclass(frozen=True)
class Blueprint:
    """Inputs of the builders of the registry's models.

    Attributes:
        schema: Features, tables and the tasks to build.
        settings: All flags about networks.
        encoder: Embedding and cross layer.
        hidden_units: Widths of a tower's layers, from the bottom up.
        own_embedding: Task -> length of the field vectors that it alone reads.
        seed: Of all draws.
        mask_attention: Whether tasks wear masks on the attention to events.
    """

    schema: Schema
    settings: ModelSettings
    encoder: Encoder
    hidden_units: Sequence[int]
    own_embedding: Mapping[str, int]
    seed: int
    mask_attention: bool = False

    def bottom(self) -> Bottom:
        """Builds the part that all tasks share: inputs, field vectors and cross layer."""
        return build_bottom(self.schema, self.encoder, self.seed)
