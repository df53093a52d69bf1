"""Sparse sharing whose tickets are found while all tasks train together: the model s_joint.

One training of a few passes finds the tickets and trains what wears them, where Algorithm 1 trains
each task anew for each level. `level_search` says how.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core.typed_json import read_typed
from lt4rec_tf.experiment.level_search import (
    JointSearch,
    LevelSearch,
    check_levels,
    find_levels,
    pending_levels,
)
from lt4rec_tf.experiment.paths import JOINT, LEVELS, model_folder
from lt4rec_tf.experiment.run import Run, joint_trainer, network_in

MODEL = "s_joint"


def train_model(run: Run) -> None:
    """Trains all levels, and keeps the one that validation chooses as the model's network.

    Levels that an earlier process finished are skipped.
    """
    folder = model_folder(run.folder, MODEL)
    network = network_in(run, MODEL)
    trainer = joint_trainer(run, network)
    search = LevelSearch(run, network, trainer, folder, folder / LEVELS, MODEL)
    find_levels(search, folder / JOINT)


def pending_epochs(settings: Settings, folder: Path) -> int:
    """Returns the epochs that the levels may still take.

    Args:
        settings: The run's.
        folder: RUN.
    """
    own = model_folder(folder, MODEL)
    levels = pending_levels(own, own / LEVELS, settings.tickets.rounds)
    return levels * settings.training.search_epochs


def read_joint_search(folder: Path, tasks: Sequence[str]) -> JointSearch | None:
    """Reads a finished search; None: the model was trained without one, as in daily training.

    Args:
        folder: The model's.
        tasks: Of the run.

    Raises:
        RunError: The file holds something else, or that of a search with levels is gone.
    """
    was_there = (folder / JOINT).exists() or (folder / LEVELS).exists()
    if not was_there:
        return None
    found: JointSearch = read_typed(folder / JOINT, JointSearch)
    check_levels(folder / JOINT, found, tasks, tasks)
    return found
