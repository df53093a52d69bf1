"""How many passes over train the stages of a run take, where its flags leave it to the logs."""

from __future__ import annotations

import dataclasses

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.training.plan import Feed

MOST_PASSES = 6
# Passes in which s_gates learns its tickets. Twice as many found no better ones on the simulated
# feed, half as many found worse ones.
GATE_PASSES = 2
# Steps of all passes together up to which further ones are worth a try. On logs of millions of rows
# networks with embeddings of ids are best after one pass (Zhang et al., arXiv 2209.06053).
MOST_STEPS = 5_000


def settled(settings: Settings, feed: Feed) -> Settings:
    """Returns the settings with the numbers of passes that a stage takes at most.

    Where `epochs` is 0, they are those of `most_passes`, with a patience of 1 unless one is given,
    and 1 with --warm_start or where no row validates. Where `search_epochs` is 0, they are
    `epochs`. Where `gate_epochs` is 0, they are `GATE_PASSES`, or fewer by `most_passes`.

    Args:
        settings: The run's.
        feed: Its logs.
    """
    training = settings.training
    epochs, patience = training.epochs, training.patience
    by_size = most_passes(feed.steps_per_epoch * feed.batches_per_step)
    if not epochs:
        unmeasured = feed.validation is None or settings.daily.warm_start
        epochs = 1 if unmeasured else by_size
        patience = patience or 1
    search_epochs = training.search_epochs or epochs
    gate_epochs = settings.tickets.gate_epochs or min(GATE_PASSES, by_size)

    passes = dataclasses.replace(
        training, epochs=epochs, search_epochs=search_epochs, patience=patience
    )
    tickets = dataclasses.replace(settings.tickets, gate_epochs=gate_epochs)
    return dataclasses.replace(settings, training=passes, tickets=tickets)


def most_passes(steps: int) -> int:
    """Returns the passes over train that are worth a try.

    Args:
        steps: Of a pass.

    >>> [most_passes(steps) for steps in (0, 50, 1_000, 2_000, 3_000, 1_000_000)]
    [6, 6, 5, 2, 1, 1]
    """
    return max(1, min(MOST_PASSES, MOST_STEPS // max(1, steps)))


def may_end_early(epochs: int, patience: int) -> bool:
    """Tells if patience may end a stage before its last pass.

    The first pass is the best so far; a stage ends `patience` passes after the best one.

    >>> may_end_early(6, 1), may_end_early(2, 1), may_end_early(6, 0)
    (True, False, False)
    """
    return 0 < patience < epochs - 1


def note_on_passes(settings: Settings, feed: Feed) -> str:
    """Returns a line that says how many passes the logs' size asks for; "" where flags say it.

    Args:
        settings: The run's, before `settled`.
        feed: Its logs.
    """
    if settings.training.epochs:
        return ""
    training, steps = settled(settings, feed).training, feed.steps_per_epoch
    if training.epochs == 1:
        return f"passes over train: 1 of {steps:,} steps (--epochs=0: by the size of the log)"
    return (
        f"passes over train: at most {training.epochs} of {steps:,} steps, until validation has "
        f"not gained for {training.patience} (--epochs=0: by the size of the log)"
    )
