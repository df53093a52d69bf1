"""Weights that all stages of a run start from: theta_0, its ticket of tables, a warm-up."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.core import artifacts
from lt4rec_tf.experiment import table_search
from lt4rec_tf.experiment.paths import INITIAL, TRAINING, WARMUP
from lt4rec_tf.experiment.run import (
    Run,
    given_tables,
    joint_trainer,
    network_in,
    plan_of,
    theta_0,
)
from lt4rec_tf.models.registry import network_of
from lt4rec_tf.training import checkpoint


def keep_start(run: Run) -> None:
    """Saves theta_0; finds the ticket of the tables and warms up, if flags ask for it.

    What an earlier process finished is skipped.
    """
    initial = run.searches / INITIAL
    if not artifacts.is_done(initial):
        tables = given_tables(run.settings, run.schema)
        network = network_of(run.settings, run.schema, "s_weight", tables=tables)
        checkpoint.save(initial, network.variables)
        artifacts.mark_done(initial)

    table_search.find_table_ticket(run)

    if epochs := _warmup_epochs(run.settings, run.searches):
        network = network_in(run, "s_weight")
        checkpoint.restore(theta_0(run), network.variables)
        plan = dataclasses.replace(
            plan_of(run, epochs), patience=0, keep_last=True, rewind_tables=0
        )
        joint_trainer(run, network).fit(run.searches / WARMUP / TRAINING, "warmup", plan)


def pending_epochs(settings: Settings, searches: Path) -> int:
    """Returns the epochs that the search of the tables and the warm-up may still take.

    Args:
        settings: The run's.
        searches: Folder of the run's searches.
    """
    return table_search.pending_epochs(settings, searches) + _warmup_epochs(settings, searches)


def _warmup_epochs(settings: Settings, searches: Path) -> int:
    """Returns the epochs of a warm-up that is not finished."""
    done = artifacts.is_done(searches / WARMUP / TRAINING)
    return 0 if done else settings.tickets.warmup_epochs
