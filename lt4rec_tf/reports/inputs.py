"""What each task's ticket keeps of the inputs of a tower: fields and products of two fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lt4rec_tf.reports.search_tables import inputs_by_task
from lt4rec_tf.reports.text_tables import markdown_table, number_cell

MOST_LINES = 30  # of the table
MOST_DIFFERENT = 5  # named where every task reads everything


@dataclass(frozen=True)
class InputShares:
    """What the tickets of a model keep of each field's vector and of each product of two.

    Attributes:
        model: Whose tickets they are.
        fields: Names of the field vectors, in their order.
        shares: Task -> "field", "field, crossed" or "field x field" -> share of the group's weights
            in the first kernel that the task keeps, in [0, 1]; all tasks have the same groups.
    """

    model: str
    fields: Sequence[str]
    shares: Mapping[str, Mapping[str, float]]

    @property
    def tasks(self) -> list[str]:
        """Returns the tasks, in their order."""
        return list(self.shares)

    @property
    def groups(self) -> list[str]:
        """Returns the names of the groups."""
        return list(next(iter(self.shares.values())))

    def of(self, group: str) -> np.ndarray:
        """Returns the shares that the tasks keep of a group, float64 (tasks,)."""
        return np.array([shares[group] for shares in self.shares.values()])

    def readers(self, group: str) -> list[str]:
        """Returns the tasks that read a group: they keep one of its weights at least."""
        return [task for task, shares in self.shares.items() if shares[group]]

    def means(self) -> np.ndarray:
        """Returns the mean share that each task keeps of its inputs, float64 (tasks,)."""
        return np.array([np.mean([*shares.values()]) for shares in self.shares.values()])

    def differences(self, group: str) -> np.ndarray:
        """Returns by how much the shares of a group exceed the tasks' means, float64 (tasks,).

        So tasks compare whose tickets differ in density.
        """
        return self.of(group) - self.means()

    def spread(self, group: str) -> float:
        """Returns the largest less the least of the `differences` of a group."""
        return float(np.ptp(self.differences(group)))


def input_lines(inputs: InputShares) -> str:
    """Returns a line a task as `inputs_by_task` has it.

    Where no task reads an input alone, as with tickets of single weights, a last line names the
    inputs at which the shares that the tasks keep differ most, each beside the task's mean.

    >>> shares = {"ctr": {"user": 0.5, "video": 0.25}, "cvr": {"user": 0.125, "video": 0.25}}
    >>> print(input_lines(InputShares("s_weight", ["user", "video"], shares)))
    ctr reads 2 of 2 fields and products of two, none of them alone
    cvr reads 2 of 2 fields and products of two, none of them alone
    shares kept, .38 / .19 (ctr / cvr) on average, differ most at user .50 / .12, video .25 / .25

    Args:
        inputs: Of a model's tickets.
    """
    groups = inputs.groups
    reads: dict[str, list[str]] = {task: [] for task in inputs.tasks}
    for group in groups:
        for task in inputs.readers(group):
            reads[task].append(group)
    lines = [inputs_by_task({"inputs": len(groups), "reads": reads})]

    alone = any(len(inputs.readers(group)) == 1 for group in groups)
    if not alone and any(inputs.spread(group) > 1e-9 for group in groups):
        different = _most_different(inputs)[:MOST_DIFFERENT]
        named = ", ".join(f"{group} {_cells(inputs.of(group))}" for group in different)
        average = f"{_cells(inputs.means())} ({' / '.join(inputs.tasks)}) on average"
        lines.append(f"shares kept, {average}, differ most at {named}")
    return "\n".join(lines)


def inputs_table(inputs: InputShares) -> str:
    """Returns what the tasks keep of the inputs: first what one task alone reads.

    Then come the inputs at which the tasks' shares differ most.

    Args:
        inputs: Of a model's tickets.

    Returns:
        A Markdown table of `MOST_LINES` lines at most, below it how many inputs are left out.
    """
    alone = _read_alone(inputs)
    others = [group for group in _most_different(inputs) if group not in alone]
    ordered = [*alone, *others]

    lines = []
    for group in ordered[:MOST_LINES]:
        shares = [number_cell(share, 3) for share in inputs.of(group)]
        lines.append([group, _read_by(inputs, group), *shares])
    table = markdown_table(["input", "read by", *inputs.tasks], lines, texts=2)

    left_out = len(ordered) - len(lines)
    return f"{table}\n\nand {left_out} more" if left_out else table


def _most_different(inputs: InputShares) -> list[str]:
    """Returns the groups, those first at which the tasks' shares differ most."""
    return sorted(inputs.groups, key=inputs.spread, reverse=True)


def _read_alone(inputs: InputShares) -> list[str]:
    """Returns the groups of a single reader by task; tasks have equal parts of the table."""
    of_task: dict[str, list[str]] = {task: [] for task in inputs.tasks}
    for group in _most_different(inputs):
        readers = inputs.readers(group)
        if len(readers) == 1:
            of_task[readers[0]].append(group)

    ranked = [(rank, task) for task, groups in of_task.items() for rank in range(len(groups))]
    ranked.sort(key=lambda place: place[0])
    shown = Counter(task for _, task in ranked[:MOST_LINES])
    first = [group for task, groups in of_task.items() for group in groups[: shown[task]]]
    rest = [group for task, groups in of_task.items() for group in groups[shown[task] :]]
    return first + rest


def _read_by(inputs: InputShares, group: str) -> str:
    readers = inputs.readers(group)
    if len(readers) == 1:
        return f"{readers[0]} alone"
    return {0: "none", len(inputs.tasks): "all"}.get(len(readers), ", ".join(readers))


def _cells(shares: np.ndarray) -> str:
    return " / ".join(f"{share:.2f}".removeprefix("0") for share in shares)
