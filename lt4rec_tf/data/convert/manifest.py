"""The plan of a folder of converted logs while it is filled, and its manifest afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypedDict

from lt4rec_tf.core.artifacts import RunError, appearing_whole, sha256, write_json
from lt4rec_tf.core.flags import differences
from lt4rec_tf.core.locations import in_store
from lt4rec_tf.core.typed_json import check_typed, read_typed
from lt4rec_tf.data.convert.shards import (
    UNFINISHED,
    Converted,
    Job,
    Shard,
    quarantine_path,
    result_path,
)
from lt4rec_tf.data.formats.column_types import ColumnType

MANIFEST = "manifest.json"
QUARANTINE = "quarantine.tsv"
FORMAT_VERSION = 1


def plan_of(job: Job, paths: Sequence[Path]) -> dict[str, Any]:
    """Lists what decides the shards: settings, column types, sizes of the sources.

    Returns:
        A tree of JSON's own types.
    """
    return {
        "format": FORMAT_VERSION,
        "settings": {
            "format": job.layout.format,
            "header": bool(job.layout.header_lines),
            "quoted": job.layout.quoted,
            "shard_bytes": job.shard_bytes,
            "compression": job.compression,
            **({"nulls": sorted(set().union(*job.nulls.values()))} if job.nulls else {}),
            **({"filters": [rule.text for rule in job.filters]} if job.filters else {}),
            **({"history": history_plan(job)} if job.history is not None else {}),
        },
        "columns": {name: _said(kind) for name, kind in job.types.items()},
        "sources": {path.relative_to(job.root).as_posix(): path.stat().st_size for path in paths},
    }


def _said(kind: ColumnType) -> dict[str, str | None]:
    """Returns a type as plans say it; `missing` only where it is set, as older ones say none."""
    return {key: value for key, value in asdict(kind).items() if value is not None}


def history_plan(job: Job) -> dict[str, Any]:
    """Returns what decides the lists of a history, side tables that it reads among it."""
    assert job.history is not None
    joins = {item.join for item in job.history.carried if item.join is not None}
    tables = {join.file: sha256(job.root / join.file) for join in joins}
    return job.history.plan() | {"side_tables": dict(sorted(tables.items()))}


def claim(output_dir: Path, plan: Mapping[str, Any]) -> None:
    """Writes the plan to a new folder, or compares it with the plan of one that was begun.

    Raises:
        RunError: The folder holds, or was begun with, other sources or settings; names each.
    """
    plan_path = output_dir / UNFINISHED / "plan.json"
    if (output_dir / MANIFEST).exists():
        manifest = read_manifest(output_dir)
        old_plan = {key: manifest[key] for key in plan}
        old_plan["sources"] = {source["name"]: source["bytes"] for source in manifest["sources"]}
        _refuse_other(output_dir, old_plan, plan)
    elif plan_path.exists():
        _refuse_other(output_dir, read_typed(plan_path, dict[str, Any]), plan)
    elif (output_dir / "shards").exists():
        raise RunError(f"{output_dir / 'shards'}: found a folder without plan, expected none")
    else:
        write_json(plan_path, plan)


def _refuse_other(output_dir: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    changes = differences(old, new)
    if changes:
        listed = "\n  ".join(changes)
        raise RunError(
            f"{output_dir} was made from other sources or with other settings:\n  {listed}\n"
            "Use the old ones, or another --output_dir."
        )


class _Source(TypedDict):
    name: str
    bytes: int


class _Manifest(TypedDict):
    format: int
    settings: dict[str, Any]
    columns: dict[str, dict[str, Any]]
    rows: int
    bad_rows: int
    sources: list[_Source]
    shards: list[Shard]


def read_manifest(output_dir: Path) -> dict[str, Any]:
    """Reads the manifest of a folder that is complete.

    Raises:
        RunError: There is none, or it is none of this program's.
    """
    path = output_dir / MANIFEST
    manifest: dict[str, Any] = read_typed(path, dict[str, Any])
    version = manifest.get("format")
    if version != FORMAT_VERSION:
        raise RunError(f"{path}: found format {version!r}, expected {FORMAT_VERSION}")
    check_typed(path, manifest, _Manifest)
    return manifest


def results_of(manifest: Mapping[str, Any]) -> list[Converted]:
    """Returns the results of a manifest's files, without their shards."""
    return [Converted.from_json({**source, "shards": ()}) for source in manifest["sources"]]


def done_before(output_dir: Path, index: int) -> Converted | None:
    """Reads the result of a file that was converted; None: it was not."""
    path = result_path(output_dir, index)
    return Converted.from_json(read_typed(path, Converted)) if path.exists() else None


def check_sources(output_dir: Path, root: Path, converted: Sequence[Converted]) -> None:
    """Compares the sources that were converted with what they held then, whatever their size.

    Args:
        output_dir: Of the shards, for the error.
        root: The folder of the sources; those in a store are not read again for this.
        converted: Their results.

    Raises:
        RunError: A source holds something else; names each.
    """
    if in_store(root):
        return
    changed = [file.name for file in converted if sha256(root / file.name) != file.sha256]
    if changed:
        listed = "\n  ".join(str(root / name) for name in changed)
        raise RunError(
            f"{output_dir} was made from other sources; found another content of the same size "
            f"in:\n  {listed}\nPut them back as they were, or take another --output_dir."
        )


def gather_quarantine(output_dir: Path, files: int) -> None:
    """Writes quarantine.tsv from the bad rows of each file that was read so far."""
    with (
        appearing_whole(output_dir / QUARANTINE) as temporary,
        temporary.open("wb") as whole,
    ):
        for index in range(files):
            part = quarantine_path(output_dir, index)
            if part.exists():
                with part.open("rb") as lines:
                    shutil.copyfileobj(lines, whole)


def write_manifest(
    output_dir: Path, plan: Mapping[str, Any], converted: Sequence[Converted], history_unit: str
) -> None:
    """Writes the manifest, last of all: with it the folder is complete."""
    sources, shards = [], []
    for file in converted:
        source = asdict(file)
        shards += source.pop("shards")
        sources.append(source)

    manifest = {
        **plan,
        **({"history_unit": history_unit} if "history" in plan["settings"] else {}),
        "rows": sum(file.rows - file.bad_rows for file in converted),
        "bad_rows": sum(file.bad_rows for file in converted),
        "sources": sources,
        "shards": shards,
    }
    write_json(output_dir / MANIFEST, manifest)


def check_shards(output_dir: Path, manifest: Mapping[str, Any], checksums: bool) -> None:
    """Compares the shards with the manifest.

    Args:
        output_dir: The folder.
        manifest: From `read_manifest`.
        checksums: True if every shard is read; else only sizes are compared.

    Raises:
        RunError: A shard is absent, or is not what the manifest says; names each.
    """
    faults = []
    for fields in manifest["shards"]:
        shard = Shard(**fields)
        path = output_dir / shard.name
        if not path.exists():
            faults.append(f"{path}: found no file, expected {shard.bytes} bytes")
        elif path.stat().st_size != shard.bytes:
            faults.append(f"{path}: found {path.stat().st_size} bytes, expected {shard.bytes}")
        elif checksums and sha256(path) != shard.sha256:
            faults.append(f"{path}: found another sha256, expected {shard.sha256}")

    if faults:
        listed = "\n  ".join(faults)
        raise RunError(
            f"{output_dir / MANIFEST}: {len(faults)} of {len(manifest['shards'])} shards are "
            f"damaged:\n  {listed}\nRemove the folder and convert again."
        )
