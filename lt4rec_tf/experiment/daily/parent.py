"""Earlier runs from which another starts: opened, and refused if they do not fit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.flags import differences
from lt4rec_tf.experiment import logs, run_folder
from lt4rec_tf.experiment.paths import (
    CONFIG,
    DAYS,
    LABEL_QUANTILES,
    NUMBERS,
    STANDARDS,
    VOCABULARIES,
    network_model,
    stage_folder,
)
from lt4rec_tf.experiment.trained_models import model_names
from lt4rec_tf.schema.fitted import fitted_tables, vocabularies_of, with_vocabularies
from lt4rec_tf.schema.heads import said_of_head
from lt4rec_tf.schema.label_quantiles import label_quantiles_of, with_label_quantiles
from lt4rec_tf.schema.numbers import fitted_rules, numbers_of, with_numbers
from lt4rec_tf.schema.types import IdRule, Schema
from lt4rec_tf.schema.vocabularies import grow, growth_between
from lt4rec_tf.schema.writer import toml, toml_of_rule

# Settings of the model that do not change its shape: how weights are drawn, labels sampled.
_SHAPELESS = ("embedding_stddev", "label_noise", "label_temperature")


@dataclass(frozen=True)
class Parent:
    """A finished run whose weights or masks another run starts from.

    Attributes:
        folder: Its RUN.
        settings: Its own.
        schema: Its own, with the vocabularies and the amounts' units that its networks know.
    """

    folder: Path
    settings: Settings
    schema: Schema


def open_parent(flag: str, settings: Settings, schema: Schema) -> Parent:
    """Opens the run that a flag names, and refuses one that does not fit.

    Args:
        flag: "warm_start", "masks" or "frozen".
        settings: Of the new run.
        schema: The same, by --schema.

    Raises:
        RunError: There is no such run, or it is not finished, or differs; names each difference.
    """
    folder = Path(getattr(settings.daily, flag))
    if not (folder / CONFIG).exists():
        raise artifacts.RunError(f"--{flag}: found no run in {folder}, expected the folder of one")
    theirs, their_schema = run_folder.read_run(folder)
    if theirs.daily.warm_start and not (folder / DAYS).exists():
        raise artifacts.RunError(f"--{flag}: {folder} is not finished; run its command again")
    differing = _differences(theirs, their_schema, settings, schema)
    if differing:
        listed = "\n  ".join(differing)
        advice = _advice(flag, their_schema, settings, schema)
        raise artifacts.RunError(f"--{flag}: {folder} does not fit this run:\n  {listed}{advice}")
    _refuse_incomplete(flag, folder, theirs, their_schema)
    return Parent(folder, theirs, logs.learned_schema(their_schema, folder))


def _refuse_incomplete(flag: str, folder: Path, settings: Settings, schema: Schema) -> None:
    """Refuses a run that lost a file without which its networks would mean something else.

    Raises:
        RunError: Names the file.
    """
    has_vocabularies = fitted_tables(schema).keys() <= vocabularies_of(schema).keys()
    has_numbers = fitted_rules(schema).keys() <= numbers_of(schema).keys()
    of_quantiles = [task for task in schema.tasks if not task.head.is_plain]
    has_quantiles = all(task.quantiles is not None for task in of_quantiles)
    has_standards = not settings.daily.warm_start or (folder / STANDARDS).exists()
    for name, complete in (
        (VOCABULARIES, has_vocabularies),
        (NUMBERS, has_numbers),
        (LABEL_QUANTILES, has_quantiles),
        (STANDARDS, has_standards),
    ):
        if not complete:
            raise artifacts.RunError(
                f"--{flag}: {folder / name}: found nothing, or less than its run left there, "
                "expected the whole run; put it back, or start from another run"
            )


def _advice(flag: str, their_schema: Schema, settings: Settings, schema: Schema) -> str:
    """Returns a line that says what to do where ids are of another kind than before, else ""."""
    if not _other_kinds(their_schema, schema):
        return ""
    return (
        "\nBy another kind of ids values have other embedding rows: expected the ids of before in "
        f"--schema={settings.data.schema}, or a training anew, without --{flag}."
    )


def _other_kinds(theirs: Schema, mine: Schema) -> dict[str, tuple[IdRule, IdRule]]:
    """Returns by feature of both schemas whose kind of ids differs its rule in each."""
    rules = {feature.name: feature.ids for feature in theirs.features}
    return {
        feature.name: (rules[feature.name], feature.ids)
        for feature in mine.features
        if feature.name in rules and rules[feature.name].kind != feature.ids.kind
    }


def _differences(
    theirs: Settings, their_schema: Schema, mine: Settings, schema: Schema
) -> list[str]:
    """Returns what keeps a network of one run from fitting the other, in words."""
    shapes = _shape(theirs, their_schema), _shape(mine, schema)
    for name, rules in _other_kinds(their_schema, schema).items():
        for shape, rule in zip(shapes, rules, strict=True):
            # Of another kind all keys differ: one line says what can be written again.
            is_short = rule.kind in ("hash", "fitted")
            text = toml_of_rule(rule) if is_short else toml({"kind": rule.kind})
            shape["feature"][name]["ids"] = text
    differing = differences(*shapes)
    if not differing:
        try:
            growth_between(schema, their_schema)
        except ValueError as error:
            return [str(error)]
    return differing


def _shape(settings: Settings, schema: Schema) -> dict[str, Any]:
    """Returns all that two runs must agree about; columns may lie elsewhere in the logs."""
    tickets, model = settings.tickets, dataclasses.asdict(settings.model)
    return {
        "tasks": [task.name for task in schema.tasks],
        "task": {
            task.name: {
                "kind": task.kind,
                "population": task.population,
                "where": task.scenario,
                "outputs of": task.loss if task.kind == "amount" else task.kind,
                "head": said_of_head(task.head),
            }
            for task in schema.tasks
        },
        "features": [feature.name for feature in schema.features],
        "feature": {
            feature.name: {
                "side": feature.side,
                "table": feature.table,
                "max_values": feature.max_values,
                "ids": dataclasses.asdict(
                    dataclasses.replace(feature.ids, vocabulary=(), fitted=None, numbers=None)
                ),
            }
            for feature in schema.features
        },
        "model": {name: value for name, value in model.items() if not name.startswith(_SHAPELESS)},
        "tickets": {
            "embedding_density": tickets.embedding_density,
            "embedding_unit": tickets.embedding_unit if tickets.embedding_density < 1 else None,
            "mask_attention": tickets.mask_attention,
        },
    }


def check_models(flag: str, parent: Parent, models: Sequence[str]) -> None:
    """Refuses models that a run does not have, or has not trained to the end.

    Raises:
        RunError: Names the model and the run's models.
    """
    names = model_names(parent.settings, parent.schema)
    for model in models:
        if model not in names:
            raise artifacts.RunError(
                f"--models: found {model!r}, expected models of --{flag}={parent.folder}: "
                f"{', '.join(names)}"
            )
        if not artifacts.is_done(stage_folder(parent.folder, model)):
            raise artifacts.RunError(
                f"--{flag}: {parent.folder}: model {model} is not trained to the end"
            )


def with_known_values(schema: Schema, parent: Parent) -> Schema:
    """Returns a schema with the vocabularies, bins and scales that another run's networks know."""
    grown = grow(schema, growth_between(schema, parent.schema))
    grown = with_numbers(grown, numbers_of(parent.schema))
    grown = with_label_quantiles(grown, label_quantiles_of(parent.schema))
    return with_vocabularies(grown, vocabularies_of(parent.schema))


