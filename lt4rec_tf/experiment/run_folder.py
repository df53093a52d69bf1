"""A run's folder: claimed by settings, schema and logs, and read back."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from lt4rec_tf.config.parse import from_dict, to_dict
from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts, flags
from lt4rec_tf.core.typed_json import check_typed, read_typed
from lt4rec_tf.data.audit.findings import Audit
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.experiment import logs, sizes
from lt4rec_tf.experiment.paths import (
    CONFIG,
    LABEL_QUANTILES,
    NUMBERS,
    SCHEMA,
    VOCABULARIES,
    has_begun,
)
from lt4rec_tf.schema.fitted import read_vocabularies, with_vocabularies
from lt4rec_tf.schema.label_quantiles import read_label_quantiles, with_label_quantiles
from lt4rec_tf.schema.numbers import read_numbers, with_numbers
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.schema.variants import with_bucket_share, with_head, with_history

FORMAT_VERSION = 3


def read_schema(path: str | Path, settings: Settings) -> Schema:
    """Reads a schema as a run's flags change it, with its tasks, all where it names none."""
    schema = with_bucket_share(load_schema(path), settings.model.bucket_share)
    schema = with_history(schema, settings.model.history)
    schema = schema.with_tasks(settings.tasks) if settings.tasks else schema
    return with_head(schema, settings.model.head)


def open_audited(
    settings: Settings,
    schema: Schema,
    folder: Path,
    title: str,
    say: Callable[[str], None],
    *,
    lists: bool = True,
    schema_text: str | None = None,
) -> tuple[Source, Audit]:
    """Makes a run's logs if flags ask for it, opens them, claims the run's folder, audits them.

    Args:
        settings: All flags.
        schema: The run's.
        folder: RUN, locked.
        title: Printed once the folder is the run's.
        say: Called with each line to print.
        lists: As `logs.audited` takes it.
        schema_text: As `claim_folder` takes it.

    Raises:
        DataError: The logs cannot be used.
        RunError: The folder holds another run.
    """
    logs.simulate_if_asked(settings.data)
    logs.prepare_if_asked(settings.data)
    source = logs.open_logs(settings.data, schema)
    sizes.check_batch(settings, source)
    claim_folder(folder, settings, logs.file_sizes(source), schema_text)
    say(title)
    source, audit = logs.audited(source, folder, settings.data, say, lists=lists)
    sizes.check_sizes(settings, source.schema)  # once more, with the fitted vocabularies
    sizes.check_shuffle_buffer(settings, source)
    logs.compare_with_published(settings.data, source, audit, folder, say)
    return source, audit


def claim_folder(
    folder: Path, settings: Settings, files: Mapping[str, int], schema_text: str | None = None
) -> None:
    """Writes config.json and the schema to a new run's folder, or compares them with an old one's.

    Logs may change until training begins, so that logs which an audit refused can be corrected.

    Args:
        folder: RUN, locked.
        settings: All flags.
        files: Size in bytes of each log file by name.
        schema_text: Of the run, if it is not the text of --schema.

    Raises:
        RunError: The folder holds a run with other settings, schema or logs; names each difference.
    """
    if schema_text is None:
        schema_text = Path(settings.data.schema).read_text(encoding="utf-8")
    config = _config_of(settings, files, schema_text)
    path = folder / CONFIG
    if not path.exists():
        artifacts.write_atomically(folder / SCHEMA, schema_text)
        artifacts.write_json(path, config)
        return

    refuse_other_run(folder, settings, files, schema_text)
    if config != _read_config(folder):
        artifacts.write_json(path, config)


def refuse_other_run(
    folder: Path, settings: Settings, files: Mapping[str, int], schema_text: str
) -> None:
    """Compares config.json and the schema of a run's folder, if it holds one, with a new run's.

    Args:
        folder: RUN.
        settings: All flags.
        files: Size in bytes of each log file by name.
        schema_text: Of the run.

    Raises:
        RunError: As `claim_folder`.
    """
    if not (folder / CONFIG).exists():
        return
    old, config = _read_config(folder), _config_of(settings, files, schema_text)
    if not has_begun(folder):
        old |= {"files": config["files"], "schema_sha256": config["schema_sha256"]}
    old.setdefault("schema_sha256", config["schema_sha256"])  # a run of an older version
    changes = flags.differences(old, config) + _schema_differences(folder / SCHEMA, schema_text)
    refuse_other_settings(folder, changes)


