"""What a folder of converted logs holds: its plan while it is filled, its manifest when it is."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lt4rec_tf.core.artifacts import RunError, appearing_whole, read_json, sha256, write_json
from lt4rec_tf.core.flags import differences
from lt4rec_tf.data.convert.shards import (
    UNFINISHED,
    Converted,
    Job,
    Shard,
    quarantine_path,
    result_path,
)

MANIFEST = "manifest.json"
QUARANTINE = "quarantine.tsv"
FORMAT_VERSION = 1


def plan_of(job: Job, paths: Sequence[Path]) -> dict[str, Any]:
    """What decides the shards, as JSON's own types: settings, column types, sources' sizes."""
    return {
        "format": FORMAT_VERSION,
        "settings": {
            "format": job.layout.format,
            "header": bool(job.layout.header_lines),
            "quoted": job.layout.quoted,
            "shard_bytes": job.shard_bytes,
            "compression": job.compression,
        },
        "columns": {name: asdict(kind) for name, kind in job.types.items()},
        "sources": {path.relative_to(job.root).as_posix(): path.stat().st_size for path in paths},
    }


def claim(output_dir: Path, plan: Mapping[str, Any]) -> None:
    """Writes the plan to a new folder, or compares it with the one that the folder was begun with.

    Raises:
        RunError: The folder holds, or was begun with, other sources or settings; names each.
    """
    manifest, begun = output_dir / MANIFEST, output_dir / UNFINISHED / "plan.json"
    if manifest.exists():
        stored = read_manifest(output_dir)
        sources = {source["name"]: source["bytes"] for source in stored["sources"]}
        _refuse_other(output_dir, {key: stored[key] for key in plan} | {"sources": sources}, plan)
    elif begun.exists():
        _refuse_other(output_dir, read_json(begun), plan)
    elif (output_dir / "shards").exists():
        raise RunError(f"{output_dir / 'shards'}: found a folder without plan, expected none")
    else:
        write_json(begun, plan)


def _refuse_other(output_dir: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    found = differences(old, new)
    if found:
        listed = "\n  ".join(found)
        raise RunError(
            f"{output_dir} was made from other sources or with other settings:\n  {listed}\n"
            "Use the old ones, or another --output_dir."
        )


def read_manifest(output_dir: Path) -> dict[str, Any]:
    """The manifest of a folder that is complete.

    Raises:
        RunError: There is none, or it is none of this program's.
    """
    path = output_dir / MANIFEST
    found = read_json(path)
    version = found.get("format") if isinstance(found, dict) else None
    keys = {"format", "settings", "columns", "rows", "bad_rows", "sources", "shards"}
    if version != FORMAT_VERSION or not keys <= set(found):
        raise RunError(f"{path}: found format {version!r}, expected {FORMAT_VERSION}")
    return found


def done_before(output_dir: Path, place: int) -> Converted | None:
    """What an earlier process left of a file that it finished; None where it did not."""
    path = result_path(output_dir, place)
    return Converted.from_json(read_json(path)) if path.exists() else None


def gather_quarantine(output_dir: Path, files: int) -> None:
    """Writes quarantine.tsv from what there is of each file."""
    with (
        appearing_whole(output_dir / QUARANTINE) as temporary,
        temporary.open("wb") as whole,
    ):
        for place in range(files):
            part = quarantine_path(output_dir, place)
            if part.exists():
                with part.open("rb") as lines:
                    shutil.copyfileobj(lines, whole)


def write_manifest(
    output_dir: Path, plan: Mapping[str, Any], converted: Sequence[Converted]
) -> None:
    """Writes the manifest, last of all: the folder is complete."""
    sources = [
        {key: value for key, value in asdict(each).items() if key != "shards"} for each in converted
    ]
    manifest = {
        **plan,
        "rows": sum(each.rows - each.bad_rows for each in converted),
        "bad_rows": sum(each.bad_rows for each in converted),
        "sources": sources,
        "shards": [asdict(shard) for each in converted for shard in each.shards],
    }
    write_json(output_dir / MANIFEST, manifest)


def check_shards(output_dir: Path, manifest: Mapping[str, Any], checksums: bool) -> None:
    """Compares the shards with the manifest.

    Args:
        output_dir: The folder.
        manifest: From `read_manifest`.
        checksums: Whether to read every shard; else sizes are compared.

    Raises:
        RunError: A shard is absent, or is not what the manifest says; names each.
    """
    wrong = []
    for shard in (Shard(**each) for each in manifest["shards"]):
        path = output_dir / shard.name
        if not path.exists():
            wrong.append(f"{path}: found no file, expected {shard.bytes} bytes")
        elif path.stat().st_size != shard.bytes:
            wrong.append(f"{path}: found {path.stat().st_size} bytes, expected {shard.bytes}")
        elif checksums and sha256(path) != shard.sha256:
            wrong.append(f"{path}: found another sha256, expected {shard.sha256}")
    if wrong:
        listed = "\n  ".join(wrong)
        raise RunError(
            f"{output_dir / MANIFEST}: {len(wrong)} of {len(manifest['shards'])} shards are "
            f"damaged:\n  {listed}\nRemove the folder and convert again."
        )
