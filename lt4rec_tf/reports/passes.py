"""What a run's passes over train say: whether more of them, or smaller steps, are worth a try."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

SMALL_LOG = 2_000  # steps of a pass below which one pass is seldom enough


class Passes(NamedTuple):
    """The passes that a model was trained for.

    Attributes:
        taken: Their number.
        best: The best one on validation, from 1.
    """

    taken: int
    best: int


def advice(passes_by_model: Mapping[str, Passes], most: int, steps: int) -> list[str]:
    """Returns a line for each thing that the passes say.

    Args:
        passes_by_model: By model.
        most: Passes that it could take (--epochs).
        steps: Of a pass.

    >>> advice({"base": Passes(3, 3), "s_weight": Passes(2, 1)}, most=3, steps=40)[0]
    'base: the last of 3 passes was the best on validation; more may help (--epochs=6 --patience=1)'
    """
    return list(_lines(passes_by_model, most, steps))


def _lines(passes_by_model: Mapping[str, Passes], most: int, steps: int) -> Iterator[str]:
    if most == 1:
        if steps < SMALL_LOG and passes_by_model:
            yield (
                f"one pass of {steps} steps was taken over train; on a small log more may help "
                "(--epochs=6 --search_epochs=6 --patience=1)"
            )
        return

    last = [
        model for model, passes in passes_by_model.items() if passes.taken == passes.best == most
    ]
    if last:
        yield (
            f"{', '.join(last)}: the last of {most} passes was the best on validation; more may "
            f"help (--epochs={2 * most} --patience=1)"
        )
    first = [model for model, p in passes_by_model.items() if p.best == 1 and p.taken > 1]
    if first:
        yield (
            f"{', '.join(first)}: the first pass was the best on validation; a smaller "
            "--learning_rate or --field_dropout=0.2 may help"
        )
