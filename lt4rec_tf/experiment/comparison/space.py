"""What `compare --tune_trials` draws from: flags and the values that they may take."""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lt4rec_tf.config.settings import ModelSettings, Settings, TicketSettings, TrainingSettings
from lt4rec_tf.core.flags import by_name, from_settings
from lt4rec_tf.core.toml import TomlTable, read_toml
from lt4rec_tf.experiment.comparison.grid import CompareFlags, ModelSpec
from lt4rec_tf.models.registry import MODELS
from lt4rec_tf.training.plan import Optimization

LOSS_WEIGHTS = "loss_weights"
# What a model keeps, whatever a space says: halving decides on passes.
_NOT_TUNED = ("epochs", "search_epochs", "search_processes", "distribution")
_FACTOR = 4.0  # step sizes lie between a quarter and four times those of the command
_WEIGHTS, _DENSITIES = (0.3, 10.0), (0.1, 0.8)
_DROPOUTS = ("0", "0.1", "0.2", "0.3")


@dataclass(frozen=True)
class Rule:
    """The values of a flag: a range of numbers, or a list.

    Attributes:
        low: Lowest number.
        high: Highest number.
        log: Whether each factor is equally likely, not each number.
        whole: Whether numbers are whole.
        choices: The list; empty: the range.
        first: What the first trial takes; empty: it is drawn too.
    """

    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    choices: tuple[str, ...] = ()
    first: str = ""

    def at(self, place: float) -> str:
        """Returns the value at a place in [0, 1), as a flag has it.

        >>> Rule(0.001, 0.1, log=True).at(0.5), Rule(2, 5, whole=True).at(0.99)
        ('0.01', '5')
        >>> Rule(choices=("a", "b")).at(0.4)
        'a'
        """
        if self.choices:
            return self.choices[int(place * len(self.choices))]
        if self.whole:
            return str(int(self.low + math.floor(place * (self.high - self.low + 1))))
        if self.log:
            return f"{self.low * (self.high / self.low) ** place:.3g}"
        return f"{self.low + place * (self.high - self.low):.3g}"


Space = Mapping[str, Rule]  # by flag, or by flag and task, such as "loss_weights=cvr"


def flag_of(name: str) -> str:
    """Returns the flag that a name in a space stands for.

    >>> flag_of("loss_weights=cvr"), flag_of("field_dropout")
    ('loss_weights', 'field_dropout')
    """
    return name.partition("=")[0]


def default_space(compare: CompareFlags, settings: Settings) -> Space:
    """Returns the space of a comparison that names none.

    Args:
        compare: Its candidates of step sizes and weights take the ranges' place.
        settings: Of the model, which its first trial takes.
    """
    rates, weights, task = compare.learning_rates, compare.cvr_weights, compare.weighted_task
    rate = settings.training.learning_rate
    _, table_rate = from_settings(Optimization, settings.training).of_tables
    given = by_name(LOSS_WEIGHTS, settings.training.loss_weights, (), float, "a weight")
    weight = Rule(*_WEIGHTS, log=True, first=f"{given.get(task, 1.0):g}")
    dropout = f"{settings.model.field_dropout:g}"
    return {
        "learning_rate": _listed(rates) if rates else _around(rate),
        "embedding_learning_rate": _around(table_rate),
        f"{LOSS_WEIGHTS}={task}": _listed(weights) if weights else weight,
        "field_dropout": Rule(choices=tuple(sorted({*_DROPOUTS, dropout})), first=dropout),
        "final_density": Rule(*_DENSITIES, log=True, first=f"{settings.tickets.final_density:g}"),
    }


def _listed(choices: Sequence[str]) -> Rule:
    return Rule(choices=tuple(choices), first=choices[0])


def _around(rate: float) -> Rule:
    return Rule(rate / _FACTOR, rate * _FACTOR, log=True, first=f"{rate:g}")


def of_model(space: Space, spec: ModelSpec, weighted_task: str) -> Space:
    """Returns what is tuned of a model: neither its own flags nor what it does not use.

    Weights of tasks are for models of several tasks, and settings of tickets for models that need
    them.

    Args:
        space: Of the comparison.
        spec: The model; weights of its own are the only ones of its loss.
        weighted_task: Whose weights these are.
    """
    fixed = {flag.lstrip("-").partition("=")[0] for flag in spec.flags}
    if spec.task or spec.weights is not None:
        fixed.add(LOSS_WEIGHTS)
    if not (MODELS[spec.model].needs_tickets or MODELS[spec.model].wears_tickets):
        fixed |= {field.name for field in dataclasses.fields(TicketSettings)}

    rules = {name: rule for name, rule in space.items() if flag_of(name) not in fixed}
    if spec.weights:
        rules[f"{LOSS_WEIGHTS}={weighted_task}"] = _listed(spec.weights)
    return rules


def drawn(space: Space, seed: int, trial: int) -> dict[str, str]:
    """Draws a trial's values; those of a flag do not depend on what else the space holds.

    Models draw alike, so those that search for the same tickets share a search.

    Args:
        space: Of a model.
        seed: Of the comparison.
        trial: Its number, from 0.
    """
    values = {}
    for name, rule in space.items():
        place = np.random.default_rng([seed, trial, zlib.crc32(name.encode())]).random()
        values[name] = rule.first if trial == 0 and rule.first else rule.at(place)
    return values


def read_space(path: Path) -> Space:
    """Reads a space of one's own: a table for each flag.

    Raises:
        TomlError: The file is absent, or a key or value cannot be used.
    """
    file = read_toml(path)
    tunable = set()
    for group in (ModelSettings, TicketSettings, TrainingSettings):
        tunable |= {field.name for field in dataclasses.fields(group)}
    tunable -= set(_NOT_TUNED)

    space = {}
    for name in file.names():
        if flag_of(name) not in tunable:
            expected = f"a flag of the model, the tickets or the training but {_NOT_TUNED}"
            raise file.error(name, name, expected)
        space[name] = _read_rule(file.table(name))
    if not space:
        raise file.error("", "nothing", "a table for each flag to tune")
    return space


def _read_rule(table: TomlTable) -> Rule:
    if table.has("choices"):
        choices = table.items("choices")
        table.close()
        texts = tuple(_text(value) for value in choices)
        if len(set(texts)) != len(texts) or not texts:
            raise table.error("choices", choices, "a list of distinct values")
        return Rule(choices=texts)

    whole = all(isinstance(table.anything(key, "a number"), int) for key in ("low", "high"))
    low, high, log = table.number("low"), table.number("high"), table.flag("log", False)
    table.close()
    if not low < high < math.inf:
        raise table.error("high", high, f"a number above low, {low:g}")
    if log and (whole or low <= 0):
        raise table.error(
            "log", log, "false where low is 0 or less, or both ends are whole numbers"
        )
    return Rule(low, high, log=log, whole=whole)


def _text(value: Any) -> str:
    """Returns a value of TOML as a flag has it.

    >>> _text(True), _text(0.1), _text("adam")
    ('true', '0.1', 'adam')
    """
    return str(value).lower() if isinstance(value, bool) else str(value)
