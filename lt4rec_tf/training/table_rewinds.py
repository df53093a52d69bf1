"""Rewinding of embedding tables within a stage, while all other weights go on.

Rows of rare ids learn their few examples by heart in one pass, and from the second pass on the
layers above learn to trust them. Tables that begin anew with each pass cannot be trusted more than
those of unseen rows, and the layers above go on learning what holds for all ids. Sources: Zhang et
al. (arXiv 2209.06053) on networks that are best after one pass; Liu et al. (arXiv 2305.19531) and
Fan et al. (arXiv 2407.01607), MEDA, which draw tables afresh where these go back to their start.
"""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from lt4rec_tf.core import artifacts
from lt4rec_tf.models.feature_encoder import is_table
from lt4rec_tf.models.network import RankingNetwork
from lt4rec_tf.training import checkpoint
from lt4rec_tf.training.plan import Plan

START_TABLES = "start_tables"  # where a stage keeps the tables that it began with


def keep_tables(folder: Path, network: RankingNetwork) -> None:
    """Saves the network's embedding tables as what the stage of a folder rewinds them to."""
    checkpoint.save(folder / START_TABLES, _tables(network))


def rewind_tables(folder: Path, network: RankingNetwork) -> None:
    """Sets the network's embedding tables to what `keep_tables` saved.

    Raises:
        CheckpointError: The tables are absent or damaged, or do not fit.
    """
    checkpoint.restore(folder / START_TABLES, _tables(network))


def forget_tables(folder: Path) -> None:
    """Removes what `keep_tables` saved, once the stage is done."""
    artifacts.remove(folder / START_TABLES)


def tables_go_back(plan: Plan, epochs: int) -> bool:
    """Tells if tables are rewound after so many epochs of a stage that goes on.

    >>> [tables_go_back(Plan(6, rewind_tables=2), epochs) for epochs in range(5)]
    [False, False, True, False, True]
    >>> tables_go_back(Plan(6), 1)
    False
    """
    return plan.rewind_tables > 0 and epochs > 0 and epochs % plan.rewind_tables == 0


def out_of_patience(plan: Plan, epochs: int, best_epoch: int) -> bool:
    """Tells if a stage ends because it no longer gets better.

    With rewound tables the first epoch after a rewinding is often worse than the one before: what
    counts is whether any epoch up to the next rewinding is better.

    >>> [out_of_patience(Plan(6, patience=1), epochs, 1) for epochs in (2, 3)]
    [False, True]
    >>> [out_of_patience(Plan(6, patience=1, rewind_tables=2), epochs, 1) for epochs in (2, 3, 4)]
    [False, False, True]

    Args:
        plan: The stage's.
        epochs: Number of epochs that are done.
        best_epoch: Index of the best of them.
    """
    if not plan.patience or (plan.rewind_tables and not tables_go_back(plan, epochs)):
        return False
    return epochs - 1 - best_epoch >= plan.patience * max(1, plan.rewind_tables)


def _tables(network: RankingNetwork) -> dict[str, tf.Variable]:
    return {name: table for name, table in network.variables.items() if is_table(name)}
