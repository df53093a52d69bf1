"""Schemas of tasks whose label is an amount."""

from __future__ import annotations

import dataclasses

from lt4rec_tf.schema.reader import load_schema
from tests.support.schemas import SMALL_SCHEMA

AMOUNT = """
[[labels]]
name = "seconds"
kind = "amount"
column = "play_ms"
multiplier = 0.001
unit = "s"

[[tasks]]
name = "watch"
label = "seconds"
kind = "amount"
loss = "{loss}"
metric = "nrmse"
{population}
"""


def standardised(tmp_path, loss):
    schema = schema_of(tmp_path, loss=loss)
    tasks = [
        dataclasses.replace(task, mean=5.0, scale=8.0) if task.name == "watch" else task
        for task in schema.tasks
    ]
    return dataclasses.replace(schema, tasks=tuple(tasks))


def schema_of(tmp_path, **changes):
    path = tmp_path / "amounts.toml"
    path.write_text(schema_text(**changes), encoding="utf-8")
    return load_schema(path)


def schema_text(loss="mse", population='population = "click"'):
    return SMALL_SCHEMA + AMOUNT.format(loss=loss, population=population)
