"""The trials that a comparison's settings were chosen from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lt4rec_tf.reports.comparison_legend import spelled
from lt4rec_tf.reports.text_tables import ABSENT, markdown_table

_NO_SETTINGS = ("trial", "passes", "score", "error")


def trials_table(models: Sequence[Mapping[str, Any]]) -> str:
    """Returns a line for each training of a trial, the longest trainings of a model last.

    Args:
        models: As results.json holds them; each of their `candidates` has settings and score, trial
            and passes (None: as many as the model's flags say), and where it failed error.
    """
    settings: dict[str, None] = {}  # in the order of their first appearance
    for model in models:
        for tried in model["candidates"]:
            settings.update(dict.fromkeys(name for name in tried if name not in _NO_SETTINGS))

    lines = []
    for model in models:
        for tried in model["candidates"]:
            values = {name: tried[name] for name in settings if name in tried}
            is_chosen = tried["passes"] is None and values == model["chosen"]
            lines.append(
                [
                    model["row"],
                    *(values.get(name, ABSENT) for name in settings),
                    str(tried["trial"]),
                    "all" if tried["passes"] is None else str(tried["passes"]),
                    "failed" if "error" in tried else _score(tried["score"]),
                    "yes" if is_chosen else "",
                ]
            )
    header = ["model", *map(spelled, settings), "trial", "passes", "score", "chosen"]
    return markdown_table(header, lines, texts=1)


def _score(score: float | None) -> str:
    return ABSENT if score is None else f"{score:.5f}"
