"""What an audit warns of: data that can be trained on, but hardly as they were meant."""

from __future__ import annotations

from collections.abc import Iterator

from lt4rec_tf.core.time_units import with_date
from lt4rec_tf.data.audit.findings import Audit
from lt4rec_tf.data.audit.times import units_text
from lt4rec_tf.data.formats.files import some_of
from lt4rec_tf.data.input.features import LARGEST_NUMBER
from lt4rec_tf.schema.numbers import EXTREME
from lt4rec_tf.schema.types import Schema

# Of values in a split: every feed has new videos, but a vocabulary should hold its values.
UNKNOWN_SHARE, NEW_SHARE = 0.1, 0.5
NEARLY_ALL = 0.9
# Of numbers as a network reads them: the width of their middle, where it can tell little of them.
NARROW = 0.01


def warnings_of(audit: Audit, schema: Schema, split: str) -> tuple[str, ...]:
    """Returns a line for each thing that an audit's reader should look at.

    Args:
        audit: The counts.
        schema: By which they were counted.
        split: What separates train, validation and test: a kind of `SplitRule`.
    """
    lines = [
        *_about_files(audit),
        *_about_times(audit, schema),
        *_about_features(audit, schema, split),
        *_about_numbers(audit),
        *_about_vocabularies(audit),
        *_about_deciding(audit, schema),
        *_about_ratios(audit, schema),
        *_about_heads(audit, schema),
        *_about_classes(audit, schema),
        *_about_side_tables(audit, schema),
    ]
    return tuple(f"warning: {line}" for line in lines)


def _about_files(audit: Audit) -> Iterator[str]:
    if audit.cut_files:
        yield (
            f"the last record is no whole row in {some_of(audit.cut_files)}: was it cut off before "
            "it was delivered?"
        )


def _about_times(audit: Audit, schema: Schema) -> Iterator[str]:
    times = audit.times
    if times is not None and times.units and schema.time is not None:
        yield (
            f"column {schema.time.column} holds times in several units: {units_text(times.units)}"
        )
    if times is not None and times.first_far is not None:
        far = times.first_far
        yield (
            f"times far from all others, which count nowhere: {times.far} rows; the first is "
            f"{with_date(far.time, times.unit)} in {far.file} record {far.record}"
        )


def _about_features(audit: Audit, schema: Schema, split_kind: str) -> Iterator[str]:
    for name, counts in audit.features.items():
        feature = schema.feature(name)
        # Where users separate the splits, all users of validation and test are new.
        is_split = split_kind == "user" and feature.column == schema.user
        # A vocabulary that is fitted on train cannot hold what is new.
        is_fitted = feature.ids.kind == "fitted"
        for what, shares, most in (
            (
                "lie outside its vocabulary or range",
                {} if is_fitted and is_split else counts.unknown,
                NEW_SHARE if is_fitted else UNKNOWN_SHARE,
            ),
            ("never occur in train", {} if is_split else counts.new, NEW_SHARE),
        ):
            found = [
                f"{100 * share:.1f} % in {split}"
                for split, share in shares.items()
                if share is not None and share > most
            ]
            if found:
                yield f"feature {name}: of its values {', '.join(found)} {what}"


def _about_numbers(audit: Audit) -> Iterator[str]:
    helps = 'ids = { kind = "quantiles" } or "piecewise_linear" bounds them'
    for name, spread in audit.spreads.items():
        if spread.infinite:
            share = 100 * spread.infinite / (spread.rows + spread.infinite)
            yield (
                f"feature {name}: {share:.2g} % of its numbers are infinite, as float32 has no "
                "larger one than 3.4e38, and count as missing"
            )
        largest = f"{min(spread.largest, LARGEST_NUMBER):.4g}"
        if spread.extreme:
            yield (
                f"feature {name}: {100 * spread.extreme / spread.rows:.2g} % of its numbers are "
                f"beyond {EXTREME:g} as the network reads them, the largest {largest}, "
                f"and drown all others: {helps}"
            )
        elif 0 < spread.middle < NARROW and spread.largest > 1:
            yield (
                f"feature {name}: the middle 80 % of its numbers lie within {spread.middle:.2g} "
                f"as the network reads them, the largest at {largest}: {helps}"
            )


def _about_vocabularies(audit: Audit) -> Iterator[str]:
    for table, vocabulary in audit.vocabularies.items():
        if vocabulary.shared:
            yield (
                f"vocabulary {table}: {vocabulary.shared:,} of its fingerprints are those of "
                "several values, which cannot be told apart and share a row"
            )


def _about_deciding(audit: Audit, schema: Schema) -> Iterator[str]:
    for name, aucs in audit.deciding.items():
        for task, auc in aucs.items():
            yield (
                f"feature {name} (column {schema.feature(name).column}) alone tells the label of "
                f"task {task}, AUC {auc:.4f}: is it known before the impression?"
            )


def _about_ratios(audit: Audit, schema: Schema) -> Iterator[str]:
    for name, counts in audit.ratios.items():
        label = schema.task(name).label
        above_zero = counts.rows - counts.zero
        if counts.above_one > NEARLY_ALL * counts.rows:
            share = 100 * counts.above_one / counts.rows
            yield (
                f"label {label}: {share:.1f} % of the ratios of task {name} are above 1 and "
                "clipped to it: are they percentages, or times in other units?"
            )
        elif counts.zero > NEARLY_ALL * counts.rows:
            share = 100 * counts.zero / counts.rows
            yield (
                f"label {label}: {share:.1f} % of the ratios of task {name} are 0: is its "
                "population right?"
            )
        elif counts.tiny > NEARLY_ALL * above_zero:
            share = 100 * counts.tiny / above_zero
            yield (
                f"label {label}: {share:.1f} % of the ratios of task {name} that are not 0 are "
                "below 0.01: are the times in other units?"
            )


def _about_heads(audit: Audit, schema: Schema) -> Iterator[str]:
    for task in schema.tasks:
        found = audit.label_quantiles.get(task.name)
        if task.head.kind == "d2q" and found is not None and not found.by_duration:
            yield (
                f"task {task.name}: its head d2q compares a label with those of videos as long, "
                f"and too few of its {found.rows} rows in train have a duration: it compares with "
                "all"
            )


def _about_classes(audit: Audit, schema: Schema) -> Iterator[str]:
    for split, counts in audit.splits.items():
        for name, numbers in counts.tasks.items():
            one_class = numbers.rows and numbers.label_mean in (0.0, 1.0)
            if schema.task(name).kind == "binary" and one_class:
                yield (
                    f"{split}: all {numbers.rows} rows of task {name} have label "
                    f"{numbers.label_mean:.0f}"
                )


def _about_side_tables(audit: Audit, schema: Schema) -> Iterator[str]:
    broken = sum(audit.unusable.get(reason, 0) for reason in ("columns", "unparseable"))
    rows = audit.rows - broken - audit.left_out
    for join in schema.joins:
        misses = audit.join_misses.get(join.file, 0)
        if rows and misses > NEARLY_ALL * rows:
            yield (
                f"side table {join.file}: {100 * misses / rows:.1f} % of the rows have no row "
                f"there: do its keys in {join.key} look like those of the logs?"
            )
