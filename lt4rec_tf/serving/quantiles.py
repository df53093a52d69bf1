"""Quantiles that a version answers beside predictions, of tasks with the head "cqe"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from lt4rec_tf.core.flags import expect, refuse
from lt4rec_tf.schema.types import Schema

FLAG = "quantiles"


class Quantile(NamedTuple):
    """A quantile of a task's label.

    Attributes:
        task: The task.
        level: In (0, 1): the share of labels that are to lie below it.
    """

    task: str
    level: float


# By the names of their outputs without the "p" before them, such as "cvr_q90".
Quantiles = Mapping[str, Quantile]
NO_QUANTILES: Quantiles = MappingProxyType({})


def read_quantiles(said: Sequence[str], schema: Schema) -> Quantiles:
    """Reads --quantiles of export.

    Args:
        said: "task=level" each; a task may be named for several levels.
        schema: With the tasks that are served.

    Raises:
        ConfigError: The text has another form, the level is none in (0, 1), the task is unknown or
            has another head than "cqe", the same quantile is named twice, or a task has its name.
    """
    quantiles: dict[str, Quantile] = {}
    for text in said:
        task, _, digits = text.partition("=")
        try:
            level = float(digits)
        except ValueError:
            refuse(FLAG, text, "task=level, such as cvr=0.9")
        expect(0 < level < 1, FLAG, text, "a level above 0 and below 1")

        with_quantiles = [known.name for known in schema.tasks if known.head.kind == "cqe"]
        expected = f"a task with the head cqe, here {', '.join(with_quantiles) or 'none'}"
        expect(task in with_quantiles, FLAG, text, expected)

        name = output_name(task, level)
        expect(name not in quantiles, FLAG, text, "each quantile once")
        taken = [known.name for known in schema.tasks]
        expect(name not in taken, FLAG, text, f"another level: a task has the name {name}")
        quantiles[name] = Quantile(task, level)
    return quantiles


def output_name(task: str, level: float) -> str:
    """Returns a quantile's name, without the "p" of outputs.

    >>> output_name("cvr", 0.9), output_name("cvr", 0.975)
    ('cvr_q90', 'cvr_q97_5')
    """
    return f"{task}_q{100 * level:.10g}".replace(".", "_")
