"""Publishes a trained row of a run as a SavedModel for TensorFlow Serving.

python -m lt4rec_tf.export --run=runs/quickstart-0123456789/seed_1 --export_dir=models/feed
"""

from __future__ import annotations

from lt4rec_tf.core.command import before_tensorflow

if __name__ == "__main__":
    before_tensorflow()

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core.command import exit_on_error
from lt4rec_tf.core.flags import ConfigError, flag, parse_flags
from lt4rec_tf.data.input.source import Source
from lt4rec_tf.evaluate import open_run
from lt4rec_tf.experiment.paths import SAVED_MODEL
from lt4rec_tf.experiment.publishing import checked_answers, files_beside
from lt4rec_tf.experiment.rows import load_row, row_names
from lt4rec_tf.schema.types import Schema
from lt4rec_tf.serving.kernel_forms import forms_of
from lt4rec_tf.serving.publish import publish, published_versions
from lt4rec_tf.serving.rank import ranking_of
from lt4rec_tf.serving.signatures import ServedModel

# Largest difference to the model's own answers with which a version is published.
TOLERANCES = {"float32": 1e-6, "bfloat16": 0.01}


@dataclass(frozen=True)
class ExportFlags:
    """How a row is published."""

    row: str = flag("", "Row to export; none: s_weight_auto, or s_weight, or the run's last row.")
    keep_versions: int = flag(0, "Versions to keep, the newest; older ones are removed; 0: all.")
    precision: Literal["float32", "bfloat16"] = flag(
        "float32", "In which tables and kernels are stored, and kernels multiplied."
    )
    kernel_form: Literal["auto", "compact", "csr", "dense"] = flag(
        "auto",
        "compact: dead neurons are taken out. csr: and zeros skipped. auto: as is faster here, "
        "layer by layer. dense: kernels as they are.",
    )
    candidates: int = flag(512, "Candidates of a request to be fast for: what auto measures with.")
    rank_exponents: tuple[str, ...] = flag(
        (), "Exponents of the rank score (Eq. 3) as task=exponent; none: 1 for ctr and cvr."
    )
    rank_expression: str = flag(
        "", "Rank score instead of Eq. 3: arithmetic of tasks, such as ctr * log1p(watch_time)."
    )
    length_feature: str = flag(
        "", "Rank score: item feature, or duration column of a ratio label, that says the length."
    )
    length_exponent: float = flag(1.0, "Rank score: exponent of the length.")
    signature_inputs: Literal["all", "used"] = flag(
        "all", "Whether a signature asks for all features or for those alone that it reads."
    )
    warmup: bool = flag(True, "Add requests that a server replays before it takes traffic.")


@dataclass(frozen=True)
class _Flags:
    run: str = flag("", "Folder that holds config.json: the run to export.")
    data_dir: str = flag("", "Where the run's logs lie now, if not where they were.")
    export_dir: str = flag("", "The model's folder, which gets the next version.")


def main(argv: Sequence[str]) -> None:
    """Reads a run's row, publishes it, prints where."""
    values = parse_flags(argv, __doc__ or "", [_Flags, ExportFlags])
    _check(values)
    folder, settings, schema, source = open_run(values["run"], values["data_dir"])
    flags = ExportFlags(**{field.name: values[field.name] for field in fields(ExportFlags)})
    version = export_row(folder, settings, schema, source, Path(values["export_dir"]), flags)
    print(f"published {flags.row or default_row(settings, schema)} as {version}")


def _check(values: Mapping[str, Any]) -> None:
    if not values["export_dir"]:
        raise ConfigError("--export_dir: found nothing, expected the model's folder")
    for name, least in (("keep_versions", 0), ("candidates", 1)):
        if values[name] < least:
            raise ConfigError(f"--{name}: found {values[name]}, expected {least} or more")


def default_row(settings: Settings, schema: Schema) -> str:
    """What is exported unless a row is named: sparse sharing where the run has it."""
    names = row_names(settings, schema)
    preferred = [row for row in ("s_weight_auto", "s_weight") if row in names]
    return preferred[0] if preferred else names[-1]


def published_version(folder: Path, settings: Settings, schema: Schema, source: Source) -> Path:
    """The newest version below a run, which an earlier process published, or now.

    Args:
        folder: RUN.
        settings: The run's.
        schema: The run's.
        source: Its audited logs.
    """
    export_dir = folder / SAVED_MODEL
    published = published_versions(export_dir)
    if published:
        return published[-1]
    return export_row(folder, settings, schema, source, export_dir, ExportFlags())


def export_row(
    folder: Path,
    settings: Settings,
    schema: Schema,
    source: Source,
    export_dir: Path,
    flags: ExportFlags,
) -> Path:
    """Publishes a row after its answers were compared with the model's on rows of the test split.

    Returns:
        The version's folder.
    """
    row = flags.row or default_row(settings, schema)
    network = load_row(folder, row, settings, schema)
    schema = schema.with_tasks(network.tasks)
    ranking = ranking_of(
        schema,
        flags.rank_exponents,
        flags.length_feature,
        flags.length_exponent,
        flags.rank_expression,
    )
    served = ServedModel(
        network,
        schema,
        ranking=ranking,
        precision=flags.precision,
        forms=forms_of(network, flags.kernel_form, flags.precision, flags.candidates),
        minimal=flags.signature_inputs == "used",
    )
    signatures = served.signatures()
    sample, expected = checked_answers(signatures, network, schema, source, ranking)
    return publish(
        served,
        signatures,
        export_dir,
        sample,
        expected,
        extra=files_beside(
            folder, row, network, schema, source, sample, ranking, warmup=flags.warmup
        ),
        keep_versions=flags.keep_versions,
        tolerance=TOLERANCES[flags.precision],
    )


if __name__ == "__main__":
    sys.exit(exit_on_error(main, sys.argv))
