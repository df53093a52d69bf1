"""What a day would do, said without training on it and without leaving anything in its run."""

from __future__ import annotations

from pathlib import Path

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.time_units import with_date
from lt4rec_tf.data.audit.findings import Audit
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.experiment import logs, run_folder
from lt4rec_tf.experiment.daily import added_tasks, inheritance, lineage
from lt4rec_tf.experiment.daily.new_day import (
    OpenedDay,
    ReadDay,
    describe,
    open_day,
    open_new_day,
    read_day,
    take_masks,
)
from lt4rec_tf.experiment.daily.procedure import open_with_masks
from lt4rec_tf.experiment.dry_run import dry_title, export_text, pass_text, scratch_folder
from lt4rec_tf.experiment.feed import training_feed
from lt4rec_tf.experiment.paths import SCHEMA, has_begun, stage_folder
from lt4rec_tf.experiment.trained_models import densities, load_model
from lt4rec_tf.reports.daily import files_table
from lt4rec_tf.schema.types import Schema


def dry_run(settings: Settings, schema: Schema, folder: Path) -> None:
    """Does all that a run does before it trains, refuses what it would, prints what is to come.

    Args:
        settings: With --warm_start, --masks, both of these, or --add_to.
        schema: By --schema.
        folder: RUN, which is only read.

    Raises:
        InputError: As the run would.
    """
    print(dry_title(folder))
    if settings.daily.warm_start and has_begun(folder):
        print("its day was read, and the same command goes on with it")
        source, audit = open_day(settings, schema, folder)
    elif settings.daily.warm_start:
        source, audit = _read_new_day(settings, schema, folder)
    elif settings.daily.add_to:
        _read_addition(settings, schema, folder)
        return
    else:
        source, audit = _read_with_masks(settings, schema, folder)

    pending = [model for model in settings.models if not _is_trained(folder, model)]
    print(pass_text(settings, source, audit, len(pending)))
    print(export_text(settings, source.schema, folder))


def _is_trained(folder: Path, model: str) -> bool:
    return has_begun(folder) and artifacts.is_done(stage_folder(folder, model))


def _read_new_day(settings: Settings, schema: Schema, folder: Path) -> tuple[Source, Audit]:
    """Reads a day as its run would, in another folder; prints what it finds."""
    opened = open_new_day(settings, schema)
    if (folder / SCHEMA).exists():  # of an attempt that ended before its training began
        text = artifacts.read_text(folder / SCHEMA)
        run_folder.refuse_other_run(folder, settings, logs.file_sizes(opened.source), text)
    print(_start_text(opened))
    print(f"\n{files_table(opened.files, lineage.known_files(opened.files, opened.days))}\n")

    with scratch_folder() as scratch:
        day = read_day(opened, scratch, lists=False)
        print(describe(day))
        print(_times_text(opened, day))
        take_masks(opened, day.schema, scratch)
        for model in settings.models:
            for _ in inheritance.read_start(opened.parent, model, settings):
                pass  # it can be read
    return day.source, day.audit


def _start_text(opened: OpenedDay) -> str:
    """Returns which runs the day starts from, and the density of the masks that its models wear."""
    last = opened.days[-1]
    lines = [
        f"starts from: {opened.parent.folder}, whose last day is {last['name']!r}; the chain has "
        f"{len(opened.days)} days so far"
    ]
    masks = opened.masks
    for model in opened.settings.models:
        network = load_model(masks.folder, model, masks.settings, masks.schema)
        by_task = [f"{task} {share:.3f}" for task, share in densities(network).items()]
        lines.append(
            f"model {model}: density of its masks, of {masks.folder}: {', '.join(by_task)}"
        )
    return "\n".join(lines)


def _times_text(opened: OpenedDay, day: ReadDay) -> str:
    """Returns the day's first and last time, and the chain's last."""
    times = day.audit.times
    if times is None:
        return "times: none"
    first, last = with_date(times.first, times.unit), with_date(times.last, times.unit)
    chain = [one["last_time"] for one in opened.days if one["last_time"] is not None]
    before = f"; the chain ends at {with_date(max(chain), times.unit)}" if chain else ""
    return f"times: {first} to {last}{before}"


def _read_with_masks(settings: Settings, schema: Schema, folder: Path) -> tuple[Source, Audit]:
    """Reads the logs of a run that trains with another's masks, in another folder."""
    with scratch_folder() as scratch:
        title = f"masks: of {settings.daily.masks}"
        parent, source, audit = open_with_masks(settings, schema, scratch, title, lists=False)
        text = Path(settings.data.schema).read_text(encoding="utf-8")
        run_folder.refuse_other_run(folder, settings, logs.file_sizes(source), text)
        for model in settings.models:
            inheritance.take_masks(parent, model, scratch)
    return source, audit


def _read_addition(settings: Settings, schema: Schema, folder: Path) -> None:
    """Reads the logs of tasks that are added to a network, in another folder; prints the plan."""
    with scratch_folder() as scratch:
        title = f"tasks are added to: {settings.daily.add_to}"
        addition, source, audit = added_tasks.open_addition(
            settings, schema, scratch, title, lists=False
        )
    sizes, text = logs.file_sizes(source), addition.schema_text
    run_folder.refuse_other_run(folder, settings, sizes, text)

    steps = added_tasks.steps_to_come(settings, training_feed(source, audit, settings), folder)
    print(f"new tasks: {', '.join(addition.new)}; model: {addition.model}")
    print(f"steps to train: at most {steps:,}")
    print(export_text(settings, source.schema, folder))
