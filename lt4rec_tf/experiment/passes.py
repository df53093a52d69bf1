"""How many passes over train the stages of a run take, where its flags leave it to the logs."""

from __future__ import annotations

import dataclasses

from lt4rec_tf.config.settings import Settings
from lt4rec_tf.training.plan import Feed

MOST_PASSES = 6
REWIND_PASSES = 2  # after which tables are rewound
# In which s_gates learns its tickets. With small steps two are too few on the simulated feed.
GATE_PASSES = 4
# Steps of all passes together up to which further ones are worth a try. On logs of millions of rows
# networks with embeddings of ids are best after one pass (Zhang et al., arXiv 2209.06053).
MOST_STEPS = 5_000


def settled(settings: Settings, feed: Feed) -> Settings:
    """Returns the settings with the numbers of passes that a stage takes at most.

    Where `epochs` is 0, they are those of `most_passes`, and 1 with --warm_start or where no row
    validates; patience is then 1, and tables are rewound after every `REWIND_PASSES`, unless flags
    say otherwise. Where `search_epochs` is 0, they are `epochs`. Where `gate_epochs` is 0, they are
    `GATE_PASSES`, or fewer by `most_passes`.

    Args:
        settings: The run's.
        feed: Its logs.
    """
    by_size, training = _by_size(settings, feed), settings.training
    if not training.epochs:
        rewinds = by_size > REWIND_PASSES and training.distribution == "none"
        training = dataclasses.replace(
            training,
            epochs=by_size,
            patience=training.patience or 1,
            rewind_tables=training.rewind_tables or (REWIND_PASSES if rewinds else 0),
        )
    search_epochs = training.search_epochs or training.epochs
    gate_epochs = settings.tickets.gate_epochs or min(GATE_PASSES, by_size)

    return dataclasses.replace(
        settings,
        training=dataclasses.replace(training, search_epochs=search_epochs),
        tickets=dataclasses.replace(settings.tickets, gate_epochs=gate_epochs),
    )


def _by_size(settings: Settings, feed: Feed) -> int:
    """Returns the passes that a run takes at most where no flag says it."""
    if feed.validation is None or settings.daily.warm_start:
        return 1
    return most_passes(feed.steps_per_epoch * feed.batches_per_step)


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
    by_size = "(--epochs=0: by the size of the log)"
    if training.epochs == 1:
        return f"passes over train: 1 of {steps:,} steps {by_size}"
    until = f"until validation has not gained for {training.patience}"
    if training.rewind_tables:
        until += f" times {training.rewind_tables}, after which embedding tables begin anew"
    return f"passes over train: at most {training.epochs} of {steps:,} steps, {until} {by_size}"