def check_vocabularies(flag: str, parent: Parent, schema: Schema) -> None:
    """Refuses weights of another run whose fitted vocabularies give values other rows.

    Args:
        flag: "masks", which names the run.
        parent: The run.
        schema: Of the new run, with its vocabularies.

    Raises:
        RunError: Names the table and the number of its values in both runs.
    """
    theirs = vocabularies_of(parent.schema)
    for table, vocabulary in vocabularies_of(schema).items():
        if not np.array_equal(vocabulary.marks, theirs[table].marks):
            raise artifacts.RunError(
                f"--{flag}: {parent.folder}: vocabulary {table}: found {len(theirs[table].marks):,}"
                f" values, expected the {len(vocabulary.marks):,} that these logs hold; other logs "
                "need --warm_start beside it"
            )


def check_sharing(model: str, weights: Parent, masks: Parent) -> None:
    """Refuses to apply masks of shared towers to separate ones, or the other way round.

    Raises:
        RunError: The two runs' ways of sharing differ.
    """
    parents = (weights, masks)
    if network_model(weights.folder, model) != network_model(masks.folder, model):
        ways = [stage_folder(parent.folder, model).parent.name for parent in parents]
        raise artifacts.RunError(
            f"--masks: found {model} as {ways[1]} in {masks.folder}, expected towers shared "
            f"as in {ways[0]} of {weights.folder}"
        )


def period_of(parent: Parent) -> dict[str, Any]:
    """Describes the logs of a run that began a chain, from what the run itself keeps.

    Returns:
        An entry of days.json without measurements: name, run, files {name: {"bytes", "sha256":
        None}}, rows, times. The last time is known of a split by time alone: where its test begins,
        a time that the run surely saw.
    """
    audit = logs.read_audit(parent.folder)
    sizes = run_folder.read_files(parent.folder)
    read_files: set[str] = set()
    for files in audit.files.values():
        read_files.update(files)

    test_from = audit.test_from
    return {
        "name": Path(parent.settings.data.data_dir).resolve().name,
        "run": str(parent.folder),
        "files": {name: {"bytes": sizes[name], "sha256": None} for name in sorted(read_files)},
        "rows": sum(counts.rows for counts in audit.splits.values()),
        "first_time": None,
        "last_time": None if test_from is None or not math.isfinite(test_from) else test_from,
    }
