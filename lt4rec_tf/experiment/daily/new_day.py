"""Preparation of a chain's new day: its logs are identified, counted and compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.data.audit import marginals
from lt4rec_tf.data.audit.checks import absent_tasks
from lt4rec_tf.data.audit.drift import drift
from lt4rec_tf.data.audit.findings import Audit
from lt4rec_tf.data.audit.marginals import Marginals
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.experiment import logs, run_folder
from lt4rec_tf.experiment.daily import inheritance, lineage
from lt4rec_tf.experiment.daily.parent import (
    Parent,
    check_models,
    check_sharing,
    open_parent,
    period_of,
    with_known_values,
)
from lt4rec_tf.experiment.paths import CONFIG, DAY, EARLIER_DAYS, INITIAL, MARGINALS, SCHEMA
from lt4rec_tf.reports.daily import drift_table, marginals_text
from lt4rec_tf.schema.fitted import with_vocabularies
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.schema.vocabularies import Growth, grow, growth_between, with_growth


@dataclass(frozen=True)
class OpenedDay:
    """A chain's new day before its logs are read to the end.

    Attributes:
        settings: The run's.
        schema: By --schema.
        parents: By flag the run that it names.
        chain_schema: The schema with the vocabularies, bins and scales that the chain knows.
        source: The day's logs.
        days: The chain's, before this one.
        marginals_before: Of the last one; None: its logs are gone.
        files: Of the day, as `lineage.identify` returns them.
    """

    settings: Settings
    schema: Schema
    parents: Mapping[str, Parent]
    chain_schema: Schema
    source: Source
    days: Sequence[dict[str, Any]]
    marginals_before: Marginals | None
    files: Mapping[str, dict[str, Any]]

    @property
    def parent(self) -> Parent:
        """The run of the day before."""
        return self.parents["warm_start"]

    @property
    def masks(self) -> Parent:
        """The run whose masks the models wear."""
        return self.parents.get("masks", self.parent)


@dataclass(frozen=True)
class ReadDay:
    """A chain's new day whose logs were read to the end, and which nothing speaks against.

    Attributes:
        source: Its logs, audited.
        audit: What they hold.
        marginals: The same, as the next day compares it.
        entry: Its entry of days.json, before it is measured.
        growth: The vocabularies' new values by table.
        schema: The run's, its vocabularies grown.
    """

    source: Source
    audit: Audit
    marginals: Marginals
    entry: dict[str, Any]
    growth: Growth
    schema: Schema


def prepare_day(settings: Settings, schema: Schema, folder: Path) -> None:
    """Reads a day's logs, refuses known ones, grows vocabularies, copies what the day starts from.

    Once it has returned, the run of the day before is not needed any more.

    Args:
        settings: The run's.
        schema: By --schema.
        folder: RUN.
    """
    opened = open_new_day(settings, schema)
    day = read_day(opened, folder)
    print(describe(day))

    artifacts.write_json(folder / EARLIER_DAYS, opened.days)
    artifacts.write_json(folder / DAY, day.entry)
    marginals.write(folder / MARGINALS, day.marginals)
    grown = grow(opened.chain_schema, day.growth)
    run_folder.keep_schema(folder, _schema_text(settings, schema, grown))
    take_start(opened, day.schema, folder)


def open_new_day(settings: Settings, schema: Schema) -> OpenedDay:
    """Opens a day's logs and the runs that it starts from.

    Args:
        settings: The run's.
        schema: By --schema.
    """
    parents = {
        flag: _open_parent(flag, settings, schema)
        for flag in ("warm_start", "masks", "frozen")
        if getattr(settings.daily, flag)
    }
    parent = parents["warm_start"]
    chain_schema = with_known_values(schema, parent)
    source = logs.open_logs(settings.data, chain_schema)
    days, marginals_before = _earlier_days(parent)
    files = lineage.identify({_name(source, path): path for path in source.files})
    return OpenedDay(settings, schema, parents, chain_schema, source, days, marginals_before, files)


def read_day(opened: OpenedDay, folder: Path, *, lists: bool = True) -> ReadDay:
    """Reads a day's logs to the end, and refuses what the chain must not be trained on.

    Args:
        opened: The day.
        folder: RUN, which gets the audit.
        lists: As `logs.audited` takes it.

    Raises:
        DataError: The logs cannot be used.
        DayError: The chain was trained on them, or on later ones.
    """
    settings, days = opened.settings, opened.days
    if not settings.daily.retrain_day:
        lineage.refuse_known_files(opened.files, days)

    text = _schema_text(settings, opened.schema, opened.chain_schema)
    if (folder / CONFIG).exists():  # an attempt that ended before its training began
        artifacts.write_atomically(folder / SCHEMA, text)
    run_folder.claim_folder(folder, settings, logs.file_sizes(opened.source), text)
    logs.keep_standards(folder, opened.parent.schema)
    source, audit = logs.audited(
        opened.source, folder, settings.data, print, all_tasks=False, lists=lists
    )
    counted = marginals.count(source)
    if not settings.daily.retrain_day:
        lineage.refuse_known_rows(counted.row_sums, days)
        lineage.refuse_earlier_day(counted.last_time, days, audit.times)

    chain_schema = opened.chain_schema
    growth = marginals.new_values(chain_schema, counted, settings.daily.grow_vocabularies)
    entry = {
        "name": Path(settings.data.data_dir).resolve().name,
        "run": str(folder),
        "files": {
            name: opened.files[name] | {"rows": counted.row_sums[name]}
            for name in audit.files["train"]  # those with rows
        },
        "rows": counted.rows,
        "first_time": counted.first_time,
        "last_time": counted.last_time,
        "drift": artifacts.undefined_as_null(drift(chain_schema, opened.marginals_before, counted)),
        "grown": {table: list(values) for table, values in growth.items()},
    }
    grown = with_vocabularies(grow(chain_schema, growth), audit.vocabularies)
    return ReadDay(source, audit, counted, entry, growth, grown)


def _open_parent(flag: str, settings: Settings, schema: Schema) -> Parent:
    """Opens the run that a flag names, and refuses one without this run's models."""
    parent = open_parent(flag, settings, schema)
    check_models(flag, parent, settings.models)
    return parent


