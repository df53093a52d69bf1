"""An audit as text for people, one fact a line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import starmap

from lt4rec_tf.core.time_units import NO_UNIT, with_date
from lt4rec_tf.data.audit.duplicates import Duplicates
from lt4rec_tf.data.audit.findings import Audit
from lt4rec_tf.data.audit.task_counts import TaskCounts
from lt4rec_tf.data.formats.files import some_of
from lt4rec_tf.schema.fitted import Vocabulary
from lt4rec_tf.schema.numbers import Numbers

_FEATURES = 100  # lines of a table
_LEAST_DROPOUT = 0.0005  # a share below it would be written as 0.0 %


def duplicates_text(audit: Audit, duplicates: Duplicates) -> str:
    """Writes the number of duplicate rows and their share."""
    share = duplicates.rows / max(1, audit.rows)
    about = ", estimated" if duplicates.estimated else ""
    if duplicates.one_in > 1:
        compared = audit.rows // duplicates.one_in
        about += f" from one row in {duplicates.one_in}, about {compared:,}: more rows differ than "
        about += "--duplicate_rows_remembered"
    return f"duplicate rows: {duplicates.rows} ({100 * share:.2f} %{about})"


def reasons_text(audit: Audit) -> str:
    """Writes how many rows cannot be used, by reason and where it lies."""
    texts = []
    for reason, count in audit.unusable.items():
        places = audit.unusable_where.get(reason, {})
        where = [f"{place} {n}" if len(places) > 1 else place for place, n in places.items()]
        texts.append(f"{reason} {count}" + (f" ({'; '.join(where)})" if where else ""))
    return ", ".join(texts) or "none"


def describe(audit: Audit) -> str:
    """Writes an audit as text for people, one fact a line, warnings last."""
    facts = [*_describe_rows(audit), *_describe_scenarios(audit), *_describe_splits(audit)]
    facts += _describe_columns(audit)
    values = [*_describe_values(audit), *starmap(described_numbers, audit.numbers.items())]
    return "\n".join([*facts, *values, *audit.warnings])


def _describe_rows(audit: Audit) -> Iterator[str]:
    yield f"{audit.rows} records, {sum(audit.unusable.values())} without use"
    for reason, count in audit.unusable.items():
        where = ", ".join(audit.unusable_where.get(reason, ()))
        yield f"  {reason:<24}{count:>12}" + (f"  {where}" if where else "")
    if audit.filtered:
        yield f"{audit.left_out} records left out by filters"
    for text, filtered in audit.filtered.items():
        unreadable = f"  {filtered.unreadable} of them cannot be compared"
        yield f"  {text:<24}{filtered.rows:>12}" + unreadable * bool(filtered.unreadable)
    for label, count in audit.clipped.items():
        if count:
            yield f"  clipped {label:<16}{count:>12}"
    for label, count in audit.unlabelled.items():
        if count:
            yield f"  kept without {label:<11}{count:>12}"

    if audit.duplicates is not None:
        yield duplicates_text(audit, audit.duplicates)
    if audit.passed_over:
        yield f"passed over, no logs: {len(audit.passed_over)} ({some_of(audit.passed_over)})"
    if audit.empty_files:
        yield f"files without rows: {len(audit.empty_files)} ({some_of(audit.empty_files)})"
    for what, names in _by_oddity(audit.odd_files).items():
        yield f"files read by Python for {what}: {len(names)} ({some_of(names)})"


def _by_oddity(odd_files: Mapping[str, str]) -> dict[str, list[str]]:
    names_by_oddity: dict[str, list[str]] = {}
    for name, what in odd_files.items():
        names_by_oddity.setdefault(what, []).append(name)
    return names_by_oddity


def _describe_splits(audit: Audit) -> Iterator[str]:
    for split, counts in audit.splits.items():
        if counts.rows:
            tasks = "  ".join(
                f"{task}: {_weighted_rows(numbers)}"
                + f", label mean {numbers.label_mean:.4f}" * bool(numbers.rows)
                for task, numbers in counts.tasks.items()
            )
            yield f"{split:<12}{counts.rows:>12} rows  {tasks}"
            if counts.without_user:
                yield f"  without a user        {counts.without_user:>12}"

    unit = audit.times.unit if audit.times is not None else NO_UNIT
    if audit.times is not None:
        yield f"times {with_date(audit.times.first, unit)} to {with_date(audit.times.last, unit)}"
    if audit.validation_from is not None and audit.test_from is not None:
        boundaries = with_date(audit.validation_from, unit), with_date(audit.test_from, unit)
        yield "validation from {}, test from {}".format(*boundaries)


def _describe_scenarios(audit: Audit) -> Iterator[str]:
    for task, scenario in audit.scenarios.items():
        text = f"task {task}: rows where {scenario.conditions}"
        if scenario.unreadable:
            text += f"; {scenario.unreadable} others hold what cannot be compared"
        yield text
    if audit.in_no_scenario:
        yield f"{audit.in_no_scenario} usable records are in the scenario of no task"


def _weighted_rows(numbers: TaskCounts) -> str:
    """Writes a population's rows, what they weigh, and how many negatives there were before."""
    weight = "" if numbers.weight is None else f" of weight {numbers.weight:.10g}"
    share = numbers.negatives_kept
    kept = "" if share is None else f", {share:.4g} of the negatives kept"
    return f"{numbers.rows} rows{weight}{kept}"


