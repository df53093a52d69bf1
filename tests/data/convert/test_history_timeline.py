"""The past of rows in order: by value, beside a comparison of all pairs, at 10^5 events."""

import time

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lt4rec_tf.data.convert.history import NO_REQUEST, Timeline


def past_of(timeline, rows):
    found = timeline.of(np.asarray(rows, np.int64))
    return [part.tolist() for part in np.split(found.events, np.cumsum(found.counts)[:-1])]


def test_events_before_the_row_newest_first_of_the_user_alone():
    users = np.array([1, 1, 1, 1, 2, 2])
    ticks = np.array([1.0, 2.0, 2.0, 5.0, 1.0, 9.0])
    is_event = np.array([True, True, False, True, True, False])  # events 0, 1, 2; 3 of user 2
    none = np.full(6, NO_REQUEST)
    timeline = Timeline(users, ticks, is_event, none, delay=0.0, kept=2)
    assert past_of(timeline, range(6)) == [[], [0], [0], [1, 0], [], [3]]
    assert past_of(timeline, [5, 3]) == [[3], [1, 0]]
    late = Timeline(users, ticks, is_event, none, delay=3.0, kept=9)
    assert past_of(late, range(6)) == [[], [], [], [0], [], [3]]  # 2 is not before 5 - 3


def test_events_of_the_own_request_do_not_count_and_older_ones_take_their_place():
    requests = np.array([7, 8, 7, 7, NO_REQUEST, 7])
    every = np.ones(6, bool)
    timeline = Timeline(np.zeros(6, int), np.arange(6.0), every, requests, delay=0.0, kept=2)
    assert past_of(timeline, range(6)) == [[], [0], [1], [1], [3, 2], [4, 1]]


ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 6), st.booleans(), st.integers(0, 3)), max_size=20
)


@settings(max_examples=300, deadline=None)
@given(ROWS, st.sampled_from([0.0, 0.5, 1.0, 3.0]), st.integers(1, 4), st.randoms())
def test_the_past_is_that_of_a_comparison_of_all_pairs(rows, delay, kept, random):
    rows.sort(key=lambda row: row[:2])
    users, ticks, is_event, requests = (
        np.array([row[place] for row in rows], dtype)
        for place, dtype in enumerate((np.int64, np.float64, bool, np.int64))
    )
    events = np.flatnonzero(is_event).tolist()

    def expected(mine):
        past = []
        for number, other in enumerate(events):
            is_own = requests[mine] != NO_REQUEST and requests[mine] == requests[other]
            if users[other] == users[mine] and ticks[other] < ticks[mine] - delay and not is_own:
                past.append(number)
        return past[::-1][:kept]

    timeline = Timeline(users, ticks, is_event, requests, delay, kept)
    asked = list(range(len(rows)))
    random.shuffle(asked)
    if rows:
        assert past_of(timeline, asked) == [expected(mine) for mine in asked]


@settings(max_examples=100, deadline=None)
@given(ROWS, st.integers(0, 7), st.sampled_from([0.0, 1.0]))
def test_what_comes_later_changes_nothing(rows, now, delay):
    rows.sort(key=lambda row: row[:2])

    def pasts(kept_rows):
        users, ticks, is_event, requests = (
            np.array([row[place] for row in kept_rows], dtype)
            for place, dtype in enumerate((np.int64, np.float64, bool, np.int64))
        )
        timeline = Timeline(users, ticks, is_event, requests, delay, kept=9)
        number_of = np.flatnonzero(is_event)
        past = past_of(timeline, range(len(kept_rows))) if kept_rows else []
        return [[kept_rows[number_of[event]] for event in events] for events in past]

    earlier = [row for row in rows if row[1] <= now]
    with_later = [past for row, past in zip(rows, pasts(rows), strict=True) if row[1] <= now]
    assert pasts(earlier) == with_later
    for row, past in zip(earlier, with_later, strict=True):
        assert all(event[0] == row[0] and event[1] < row[1] - delay for event in past)


def test_a_user_with_many_events_of_one_request_costs_no_more_than_others():
    rows = 100_000
    requests = np.where(np.arange(rows) < rows - 1000, 1, 2)  # of row 1000 all before are its own
    begun = time.process_time()
    ticks = np.arange(rows, dtype=np.float64)
    timeline = Timeline(np.zeros(rows, int), ticks, np.ones(rows, bool), requests, 0.0, 50)
    past = timeline.of(np.arange(rows))
    assert time.process_time() - begun < 5  # of all pairs it would be minutes
    assert past.counts[: rows - 1000].sum() == 0
    assert past.events[-50:].tolist() == list(range(rows - 1001, rows - 1051, -1))
