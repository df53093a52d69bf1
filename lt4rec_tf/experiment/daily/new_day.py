"""Preparation of a chain's new day: its logs are identified, counted and compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.data.audit import marginals
from lt4rec_tf.data.audit.drift import drift
from lt4rec_tf.data.audit.findings import Audit
from lt4rec_tf.data.audit.marginals import Marginals
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.experiment import logs, run_folder
from lt4rec_tf.experiment.daily import inheritance, lineage
from lt4rec_tf.experiment.daily.parent import (
    Parent,
    check_rows,
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


def prepare_day(settings: Settings, schema: Schema, folder: Path) -> None:
    """Reads a day's logs, refuses known ones, grows vocabularies, copies what the day starts from.

    Once it has returned, the run of the day before is not needed any more.

    Args:
        settings: The run's.
        schema: By --schema.
        folder: RUN.
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
    if not settings.daily.retrain_day:
        lineage.refuse_known_files(files, days)

    text = _schema_text(settings, schema, chain_schema)
    if (folder / CONFIG).exists():  # an attempt that ended before its training began
        artifacts.write_atomically(folder / SCHEMA, text)
    run_folder.claim_folder(folder, settings, logs.file_sizes(source), text)
    logs.keep_standards(folder, parent.schema)
    source, audit = logs.audited(source, folder, settings.data, print)
    day_marginals = marginals.count(source)
    if not settings.daily.retrain_day:
        lineage.refuse_earlier_day(day_marginals.last_time, days, audit.times)

    moved = artifacts.undefined_as_null(drift(chain_schema, marginals_before, day_marginals))
    growth = marginals.new_values(chain_schema, day_marginals, settings.daily.grow_vocabularies)
    print(_describe(moved, day_marginals, growth))

    day = {
        "name": Path(settings.data.data_dir).resolve().name,
        "run": str(folder),
        "files": {name: files[name] for name in audit.files["train"]},  # those with rows
        "rows": day_marginals.rows,
        "first_time": day_marginals.first_time,
        "last_time": day_marginals.last_time,
        "drift": moved,
        "grown": {table: list(values) for table, values in growth.items()},
    }
    artifacts.write_json(folder / EARLIER_DAYS, days)
    artifacts.write_json(folder / DAY, day)
    marginals.write(folder / MARGINALS, day_marginals)

    grown = grow(chain_schema, growth)
    run_folder.keep_schema(folder, _schema_text(settings, schema, grown))
    grown = with_vocabularies(grown, audit.vocabularies)
    take_start(settings, grown, parent, parents.get("masks", parent), folder)


def _open_parent(flag: str, settings: Settings, schema: Schema) -> Parent:
    """Opens the run that a flag names, and refuses one without this run's rows."""
    parent = open_parent(flag, settings, schema)
    check_rows(flag, parent, settings.rows)
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
    text = _schema_text(settings, schema, grown)
    run_folder.claim_folder(folder, settings, logs.file_sizes(source), text)
    logs.refuse_other_contents(source, folder)
    return logs.read_audited(source, folder), logs.read_audit(folder)


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
    return period | {"files": lineage.identify(paths)} | times, counts


def _schema_text(settings: Settings, schema: Schema, grown: Schema) -> str:
    text = Path(settings.data.schema).read_text(encoding="utf-8")
    return with_growth(text, growth_between(schema, grown))


def _describe(moved: dict[str, Any], day_marginals: Marginals, growth: Growth) -> str:
    """Returns what is printed about a day: its drift, its new values, what was not noted."""
    lines = [f"\n{marginals_text(moved)}\n\n{drift_table(moved)}\n"]

    for table, values in growth.items():
        first_values = ", ".join(values[:10]) + (", ..." if len(values) > 10 else "")
        lines.append(f"vocabulary {table}: {len(values)} new values: {first_values}")

    for name, count in day_marginals.not_noted.items():
        limit = marginals.MOST_UNSEEN
        lines.append(f"feature {name}: {count} unknown values beyond {limit} distinct ones")
    return "\n".join(lines)


def take_start(
    settings: Settings, schema: Schema, parent: Parent, masks: Parent, folder: Path
) -> None:
    """Copies weights, tickets of tables and masks; afterwards no other run is needed.

    Args:
        settings: The run's.
        schema: The run's, its vocabularies grown.
        parent: Whose weights and tickets of tables they are.
        masks: Whose masks.
        folder: RUN.
    """
    inheritance.take_tables(parent, folder, schema)
    for row in settings.rows:
        check_sharing(row, parent, masks)
        inheritance.take_masks(masks, row, folder)
        inheritance.take_weights(parent, row, settings, schema, folder / INITIAL / row)
    artifacts.mark_done(folder / INITIAL)
