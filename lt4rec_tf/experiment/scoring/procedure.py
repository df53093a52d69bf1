"""Scores logs of any size: plan, parts in several processes, manifest; resumable."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from lt4rec_tf.core.artifacts import RunError, appearing_whole, sweep, write_json
from lt4rec_tf.core.flags import differences
from lt4rec_tf.core.turns import in_turn
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.data.convert.workers import in_processes
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.experiment.predictor import Predictor
from lt4rec_tf.experiment.scoring.files import parts_before, score_file
from lt4rec_tf.experiment.scoring.job import (
    UNFINISHED,
    Job,
    Scored,
    listed_path,
    opened_job,
    result_path,
)

# Begin with "_": who reads the folder as one table passes over them.
MANIFEST, NOT_SCORED = "_manifest.json", "_not_scored.tsv"
FORMAT_VERSION = 1
_BYTES_OF_PROCESS = 64 << 20  # of logs, that pay for one more process


def score_logs(job: Job, processes: int) -> dict[str, Any]:
    """Scores all files that are not scored yet, and writes the manifest.

    Args:
        job: What to score, and how.
        processes: Files scored side by side; 0: one a core, or one for each 64 MiB of logs.

    Returns:
        The manifest.

    Raises:
        DataError: The logs cannot be scored.
        RunError: The run cannot be read, or the folder was made from other logs, by another model
            or with other settings, or is damaged.
    """
    opened_job.cache_clear()  # the logs may be others than at an earlier call of this process
    opened = opened_job(job)
    predictor, source, output = opened.predictor, opened.source, job.output
    with in_turn(output / UNFINISHED):
        plan = _plan(job, predictor, source)
        _claim(output, plan)
        if (output / MANIFEST).exists():
            manifest = _read_manifest(output)
            _check_parts(output, manifest)
            print(f"{output}: was complete, its parts are there")
        else:
            manifest = _score_all(job, source, plan, processes)
        shutil.rmtree(output / UNFINISHED, ignore_errors=True)
    return manifest


def _plan(job: Job, predictor: Predictor, source: Source) -> dict[str, Any]:
    """Lists what decides the parts."""
    sources = {}
    for path, stamp in source.stamps.items():
        sources[path.relative_to(source.data_dir).as_posix()] = [stamp.size, stamp.written_ns]
    return {
        "format": FORMAT_VERSION,
        "run": str(job.run),
        "row": predictor.name,
        "row_digest": predictor.identity,
        "outputs": list(predictor.outputs),
        "settings": {
            "format": job.file_format,
            "id_columns": list(job.id_columns),
            "columns": list(job.columns),
            "part_rows": job.part_rows,
            "bad_values": "missing" if job.as_missing else "listed",
        },
        "sources": sources,
    }


def _claim(output: Path, plan: dict[str, Any]) -> None:
    """Writes the plan to a new folder, or compares it with the plan of one that was begun."""
    path = output / UNFINISHED / "plan.json"
    if (output / MANIFEST).exists():
        manifest = _read_manifest(output)
        old: dict[str, Any] = {key: manifest.get(key) for key in plan}
    elif path.exists():
        old = read_typed(path, dict[str, Any])
    elif any(output.glob("part-*")):
        raise RunError(f"{output}: found parts without a plan, expected a new folder")
    else:
        write_json(path, plan)
        return

    # One folder has several paths; what a run answers, its model's digest says.
    changes = differences(old | {"run": plan["run"]}, plan)
    if changes:
        listed = "\n  ".join(changes)
        raise RunError(
            f"{output} was made from other logs, by another model or with other settings:\n  "
            f"{listed}\nUse the old ones, or another --output; sources are listed with their bytes "
            "and time of writing."
        )


def _read_manifest(output: Path) -> dict[str, Any]:
    path = output / MANIFEST
    manifest: dict[str, Any] = read_typed(path, dict[str, Any])
    if manifest.get("format") != FORMAT_VERSION:
        found = manifest.get("format")
        raise RunError(f"{path}: found format {found!r}, expected {FORMAT_VERSION}")
    return manifest


def _check_parts(output: Path, manifest: dict[str, Any]) -> None:
    for part in manifest["parts"]:
        path = output / part["name"]
        found = path.stat().st_size if path.exists() else 0
        if found != part["bytes"]:
            raise RunError(
                f"{path}: found {found} bytes, expected {part['bytes']}; remove the folder and "
                "predict again"
            )


def _score_all(job: Job, source: Source, plan: dict[str, Any], processes: int) -> dict[str, Any]:
    output = job.output
    sweep(output)
    before = [_done_before(output, index) for index in range(len(source.files))]
    todo = [(index, path) for index, path in enumerate(source.files) if before[index] is None]
    if len(todo) < len(source.files):
        done = len(source.files) - len(todo)
        print(f"{output}: {done} of {len(source.files)} files were done before")
    processes = processes or _processes_for([path for _, path in todo])
    before_now = sum(part.rows for index, _ in todo for part in parts_before(job, index))
    _print_each(in_processes(partial(score_file, job), todo, processes), len(todo), before_now)

    results = [_done_before(output, index) for index in range(len(source.files))]
    scored = [result for result in results if result is not None]
    _gather(output, scored)
    misses: Counter[str] = Counter()
    for part in (part for file in scored for part in file.parts):
        misses.update(part.misses)
    manifest = {
        **plan,
        "rows": sum(file.rows for file in scored),
        "not_scored": sum(file.not_scored for file in scored),
        "without_side_row": dict(misses),
        "parts": [asdict(part) for file in scored for part in file.parts],
    }
    write_json(output / MANIFEST, manifest)
    return manifest


def _processes_for(paths: list[Path]) -> int:
    """Returns one process a core, fewer where there is little to do: each loads TensorFlow."""
    size = sum(path.stat().st_size for path in paths)
    return min(os.cpu_count() or 1, 1 + size // _BYTES_OF_PROCESS)


def _done_before(output: Path, index: int) -> Scored | None:
    path = result_path(output, index)
    return Scored.from_json(read_typed(path, Scored)) if path.exists() else None


def _gather(output: Path, scored: list[Scored]) -> None:
    """Writes the list of all rows without predictions."""
    with appearing_whole(output / NOT_SCORED) as temporary, temporary.open("wb") as whole:
        for index, file in enumerate(scored):
            for number in range(len(file.parts)):
                with listed_path(output, index, number).open("rb") as lines:
                    shutil.copyfileobj(lines, whole)


def _print_each(results: Iterator[Scored], files: int, before: int) -> None:
    """Prints a line for each file; `before`: rows that an earlier process scored, for the speed."""
    begun, rows = time.monotonic(), -before
    for done, result in enumerate(results, start=1):
        rows += result.rows
        seconds = time.monotonic() - begun
        print(
            f"{result.name}: {result.rows} rows, {result.not_scored} not scored; {seconds:.0f} s, "
            f"{done} of {files} files, {max(0, rows) / max(seconds, 1e-9):,.0f} rows/s",
            flush=True,
        )
