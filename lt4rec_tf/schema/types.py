"""A data set's files, features, labels and tasks, as frozen dataclasses.

`lt4rec_tf.schema.reader` reads and checks them; every other room takes them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lt4rec_tf.core.errors import InputError
from lt4rec_tf.schema.heads import PLAIN, Head

if TYPE_CHECKING:
    from lt4rec_tf.schema.fitted import Vocabulary
    from lt4rec_tf.schema.label_quantiles import LabelQuantiles
    from lt4rec_tf.schema.numbers import Numbers

JSON_LISTS = "json"  # a separator: a row's text is a JSON list of single values
UNKNOWN_ID = 1  # of vocabulary, fitted and integer rules; 0 is "missing"
FIRST_VALUE_ID = 2  # of the same rules
NOT_TASKS = ("serving_default", "rank", "score", "tf_example")  # signatures of a served model
FITTED_NUMBERS = ("quantiles", "piecewise_linear", "standardised")  # by the audit, on train


class SchemaError(InputError):
    """A schema cannot be used; the message names file, key, what was found and expected."""


@dataclass(frozen=True)
class IdRule:
    """How raw values become ids. Id 0 always means "missing or padding".

    Attributes:
        kind: "hash", "fitted", "vocabulary", "integer", "boundaries", "numeric", "quantiles",
            "piecewise_linear" or "standardised".
        buckets: Of hash: values take the ids 1..buckets.
        min_count: Of fitted: a value that occurs as often in train has an id of its own.
        max_size: Of fitted: the most values with ids of their own, the most frequent ones.
        fitted: Of fitted: these values, once the audit has found them.
        vocabulary: Of vocabulary: value k takes id k + 2; every unknown value takes id 1.
        minimum: Of integer: this value takes id 2.
        maximum: Of integer: the last value with an id of its own; values out of range take id 1.
        boundaries: Of boundaries: n increasing numbers make the n + 1 ids 1..n + 1.
        transform: Of numeric and standardised: "none", or "log1p" for log(1 + x), x clipped to be
            >= 0.
        mean: Of numeric: the field's number is (transform(x) - mean) / scale.
        scale: Of numeric, see mean.
        bins: Of quantiles and piecewise_linear: the most bins.
        numbers: Of quantiles, piecewise_linear and standardised: the edges of the bins, or mean and
            deviation, once the audit has found them.
    """

    kind: str
    buckets: int = 0
    min_count: int = 1
    max_size: int = 0
    fitted: Vocabulary | None = dataclasses.field(default=None, repr=False, compare=False)
    vocabulary: tuple[str, ...] = ()
    minimum: int = 0
    maximum: int = 0
    boundaries: tuple[float, ...] = ()
    transform: str = "none"
    mean: float = 0.0
    scale: float = 1.0
    bins: int = 0
    numbers: Numbers | None = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def gives_numbers(self) -> bool:
        """Tells if what stands for a raw value is a number, and no id."""
        return self.kind in ("numeric", "standardised", "piecewise_linear")

    @property
    def rows(self) -> int:
        """Embedding rows that this rule needs, row 0 ("missing") included.

        A fitted rule needs those of missing and unknown values until the audit has fitted it. Bins
        have rows before: where equal numbers leave fewer bins, the last rows stay unused.

        >>> IdRule("hash", buckets=10).rows, IdRule("integer", minimum=0, maximum=23).rows
        (11, 26)
        >>> IdRule("boundaries", boundaries=(1.0, 2.0)).rows, IdRule("numeric").rows
        (4, 2)
        >>> IdRule("quantiles", bins=8).rows, IdRule("piecewise_linear", bins=8).rows
        (9, 10)
        """
        return {
            "hash": self.buckets + 1,
            "fitted": (0 if self.fitted is None else len(self.fitted.marks)) + FIRST_VALUE_ID,
            "vocabulary": len(self.vocabulary) + FIRST_VALUE_ID,
            "integer": self.maximum - self.minimum + 1 + FIRST_VALUE_ID,
            "boundaries": len(self.boundaries) + 2,
            "numeric": 2,
            "standardised": 2,
            "quantiles": self.bins + 1,
            "piecewise_linear": self.bins + 2,  # one for what all numbers share
        }[self.kind]


@dataclass(frozen=True)
class Feature:
    """One field of the model: a raw column and the rule that turns it into ids.

    Attributes:
        name: The field's name; names the raw input in serving signatures too.
        column: The column of the logs, or of a joined side table.
        dtype: "string", "int64" or "float32": what the raw text or record becomes.
        multivalued: Whether a row holds a list of values.
        max_values: Values kept of a list (the first ones); 1 when single-valued.
        separator: Between the values of a list in one text, or `JSON_LISTS`; "" where lists are cut
            already.
        side: "user", "item" or "context".
        table: The embedding table; features may share one.
        missing: The raw value that stands for "absent"; an empty column becomes it.
        ids: How values become ids.
        pooling: How a list becomes one vector: "mean", or what `events.EventSequence` names. Of
            lists that are aligned, the first one says it.
        candidate: Of a list that a candidate attends to: the item feature that its values are
            compared with, or None.
        aligned_with: The list whose events this one tells more about, position by position.
        nearest: Of a long list: how many events a candidate attends to; 0: all.
        search: By which the nearest are found: "hash", or the name of one of the aligned lists.
    """

    name: str
    column: str
    dtype: str
    multivalued: bool
    max_values: int
    separator: str
    side: str
    table: str
    missing: str | int | float
    ids: IdRule
    pooling: str = "mean"
    candidate: str | None = None
    aligned_with: str | None = None
    nearest: int = 0
    search: str = ""

    def __eq__(self, other: object) -> bool:
        """Tells if all attributes are equal; a missing value that is NaN equals itself.

        From Python 3.13 on dataclasses compare their fields one by one, by which NaN is no NaN.
        """
        if not isinstance(other, Feature):
            return NotImplemented
        return vars(self) == vars(other)  # of values, the same object is equal

    @property
    def is_of_events(self) -> bool:
        """Tells if it is a list of a sequence: a value that is absent keeps its place there."""
        return self.pooling != "mean" or self.aligned_with is not None


@dataclass(frozen=True)
class Table:
    """An embedding table and the number of its rows, row 0 ("missing") included."""

    name: str
    rows: int


@dataclass(frozen=True)
class Label:
    """The target of a task: a 0/1 column, a ratio in [0, 1], or an amount of 0 or more.

    A ratio is a column, clipped to [0, 1], or clip(play_time / duration, 0, 1) of two columns. An
    amount, such as seconds watched or money spent, is a column times a multiplier, or
    play_time / duration, which loops make larger than 1.

    Attributes:
        name: The label's name.
        kind: "binary", "ratio" or "amount".
        column: The column that holds the label itself, or None.
        play_time: The column of the time watched, or None.
        duration: The column of the video's length, or None. Beside `column` it is no part of the
            label: it is what a ratio is a ratio of, and batches hold it as "duration".
        play_time_unit: "s" or "ms".
        duration_unit: "s" or "ms".
        zero_duration: What a row with duration <= 0 is: "bad" (counts as an unusable row),
            "exclude" (left out for every task, clicked or not, so that click rates stay
            undistorted; counted apart), "unlabelled" (kept, with weight 0 for tasks on this label).
        multiplier: Of an amount: what the column's numbers are multiplied with.
        unit: Of an amount, as reports show it; "" for none.
        at_most: Of an amount: the most that it can be; larger ones are clipped.
        within_duration: Of an amount of seconds: it is clipped to the row's duration too.
        within: Binary labels: this one is defined where one of them is 1, and it is itself
            defined; empty: in all rows. Populations of the schema's tasks, so a subset of them
            leaves a label where it is.
    """

    name: str
    kind: str
    column: str | None
    play_time: str | None
    duration: str | None
    play_time_unit: str
    duration_unit: str
    zero_duration: str
    multiplier: float = 1.0
    unit: str = ""
    within: tuple[str, ...] = ()
    at_most: float = math.inf
    within_duration: bool = False

    @property
    def is_clipped(self) -> bool:
        """Tells if it is an amount that cannot be as large as any."""
        return self.within_duration or self.at_most < math.inf

    @property
    def in_durations(self) -> bool:
        """Tells if it is 1 where the whole video was watched once, whatever its length."""
        return self.kind == "ratio" or self.play_time is not None


@dataclass(frozen=True)
class Filter:
    """A condition on a column of the logs or of a joined side table.

    Rows for which a schema's filter does not hold are left out of everything; those for which a
    task's does not hold are outside this task's scenario.

    Attributes:
        column: The column.
        comparison: "==", "!=", "<", "<=", ">", ">=", "in" or "not_in".
        values: What the column is compared with, all numbers or all texts; one, unless the
            comparison is "in" or "not_in".
    """

    column: str
    comparison: str
    values: tuple[str | float, ...]

    @property
    def text(self) -> str:
        """The filter in one line, as the audit names it.

        >>> Filter("tab", "in", (1, 2)).text, Filter("kind", "!=", ("ad",)).text
        ('tab in 1, 2', 'kind != "ad"')
        """
        values = ", ".join(json.dumps(value, ensure_ascii=False) for value in self.values)
        return f"{self.column} {self.comparison} {values}"


@dataclass(frozen=True)
class Task:
    """One output of the model.

    Attributes:
        name: The task's name.
        label: The label that it learns.
        kind: "binary", "continuous" (a ratio) or "amount".
        population: A binary label; the task is learned and measured where it is 1, within that
            label's own population. None: all rows.
        loss: "cross_entropy", "focal", "mse", "soft_cross_entropy" or "ziln".
        metric: What is compared on validation, such as "auc" or "mse".
        direction: "max" or "min": which side of the metric is better.
        mean: Of an amount over its population in train, by which losses standardise it; no schema
            says it, the audit does.
        scale: Its standard deviation there.
        negatives_kept: Of a binary task: the share, in (0, 1], of the rows with label 0 that the
            log still holds; predictions are corrected by it. Where a column says it, the audit
            finds the share over all of train.
        kept_column: The column that says it row by row, or None.
        where: The task's scenario: of its population, it is learned and measured on the rows for
            which all of these hold. Empty: on the whole population.
        head: Of a ratio or an amount: how outputs become its prediction; another head than the
            plain one has a loss of its own.
        quantiles: Of a ratio or an amount, over its population in train, once the audit has found
            them.
        at_most: Of an amount, as its label has it: no prediction is larger.
        within_duration: As its label has it: no prediction is larger than the row's duration.
    """

    name: str
    label: str
    kind: str
    population: str | None
    loss: str
    metric: str
    direction: str
    mean: float = 0.0
    scale: float = 1.0
    negatives_kept: float = 1.0
    kept_column: str | None = None
    where: tuple[Filter, ...] = ()
    head: Head = PLAIN
    quantiles: LabelQuantiles | None = dataclasses.field(default=None, repr=False, compare=False)
    at_most: float = math.inf
    within_duration: bool = False

    @property
    def reads_duration(self) -> bool:
        """Tells if the length of a row's video is part of the task's prediction."""
        return self.head.kind == "d2q" or self.within_duration

    @property
    def learns_squares(self) -> bool:
        """Tells if its loss is a squared error."""
        return self.loss == "mse" if self.head.is_plain else self.head.kind == "d2q"

    @property
    def on_all_rows(self) -> bool:
        """Tells if the task is learned and measured on every row."""
        return self.population is None and not self.where

    @property
    def conditions(self) -> str:
        """What holds in the rows of the task, in words; "" for one on all rows.

        >>> wifi = (Filter("network", "==", ("wifi",)),)
        >>> cvr = Task("cvr", "ratio", "continuous", "click", "mse", "mse", "min", where=wifi)
        >>> cvr.conditions
        'click is 1 and network == "wifi"'
        """
        population = [] if self.population is None else [f"{self.population} is 1"]
        return " and ".join([*population, *([self.scenario] if self.where else [])])

    @property
    def scenario(self) -> str:
        """The scenario in words, without the population; "" for none."""
        return " and ".join(rule.text for rule in self.where)

    def shares_scenario(self, other: Task) -> bool:
        """Tells if another task has the same conditions beside its population, in any order."""
        mine, theirs = (
            {(rule.column, rule.comparison, frozenset(rule.values)) for rule in task.where}
            for task in (self, other)
        )
        return mine == theirs


@dataclass(frozen=True)
class Join:
    """A side table, held in memory: its rows are looked up by a column that the logs share.

    Attributes:
        file: Path relative to the data folder; ".gz" files are read as they are.
        format: "csv" or "tsv".
        key: Name of the key column, both in the logs and in the side table.
    """

    file: str
    format: str
    key: str


@dataclass(frozen=True)
class TimeColumn:
    """The column of a row's time.

    Attributes:
        column: The column.
        patterns: Pairs (regular expression with one group, multiplier): the time is the group of
            the first expression found in the text, times its multiplier. Empty: the column is a
            number already.
    """

    column: str
    patterns: tuple[tuple[str, float], ...] = ()


_Named = TypeVar("_Named", Feature, Label, Task)


def _by_name(items: Iterable[_Named], name: str, what: str) -> _Named:
    names = []
    for item in items:
        if item.name == name:
            return item
        names.append(item.name)
    raise SchemaError(f"no {what} {name!r}; expected one of {', '.join(names)}")


@dataclass(frozen=True)
class Schema:
    """A whole data set.

    Attributes:
        path: The TOML file it was read from.
        name: The data set's name.
        format: "csv", "tsv", "tfrecord", "parquet" or "jsonl".
        files: Globs, files or folders, relative to the data folder.
        columns: Column names of CSV and TSV files without a header line; empty: the first line of
            every file is the header.
        quoted: Whether values may stand in double quotes (RFC 4180).
        features: The model's fields, in order.
        labels: What can be learned.
        tasks: What is learned, in order.
        joins: Side tables.
        time: Where a row's time lies; splits by time need it.
        user: The column by which rows are grouped for GAUC and for splits by user.
        nulls: Texts that stand for an absent value in every column, besides the empty one.
        filters: Which rows count; those for which one of them does not hold are left out.
        weight: The column of the rows' weights, 0 or more, in all losses and metrics; None: all
            rows count once.
    """

    path: Path
    name: str
    format: str
    files: tuple[str, ...]
    columns: tuple[str, ...]
    quoted: bool
    features: tuple[Feature, ...]
    labels: tuple[Label, ...]
    tasks: tuple[Task, ...]
    joins: tuple[Join, ...]
    time: TimeColumn | None
    user: str | None
    nulls: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()
    weight: str | None = None

    @functools.cached_property
    def tables(self) -> tuple[Table, ...]:
        """The embedding tables that the features use, in order of first use."""
        return tuple(Table(name, count) for name, count in self.table_rows.items())

    @property
    def table_rows(self) -> dict[str, int]:
        """The rows of each table, in the order of `tables`."""
        return {feature.table: feature.ids.rows for feature in self.features}

    def feature(self, name: str) -> Feature:
        """Returns the feature of this name.

        Raises:
            SchemaError: There is none.
        """
        return _by_name(self.features, name, f"{self.path}: feature")

    def label(self, name: str) -> Label:
        """Returns the label of this name.

        Raises:
            SchemaError: There is none.
        """
        return _by_name(self.labels, name, f"{self.path}: label")

    def task(self, name: str) -> Task:
        """Returns the task of this name.

        Raises:
            SchemaError: There is none.
        """
        return _by_name(self.tasks, name, f"{self.path}: task")

    def table(self, name: str) -> Table:
        """Returns the embedding table of this name.

        Raises:
            SchemaError: There is none.
        """
        for table in self.tables:
            if table.name == name:
                return table
        raise SchemaError(f"{self.path}: no table {name!r}")

    def with_rules(self, rule_of: Callable[[Feature], IdRule]) -> Schema:
        """Returns the schema with the rule of each feature that a function gives."""
        features = [dataclasses.replace(feature, ids=rule_of(feature)) for feature in self.features]
        return dataclasses.replace(self, features=tuple(features))

    def with_tasks(self, names: Sequence[str]) -> Schema:
        """Returns the schema with these tasks only, in this order.

        Labels that none of them uses are left out too: a row is never unusable because a label is
        missing that no task learns. A population's own populations stay, since they say where it
        is defined.

        Raises:
            SchemaError: A name is unknown or named twice, or there is none.
        """
        tasks = tuple(self.task(name) for name in names)
        if not tasks or len(set(names)) != len(tasks):
            raise SchemaError(f"{self.path}: tasks: found {list(names)}, expected distinct names")

        populations: set[str] = set()
        pending = [task.population for task in tasks if task.population is not None]
        while pending:
            name = pending.pop()
            if name not in populations:
                populations.add(name)
                pending += self.label(name).within

        used = populations | {task.label for task in tasks}
        labels = tuple(label for label in self.labels if label.name in used)
        return dataclasses.replace(self, tasks=tasks, labels=labels)


def needed_columns(schema: Schema) -> set[str]:
    """Returns the columns of logs and side tables that a schema asks for."""
    columns = {feature.column for feature in schema.features}
    columns |= {join.key for join in schema.joins}
    columns |= {schema.user} if schema.user else set()
    columns |= {schema.time.column} if schema.time else set()
    columns |= {rule.column for rule in schema.filters}
    columns |= {schema.weight} if schema.weight else set()
    columns |= {task.kept_column for task in schema.tasks if task.kept_column is not None}
    columns |= {rule.column for task in schema.tasks for rule in task.where}
    for label in schema.labels:
        sources = (label.column, label.play_time, label.duration)
        columns.update(name for name in sources if name is not None)
    return columns


def sampled_by_column(schema: Schema, tasks: Sequence[str]) -> tuple[str, ...]:
    """Returns the tasks of whose negatives a column says how many were kept."""
    return tuple(name for name in tasks if schema.task(name).kept_column is not None)


def chained_tasks(schema: Schema, tasks: Sequence[str]) -> list[tuple[str, str]]:
    """Returns pairs of a binary task and a task on its positives, such as CTR and CVR.

    Both are of one scenario: clicks of one network and watch ratios of another have no product.
    """
    pairs = []
    for first in map(schema.task, tasks):
        if first.kind != "binary" or first.population is not None:
            continue
        for second in map(schema.task, tasks):
            if second.population == first.label and second.shares_scenario(first):
                pairs.append((first.name, second.name))
    return pairs


def product_name(first: str, second: str) -> str:
    """Returns the name of the product of two chained tasks.

    >>> product_name("ctr", "cvr"), product_name("click", "like")
    ('ctcvr', 'click_like')
    """
    return "ctcvr" if (first, second) == ("ctr", "cvr") else f"{first}_{second}"
