"""Every setting of a run: flagfile -> absl flags -> one frozen tree, checked once.

Only entry points call `parse`; everything below them takes plain arguments.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lt4rec_tf.config.checks import check
from lt4rec_tf.config.settings import (
    DISTRIBUTED_MODELS,
    FAST_MODELS,
    THOROUGH_MODELS,
    DailySettings,
    DataSettings,
    ModelSettings,
    Places,
    Settings,
    TicketSettings,
    TrainingSettings,
)
from lt4rec_tf.core.flags import ConfigError, T, build, digest, expect, given_flags, parse_flags
from lt4rec_tf.core.typed_json import faults

_GROUPS: dict[str, type] = {
    "data": DataSettings,
    "model": ModelSettings,
    "tickets": TicketSettings,
    "training": TrainingSettings,
    "daily": DailySettings,
}
# Flags that are newer than the first runs, by group, with the value that a run without them has. At
# that value they are left out of a run's settings, so that runs made before them are still known.
_NEWER: dict[str, dict[str, Any]] = {
    "data": {
        "split_seed": 1,
        "duplicate_rows_remembered": 20_000_000,
        "simulate_reactions": False,
        "simulate_users": 0,
        "simulate_moods": False,
    },
    "model": {
        "table_dims": [],
        "field_dropout": 0.0,
        "tower_dropout": 0.0,
        "unknown_dropout": "none",
        "history": "schema",
        "head": "schema",
        "attention_units": [36],
        "transformer_blocks": 1,
        "transformer_heads": 2,
        "counterfactual_share": 0.5,
        "mask_penalty": 0.1,
    },
    "training": {
        "embedding_optimizer": "same",
        "embedding_learning_rate": 0.0,
        "learning_rate_decay": "none",
        "learning_rate_warmup": 0,
        "embedding_l2": 0.0,
        "weight_decay": 0.0,
        "clip_norm": 0.0,
        "label_smoothing": 0.0,
        "weight_average": 0.0,
        "rewind_tables": 0,
        "calibration": [],
    },
    "tickets": {
        "ticket_search": "thorough",
        "gate_epochs": 0,
        "mask_attention": False,
        "cascade_pruned": 0.5,
    },
    "daily": {"add_to": ""},
}
# --models by its first name, under which the runs made before it was renamed hold it.
_STORED_MODELS = "rows"


def parse(
    argv: Sequence[str], doc: str, models: Mapping[str, str] | None = None
) -> tuple[Settings, Places]:
    """Reads flags and flagfiles into checked settings.

    Args:
        argv: Program name and arguments, as `sys.argv`.
        doc: What `--help` prints before the flags.
        models: Name -> description of the models that --models may hold, as
            `models.registry.descriptions` returns them; None: names are not checked.

    Raises:
        ConfigError: An unknown flag, a value of the wrong type or out of range.
    """
    settings, places, _ = parse_with(argv, doc, _NoMore, models)
    return settings, places


@dataclass(frozen=True)
class _NoMore:
    """No further flags."""


def gives_models(argv: Sequence[str], more: type = _NoMore) -> bool:
    """Tells if arguments that `parse_with` takes name the models to train.

    Args:
        argv: Program name and arguments.
        more: One more dataclass of flags.

    Raises:
        ConfigError: As `parse`.
    """
    return "models" in given_flags(argv, [*_GROUPS.values(), Settings, Places, more])


def parse_with(
    argv: Sequence[str], doc: str, more: type[T], models: Mapping[str, str] | None = None
) -> tuple[Settings, Places, T]:
    """Reads flags as `parse` does, with those of one more dataclass."""
    groups = [*_GROUPS.values(), Settings, Places, more]
    listed = ", ".join(f"{name} ({what})" for name, what in (models or {}).items())
    values = parse_flags(argv, doc, groups, {"models": f"One or more of {listed}."})

    by_group: dict[str, Any] = {name: build(cls, values) for name, cls in _GROUPS.items()}
    if not gives_models(argv, more):
        values |= {"models": _default_models(by_group["tickets"], by_group["training"])}
    settings = build(Settings, values | by_group)
    check(settings)
    if models is not None:
        known = set(settings.models) <= set(models)
        expect(known, "models", settings.models, f"some of {tuple(models)}")
    return settings, build(Places, values), build(more, values)


def _default_models(tickets: TicketSettings, training: TrainingSettings) -> tuple[str, ...]:
    """Returns the models that are trained where flags name none."""
    if tickets.ticket_search == "fast":
        return FAST_MODELS
    return THOROUGH_MODELS if training.distribution == "none" else DISTRIBUTED_MODELS


def to_dict(settings: Settings) -> dict[str, Any]:
    """Returns the settings as nested plain values, for JSON.

    Those of daily training are left out where all of them are defaults, and those that are newer
    than the first runs where they are as in these.
    """
    values = json.loads(json.dumps(dataclasses.asdict(settings)))
    values[_STORED_MODELS] = values.pop("models")
    if settings.daily == DailySettings():
        del values["daily"]
    for group, values_before in _NEWER.items():
        for name, before in values_before.items():
            if group in values and values[group][name] == before:
                del values[group][name]
    return values


def from_dict(values: Mapping[str, Any]) -> Settings:
    """Returns the checked settings of which `to_dict` made these values.

    Raises:
        ConfigError: A field is missing or unknown, or a value cannot be used.
    """
    values = {"daily": {}} | dict(values)
    if _STORED_MODELS in values:
        values["models"] = values.pop(_STORED_MODELS)
    for name, newer in _NEWER.items():
        if isinstance(values.get(name), Mapping):
            values[name] = newer | dict(values[name])
    for key, found, expected in faults(values, Settings):
        raise ConfigError(
            f"settings do not fit this version: {key}: found {found}, expected {expected}"
        )

    groups = {name: cls(**_tuples(values[name])) for name, cls in _GROUPS.items()}
    settings = Settings(**(_tuples(values) | groups))
    check(settings)
    return settings


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }


def fingerprint(settings: Settings, schema_text: str) -> str:
    """Returns ten hexadecimal digits that differ between different settings or schemas.

    The seed is left out: runs that differ by seed alone share a folder.
    """
    return digest(to_dict(settings) | {"seed": None, "schema_text": schema_text})
