"""Refuses data that cannot be trained on, by the counts of their audit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lt4rec_tf.core.toml import toml_text
from lt4rec_tf.data.audit.description import duplicates_text, reasons_text
from lt4rec_tf.data.audit.findings import Audit
from lt4rec_tf.data.formats.files import DataError, some_of
from lt4rec_tf.data.formats.null_marks import marks_in
from lt4rec_tf.data.input.labels import EXCLUDED, REASONS
from lt4rec_tf.data.input.splits import SPLITS
from lt4rec_tf.schema.types import Schema

_UNREADABLE = ("bad_label", "bad_time", "bad_weight", "bad_negatives_kept")  # may be texts


def bad_row_count(audit: Audit) -> int:
    """Returns the number of rows that cannot be used, without those that the schema excludes."""
    return sum(n for reason, n in audit.unusable.items() if reason != REASONS[EXCLUDED])


def check(
    audit: Audit,
    max_bad_fraction: float,
    max_duplicate_fraction: float = 1.0,
    listed: Path | None = None,
    splits: Sequence[str] = SPLITS,
    nulls: Sequence[str] = (),
    *,
    all_tasks: bool = True,
) -> None:
    """Refuses data that cannot be trained on.

    Args:
        audit: The audit of the data.
        max_bad_fraction: Share of unusable rows, in [0, 1], above which data are refused: of the
            rows that no filter leaves out.
        max_duplicate_fraction: Share of duplicate rows, in [0, 1], above which data are refused.
        listed: The file that lists all unusable rows, if there is one.
        splits: The splits that must hold rows.
        nulls: Texts that the schema takes for absent values.
        all_tasks: Whether each task must have rows in train; otherwise one must.

    Raises:
        DataError: There are too many unusable or duplicate rows; or there is no row in train, or,
            where the data are split, in validation or test; or a task has no population in train,
            or none has.
    """
    if audit.rows == 0:
        raise DataError("the logs: found no row, expected some")
    if audit.left_out == audit.rows:
        raise DataError(
            f"the logs: found {audit.rows} rows, all of them left out by filters "
            f"({', '.join(audit.filtered)}), expected some that are kept"
        )
    if bad_row_count(audit) > max_bad_fraction * (audit.rows - audit.left_out):
        raise DataError(_bad_rows_text(audit, max_bad_fraction, listed, nulls))
    if audit.duplicates and audit.duplicates.rows > max_duplicate_fraction * audit.rows:
        raise DataError(
            f"the logs: found {duplicates_text(audit, audit.duplicates)}, expected at most a "
            f"fraction {max_duplicate_fraction} (--max_duplicate_fraction); are some files copies "
            "of others?"
        )

    for split in splits:
        counts = audit.splits[split]
        if counts.rows == 0:
            raise DataError(f"{split}: found no usable row, expected some; see the split's flags")
    without_rows = absent_tasks(audit)
    if without_rows and (all_tasks or len(without_rows) == len(audit.splits["train"].tasks)):
        raise DataError(_without_rows(audit, "train", without_rows[0]))


def _without_rows(audit: Audit, split: str, task: str) -> str:
    """Says that a task has no rows in a split, and of a scenario which rows it would have."""
    text = f"{split}: found no row in the population of task {task}"
    scenario = audit.scenarios.get(task)
    if scenario is None:
        return text
    unreadable = f" ({scenario.unreadable} hold what cannot be compared)"
    return (
        f"{text}, which is learned where {scenario.conditions}; in all splits {scenario.rows} "
        f"usable rows are of its scenario{unreadable * bool(scenario.unreadable)}"
    )


def absent_tasks(audit: Audit) -> list[str]:
    """Returns the tasks that have no row in train."""
    return [task for task, counts in audit.splits["train"].tasks.items() if not counts.rows]


def _bad_rows_text(
    audit: Audit, max_bad_fraction: float, listed: Path | None, nulls: Sequence[str]
) -> str:
    examples = "\n".join(
        f"  {e.file} record {e.record}: {e.reason}: {e.text!r}" for e in audit.examples
    )
    list_file = f" All are listed in {listed}." if listed else ""
    return (
        f"found {bad_row_count(audit)} unusable rows of {audit.rows - audit.left_out} "
        f"({reasons_text(audit)}) in {some_of(audit.unusable_by_file)}; expected at most "
        f"a fraction {max_bad_fraction}.{list_file} The first of each reason:\n{examples}"
        f"{_hint(audit, nulls)}"
    )


def _hint(audit: Audit, nulls: Sequence[str]) -> str:
    """Says how to read usual marks of absent values, where values could not be read; else ""."""
    marks: list[str] = []
    for example in audit.examples:
        if example.reason in _UNREADABLE:
            marks += [mark for mark in marks_in(example.text) if mark not in (*nulls, *marks)]
    if not marks:
        return ""
    texts = ", ".join(toml_text(mark) for mark in (*nulls, *marks))
    are = "is an absent value" if len(marks) == 1 else "are absent values"
    return f"\nIf {' and '.join(marks)} {are}: nulls = [{texts}] at the top of the schema"


def check_validation(audit: Audit, schema: Schema) -> None:
    """Refuses a validation split on which some task's metric is undefined: nothing is chosen by it.

    Args:
        audit: The audit of the data.
        schema: The schema whose tasks are trained.

    Raises:
        DataError: A task has no population in validation, or a binary one has one class alone, or
            a task's metric is GAUC and no row has a user.
    """
    for task in schema.tasks:
        counts = audit.splits["validation"].tasks[task.name]
        if counts.rows == 0:
            raise DataError(_without_rows(audit, "validation", task.name))
        if task.kind == "binary" and counts.label_mean in (0.0, 1.0):
            raise DataError(
                f"validation: found label {counts.label_mean:.0f} alone in all {counts.rows} rows "
                f"of task {task.name}, expected rows of both classes; see the split's flags"
            )
        if task.metric == "gauc" and (schema.user is None or counts.without_user == counts.rows):
            raise DataError(
                f"validation: found no row with a user in the {counts.rows} rows of task "
                f"{task.name}, expected some: its metric is gauc (tasks.metric in {schema.path})"
            )
