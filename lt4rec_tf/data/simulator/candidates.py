"""Turns candidates of simulated sessions into a model's inputs, by way of lines of the log.

The code that reads logs parses the lines, and the function that served models call turns them into
ids. So a schema with other features of the same log, or with side tables, needs no code here.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import tensorflow as tf

from lt4rec_tf.data.formats.records import Layout
from lt4rec_tf.data.input.features import features_to_ids
from lt4rec_tf.data.input.parsed_rows import examine
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.data.simulator.feed import Outcomes
from lt4rec_tf.data.simulator.sessions import SessionBlock
from lt4rec_tf.data.simulator.text import COLUMNS, TAG_SEPARATOR, impressions_to_csv
from lt4rec_tf.data.simulator.world import SimulatorError, World


def candidates_as_text(world: World, block: SessionBlock) -> bytes:
    """Writes the candidates as lines of the log, without clicks."""
    zeros = np.zeros_like(block.candidates.user)
    outcomes = Outcomes(click=zeros, play_time=zeros)
    text = impressions_to_csv(world, block.day, block.candidates, outcomes)
    return text.removesuffix(b"\n")


def read_lines(source: Source) -> Source:
    """Returns the logs of a simulated feed as if they were lines of text, whatever their format.

    Args:
        source: Logs of the simulator, CSV or TFRecord.

    Raises:
        SimulatorError: A feature reads a column that candidates lack, such as a shop's price.
    """
    columns = {feature.column for feature in source.schema.features}
    if unknown := sorted(columns - COLUMNS.keys()):
        raise SimulatorError(
            f"{source.schema.path}: found features of {', '.join(unknown)}, expected columns of "
            f"the video feed, which sessions are simulated on: {', '.join(COLUMNS)}"
        )

    features = tuple(
        replace(feature, separator=TAG_SEPARATOR) if feature.multivalued else feature
        for feature in source.schema.features
    )
    # Candidates belong to no split, and the time of the log's rows may be no column of theirs.
    return replace(
        source,
        schema=replace(source.schema, features=features, time=None),
        columns=tuple(column for column in source.columns if column in COLUMNS),
        split=SplitRule(),
        layout=Layout("csv", tuple(COLUMNS), header_lines=1),
    )


def text_to_ids(source: Source, text: tf.Tensor) -> dict[str, tf.Tensor]:
    """Turns lines into a network's inputs, in a graph.

    Args:
        source: From `read_lines`.
        text: String (), from `candidates_as_text`.

    Returns:
        By feature, ids or numbers as from `features_to_ids`, a row a line.
    """
    lines = tf.strings.split(text, "\n")
    rows = examine(source, lines, tf.zeros_like(lines, tf.bool))
    return features_to_ids(source.schema, rows.raw)
