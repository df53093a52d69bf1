"""What all stages of a run start from: theta_0, the ticket of its tables, a warm-up."""

from __future__ import annotations

import dataclasses

from lt4rec_tf.core import artifacts
from lt4rec_tf.experiment.paths import INITIAL, TRAINING, WARMUP
from lt4rec_tf.experiment.run import Run, joint_trainer, network_in, plan_of, theta_0
from lt4rec_tf.experiment.table_search import find_table_ticket
from lt4rec_tf.models.registry import network_of
from lt4rec_tf.training import checkpoint


def keep_start(run: Run) -> None:
    """Saves theta_0; finds the ticket of the tables and warms up, where flags ask for it.

    What an earlier process finished is skipped.
    """
    initial = run.searches / INITIAL
    if not artifacts.is_done(initial):
        checkpoint.save(initial, network_of(run.settings, run.schema, "s_weight").variables)
        artifacts.mark_done(initial)
    if run.settings.tickets.embedding_density < 1:
        find_table_ticket(run)
    epochs = run.settings.tickets.warmup_epochs
    warm = run.searches / WARMUP / TRAINING
    if epochs and not artifacts.is_done(warm):
        network = network_in(run, "s_weight")
        checkpoint.restore(theta_0(run), network.variables)
        plan = dataclasses.replace(plan_of(run, epochs), patience=0, keep_last=True)
        joint_trainer(run, network).fit(warm, "warmup", plan)
