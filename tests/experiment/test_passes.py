"""Passes over train by the size of the log."""

import dataclasses

import pytest

from lt4rec_tf.config.parse import parse
from lt4rec_tf.experiment.passes import most_passes, note_on_passes, settled
from lt4rec_tf.experiment.stages import may_take_fewer
from lt4rec_tf.training.plan import Feed


def feed(steps, validation=True, batches_per_step=1):
    return Feed(
        lambda epoch, skip: [], (lambda: []) if validation else None, steps, batches_per_step
    )


def passes(steps, *flags, **of_feed):
    settings, _ = parse(["train", "--schema=s.toml", "--data_dir=d", *flags], "")
    training = settled(settings, feed(steps, **of_feed)).training
    return training.epochs, training.search_epochs, training.patience


def rewound_after(steps, *flags, **of_feed):
    settings, _ = parse(["train", "--schema=s.toml", "--data_dir=d", *flags], "")
    return settled(settings, feed(steps, **of_feed)).training.rewind_tables


@pytest.mark.parametrize("steps", [1, 40, 833, 834, 1_700, 2_500, 2_501, 10**9])
def test_all_passes_together_stay_within_5000_steps_but_for_the_first(steps):
    most = most_passes(steps)
    assert 1 <= most <= 6
    assert most == 1 or most * steps <= 5_000
    assert most == 6 or (most + 1) * steps > 5_000


@pytest.mark.parametrize(
    ("steps", "flags", "expected"),
    [
        (100, [], (6, 6, 1)),
        (2_000, [], (2, 2, 1)),
        (10_000, [], (1, 1, 1)),
        (100, ["--patience=2"], (6, 6, 2)),
        (100, ["--search_epochs=1"], (6, 1, 1)),
        (100, ["--epochs=3"], (3, 3, 0)),
        (100, ["--epochs=3", "--search_epochs=2", "--patience=1"], (3, 2, 1)),
    ],
)
def test_flags_come_before_the_size_of_the_log(steps, flags, expected):
    assert passes(steps, *flags) == expected


@pytest.mark.parametrize(
    ("steps", "flags", "expected"),
    [
        (100, [], 2),
        (1_500, [], 2),  # three passes
        (2_000, [], 0),  # two: there is no span to come
        (10_000, [], 0),
        (100, ["--rewind_tables=1"], 1),
        (100, ["--epochs=6"], 0),
        (100, ["--epochs=6", "--rewind_tables=3"], 3),
        (100, ["--distribution=mirrored"], 0),
    ],
)
def test_tables_are_rewound_where_the_size_of_the_log_asks_for_several_passes(
    steps, flags, expected
):
    assert rewound_after(steps, *flags) == expected


@pytest.mark.parametrize(
    ("steps", "flags", "expected"),
    [(100, [], 4), (2_000, [], 2), (100, ["--epochs=1"], 4), (10_000, ["--gate_epochs=3"], 3)],
)
def test_tickets_are_learned_in_several_passes_of_a_small_log(steps, flags, expected):
    settings, _ = parse(["train", "--schema=s.toml", "--data_dir=d", *flags], "")
    assert settled(settings, feed(steps)).tickets.gate_epochs == expected


def test_one_pass_is_taken_where_nothing_tells_which_is_best():
    assert passes(100, validation=False)[:2] == (1, 1)
    warm = ["--split=none", "--warm_start=runs/a/seed_1", "--models=hard_sharing"]
    assert passes(100, *warm, validation=False)[:2] == (1, 1)


def test_a_step_of_servers_counts_its_batches():
    assert passes(10, batches_per_step=1_000)[0] == 1


def test_what_the_size_decides_is_said_and_what_flags_decide_is_not():
    settings, _ = parse(["train", "--schema=s.toml", "--data_dir=d"], "")
    assert note_on_passes(settings, feed(1_200)).startswith(
        "passes over train: at most 4 of 1,200 steps, until validation has not gained for 1 times "
        "2, after which embedding tables begin anew"
    )
    assert note_on_passes(settings, feed(2_400)).startswith(
        "passes over train: at most 2 of 2,400 steps, until validation has not gained for 1 ("
    )
    assert note_on_passes(settings, feed(10**6)).startswith(
        "passes over train: 1 of 1,000,000 steps"
    )
    given = dataclasses.replace(settings.training, epochs=2)
    assert note_on_passes(dataclasses.replace(settings, training=given), feed(1_200)) == ""


@pytest.mark.parametrize(
    ("flags", "fewer"),
    [
        (["--epochs=6", "--patience=1"], True),
        (["--epochs=2", "--patience=1"], False),
        (["--epochs=6"], False),
        (["--epochs=1", "--search_epochs=6", "--patience=1", "--models=s_weight"], True),
        (["--epochs=1", "--search_epochs=6", "--patience=1", "--models=hard_sharing"], False),
    ],
)
def test_the_steps_to_come_are_the_most_where_patience_may_end_a_stage(flags, fewer):
    settings, _ = parse(["train", "--schema=s.toml", "--data_dir=d", *flags], "")
    assert may_take_fewer(settled(settings, feed(100))) == fewer
