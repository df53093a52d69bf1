"""What the entry points share: from settings to a run's folder, and from errors to exit codes."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lt4rec_tf.config.parse import from_dict, to_dict
from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts, flags
from lt4rec_tf.data.audit.counts import Audit
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.experiment import logs
from lt4rec_tf.experiment.paths import CONFIG, SCHEMA, has_begun
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import Schema

FORMAT_VERSION = 3


def read_schema(path: str | Path, settings: Settings) -> Schema:
    """Reads a schema with a run's tasks, all where it names none, and its share of hash buckets."""
    schema = load_schema(path).with_bucket_share(settings.model.bucket_share)
    return schema.with_tasks(settings.tasks) if settings.tasks else schema


def open_audited(
    settings: Settings, schema: Schema, folder: Path, title: str, say: Callable[[str], None]
) -> tuple[Source, Audit]:
    """A run's logs: made where flags ask for it, opened, claimed for the run, audited once.

    Args:
        settings: All flags.
        schema: The run's.
        folder: RUN, locked.
        title: Said once the folder is the run's.
        say: Told what was found.

    Raises:
        DataError: The logs cannot be used.
        RunError: The folder holds another run.
    """
    logs.simulate_if_asked(settings.data)
    logs.prepare_if_asked(settings.data)
    source = logs.open_logs(settings.data, schema)
    claim_folder(folder, settings, logs.file_sizes(source))
    say(title)
    source, audit = logs.audited(source, folder, settings.data, say)
    logs.compare_with_published(settings.data, source, audit, folder, say)
    return source, audit


def claim_folder(
    folder: Path, settings: Settings, files: Mapping[str, int], schema_text: str | None = None
) -> None:
    """Writes config.json and the schema to a new run's folder, or compares them with an old one's.

    Logs may change until something was learned from them, so that logs which an audit refused can
    be mended.

    Args:
        folder: RUN, locked.
        settings: All flags.
        files: Size in bytes of each log file by name.
        schema_text: Of the run, where it is not the text of --schema.

    Raises:
        RunError: The folder holds a run with other settings, schema or logs; names each difference.
    """
    if schema_text is None:
        schema_text = Path(settings.data.schema).read_text(encoding="utf-8")
    mine = {
        "format": FORMAT_VERSION,
        "settings": to_dict(settings),
        "files": dict(files),
    }
    path = folder / CONFIG
    if not path.exists():
        artifacts.write_atomically(folder / SCHEMA, schema_text)
        artifacts.write_json(path, mine)
        return
    old = _read_config(folder)
    compared = old if has_begun(folder) else old | {"files": mine["files"]}
    found = flags.differences(compared, mine) + _schema_differences(folder / SCHEMA, schema_text)
    refuse_other_settings(folder, found)
    artifacts.write_json(path, mine)


def refuse_other_settings(folder: Path, differences: Sequence[str]) -> None:
    """Refuses to go on with a run that was made with other settings.

    Raises:
        RunError: There are differences; names each.
    """
    if differences:
        listed = "\n  ".join(differences)
        raise artifacts.RunError(
            f"{folder} was made with other settings:\n  {listed}\n"
            "Use the old ones to go on with it, or another --run_dir or --name."
        )


def _schema_differences(old: Path, new: str) -> list[str]:
    before = old.read_text(encoding="utf-8").splitlines()
    changes = difflib.unified_diff(before, new.splitlines(), lineterm="", n=0)
    return [f"schema {line}" for line in [*changes][2:]]  # below the names of two files


def check_files(folder: Path, files: Mapping[str, int]) -> None:
    """Refuses logs that are not those a run was trained on.

    Raises:
        RunError: A file is missing, new, or of another size; names each.
    """
    kept = _read_config(folder)["files"]
    found = flags.differences(kept, files)
    if found:
        listed = "\n  ".join(found)
        raise artifacts.RunError(f"the logs are not those of {folder} (bytes by file):\n  {listed}")


def read_run(folder: Path) -> tuple[Settings, Schema]:
    """The settings and schema that a run was made with.

    Raises:
        RunError: The folder is no run.
    """
    settings = from_dict(_read_config(folder)["settings"])
    return settings, read_schema(folder / SCHEMA, settings)


def _read_config(folder: Path) -> dict[str, Any]:
    found = artifacts.read_json(folder / CONFIG)
    version = found.get("format") if isinstance(found, dict) else None
    if version != FORMAT_VERSION:
        raise artifacts.RunError(
            f"{folder / CONFIG}: found format {version!r}, expected {FORMAT_VERSION}"
        )
    return found
