"""Looks at logs (CSV, TSV, Parquet, TFRecord) and writes a first schema to edit.

Reads the first rows of up to 16 files, prints what each column holds, recognises labels by their
names or takes them from flags, and writes a schema that training accepts. docs/own_logs.md goes
from logs to training.
"""

from __future__ import annotations

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
from lt4rec_tf.data.formats.discovery import LogFiles, open_logs
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.inspect import log_sample
from lt4rec_tf.data.inspect.column_roles import RoleFlags, Roles, find_roles
from lt4rec_tf.data.inspect.column_stats import ColumnStats, column_stats, table
from lt4rec_tf.data.inspect.schema_draft import Draft, draft
from lt4rec_tf.schema.writer import to_toml

_NO_LABEL = """
# No label was recognised. Say --click=COLUMN (or --watch_ratio, --play_time and --duration) and
# look again, or fill in:
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
    """What is looked at, and where the schema goes."""

    files: tuple[str, ...] = flag((), "Globs of the log files, quoted from the shell.")
    schema_out: str = flag("", "TOML file to write the schema to; without, the table alone.")
    overwrite: bool = flag(False, "Replace a schema that is there.")
    format: Literal["auto", "csv", "tsv", "parquet", "tfrecord"] = flag("auto", "Of the log files.")
    columns: tuple[str, ...] = flag((), "Column names of CSV and TSV without a header line.")
    sample_rows: int = flag(100_000, "Rows to look at, of all files together.", at_least=1)


def inspect(flags: InspectFlags, told: RoleFlags) -> None:
    """Prints what logs hold and writes a schema of them.

    Args:
        flags: What is looked at.
        told: What the user knows of columns.

    Raises:
        ConfigError: A flag cannot be used, or there is a schema already.
        DataError: The logs cannot be read, or a flag names no column of theirs.
    """
    _check(flags)
    form = flags.format if flags.format != "auto" else ""
    logs = open_logs(flags.files, form, flags.columns)
    sample = log_sample.take(logs, flags.sample_rows)
    columns = {name: column_stats(name, sample) for name in sample.columns}
    broken = f"; {sample.broken} records cannot be read" if sample.broken else ""
    print(f"{logs.root}: {len(logs.paths)} files of {logs.layout.format}")
    print(f"a sample of {sample.rows} rows of {sample.files} of them{broken}\n")
    print(table(list(columns.values())), end="\n\n")
    roles = find_roles(told, columns)
    print(_roles_text(roles, columns), end="\n\n")
    found = draft(logs, columns, roles, told)
    for name, why in found.left_out.items():
        print(f"no feature: {name} ({why})")
    if not flags.schema_out:
        return
    if not found.schema.features:
        raise DataError(f"{logs.paths[0]}: found no column for a feature; see --features")
    write_atomically(Path(flags.schema_out), _text(found))
    print(_next_steps(flags, logs, found))


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
        what = name or f"not recognised; see --{role}"
        if name is not None and columns[name].is_binary:
            what += f", 1 in {columns[name].mean:.2%}"
        elif name is not None and role in ("watch_ratio", "play_time", "duration"):
            what += f", mean {columns[name].mean:.6g}"
        lines.append(f"{role:<12}{what}")
    return "\n".join(lines)


def _text(found: Draft) -> str:
    head = [
        "A first schema, made from a sample of the logs: read it, and see docs/schema.md.",
        "A feature must be known before the impression: what came after it is a label.",
    ]
    head += [f"No feature: {name} ({why})." for name, why in found.left_out.items()]
    text = to_toml(found.schema, {"": head, **found.notes})
    return text if found.schema.tasks else text + _NO_LABEL


def _next_steps(flags: InspectFlags, logs: LogFiles, found: Draft) -> str:
    schema, data_dir = shlex.quote(flags.schema_out), shlex.quote(str(logs.root))
    lines = [f"\nwrote {flags.schema_out}: {len(found.schema.features)} features"]
    if not found.schema.tasks:
        return (
            f"{lines[0]} and NO LABEL: none was recognised. Say --click=COLUMN and look again, or "
            "fill in the place at the file's end."
        )
    if logs.layout.format == "parquet":
        files = shlex.quote(",".join(flags.files))
        lines.append("Parquet is converted first, to a folder that you choose:")
        lines.append(
            f"  python -m lt4rec_tf.data.convert --files={files} --schema={schema} "
            "--output_dir=SHARDS"
        )
        schema, data_dir = "SHARDS/schema.toml", "SHARDS"
    command = f"  python -m lt4rec_tf.train --schema={schema} --data_dir={data_dir}"
    if found.schema.time is not None:
        return "\n".join([*lines, command])
    if found.schema.user is not None:
        return "\n".join([*lines, f"{command} --split=user"])
    lines.append("Neither time nor user is known (--time, --user): split by files,")
    return "\n".join([*lines, f"{command} --split=files --validation_files=GLOB --test_files=GLOB"])


def main(argv: Sequence[str] | None = None) -> int:
    """Looks at logs; returns the exit code."""
    argv = sys.argv if argv is None else argv
    return exit_on_error(_inspect, argv, (InputError, OSError), resumes="")


def _inspect(argv: Sequence[str]) -> None:
    values = parse_flags(argv, __doc__ or "", (InspectFlags, RoleFlags))
    inspect(build(InspectFlags, values), build(RoleFlags, values))
