"""Looks at logs (CSV, TSV, Parquet, TFRecord, JSON Lines) and writes a first schema to edit.

Reads the first rows of up to 16 files, prints what each column holds, recognises labels by their
names or takes them from flags, and writes a schema that training accepts. docs/own_logs.md goes
from logs to training.
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lt4rec_tf.core.artifacts import write_atomically
from lt4rec_tf.core.command import exit_on_error
from lt4rec_tf.core.errors import InputError
from lt4rec_tf.core.flags import ConfigError, build, check_fields, flag, parse_flags
from lt4rec_tf.core.time_units import date_of, limits_of, unit_of, with_date
from lt4rec_tf.data.formats.column_types import ColumnType, are_whole, to_type
from lt4rec_tf.data.formats.discovery import LogFiles, open_logs
from lt4rec_tf.data.formats.files import DataError, some_of
from lt4rec_tf.data.inspect import log_sample
from lt4rec_tf.data.inspect.closing import closing_lines, history_columns
from lt4rec_tf.data.inspect.column_roles import RoleFlags, Roles, find_roles, is_id
from lt4rec_tf.data.inspect.column_stats import ColumnStats, column_stats, table
from lt4rec_tf.data.inspect.leaks import deciding_lines
from lt4rec_tf.data.inspect.log_sample import Sample
from lt4rec_tf.data.inspect.schema_draft import Draft, draft
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.schema.writer import to_toml

_NO_LABEL = """
# No label was recognised. Say --click=COLUMN (or --binary_labels, --watch_ratio, --play_time and
# --duration) and look again, or fill in:
#
# [[labels]]
# name = "click"
# kind = "binary"
# column = "..."
#
# [[tasks]]
# name = "ctr"
# label = "click"
# kind = "binary"
# loss = "cross_entropy"
# metric = "auc"
"""


@dataclass(frozen=True)
class InspectFlags:
    """Logs to look at, and the file of the schema."""

    files: tuple[str, ...] = flag(
        (), "Folders or globs of the log files, quoted from the shell.", required=True
    )
    schema_out: str = flag("", "TOML file to write the schema to; without, the table alone.")
    overwrite: bool = flag(False, "Replace a schema that is there.")
    format: Literal["auto", "csv", "tsv", "parquet", "tfrecord", "jsonl"] = flag(
        "auto", "Of the log files."
    )
    columns: tuple[str, ...] = flag((), "Column names of CSV and TSV without a header line.")
    sample_rows: int = flag(100_000, "Rows to look at, of all files together.", at_least=1)


def inspect(flags: InspectFlags, role_flags: RoleFlags) -> None:
    """Prints what logs hold and writes a schema of them.

    Args:
        flags: Logs to look at, and the file of the schema.
        role_flags: Facts about columns that the user gives.

    Raises:
        ConfigError: A flag cannot be used, or there is a schema already.
        DataError: The logs cannot be read, or a flag names no column of theirs; or, after all else
            is done, no label was recognised.
    """
    _check(flags)
    file_format = flags.format if flags.format != "auto" else ""
    logs = open_logs(flags.files, file_format, flags.columns)
    sample = log_sample.take(logs, flags.sample_rows)
    types = sample.types | _types_of_ids(sample, role_flags)
    sample = dataclasses.replace(sample, types=types)
    columns = {name: column_stats(name, sample) for name in sample.columns}

    broken = f"; {sample.broken} records cannot be read" if sample.broken else ""
    print(f"{logs.root}: {len(logs.paths)} files of {logs.layout.format}")
    if logs.passed_over:
        names = [path.relative_to(logs.root).as_posix() for path in logs.passed_over]
        print(f"passed over, no logs: {len(names)} ({some_of(names)})")
    print(f"a sample of {sample.rows} rows of {sample.files} of them{broken}\n")
    print(table(list(columns.values())), end="\n\n")

    roles = find_roles(role_flags, columns)
    print(_roles_text(roles, columns), end="\n\n")

    if sample.nulls:
        print(f"absent values: {', '.join(sample.nulls)}", end="\n\n")
    schema_draft = draft(logs, columns, roles, role_flags, sample.nulls)
    for name, why in [*logs.left_out.items(), *schema_draft.left_out.items()]:
        print(f"no feature: {name} ({why})")

    closing = closing_lines(schema_draft.schema, columns, roles, role_flags)
    print("", *closing, *deciding_lines(schema_draft.schema, sample), sep="\n")
    if flags.schema_out:
        _write_schema(flags, logs, schema_draft)
        past = history_columns(schema_draft.schema, columns, roles, role_flags)
        if past and logs.layout.format != "tfrecord":
            print(_history_step(flags, past))
    if not schema_draft.schema.tasks:
        raise DataError(_no_label_text(flags, logs))


def _write_schema(flags: InspectFlags, logs: LogFiles, schema_draft: Draft) -> None:
    """Writes the draft and says what comes next.

    Raises:
        DataError: No column is a feature.
    """
    if not schema_draft.schema.features:
        raise DataError(f"{logs.paths[0]}: found no column for a feature; see --features")
    write_atomically(Path(flags.schema_out), _schema_text(schema_draft))
    print(f"\nwrote {flags.schema_out}: {len(schema_draft.schema.features)} features")
    if schema_draft.schema.tasks:
        print(_next_steps(flags, logs, schema_draft.schema))


def _no_label_text(flags: InspectFlags, logs: LogFiles) -> str:
    place = f", or fill in the place at the end of {flags.schema_out}" if flags.schema_out else ""
    return (
        f"{logs.root}: found NO LABEL, expected a click, a play time, a watch ratio or a "
        f"conversion. Say --click=COLUMN or --binary_labels=COLUMN and look again{place}"
    )


def _types_of_ids(sample: Sample, flags: RoleFlags) -> dict[str, ColumnType]:
    """Returns int64 for ids that stand as whole floats, as pandas writes them beside a null.

    Others whose texts are whole numbers in more ways, such as 1e5, are texts: 100000 is another id.
    """
    types = {}
    for name, kind in sample.types.items():
        if kind == ColumnType("float32") and (name == flags.user or is_id(name, flags)):
            _, bad = to_type(ColumnType("int64"), sample.columns[name])
            if not bad.any():
                types[name] = ColumnType("int64")
            elif are_whole(to_type(kind, sample.columns[name])[0].values).all():
                types[name] = ColumnType("string")
    return types


def _check(flags: InspectFlags) -> None:
    if not flags.files:
        raise ConfigError("--files: found nothing, expected one or more globs")
    check_fields(flags)
    if flags.schema_out and Path(flags.schema_out).exists() and not flags.overwrite:
        raise ConfigError(
            f"--schema_out: found {flags.schema_out} there already, expected a new file, or "
            "--overwrite"
        )


def _roles_text(roles: Roles, columns: Mapping[str, ColumnStats]) -> str:
    lines = []
    for role, name in vars(roles).items():
        text = name or f"not recognised; see --{role}"
        if name is not None and columns[name].is_binary:
            text += f", 1 in {columns[name].mean:.2%}"
        elif name is not None and role in ("watch_ratio", "play_time", "duration"):
            text += f", mean {columns[name].mean:.6g}"
        elif name is not None and role == "time":
            text += f", {_time_range(columns[name])}"
        lines.append(f"{role:<12}{text}")
    return "\n".join(lines)


def _time_range(stats: ColumnStats) -> str:
    """Writes the first and the last time, without those that are far from all others."""
    times = stats.times
    unit = unit_of(times)
    earliest, latest = limits_of(times, unit)
    ends = float(times[times >= earliest][0]), float(times[times <= latest][-1])
    write = date_of if stats.are_dates and unit else with_date
    return " to ".join(write(time, unit) for time in ends)


def _schema_text(schema_draft: Draft) -> str:
    head = [
        "A first schema, made from a sample of the logs: read it, and see docs/schema.md.",
        "A feature must be known before the impression: what came after it is a label.",
    ]
    head += [f"No feature: {name} ({why})." for name, why in schema_draft.left_out.items()]
    text = to_toml(schema_draft.schema, {"": head, **schema_draft.notes})
    return text if schema_draft.schema.tasks else text + _NO_LABEL


def _next_steps(flags: InspectFlags, logs: LogFiles, schema: Schema) -> str:
    """Writes the commands that lead from a schema to training."""
    lines = []
    schema_file, data_dir = shlex.quote(flags.schema_out), shlex.quote(str(logs.root))
    command = f"  python -m lt4rec_tf.train --schema={schema_file} --data_dir={data_dir}"
    if schema.time is None and schema.user is not None:
        command += " --split=user"
    elif schema.time is None:
        lines.append("Neither time nor user is known (--time, --user): split at random by rows,")
        command += " --split=random"
    return "\n".join([*lines, command])


def _history_step(flags: InspectFlags, columns: Sequence[str]) -> str:
    """Writes the command that makes shards with what users clicked before."""
    command = ["python", "-m", "lt4rec_tf.data.convert", f"--files={','.join(flags.files)}"]
    command += [f"--format={flags.format}"] if flags.format != "auto" else []
    command += [f"--schema={flags.schema_out}", "--output_dir=with_history"]
    command.append(f"--history={','.join(columns)}")
    return f"to learn from what a user clicked before (docs/history.md):\n  {shlex.join(command)}"


def main(argv: Sequence[str] | None = None) -> int:
    """Looks at logs and returns the exit code."""
    argv = sys.argv if argv is None else argv
    return exit_on_error(_inspect, argv, (InputError, OSError), resumes="")


def _inspect(argv: Sequence[str]) -> None:
    values = parse_flags(argv, __doc__ or "", (InspectFlags, RoleFlags))
    inspect(build(InspectFlags, values), build(RoleFlags, values))
