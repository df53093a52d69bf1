"""Every setting of a run: flagfile -> absl flags -> one frozen tree, checked once.

Only entry points call `parse`; everything below them takes plain arguments. A flag is a field of
one of the dataclasses here: its name, type, default and help stand in one place.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, TypeVar

from lt4rec_tf.flags import ConfigError, flag, parse_flags

T = TypeVar("T")


@dataclass(frozen=True)
class DataSettings:
    """Where the logs are and how they are split."""

    schema: str = flag("", "TOML file that says what the logs hold.")
    data_dir: str = flag("", "Folder to which the schema's file patterns are relative.")
    simulate_rows: int = flag(
        0, "Write a simulated feed of this many impressions to --data_dir first; 0: real logs."
    )
    simulate_seed: int = flag(2020, "Seed of the simulated feed.")
    dataset: str = flag(
        "",
        "NAME or NAME/CONFIG: have TensorFlow Datasets prepare this data set below --data_dir "
        "first, and read it; its own splits are --split=files.",
    )
    split: Literal["time", "user", "files"] = flag(
        "time", "What separates train, validation and test."
    )
    validation_from: float | None = flag(
        None, "Time split: first time (schema's time column) of validation."
    )
    test_from: float | None = flag(None, "Time split: first time of test.")
    validation_fraction: float = flag(0.1, "Share of validation where no boundary is given.")
    test_fraction: float = flag(0.1, "Share of test where no boundary is given.")
    validation_files: tuple[str, ...] = flag((), "Files split: patterns of the validation logs.")
    test_files: tuple[str, ...] = flag((), "Files split: patterns of the test logs.")
    max_bad_fraction: float = flag(0.01, "Share of unusable rows above which a run stops.")
    shuffle_buffer: int = flag(100_000, "Rows held in memory for shuffling.")


@dataclass(frozen=True)
class ModelSettings:
    """The shape of the network."""

    embedding_dim: int = flag(16, "Length of a field vector.")
    embedding_stddev: float = flag(
        0.001, "Spread of the embedding rows at the start; the smaller, the less rare ids disturb."
    )
    cross: Literal["gram", "triangle", "dcn_v2"] = flag(
        "gram", "Cross layer: full Gram matrix (LT4REC), strict triangle (DLRM), DCN-v2."
    )
    dcn_layers: int = flag(2, "Number of DCN-v2 layers.")
    hidden_units: tuple[int, ...] = flag((512, 256, 128), "Widths of a tower's masked layers.")


@dataclass(frozen=True)
class TicketSettings:
    """How tickets are found and chosen (Algorithm 1)."""

    ticket_finder: Literal["iterative", "gradual"] = flag(
        "iterative",
        "iterative: Algorithm 1. gradual: one training with TensorFlow Model Optimization.",
    )
    final_density: float = flag(0.2, "Share of tower weights that the last level keeps.")
    rounds: int = flag(4, "Number of prunings of the iterative search.")
    rewind: Literal["initial", "step", "reinitialize"] = flag(
        "initial", "What survivors go back to: theta_0, the weights of a step, a fresh draw."
    )
    rewind_step: int = flag(0, "Step of --rewind=step, counted in the dense training.")
    ticket_choice: Literal["best", "best_or_dense", "sparsest"] = flag(
        "best", "By validation: best pruned level, best of all, sparsest within the tolerance."
    )
    choice_tolerance: float = flag(
        0.001, "sparsest: how far below the best, relative to it, a level may lie."
    )
    block_width: int = flag(
        1, "gradual: weights are cut in blocks of 1 x this many (1: unstructured)."
    )


@dataclass(frozen=True)
class TrainingSettings:
    """How one stage is trained."""

    batch_size: int = flag(512, "Rows of a batch.")
    search_epochs: int = flag(1, "Passes over train for each level of a ticket search.")
    epochs: int = flag(1, "Passes over train for each row of the comparison.")
    patience: int = flag(0, "Stop after this many epochs without a better one; 0: never.")
    optimizer: Literal["adam", "adagrad"] = flag(
        "adam", "Both update only the embedding rows that a batch touched."
    )
    learning_rate: float = flag(0.001, "Step size.")
    task_schedule: Literal["alternate", "both"] = flag(
        "both", "Joint stage: one task a batch in turn (as published), or all on every batch."
    )
    loss_weights: tuple[str, ...] = flag(
        (), "Weights of Eq. 2 as task=weight; a task that is not named has weight 1."
    )
    checkpoint_steps: int = flag(500, "Steps between two checkpoints within an epoch; 0: none.")


@dataclass(frozen=True)
class Settings:
    """All settings of a run."""

    data: DataSettings
    model: ModelSettings
    tickets: TicketSettings
    training: TrainingSettings
    name: str = flag("run", "Name of the run's folder, before its fingerprint.")
    tasks: tuple[str, ...] = flag((), "Tasks of the schema to train, in order; none: all.")
    rows: tuple[str, ...] = flag(
        ("base", "hard_sharing", "s_weight"),
        "What to train and compare: base (single tasks), hard_sharing, s_weight.",
    )
    seed: int = flag(1, "Seed of initialisation and shuffling.")


@dataclass(frozen=True)
class Places:
    """Where a run writes; not part of its fingerprint."""

    output_dir: str = flag("runs", "Folder that holds the runs.")
    run_dir: str = flag("", "Exact folder of this run, in place of one below --output_dir.")


ROWS = ("base", "hard_sharing", "s_weight")
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
    values = parse_flags(argv, doc, [*_GROUPS.values(), Settings, Places])
    groups: dict[str, Any] = {name: _build(cls, values) for name, cls in _GROUPS.items()}
    settings = _build(Settings, values | groups)
    check(settings)
    return settings, _build(Places, values)


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
    loss_weights(settings, ())
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


def _check_model(model: ModelSettings) -> None:
    _expect_at_least(1, model, "embedding_dim", "dcn_layers")
    _expect_positive(model, "embedding_stddev")
    units = model.hidden_units
    _expect(len(units) > 0 and min(units) > 0, "hidden_units", units, "widths of 1 or more")


def _check_tickets(tickets: TicketSettings, model: ModelSettings) -> None:
    _expect(0 < tickets.final_density < 1, "final_density", tickets.final_density, "in (0, 1)")
    _expect_at_least(1, tickets, "rounds")
    _expect_at_least(1 if tickets.rewind == "step" else 0, tickets, "rewind_step")
    _expect(tickets.choice_tolerance >= 0, "choice_tolerance", tickets.choice_tolerance, ">= 0")
    width = tickets.block_width
    fits = width == 1 or 1 < width < min(model.hidden_units)
    _expect(fits, "block_width", width, "1, or less than the narrowest of --hidden_units")


def _check_training(training: TrainingSettings) -> None:
    _expect_at_least(1, training, "batch_size", "search_epochs", "epochs")
    _expect_at_least(0, training, "patience", "checkpoint_steps")
    _expect_positive(training, "learning_rate")


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
    weights = dict.fromkeys(tasks, 1.0)
    for text in settings.training.loss_weights:
        task, _, number = text.partition("=")
        try:
            weight = float(number)
        except ValueError:
            _refuse("loss_weights", text, "task=number, such as cvr=1.5")
        _expect(0 < weight < float("inf"), "loss_weights", text, "a weight above 0")
        if tasks:
            _expect(task in tasks, "loss_weights", task, f"one of the tasks {tuple(tasks)}")
        weights[task] = weight
    return weights


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
