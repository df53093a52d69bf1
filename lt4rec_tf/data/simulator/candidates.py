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
from lt4rec_tf.schema.types import Schema, needed_columns


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
        SimulatorError: A feature reads a column that candidates lack, such as a shop's price, or
            no task's label is one that they have.
    """
    # Candidates belong to no split, and the time of the log's rows may be no column of theirs.
    schema = replace(source.schema, time=None)
    columns = {feature.column for feature in schema.features}
    if unknown := sorted(columns - COLUMNS.keys()):
        raise SimulatorError(
            f"{schema.path}: found features of {', '.join(unknown)}, expected columns of "
            f"the video feed, which sessions are simulated on: {', '.join(COLUMNS)}"
        )

    tasks = [task.name for task in schema.tasks if _is_in_sessions(schema, task.name)]
    if not tasks:
        names = ", ".join(task.name for task in schema.tasks)
        raise SimulatorError(
            f"{schema.path}: found tasks {names}, expected one whose label is of columns of the "
            f"video feed: {', '.join(COLUMNS)}"
        )
    schema = schema.with_tasks(tasks)
    features = tuple(
        replace(feature, separator=TAG_SEPARATOR) if feature.multivalued else feature
        for feature in schema.features
    )
    return replace(
        source,
        schema=replace(schema, features=features),
        columns=tuple(column for column in source.columns if column in COLUMNS),
        split=SplitRule(),
        layout=Layout("csv", tuple(COLUMNS), header_lines=1),
    )


def _is_in_sessions(schema: Schema, task: str) -> bool:
    """Tells if candidates have the columns of a task, which those of a reaction are not."""
    return needed_columns(schema.with_tasks([task])) <= COLUMNS.keys()


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
