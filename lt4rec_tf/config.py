"""Every setting of a run: flagfile -> absl flags -> one frozen tree, checked once.

Only entry points call `parse`; everything below them takes plain arguments.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, TypeVar

from lt4rec_tf.flags import ConfigError, flag, parse_flags
from lt4rec_tf.settings import (
    ROWS,
    DataSettings,
    ModelSettings,
    Places,
    Settings,
    TicketSettings,
    TrainingSettings,
)

__all__ = [
    "ConfigError",
    "DataSettings",
    "ModelSettings",
    "Places",
    "Settings",
    "check",
    "check_tasks",
    "differences",
    "fingerprint",
    "flag",
    "from_dict",
    "loss_weights",
    "own_embedding",
    "parse",
    "parse_flags",
    "parse_with",
    "to_dict",
]

T = TypeVar("T")
Number = TypeVar("Number", int, float)


_GROUPS: dict[str, type] = {
    "data": DataSettings,
    "model": ModelSettings,
    "tickets": TicketSettings,
    "training": TrainingSettings,
}


def parse(argv: Sequence[str], doc: str) -> tuple[Settings, Places]:
    """Reads flags and flagfiles into checked settings.

    Args:
        argv: Program name and arguments, as `sys.argv`.
        doc: What `--help` prints before the flags.

    Raises:
        ConfigError: An unknown flag, a value of the wrong type or out of range.
    """
    settings, places, _ = parse_with(argv, doc, _NoMore)
    return settings, places


@dataclass(frozen=True)
class _NoMore:
    """No further flags."""


def parse_with(argv: Sequence[str], doc: str, more: type[T]) -> tuple[Settings, Places, T]:
    """As `parse`, with the flags of one more dataclass."""
    values = parse_flags(argv, doc, [*_GROUPS.values(), Settings, Places, more])
    groups: dict[str, Any] = {name: _build(cls, values) for name, cls in _GROUPS.items()}
    settings = _build(Settings, values | groups)
    check(settings)
    return settings, _build(Places, values), _build(more, values)


def _build(cls: type[T], values: Mapping[str, Any]) -> T:
    names = [item.name for item in dataclasses.fields(cls)]  # type: ignore[arg-type]
    return cls(**{name: values[name] for name in names if name in values})


def check(settings: Settings) -> None:
    """Refuses settings that no run can use.

    Raises:
        ConfigError: Naming the flag, what was found and what was expected.
    """
    for group in (settings.data, settings.model, settings.tickets, settings.training):
        _check_choices(group)
    _check_data(settings.data)
    _check_model(settings.model)
    _check_tickets(settings.tickets, settings.model)
    _check_training(settings.training)
    _check_distribution(settings)
    loss_weights(settings, ())
    own_embedding(settings, ())
    unknown = [row for row in settings.rows if row not in ROWS]
    _expect(len(settings.rows) > 0 and not unknown, "rows", settings.rows, f"some of {ROWS}")
    named = settings.name not in ("", ".", "..") and "/" not in settings.name
    _expect(named, "name", settings.name, "a folder's name")


def _check_data(data: DataSettings) -> None:
    _expect(data.schema != "", "schema", data.schema, "the path of a schema, a TOML file")
    _expect(data.data_dir != "", "data_dir", data.data_dir, "the folder of the logs")
    _expect_at_least(0, data, "simulate_rows")
    if data.dataset:
        _expect(data.simulate_rows == 0, "simulate_rows", data.simulate_rows, "0 with --dataset")
        _expect(data.split == "files", "split", data.split, "files with --dataset: its own splits")
        for name in ("validation_files", "test_files"):
            _expect(not getattr(data, name), name, getattr(data, name), "nothing with --dataset")
    for name in ("validation_fraction", "test_fraction", "max_bad_fraction"):
        value = getattr(data, name)
        _expect(0 <= value < 1, name, value, "a share in [0, 1)")
    shares = data.validation_fraction + data.test_fraction
    _expect(shares < 1, "test_fraction", data.test_fraction, "with validation less than 1")
    if data.validation_from is not None and data.test_from is not None:
        ordered = data.validation_from <= data.test_from
        _expect(ordered, "test_from", data.test_from, "not before --validation_from")
    _expect_at_least(1, data, "shuffle_buffer")
    _expect_positive(data, "memory_limit_gib")


def _check_model(model: ModelSettings) -> None:
    _expect_at_least(1, model, "embedding_dim", "dcn_layers")
    _expect_at_least(1, model, "experts", "own_experts", "shared_experts", "expert_levels")
    _expect_positive(model, "embedding_stddev")
    _expect_at_least(0, model, "label_embedding", "representation")
    _expect_at_least(1, model, "label_temperature_steps")
    _expect_positive(model, "label_temperature")
    _expect_positive(model, "label_temperature_floor")
    decay = model.label_temperature_decay
    _expect(0 < decay <= 1, "label_temperature_decay", decay, "a factor in (0, 1]")
    units = model.hidden_units
    _expect(len(units) > 0 and min(units) > 0, "hidden_units", units, "widths of 1 or more")


def _check_tickets(tickets: TicketSettings, model: ModelSettings) -> None:
    _expect(0 < tickets.final_density < 1, "final_density", tickets.final_density, "in (0, 1)")
    _expect_at_least(1, tickets, "rounds")
    _expect_at_least(1 if tickets.rewind == "step" else 0, tickets, "rewind_step")
    _expect(tickets.choice_tolerance >= 0, "choice_tolerance", tickets.choice_tolerance, ">= 0")
    width = tickets.block_width
    _expect_at_least(0, tickets, "warmup_epochs")
    if tickets.ticket_finder == "gradual":
        _expect(tickets.pruned_unit == "weight", "pruned_unit", "neuron", "weight with gradual")
        score = tickets.ticket_score
        _expect(score == "magnitude", "ticket_score", score, "magnitude with gradual")
        own = model.own_embedding
        _expect(not own, "own_embedding", own, "nothing with --ticket_finder=gradual")
    if tickets.ticket_score == "movement":
        rewind = tickets.rewind
        _expect(rewind == "initial", "rewind", rewind, "initial with --ticket_score=movement")
    fits = width == 1 or 1 < width < min(model.hidden_units)
    _expect(fits, "block_width", width, "1, or less than the narrowest of --hidden_units")


def _check_training(training: TrainingSettings) -> None:
    _expect_at_least(1, training, "batch_size", "search_epochs", "epochs", "auto_trainings")
    _expect_at_least(1, training, "search_processes")
    _expect_at_least(0, training, "patience", "checkpoint_steps")
    for name in ("learning_rate", "conflict_cvr_weight", "conflict_ctr_weight"):
        _expect_positive(training, name)
    for name in ("conflict_long_ratio", "conflict_short_ratio"):
        value = getattr(training, name)
        _expect(0 <= value <= 1, name, value, "a watch ratio in [0, 1]")
    _expect_at_least(0, training, "conflict_long_video")
    _expect_positive(training, "shard_mib")
    for name in ("core_projection", "core_relaxation"):
        value = getattr(training, name)
        _expect(0 <= value <= 1, name, value, "a share in [0, 1]")
    _expect(1 <= training.core_clip < float("inf"), "core_clip", training.core_clip, "1 or more")
    if training.balance != "none":
        schedule = training.task_schedule
        _expect(schedule == "both", "task_schedule", schedule, "both with --balance")


def _check_distribution(settings: Settings) -> None:
    kind = settings.training.distribution
    if kind == "none":
        return
    beside, reading = settings.training.search_processes, settings.data.reading
    _expect(beside == 1, "search_processes", beside, f"1 with --distribution={kind}")
    if kind != "mirrored":
        _expect(reading == "stream", "reading", reading, f"stream with --distribution={kind}")
    if kind == "parameter_server":  # whose workers take steps that nobody counts
        finder, rewind = settings.tickets.ticket_finder, settings.tickets.rewind
        of_steps = "with --distribution=parameter_server, whose workers count no common steps"
        _expect(finder != "gradual", "ticket_finder", finder, f"iterative {of_steps}")
        _expect(rewind != "step", "rewind", rewind, f"initial or none {of_steps}")


def _check_choices(group: Any) -> None:
    # Flags were checked by absl; settings read from a run's folder were not.
    for name, hint in typing.get_type_hints(type(group)).items():
        if typing.get_origin(hint) is Literal:
            choices = typing.get_args(hint)
            _expect(
                getattr(group, name) in choices, name, getattr(group, name), f"one of {choices}"
            )


def loss_weights(settings: Settings, tasks: Sequence[str]) -> dict[str, float]:
    """The weights a, b, ... of Eq. 2 (LT4REC) by task.

    Args:
        settings: Holds `loss_weights` as "task=weight" texts.
        tasks: The run's tasks; empty while these are not known yet, which skips that check.

    Raises:
        ConfigError: A text that is not task=number, a weight not above 0, an unknown task.
    """
    named = by_task("loss_weights", settings.training.loss_weights, tasks, float, "a weight")
    return dict.fromkeys(tasks, 1.0) | named


def check_tasks(settings: Settings, tasks: Sequence[str]) -> None:
    """Refuses flags that name a task which the schema lacks.

    Raises:
        ConfigError: Naming the flag.
    """
    loss_weights(settings, tasks)
    own_embedding(settings, tasks)


def own_embedding(settings: Settings, tasks: Sequence[str]) -> dict[str, int]:
    """The lengths of the field vectors that a task alone reads, by task.

    Raises:
        ConfigError: As `loss_weights`.
    """
    return by_task("own_embedding", settings.model.own_embedding, tasks, int, "a whole number")


def by_task(
    flag: str,
    texts: Sequence[str],
    tasks: Sequence[str],
    number: Callable[[str], Number],
    what: str,
) -> dict[str, Number]:
    """Reads a flag's "task=number" texts.

    Args:
        flag: Its name, for messages.
        texts: Its values.
        tasks: Those that may be named; empty: any.
        number: Text -> number.
        what: What such a number is, for messages.

    Raises:
        ConfigError: A text that is not task=number, a number not above 0, an unknown task.
    """
    found = {}
    for text in texts:
        task, _, digits = text.partition("=")
        try:
            value = number(digits)
        except ValueError:
            _refuse(flag, text, f"task={what}, such as cvr=3")
        _expect(0 < value < float("inf"), flag, text, f"{what} above 0")
        if tasks:
            _expect(task in tasks, flag, task, f"one of the tasks {tuple(tasks)}")
        found[task] = value
    return found


def _expect_at_least(least: int, group: object, *names: str) -> None:
    for name in names:
        _expect(getattr(group, name) >= least, name, getattr(group, name), f"{least} or more")


def _expect_positive(group: object, name: str) -> None:
    value = getattr(group, name)
    _expect(0 < value < float("inf"), name, value, "a number above 0")


def _expect(holds: bool, flag: str, found: object, expected: str) -> None:
    if not holds:
        _refuse(flag, found, expected)


def _refuse(flag: str, found: object, expected: str) -> NoReturn:
    raise ConfigError(f"--{flag}: found {found!r}, expected {expected}")


def to_dict(settings: Settings) -> dict[str, Any]:
    """The settings as nested plain values, for JSON."""
    return json.loads(json.dumps(dataclasses.asdict(settings)))


def from_dict(values: Mapping[str, Any]) -> Settings:
    """The inverse of `to_dict`, checked again.

    Raises:
        ConfigError: A field is missing or unknown, or a value cannot be used.
    """
    try:
        groups = {name: cls(**_tuples(values[name])) for name, cls in _GROUPS.items()}
        settings = Settings(**(_tuples(values) | groups))
        check(settings)
    except (KeyError, TypeError) as error:
        raise ConfigError(f"settings do not fit this version: {error}") from error
    return settings


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }


def fingerprint(settings: Settings, schema_text: str) -> str:
    """Ten hexadecimal digits that differ between runs with different settings or schema.

    The seed is left out: runs that differ by seed alone lie side by side.
    """
    values = to_dict(settings) | {"seed": None, "schema_text": schema_text}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:10]


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Names each value that differs between two nested dictionaries.

    >>> differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 2}})
    ['a.b: was 1, is 3']
    """
    found = []
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f"{prefix}{name}.")
        elif before != after:
            found.append(f"{prefix}{name}: was {before!r}, is {after!r}")
    return found
