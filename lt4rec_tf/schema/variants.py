"""A schema as a run's flags change it: fewer hash buckets, other pooling, another head."""

from __future__ import annotations

import dataclasses

from lt4rec_tf.schema.events import sequences_of
from lt4rec_tf.schema.heads import usual_head
from lt4rec_tf.schema.types import Feature, IdRule, Schema, SchemaError, Task


def with_bucket_share(schema: Schema, share: float) -> Schema:
    """Returns a schema with fewer hash buckets, one at least in each table.

    Args:
        schema: The schema.
        share: Of the buckets of every hashed feature, in (0, 1].

    Raises:
        SchemaError: There is less to keep than all, and no feature is hashed.
    """
    if share < 1 and all(feature.ids.kind != "hash" for feature in schema.features):
        raise SchemaError(
            f"{schema.path}: --bucket_share: found {share}, expected 1: no feature has ids of kind "
            '"hash", whose buckets it would cut'
        )

    def with_fewer(feature: Feature) -> IdRule:
        if feature.ids.kind != "hash":
            return feature.ids
        buckets = max(1, round(share * feature.ids.buckets))
        return dataclasses.replace(feature.ids, buckets=buckets)

    return schema.with_rules(with_fewer)


def with_history(schema: Schema, pooling: str) -> Schema:
    """Returns a schema with another pooling of the lists to which candidates attend.

    Args:
        schema: The schema.
        pooling: "mean", or one that `EventSequence` names; "none": without these lists; "schema":
            as it says.

    Raises:
        SchemaError: There is no such list; or of a long one the nearest events are searched, which
            a transformer cannot do.
    """
    if pooling == "schema":
        return schema
    what = f"{schema.path}: --history: found {pooling!r}, expected"
    sequences = sequences_of(schema)
    if not sequences:
        raise SchemaError(f"{what} schema: no list has another pooling than mean")
    if pooling == "transformer" and any(sequence.nearest for sequence in sequences):
        raise SchemaError(f"{what} another: the events nearest to a candidate are searched")

    if pooling == "none":
        features = [feature for feature in schema.features if not feature.is_of_events]
    else:
        features = [_pooled(feature, pooling) for feature in schema.features]
    return dataclasses.replace(schema, features=tuple(features))


def _pooled(feature: Feature, pooling: str) -> Feature:
    """Returns a list of events with another pooling; other features as they are."""
    if not feature.is_of_events:
        return feature
    if pooling == "mean":  # each list by itself
        return dataclasses.replace(
            feature, pooling="mean", candidate=None, aligned_with=None, nearest=0, search=""
        )
    return feature if feature.aligned_with else dataclasses.replace(feature, pooling=pooling)


def with_head(schema: Schema, kind: str) -> Schema:
    """Returns a schema with another head of each task on a ratio or an amount.

    Args:
        schema: The schema.
        kind: A kind of head, of its usual size; "schema": as it says.

    Raises:
        SchemaError: There is no such task; or its head would read durations that its label has not.
    """
    if kind == "schema":
        return schema
    what = f"{schema.path}: --head: found {kind!r}, expected"
    if all(task.kind == "binary" for task in schema.tasks):
        raise SchemaError(f"{what} schema: no task is on a ratio or an amount")

    def with_other(task: Task) -> Task:
        if task.kind == "binary":
            return task
        other = dataclasses.replace(task, head=usual_head(kind))
        if other.reads_duration and schema.label(task.label).duration is None:
            raise SchemaError(
                f"{what} another: label {task.label} of task {task.name} names no duration"
            )
        return other

    return dataclasses.replace(schema, tasks=tuple(map(with_other, schema.tasks)))
