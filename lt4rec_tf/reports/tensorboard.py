"""Writing a run's scalars, pictures and settings for TensorBoard.

Curves compare when they share a tag and differ in the run, which is a folder of event files. So
each stage writes to a folder of its own and all stages use the same tags, which name the task:

    tensorboard/
        hard_sharing/  s_weight/      by_stage/<task>/<metric>, other_metrics/<task>/<metric>,
                                      training_loss/<task>, validation_loss/<task>
        tickets/level_<k>/            the same, of level k of every task's search
        tickets/<task>/               at step = level: by_density/<task>/<metric>,
                                      weights/density/<kernel>, weights/neurons_dead/<kernel>
        summary/                      pictures, tables, settings, HParams

TensorBoard sorts by the alphabet, and opens with the first two groups of tags: the metric on
validation that each task is judged by, against density and by stage. Details of weights are last.
HParams likewise shows the first metrics alone, so that test/ holds those of the exported model.

Levels of different tasks share a folder because TensorBoard shows nothing at first once it holds
more than 40 of them.

When a function returns, its values are in the file, because a writer flushes as `as_default` ends:
a killed process loses nothing.
A stage that is restarted writes a second event file into its folder. Steps repeated since the last
checkpoint then stand there twice; a resumed run repeats its numbers exactly, so the values agree
and the curves do not change.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, SupportsFloat

import tensorflow as tf
from matplotlib.figure import Figure
from tensorboard.plugins.hparams import api as hp

from lt4rec_tf.core.errors import UnwritableError, naming_the_unwritable
from lt4rec_tf.reports.figures import to_rgba
from lt4rec_tf.reports.text_tables import markdown_table
from lt4rec_tf.tickets.masks import Masks, dead_neurons, densities, density
from lt4rec_tf.tickets.parts import of_towers

# Of a record of an event file: its length, and what stands around it with two check sums.
_LENGTH, _AROUND_EVENT = struct.Struct("<Q"), 16


class EventWriter:
    """Writes a new event file, and sees to it that all of it reaches the disk.

    TensorFlow's own writer says nothing where a full disk cuts its events short.

    Args:
        folder: One run to TensorBoard; made when absent.

    Raises:
        UnwritableError: The machine does not let this user write there.
    """

    def __init__(self, folder: Path) -> None:
        folder = Path(folder)
        before = set(folder.glob("*.tfevents.*"))
        with naming_the_unwritable(folder):
            self._writer = tf.summary.create_file_writer(str(folder))
        # Other processes may open files there at the same time: a name holds its process.
        own = set(folder.glob(f"*.tfevents.*.{os.getpid()}.*")) - before
        self._file = max(own, key=lambda path: path.stat().st_mtime_ns)
        self._whole = 0  # bytes known to be whole events

    @contextlib.contextmanager
    def as_default(self, step: int) -> Iterator[None]:
        """Writes the events of a block.

        Args:
            step: Of all of them.

        Raises:
            UnwritableError: The file does not hold them whole afterwards.
        """
        with self._writer.as_default(step=step):
            yield
        self._check()

    def close(self) -> None:
        """Ends the file."""
        self._writer.close()
        self._check()

    def _check(self) -> None:
        """Goes from event to event up to the end: each begins with its length."""
        size = self._file.stat().st_size
        with self._file.open("rb") as file:
            while self._whole < size:
                file.seek(self._whole)
                header = file.read(_LENGTH.size)
                end = size + 1
                if len(header) == _LENGTH.size:
                    end = self._whole + _AROUND_EVENT + _LENGTH.unpack(header)[0]
                if end > size:
                    raise UnwritableError(
                        f"{self._file}: found half an event at byte {self._whole}, expected it "
                        "whole: the disk, or what this user may write, is full; free some space "
                        "and start the same command again"
                    )
                self._whole = end


def open_writer(folder: Path) -> EventWriter:
    """Opens a new event file in a folder, which is one run to TensorBoard; close it when done."""
    return EventWriter(folder)


def log_scalars(writer: EventWriter, step: int, values: Mapping[str, SupportsFloat]) -> None:
    """Logs numbers.

    Args:
        writer: Where to.
        step: The training step within the stage, or the level of a ticket search.
        values: Tag -> number, such as {"by_stage/cvr/mse": 0.06}. NaN is kept.
    """
    with writer.as_default(step=step):
        for tag, value in values.items():
            tf.summary.scalar(tag, float(value))


def log_masks(writer: EventWriter, level: int, masks: Masks) -> None:
    """Logs per kernel, and over all, the density and the number of dead neurons of a ticket.

    Args:
        writer: Where to; one folder per task makes the tasks' curves comparable.
        level: Number of prunings so far.
        masks: The ticket.
    """
    dead = dead_neurons(of_towers(masks))
    values: dict[str, float] = {"weights/density/all": density(masks)}
    for kernel, share in densities(masks).items():
        values[f"weights/density/{kernel}"] = share
    values["weights/neurons_dead/all"] = sum(dead.values())
    for kernel, count in dead.items():
        values[f"weights/neurons_dead/{kernel}"] = count
    log_scalars(writer, level, values)


def log_figure(writer: EventWriter, tag: str, figure: Figure, step: int) -> None:
    """Logs a picture.

    Args:
        writer: Where to.
        tag: Such as "by_density/all_tasks" or "tickets/fields".
        figure: Of `lt4rec_tf.reports.plots` or `fields`.
        step: The step that it belongs to; 0 for a picture of the whole run.
    """
    with writer.as_default(step=step):
        tf.summary.image(tag, to_rgba(figure)[None])


def log_text(writer: EventWriter, tag: str, text: str) -> None:
    """Logs a text of the whole run, in Markdown, under Text.

    Args:
        writer: Where to.
        tag: Such as "tickets/inputs".
        text: Its lines.
    """
    with writer.as_default(step=0):
        tf.summary.text(tag, text)


def log_settings(writer: EventWriter, settings: Mapping[str, Any]) -> None:
    """Logs a run's settings as a table under Text.

    Args:
        writer: Where to.
        settings: Name -> value; nested mappings become dotted names.
    """
    lines = []
    for name, value in flat(settings).items():
        lines.append([name, f"`{json.dumps(value, default=str)}`"])
    log_text(writer, "settings", markdown_table(["setting", "value"], lines, texts=2))


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
        metrics: Tag -> number, such as {"test/cvr/mse": 0.06}.
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
