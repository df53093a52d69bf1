"""Stages of a run in their order: what all start from, each task's search, joint training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.experiment import initial_weights, parallel_searches, sharing_search, ticket_search
from lt4rec_tf.experiment.passes import may_end_early
from lt4rec_tf.experiment.run import Run, network_in
from lt4rec_tf.experiment.ticket_search import Ticket
from lt4rec_tf.training.plan import Feed


def train_stages(run: Run) -> list[Ticket]:
    """Runs Algorithm 1 and trains every model; what an earlier process finished is skipped.

    Returns:
        Each task's search with the ticket that it chose; none if no model needs a search.
    """
    initial_weights.keep_start(run)

    tickets = []
    if ticket_search.is_needed(run.settings):
        parallel_searches.search_in_parallel(run)
        shared = network_in(run, "s_weight")
        tickets = [ticket_search.find_ticket(run, shared, task) for task in run.tasks]
        del shared  # its tables would lie beside those of each model

    sharing_search.train_models(run, tickets)
    return tickets


def steps_to_come(
    settings: Settings, tasks: Sequence[str], folder: Path, searches: Path, feed: Feed
) -> int:
    """Returns the training steps of the stages that are not finished, for the time left.

    Args:
        settings: The run's.
        tasks: Names of the run's tasks.
        folder: RUN.
        searches: Folder of the run's searches.
        feed: The logs.
    """
    epochs = initial_weights.pending_epochs(settings, searches)

    if ticket_search.is_needed(settings):
        for task in tasks:
            epochs += ticket_search.pending_epochs(settings, searches, task)

    epochs += sharing_search.pending_epochs(settings, folder, tasks)
    return epochs * feed.steps_per_epoch


def may_take_fewer(settings: Settings) -> bool:
    """Tells if patience may end a stage early, so that `steps_to_come` is the most that may come.

    Args:
        settings: The run's, whose passes are settled.
    """
    training = settings.training
    searches = ticket_search.is_needed(settings) or settings.tickets.embedding_density < 1
    longest = max(training.epochs, training.search_epochs if searches else 0)
    return may_end_early(longest, training.patience)
