"""What a run would do, said without training and without leaving anything in its folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.data.audit.findings import Audit
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.experiment import logs, passes, run_folder, stages
from lt4rec_tf.experiment.feed import training_feed
from lt4rec_tf.experiment.paths import SAVED_MODEL
from lt4rec_tf.experiment.trained_models import default_model
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.serving.publish import published_versions


def dry_run(settings: Settings, schema: Schema, folder: Path) -> None:
    """Audits a run's logs, refuses what the run would, and prints what it would train.

    Args:
        settings: All flags, without another run to start from.
        schema: The run's.
        folder: RUN, which is only read.

    Raises:
        InputError: As the run would.
    """
    with scratch_folder() as scratch:
        title = dry_title(folder)
        source, audit = run_folder.open_audited(
            settings, schema, scratch, title, print, lists=False
        )
    text = Path(settings.data.schema).read_text(encoding="utf-8")
    run_folder.refuse_other_run(folder, settings, logs.file_sizes(source), text)

    feed = training_feed(source, audit, settings)
    planned = passes.settled(settings, feed)
    names = [task.name for task in source.schema.tasks]
    steps = stages.steps_to_come(planned, names, folder, folder, feed)
    most = "at most " * stages.may_take_fewer(planned)
    print(f"models: {', '.join(settings.models)}")
    if note := passes.note_on_passes(settings, feed):
        print(note)
    print(f"steps to train: {most}{steps:,}, {feed.steps_per_epoch:,} in a pass over train")
    print(export_text(settings, source.schema, folder))


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yields a folder that stands for RUN, and goes with all that was written there."""
    with tempfile.TemporaryDirectory(prefix="lt4rec_tf_dry_run_") as scratch:
        yield Path(scratch)


def dry_title(folder: Path) -> str:
    """Returns the first line of a dry run."""
    return f"run: {folder} (dry run: nothing is trained, and nothing is written there)"


def pass_text(settings: Settings, source: Source, audit: Audit, pending: int) -> str:
    """Returns the steps that models which all train alike take, in words.

    Args:
        settings: All flags.
        source: The logs, audited.
        audit: Their audit.
        pending: The models that are not trained to the end.
    """
    feed = training_feed(source, audit, settings)
    epochs = passes.settled(settings, feed).training.epochs
    steps = feed.steps_per_epoch
    return (
        f"steps to train: {pending * epochs * steps:,} (models to train: {pending}; "
        f"passes over the logs: {epochs}; steps of a pass: {steps:,})"
    )


def export_text(settings: Settings, schema: Schema, folder: Path) -> str:
    """Returns what would be exported, and where, in words."""
    model, base = default_model(settings, schema, folder), folder / SAVED_MODEL
    published = published_versions(base)
    if published:
        return f"SavedModel ({model}): {published[-1]} is exported already"
    return f"SavedModel ({model}): to be {base / '1'}"
