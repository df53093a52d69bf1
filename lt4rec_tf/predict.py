"""Scores logs of any size by a trained model of a run: files of predictions, part by part.

    python -m lt4rec_tf.predict --run=RUN --files='logs/*.parquet' --output=predictions

The output folder holds a part for each file, or several of a large one:

    part-<file>-<part>.parquet    id columns, then pctr, pcvr, pctcvr; a row for each row of the log
    _not_scored.tsv               rows that have no predictions: file, record, reason, their start
    _manifest.json                written last: run, row (the model), sources, parts, checksums

Labels are not needed. A row that cannot be read is in its place, without predictions. The same
command goes on with the parts that are not there. docs/python.md says more.
"""

from __future__ import annotations

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lt4rec_tf.core import command
from lt4rec_tf.core.flags import build, check_fields, expect, flag, parse_flags
from lt4rec_tf.core.locations import in_store
from lt4rec_tf.experiment.scoring.job import Job
from lt4rec_tf.experiment.scoring.procedure import NOT_SCORED, score_logs


@dataclass(frozen=True)
class _Flags:
    run: str = flag(
        "", "Folder that holds config.json: the run.", required=True, expected="the folder of a run"
    )
    files: tuple[str, ...] = flag(
        (),
        "Folders or globs of the logs, quoted from the shell.",
        required=True,
        expected="one or more globs",
    )
    output: str = flag(
        "", "Folder of the predictions; made when absent.", required=True, expected="a folder"
    )
    format: Literal["parquet", "csv", "tfrecord"] = flag("parquet", "Of the predictions.")
    id_columns: tuple[str, ...] = flag(
        (), "Columns of the logs that predictions carry along, as they are there."
    )
    model: str = flag(
        "",
        "Model that scores; none: of sparse sharing the best on validation, or the run's last.",
        alias="row",
    )
    columns: tuple[str, ...] = flag((), "Column names of CSV and TSV without a header line.")
    data_dir: str = flag("", "Where the run's side tables lie now, if not where they were.")
    bad_values: Literal["listed", "missing"] = flag(
        "listed",
        "What a value that is none of its feature's type is: listed, and the row not scored; or "
        "missing, as in training.",
    )
    max_bad_fraction: float = flag(
        0.01, "Share of a file's rows that may have no predictions.", at_least=0, at_most=1
    )
    part_rows: int = flag(1_000_000, "Rows of the log after which a part ends.", at_least=1)
    processes: int = flag(
        0,
        "Files scored side by side; 0: one a core, but not more than one for each 64 MiB.",
        at_least=0,
    )


def main(argv: Sequence[str]) -> None:
    """Scores logs, and prints where predictions lie."""
    flags = build(_Flags, parse_flags(argv, __doc__ or "", [_Flags]))
    check_fields(flags)
    is_file = Path(flags.output).suffix in (".parquet", ".csv", ".tfrecord", ".gz")
    expected = "a folder, in which parts lie; --format says of which kind they are"
    expect(not is_file, "output", flags.output, expected)
    expect(not in_store(flags.output), "output", flags.output, "a folder of this machine")

    job = Job(
        run=Path(flags.run),
        model=flags.model,
        data_dir=flags.data_dir,
        globs=flags.files,
        columns=flags.columns,
        id_columns=tuple(dict.fromkeys(flags.id_columns)),
        output=Path(flags.output),
        file_format=flags.format,
        part_rows=flags.part_rows,
        max_bad_fraction=flags.max_bad_fraction,
        as_missing=flags.bad_values == "missing",
    )
    _print_summary(flags.output, score_logs(job, flags.processes))


def _print_summary(output: str, manifest: dict[str, Any]) -> None:
    size = sum(part["bytes"] for part in manifest["parts"])
    for file, rows in manifest["without_side_row"].items():
        if rows:
            print(f"{file}: lacks the key of {rows} rows, whose columns of it count as missing")
    print(
        f"{output}: {', '.join(manifest['outputs'])} of {manifest['row']} for {manifest['rows']} "
        f"rows in {len(manifest['parts'])} parts of {size / 2**20:.1f} MiB together; "
        f"{manifest['not_scored']} rows not scored, in {NOT_SCORED}"
    )


if __name__ == "__main__":
    command.run(main, resumes="with the parts that are not there")