def _config_of(settings: Settings, files: Mapping[str, int], schema_text: str) -> dict[str, Any]:
    return {
        "format": FORMAT_VERSION,
        "settings": to_dict(settings),
        "files": dict(files),
        "schema_sha256": _sha256_of_text(schema_text),
    }


def keep_schema(folder: Path, schema_text: str) -> None:
    """Replaces the schema of a run whose training has not begun.

    Args:
        folder: RUN, claimed.
        schema_text: TOML.
    """
    artifacts.write_atomically(folder / SCHEMA, schema_text)
    config = _read_config(folder) | {"schema_sha256": _sha256_of_text(schema_text)}
    artifacts.write_json(folder / CONFIG, config)


def _sha256_of_text(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def refuse_other_settings(folder: Path, differences: Sequence[str]) -> None:
    """Refuses to resume a run that was made with other settings.

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
    before = artifacts.read_text(old).splitlines()
    changes = difflib.unified_diff(before, new.splitlines(), lineterm="", n=0)
    return [f"schema {line}" for line in [*changes][2:]]  # below the names of two files


def read_files(folder: Path) -> dict[str, int]:
    """Reads the size in bytes of each log file of a run or a comparison, by name.

    Raises:
        RunError: The folder is none.
    """
    files: dict[str, int] = _read_config(folder)["files"]
    return files


def check_files(folder: Path, files: Mapping[str, int]) -> None:
    """Refuses logs that are not those a run was trained on.

    Raises:
        RunError: A file is missing, new, or of another size; names each.
    """
    changes = flags.differences(read_files(folder), files)
    if changes:
        listed = "\n  ".join(changes)
        raise artifacts.RunError(f"the logs are not those of {folder} (bytes by file):\n  {listed}")


def read_run(folder: Path) -> tuple[Settings, Schema]:
    """Reads the settings and schema that a run was made with, and what was fitted to its train.

    Raises:
        RunError: The folder is no run, or its schema was changed since it was written.
    """
    config = _read_config(folder)
    expected = config.get("schema_sha256")  # absent in runs of older versions
    if expected and _sha256_of_text(artifacts.read_text(folder / SCHEMA)) != expected:
        raise artifacts.RunError(
            f"{folder / SCHEMA}: found another schema than the run was made with (by its sha256), "
            "by which values may get other ids; put it back as train wrote it"
        )

    try:
        settings = from_dict(config["settings"])
    except flags.ConfigError as error:
        raise artifacts.RunError(f"{folder / CONFIG}: settings: {error}") from error
    schema = read_schema(folder / SCHEMA, settings)
    schema = with_numbers(schema, read_numbers(folder / NUMBERS))
    schema = with_label_quantiles(schema, read_label_quantiles(folder / LABEL_QUANTILES))
    return settings, with_vocabularies(schema, read_vocabularies(folder / VOCABULARIES))


class _Config(TypedDict):
    format: int
    settings: dict[str, Any]
    files: dict[str, int]
    schema_sha256: NotRequired[str]  # absent in runs of older versions


def _read_config(folder: Path) -> dict[str, Any]:
    if not (folder / CONFIG).exists():
        runs = [path.parent for path in sorted(folder.glob(f"seed_*/{CONFIG}"))]
        such = f", such as {runs[0]}" if runs else ""
        raise artifacts.RunError(
            f"{folder / CONFIG}: no such file; expected the folder of a run{such}"
        )
    config: dict[str, Any] = read_typed(folder / CONFIG, dict[str, Any])
    version = config.get("format")
    if version != FORMAT_VERSION:
        raise artifacts.RunError(
            f"{folder / CONFIG}: found format {version!r}, expected {FORMAT_VERSION}"
        )
    check_typed(folder / CONFIG, config, _Config)
    return config
