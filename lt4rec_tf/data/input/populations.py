"""The rows on which each task is learned: of its population, those of its scenario."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import tensorflow as tf

from lt4rec_tf.data.input.filters import LeftOut, left_out
from lt4rec_tf.schema.types import Schema


def outside_scenarios(
    schema: Schema, columns: Mapping[str, tf.Tensor | tf.RaggedTensor], broken: tf.Tensor
) -> dict[str, LeftOut]:
    """Finds by task that has a scenario the rows outside it.

    Args:
        schema: Its tasks.
        columns: Raw columns (batch,) or (batch, values).
        broken: Bool (batch,): rows that are in every scenario, whatever they hold.
    """
    # Tasks may share a scenario. A set would have another order in each process.
    wheres = dict.fromkeys(task.where for task in schema.tasks if task.where)
    outside = {where: left_out(where, columns, broken) for where in wheres}
    return {task.name: outside[task.where] for task in schema.tasks if task.where}


def find_populations(
    schema: Schema, positive: Mapping[str, tf.Tensor], outside: Mapping[str, LeftOut]
) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Returns by task the rows that it is learned on, and by label the rows that need it.

    Populations nest: a conversion that is empty without a click is not missing there, and a refund
    is not learned there. In the rows of a task's scenario its population, and whatever that lies
    within, is needed where it is defined.

    Args:
        schema: Labels and tasks.
        positive: By label, bool (batch,): it is 1.
        outside: From `outside_scenarios`.
    """
    everywhere = tf.ones_like(next(iter(positive.values())))
    defined: dict[str, tf.Tensor] = {}
    needed = {name: tf.zeros_like(everywhere) for name in positive}

    def rows_of(name: str) -> tf.Tensor:
        """Returns the rows in which a population is defined and 1."""
        if name not in defined:
            outer = [rows_of(population) for population in schema.label(name).within]
            defined[name] = functools.reduce(tf.logical_or, outer) if outer else everywhere
        return defined[name] & positive[name]

    def need(name: str, rows: tf.Tensor) -> None:
        """Notes that a population must be known in some rows, as far as it is defined there."""
        for population in schema.label(name).within:
            need(population, rows)
        needed[name] |= rows & defined[name]

    populations = {}
    for task in schema.tasks:
        inside = outside[task.name].by < 0 if task.name in outside else everywhere
        if task.population is not None:
            population = rows_of(task.population)
            need(task.population, inside)
            inside &= population
        populations[task.name] = inside
        needed[task.label] |= inside
    return populations, needed