def _describe_columns(audit: Audit) -> Iterator[str]:
    for file, count in audit.join_misses.items():
        left_out = audit.join_unusable_rows[file]
        yield f"{file}: {count} records without a row there, {left_out} of its rows left out"

    for feature, files in audit.features_absent_in.items():
        yield f"feature {feature}: no value in any record of {some_of(files)}"
    for feature, count in audit.feature_faults.items():
        if count:
            yield f"feature {feature}: {count} values could not be read and count as missing"
    for feature, count in audit.unequal_lists.items():
        if count:
            yield (
                f"feature {feature}: {count} records in which lists that are aligned with it are "
                "not equally long; they count as records without events"
            )


def _describe_values(audit: Audit) -> Iterator[str]:
    """Writes a table of the features whose values have ids of their own."""
    if not audit.features:
        return
    heads: tuple[str, ...] = ("feature", "distinct values", "buckets", "sharing one")
    heads += ("unknown in train / validation / test", "new in validation / test")
    rows = [heads]
    for name, counts in [*audit.features.items()][:_FEATURES]:
        distinct = f"{'about ' * counts.estimated}{counts.distinct}"
        buckets = str(counts.buckets or "-")
        sharing = "-" if counts.sharing is None else f"{100 * counts.sharing:.1f} %"
        rows.append((name, distinct, buckets, sharing, *map(_shares, (counts.unknown, counts.new))))

    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    for cells in rows:
        padded = [cells[0].ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        yield "  ".join(padded)
    if len(audit.features) > _FEATURES:
        yield f"and {len(audit.features) - _FEATURES} features more in data.json"
    for table, vocabulary in audit.vocabularies.items():
        yield _described_vocabulary(table, vocabulary)


def _described_vocabulary(table: str, vocabulary: Vocabulary) -> str:
    """Writes how many values of train have an embedding row of their own."""
    about = "about " * vocabulary.estimated
    added = len(vocabulary.marks) - vocabulary.earlier
    new = f", {added:,} of them new" if vocabulary.earlier else ""
    text = (
        f"vocabulary {table}: {len(vocabulary.marks):,} values with a row of their own{new}; "
        f"{about}{vocabulary.distinct:,} occur in train"
    )
    if vocabulary.rare:
        text += f", {about}{vocabulary.rare:,} of them too rarely"
    if vocabulary.beyond:
        text += f", {about}{vocabulary.beyond:,} frequent ones find no place"
    for feature, share in vocabulary.dropout.items():
        if share < _LEAST_DROPOUT:
            continue
        text += (
            f"\nfeature {feature}: {100 * share:.1f} % of its known values are taken for unknown "
            "in training, to be as many as in validation (--unknown_dropout)"
        )
    return text


def described_numbers(table: str, numbers: Numbers) -> str:
    """Writes what rules of numbers were fitted to."""
    before = ", of the run before" if numbers.earlier else ""
    if not numbers.count:
        return f"numbers {table}: none in train{before}"
    about = f"mean {numbers.mean:.6g}, deviation {numbers.deviation:.6g}"
    if numbers.edges:
        estimated = " of a sample" * numbers.estimated
        first, last = numbers.edges[0], numbers.edges[-1]
        about = f"bins by {len(numbers.edges)} edges{estimated}, {first:.6g} to {last:.6g}"
    elif not numbers.deviation:
        about = f"all are {numbers.mean:.6g}"
    return f"numbers {table}: {numbers.count:,} in train, {about}{before}"


def _shares(share_by_split: Mapping[str, float | None]) -> str:
    """Writes the shares of splits that hold values, in per cent; "-": none has any."""
    found = [f"{100 * share:.1f}" for share in share_by_split.values() if share is not None]
    return f"{' / '.join(found)} %" if found else "-"
