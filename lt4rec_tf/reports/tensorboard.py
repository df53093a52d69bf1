"""Writing a run's scalars, pictures and settings for TensorBoard.

Curves compare when they share a tag and differ in the run, which is a folder of event files. So
each stage writes to a folder of its own and all stages use the same tags, which name the task:

    tensorboard/
        hard_sharing/  s_weight/      loss/<task>, validation_loss/<task>,
                                      validation/<task>/<metric>
        tickets/level_<k>/            the same, of level k of every task's search
        tickets/<task>/               at step = level: density/<kernel>, dead_neurons/<kernel>,
                                      ticket/<metric>
        summary/                      pictures, settings, HParams

Levels of different tasks share a folder because TensorBoard shows nothing at first once it holds
more than 40 of them.

When a function returns, its values are in the file, because a writer flushes as `as_default` ends:
a killed process loses nothing.
A stage that is restarted writes a second event file into its folder. Steps repeated since the last
checkpoint then stand there twice; a resumed run repeats its numbers exactly, so the values agree
and the curves do not change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, SupportsFloat

import tensorflow as tf
from matplotlib.figure import Figure
from tensorboard.plugins.hparams import api as hp

from lt4rec_tf.reports.figures import to_rgba
from lt4rec_tf.reports.text_tables import markdown_table
from lt4rec_tf.tickets.masks import Masks, dead_neurons, densities, density


def open_writer(folder: Path) -> tf.summary.SummaryWriter:
    """Opens a new event file in a folder, which is one run to TensorBoard; close it when done."""
    return tf.summary.create_file_writer(str(folder))


def log_scalars(
    writer: tf.summary.SummaryWriter, step: int, values: Mapping[str, SupportsFloat]
) -> None:
    """Logs numbers.

    Args:
        writer: Where to.
        step: The training step within the stage, or the level of a ticket search.
        values: Tag -> number, such as {"loss/cvr": 0.07, "validation/cvr/mse": 0.06}. NaN is kept.
    """
    with writer.as_default(step=step):
        for tag, value in values.items():
            tf.summary.scalar(tag, float(value))


def log_masks(writer: tf.summary.SummaryWriter, level: int, masks: Masks) -> None:
    """Logs per kernel, and over all, the density and the number of dead neurons of a ticket.

    Args:
        writer: Where to; one folder per task makes the tasks' curves comparable.
        level: Number of prunings so far.
        masks: The ticket.
    """
    dead = dead_neurons(masks)
    values: dict[str, float] = {"density/all": density(masks)}
    for kernel, share in densities(masks).items():
        values[f"density/{kernel}"] = share
    values["dead_neurons/all"] = sum(dead.values())
    for kernel, count in dead.items():
        values[f"dead_neurons/{kernel}"] = count
    log_scalars(writer, level, values)


def log_figure(writer: tf.summary.SummaryWriter, tag: str, figure: Figure, step: int) -> None:
    """Logs a picture.

    Args:
        writer: Where to.
        tag: Such as "tickets/search" or "tickets/overlap".
        figure: Of `lt4rec_tf.reports.plots`.
        step: The step that it belongs to; 0 for a picture of the whole run.
    """
    with writer.as_default(step=step):
        tf.summary.image(tag, to_rgba(figure)[None])


def log_settings(writer: tf.summary.SummaryWriter, settings: Mapping[str, Any]) -> None:
    """Logs a run's settings as a table under Text.

    Args:
        writer: Where to.
        settings: Name -> value; nested mappings become dotted names.
    """
    lines = []
    for name, value in flat(settings).items():
        lines.append([name, f"`{json.dumps(value, default=str)}`"])
    with writer.as_default(step=0):
        tf.summary.text("settings", markdown_table(["setting", "value"], lines, texts=2))


def log_hparams(
    folder: Path,
    hparams: Mapping[str, Any],
    metrics: Mapping[str, SupportsFloat],
    trial: str | None = None,
) -> None:
    """Logs a run's settings and final metrics for TensorBoard's HParams, which compares runs.

    Args:
        folder: A folder without other scalars: TensorBoard takes every scalar in it and below for a
            metric of the run.
        hparams: Name -> value; nested mappings become dotted names. Numbers, booleans and strings
            stay what they are, any other value becomes its text.
        metrics: Tag -> number, such as {"test/cvr_mse/s_weight": 0.06}.
        trial: The name of the run among others; None: a hash of the hparams.
    """
    values = {}
    for name, value in flat(hparams).items():
        values[name] = value if isinstance(value, bool | int | float | str) else str(value)
    writer = open_writer(folder)
    with writer.as_default(step=0):
        hp.hparams(values, trial_id=trial)
    log_scalars(writer, 0, metrics)
    writer.close()


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nested mappings as one, with dotted names.

    >>> flat({"seed": 1, "tickets": {"rounds": 4, "rewind": "init"}})
    {'seed': 1, 'tickets.rounds': 4, 'tickets.rewind': 'init'}
    """
    values: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            for inner_name, inner in flat(value).items():
                values[f"{name}.{inner_name}"] = inner
        else:
            values[str(name)] = value
    return values
