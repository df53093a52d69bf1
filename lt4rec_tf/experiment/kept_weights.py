"""Weights that a stage must leave as they are, because tasks that it does not train read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from lt4rec_tf.core import artifacts
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.training import checkpoint


def own_variables(network: RankingNetwork, tasks: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns the variables that these tasks alone read, changeable as a whole."""
    own = tuple(f"{task}/" for task in tasks)
    return {name: np.array(True) for name in network.variables if name.startswith(own)}


def check_unchanged(
    names: Iterable[str], before: Path, after: Path, changeable: Mapping[str, np.ndarray]
) -> None:
    """Compares variables where they must not change, bit for bit, before anything is served.

    Args:
        names: Of the variables.
        before: Checkpoint of the stage's start.
        after: Checkpoint of its end.
        changeable: Name -> where it may change; none of variables that may not.

    Raises:
        RunError: A weight moved that other tasks read.
    """
    for name in names:
        start, trained = checkpoint.read(before, name), checkpoint.read(after, name)
        places = ~np.broadcast_to(changeable.get(name, np.array(False)), start.shape)
        if start[places].tobytes() != trained[places].tobytes():
            raise artifacts.RunError(
                f"{after}: {name}: found other weights than in {before} where other tasks wear "
                "them, expected the same, bit for bit; remove the run's folder and begin anew"
            )