def open_day(settings: Settings, schema: Schema, folder: Path) -> tuple[Source, Audit]:
    """Opens the logs of a day that is prepared, by the vocabularies as they have grown on it.

    Raises:
        RunError: The folder was made with other settings, schema or logs.
    """
    prepared = run_folder.read_run(folder)[1]
    try:
        grown = grow(schema, growth_between(schema, prepared))
    except ValueError:  # another --schema: claiming the folder names the difference
        grown = schema
    source = logs.open_logs(settings.data, grown)
    _refuse_late_files(folder, logs.file_sizes(source))
    text = _schema_text(settings, schema, grown)
    run_folder.claim_folder(folder, settings, logs.file_sizes(source), text)
    logs.refuse_other_contents(source, folder)
    return logs.read_audited(source, folder), logs.read_audit(folder)


def _refuse_late_files(folder: Path, files: Mapping[str, int]) -> None:
    """Refuses logs that came, changed or went after the day's training began.

    Raises:
        DayError: Names each, and says how logs that come late are trained on.
    """
    try:
        run_folder.check_files(folder, files)
    except artifacts.RunError as error:
        raise lineage.DayError(
            f"{error}\nA day is what lay there when its training began. Logs that come later are a "
            "part of their own: --data_dir with them alone, --warm_start with this run, another "
            "--run_dir."
        ) from error


def _name(source: Source, path: Path) -> str:
    return path.relative_to(source.data_dir).as_posix()


def _earlier_days(parent: Parent) -> tuple[list[dict[str, Any]], Marginals | None]:
    """Returns the days before this one, and the last one's marginals; None: its logs are gone."""
    days = lineage.read_days(parent.folder)
    if days:
        last_marginals = marginals.read(parent.folder / MARGINALS, parent.schema)
        return days, marginals.recounted(last_marginals, parent.schema)
    first, first_marginals = first_period(parent)
    return [first], first_marginals


def first_period(parent: Parent) -> tuple[dict[str, Any], Marginals | None]:
    """Returns the entry of the run that began the chain, and its marginals, if its logs remain.

    Such a run keeps no marginals: its logs are read again, once in a chain.
    """
    period = period_of(parent)
    try:
        source = logs.open_logs(parent.settings.data, parent.schema)
        run_folder.check_files(parent.folder, logs.file_sizes(source))
        logs.refuse_other_contents(source, parent.folder)
    except (DataError, artifacts.RunError):
        print(f"the logs of {parent.folder} are gone or others: this day is compared with nothing")
        return period, None

    paths = {name: source.data_dir / name for name in period["files"]}
    counts = marginals.count(logs.read_audited(source, parent.folder))
    times = {"first_time": counts.first_time, "last_time": counts.last_time}
    files = lineage.identify(paths)
    for name in files.keys() & counts.row_sums.keys():  # not those without a usable row
        files[name]["rows"] = counts.row_sums[name]
    return period | {"files": files} | times, counts


def _schema_text(settings: Settings, schema: Schema, grown: Schema) -> str:
    text = Path(settings.data.schema).read_text(encoding="utf-8")
    return with_growth(text, growth_between(schema, grown))


def describe(day: ReadDay) -> str:
    """Returns what is printed about a day: drift, new values, what was not noted or is absent."""
    moved = day.entry["drift"]
    lines = [f"\n{marginals_text(moved)}\n\n{drift_table(moved)}\n"]

    for table, values in day.growth.items():
        first_values = ", ".join(values[:10]) + (", ..." if len(values) > 10 else "")
        lines.append(f"vocabulary {table}: {len(values)} new values: {first_values}")

    for name, count in day.marginals.not_noted.items():
        limit = marginals.MOST_UNSEEN
        lines.append(f"feature {name}: {count} unknown values beyond {limit} distinct ones")

    for task in absent_tasks(day.audit):
        lines.append(
            f"warning: task {task}: no row of the day is in its population: it has no metrics and "
            "is not trained on this day; what is its own stays as it was"
        )
    return "\n".join(lines)


def take_start(opened: OpenedDay, schema: Schema, folder: Path) -> None:
    """Copies weights, tickets of tables and masks; afterwards no other run is needed.

    Args:
        opened: The day.
        schema: The run's, its vocabularies grown.
        folder: RUN.
    """
    take_masks(opened, schema, folder)
    for model in opened.settings.models:
        start = folder / INITIAL / model
        inheritance.take_weights(opened.parent, model, opened.settings, schema, start)
    artifacts.mark_done(folder / INITIAL)


def take_masks(opened: OpenedDay, schema: Schema, folder: Path) -> None:
    """Copies tickets of tables and masks.

    Args:
        opened: The day.
        schema: The run's, its vocabularies grown.
        folder: RUN.
    """
    inheritance.take_tables(opened.parent, folder, schema)
    for model in opened.settings.models:
        check_sharing(model, opened.parent, opened.masks)
        inheritance.take_masks(opened.masks, model, folder)
