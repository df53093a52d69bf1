"""Publishes a trained model of a run as a SavedModel for TensorFlow Serving.

python -m lt4rec_tf.export --run=runs/quickstart-0123456789/seed_1 --export_dir=models/feed
"""

from __future__ import annotations

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import command
from lt4rec_tf.core.flags import ConfigError, build, check_fields, flag, parse_flags
from lt4rec_tf.core.locations import in_store, location
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.experiment.evaluation import open_run
from lt4rec_tf.experiment.publishing import ExportFlags, export_model
from lt4rec_tf.experiment.trained_models import default_model
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.serving import stores


@dataclass(frozen=True)
class _Flags:
    run: str = flag("", "Folder that holds config.json: the run to export.", required=True)
    data_dir: str = flag("", "Where the run's logs lie now, if not where they were.")
    export_dir: str = flag(
        "", "The model's folder, or its URL; gets the next version.", required=True
    )


def main(argv: Sequence[str]) -> None:
    """Reads a run's model, publishes it, prints where."""
    values = parse_flags(argv, __doc__ or "", [_Flags, ExportFlags])
    flags = build(ExportFlags, values)
    if not values["export_dir"]:
        raise ConfigError("--export_dir: found nothing, expected the model's folder")
    check_fields(flags)

    folder, settings, schema, source = open_run(values["run"], values["data_dir"])
    version = _exported(values["export_dir"], folder, settings, schema, source, flags)
    print(f"published {flags.model or default_model(settings, schema, folder)} as {version}")


def _exported(
    export_dir: str,
    folder: Path,
    settings: Settings,
    schema: Schema,
    source: Source,
    flags: ExportFlags,
) -> Path:
    """Publishes to a folder, or to a store by way of a temporary folder."""
    if not in_store(export_dir):
        return export_model(folder, settings, schema, source, Path(export_dir), flags)

    base = location(export_dir)
    with tempfile.TemporaryDirectory() as temporary:
        version = export_model(folder, settings, schema, source, Path(temporary), flags)
        return stores.put(version, base, flags.keep_versions)


if __name__ == "__main__":
    command.run(main)
