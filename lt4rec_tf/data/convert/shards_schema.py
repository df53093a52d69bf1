"""The schema of shards, and the side tables beside them."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from lt4rec_tf.core.artifacts import appearing_whole, write_atomically
from lt4rec_tf.core.time_units import NO_UNIT
from lt4rec_tf.data.convert.history_schema import with_history
from lt4rec_tf.data.convert.manifest import MANIFEST, QUARANTINE
from lt4rec_tf.data.convert.shards import SUFFIXES, UNFINISHED, Job
from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.schema.writer import to_toml

OWN = (MANIFEST, QUARANTINE, "schema.toml", "shards", UNFINISHED)  # names in the output folder


def write_schema(job: Job, schema: Schema, unit: str) -> list[str]:
    """Writes the schema of the shards, and copies side tables, which are never converted.

    Args:
        job: Settings of the conversion.
        schema: Of the logs.
        unit: Of the times, by which a history has ages.

    Returns:
        Lines that say which columns of a history no feature reads.

    Raises:
        DataError: A side table is absent.
    """
    features = []
    for feature in schema.features:
        if feature.column in job.types:  # lists of the logs are cut when they are converted
            feature = dataclasses.replace(feature, separator="")
        features.append(feature)
    joins = [
        dataclasses.replace(join, file=_copy_name(join.file, place))
        for place, join in enumerate(schema.joins, start=1)
    ]
    shards_schema = dataclasses.replace(
        schema,
        format="tfrecord",
        files=(f"shards/*{SUFFIXES[job.compression]}",),
        columns=(),
        quoted=False,
        features=tuple(features),
        joins=tuple(joins),
    )
    lines: list[str] = []
    if job.history is not None:
        shards_schema, lines = with_history(shards_schema, job.history, unit != NO_UNIT)

    for join, copied in zip(schema.joins, joins, strict=True):
        source, copy = job.root / join.file, job.output_dir / copied.file
        if not source.is_file():
            raise DataError(f"{source}: found no file, expected the side table")
        if copy.exists() and copy.samefile(source):
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        with appearing_whole(copy) as temporary:
            shutil.copyfile(source, temporary)

    write_atomically(job.output_dir / "schema.toml", to_toml(shards_schema))
    return lines


def _copy_name(file: str, place: int) -> str:
    """Names the copy of a side table, which lies in the output folder wherever the original lies.

    >>> _copy_name("tables/items.csv", 1), _copy_name("../items.csv", 2)
    ('tables/items.csv', 'side_tables/2/items.csv')
    """
    path = Path(file)
    leads_out = path.is_absolute() or ".." in path.parts
    return f"side_tables/{place}/{path.name}" if leads_out or path.parts[0] in OWN else file
