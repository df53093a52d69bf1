"""Drafts labels and tasks of a schema from the columns of clicks, play times and conversions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lt4rec_tf.data.formats.files import DataError
from lt4rec_tf.data.inspect.column_roles import UNIT_WORDS, Roles
from lt4rec_tf.data.inspect.column_stats import ColumnStats
from lt4rec_tf.data.inspect.label_flags import EVERYWHERE, NamedLabel, schema_names
from lt4rec_tf.schema.populations import circle, nested
from lt4rec_tf.schema.types import Label, Task

# By kind of label its task's kind, loss, metric and the metric's better side.
_TASK_OF_LABEL_KIND = {
    "binary": ("binary", "cross_entropy", "auc", "max"),
    "ratio": ("continuous", "mse", "mse", "min"),
    "amount": ("amount", "mse", "nrmse", "min"),
}


@dataclass
class LabelDraft:
    """Labels with one task on each.

    Attributes:
        labels: Of the schema.
        tasks: Of the schema.
        notes: Comments on labels as `schema.writer.to_toml` takes them.
    """

    labels: list[Label] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)

    def add(self, label: Label, notes: list[str], task: str, population: str | None) -> None:
        """Adds a label, its comments and its task, which is learned on a population."""
        kind, loss, metric, direction = _TASK_OF_LABEL_KIND[label.kind]
        self.labels.append(label)
        self.notes[f"labels.{label.name}"] = notes
        self.tasks.append(Task(task, label.name, kind, population, loss, metric, direction))


def draft_labels(
    columns: Mapping[str, ColumnStats], roles: Roles, named: Sequence[NamedLabel] = ()
) -> LabelDraft:
    """Drafts the labels: the click, then what is learned on clicks, then what flags name.

    Args:
        columns: By name.
        roles: From `find_roles`.
        named: From `labels_beside`.

    Raises:
        DataError: A flag names a population that there is not, or populations in a circle.
    """
    labels = LabelDraft()
    population = "click" if roles.click else None
    if roles.click:
        note = f"1 in {columns[roles.click].mean:.1%} of the sample"
        labels.add(_label("click", "binary", column=roles.click), [note], "ctr", None)

    watched = _watch_label(columns, roles)
    if watched is not None:
        labels.add(*watched, "cvr", population)

    if roles.conversion:
        note = f"1 in {columns[roles.conversion].mean:.1%} of the sample"
        conversion = _label("conversion", "binary", column=roles.conversion)
        labels.add(conversion, [note], "conversion", population)
    _add_named(labels, columns, named)
    return labels


def _add_named(
    labels: LabelDraft, columns: Mapping[str, ColumnStats], named: Sequence[NamedLabel]
) -> None:
    """Adds the labels that flags name; their populations may be each other, in any order."""
    taken = [label.name for label in labels.labels] + [task.name for task in labels.tasks]
    names = schema_names([label.column for label in named], taken)
    population_names = {label.name: label.name for label in labels.labels if label.kind == "binary"}
    population_names |= {str(label.column): label.name for label in labels.labels}
    population_names |= {
        label.column: name
        for label, name in zip(named, names, strict=True)
        if label.kind == "binary"
    }

    for label, name in zip(named, names, strict=True):
        population = label.population or ("click" if "click" in population_names else EVERYWHERE)
        if population != EVERYWHERE and population not in population_names:
            raise DataError(
                f"--{label.flag}: found {label.column}:{population}, expected a population among "
                f"{', '.join([EVERYWHERE, *population_names])}"
            )
        mean = columns[label.column].mean
        note = f"1 in {mean:.1%}" if label.kind == "binary" else f"mean {mean:.3f}"
        within = None if population == EVERYWHERE else population_names[population]
        drafted = _label(name, label.kind, column=label.column)
        labels.add(drafted, [f"{note} of the sample"], name, within)

    names_in_circle = circle(nested(labels.labels, labels.tasks))
    if names_in_circle:
        raise DataError(
            f"--binary_labels: found {' within '.join(names_in_circle)}, expected populations that "
            "end with all rows"
        )


def _watch_label(
    columns: Mapping[str, ColumnStats], roles: Roles
) -> tuple[Label, list[str]] | None:
    """Drafts the label of what was watched: a ratio, or seconds where no duration is known.

    Returns:
        The label and its comments; None: no column says how much was watched.
    """
    video: dict[str, Any] = {}
    if roles.duration:
        video = {"duration": roles.duration, "duration_unit": _unit(columns[roles.duration])}

    if roles.watch_ratio:
        mean = columns[roles.watch_ratio].mean
        note = f"mean {mean:.3f} in the sample, over clicked and other rows"
        return _label("watch_ratio", "ratio", column=roles.watch_ratio, **video), [note]
    if not roles.play_time:
        return None

    play_time = columns[roles.play_time]
    unit = _play_time_unit(play_time, video.get("duration_unit"))
    note = f"mean play time {play_time.mean:.6g} {unit}; see whether the units are right"
    if not roles.duration:
        seconds = 0.001 if unit == "ms" else 1.0
        label = _label("watch_time", "amount", column=roles.play_time, multiplier=seconds, unit="s")
        return label, [note]

    duration = columns[roles.duration]
    zero_share = float((duration.numbers <= 0).mean())
    label = _label(
        "watch_ratio",
        "ratio",
        play_time=roles.play_time,
        play_time_unit=unit,
        zero_duration="exclude" if zero_share else "bad",
        **video,
    )
    mean_duration = f"mean duration {duration.mean:.6g} {label.duration_unit}"
    return label, [note, f"{mean_duration}; 0 or less in {zero_share:.1%}"]


def _unit(stats: ColumnStats) -> str:
    """Returns the unit by the name's end, else ms where a mean in s would be above 1,000."""
    return _unit_by_name(stats.name) or ("ms" if stats.mean > 1000 else "s")


def _play_time_unit(play_time: ColumnStats, duration_unit: str | None) -> str:
    """Returns the unit by the name's end, else the duration's, as both are usually logged alike."""
    if duration_unit is None:
        return _unit(play_time)
    return _unit_by_name(play_time.name) or duration_unit


def _unit_by_name(name: str) -> str | None:
    """Returns the unit that a name ends with.

    >>> _unit_by_name("PLAY_TIME_MS"), _unit_by_name("play_secs"), _unit_by_name("play_time")
    ('ms', 's', None)
    """
    last_word = name.lower().rpartition("_")[2]
    return next((unit for unit, words in UNIT_WORDS.items() if last_word in words), None)


def _label(name: str, kind: str, **fields: Any) -> Label:
    """Makes a label; columns that are not given are absent, units seconds."""
    absent = dict.fromkeys(("column", "play_time", "duration"))
    units = {"play_time_unit": "s", "duration_unit": "s", "zero_duration": "bad"}
    return Label(name, kind, **{**absent, **units, **fields})
