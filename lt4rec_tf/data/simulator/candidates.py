"""Candidates of simulated sessions as a model reads them: by the way of lines of the log.

Lines are taken apart by the code that reads logs and turned into ids by the function that served
models call, so a schema with other features of the same log, or with side tables, needs nothing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import tensorflow as tf

from lt4rec_tf.data.formats.records import Layout
from lt4rec_tf.data.input.features import features_to_ids
from lt4rec_tf.data.input.parsed_rows import examine
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.data.simulator.feed import Outcomes
from lt4rec_tf.data.simulator.sessions import SessionBlock
from lt4rec_tf.data.simulator.text import COLUMNS, TAG_SEPARATOR, impressions_to_csv
from lt4rec_tf.data.simulator.world import SimulatorError, World


def candidates_as_text(world: World, block: SessionBlock) -> bytes:
    """The candidates as lines of the log, to which nothing has happened yet."""
    nothing = np.zeros_like(block.candidates.user)
    text = impressions_to_csv(world, block.day, block.candidates, Outcomes(nothing, nothing))
    return text.removesuffix(b"\n")


def read_lines(source: Source) -> Source:
    """The logs of a simulated feed, as if they were lines of text whatever their format is.

    Args:
        source: Logs of the simulator, CSV or TFRecord.

    Raises:
        SimulatorError: A feature reads a column that candidates have not, such as a shop's price.
    """
    unknown = sorted({feature.column for feature in source.schema.features} - COLUMNS.keys())
    if unknown:
        raise SimulatorError(
            f"{source.schema.path}: found features of {', '.join(unknown)}, expected columns of "
            f"the video feed, which sessions are simulated on: {', '.join(COLUMNS)}"
        )
    features = tuple(
        replace(feature, separator=TAG_SEPARATOR) if feature.multivalued else feature
        for feature in source.schema.features
    )
    return replace(
        source,
        schema=replace(source.schema, features=features),
        layout=Layout("csv", tuple(COLUMNS), header_lines=1),
    )


def text_to_ids(source: Source, text: tf.Tensor) -> dict[str, tf.Tensor]:
    """Turns lines into what a network takes, in a graph.

    Args:
        source: As `read_lines` gives it.
        text: String (), of `candidates_as_text`.

    Returns:
        By feature, ids or numbers as of `features_to_ids`, a row a line.
    """
    lines = tf.strings.split(text, "\n")
    rows = examine(source, lines, tf.zeros_like(lines, tf.bool))
    return features_to_ids(source.schema, rows.raw)
