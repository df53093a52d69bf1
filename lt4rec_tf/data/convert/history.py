"""Past events of impressions: whose, which ones and in which order; NumPy alone.

An event of an impression's history is of the same user, lies before the impression's time minus a
delay, and is not of the impression's own request. The newest ones are kept, the newest first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

NO_REQUEST = 0  # a row that names no request shares it with none


class Past(NamedTuple):
    """The past events of some impressions.

    Attributes:
        counts: int64 (impressions,), how many each has.
        events: int64 (sum of the counts,), those of the first impression, the newest first, then
            those of the next; indices among all events.
    """

    counts: np.ndarray
    events: np.ndarray


@dataclass(frozen=True)
class _OwnEvents:
    """Events of each request, in the order of requests, then of events.

    Attributes:
        request: By row, int64 (rows,), its request of its user; -1: none.
        starts: By request, int64 (requests + 1,): where its events begin in the arrays below.
        by_event: Rising, request * stride + the event's number among its user's.
        by_other: Rising, request * stride + how many events of other requests come before it.
        stride: More than there are events.
    """

    request: np.ndarray
    starts: np.ndarray
    by_event: np.ndarray
    by_other: np.ndarray
    stride: int


class Timeline:
    """The rows of some users, from which the past of each row is taken.

    Building costs O(n log n) of n rows, the past of a row O(kept log n), however many events one
    user or one request has.

    Args:
        users: int64 (rows,), never falling: rows of one user stand together.
        ticks: float64 (rows,), finite; within a user never falling. Rows of one user and tick stand
            in the order in which they count as older and newer.
        is_event: bool (rows,).
        requests: int64 (rows,), `NO_REQUEST` where a row names none.
        delay: In ticks, 0 or more: an event counts strictly before a row's tick minus it.
        kept: The most events of a row, 1 or more.
    """

    def __init__(
        self,
        users: np.ndarray,
        ticks: np.ndarray,
        is_event: np.ndarray,
        requests: np.ndarray,
        delay: float,
        kept: int,
    ) -> None:
        self._kept = kept
        self._first = _events_before(users, users, is_event)  # of a row's user
        ends = _ends(users, ticks, is_event, delay)
        self._own = _own_events(users, is_event, requests, self._first)
        self._earlier = ends - self._first - self._own_between(np.arange(len(users)), ends)

    def _own_between(self, rows: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Counts the events of each row's own request among the user's events up to an end."""
        own = self._own
        request = own.request[rows]
        keys = request * own.stride + ends - self._first[rows]
        counts = np.searchsorted(own.by_event, keys) - own.starts[request]
        return np.where(request < 0, 0, counts)

    def of(self, rows: np.ndarray) -> Past:
        """Returns the past of some rows.

        Args:
            rows: int64 (impressions,), indices of rows, in any order.
        """
        earlier = self._earlier[rows]
        counts = np.minimum(earlier, self._kept)
        owners = np.repeat(np.arange(len(rows)), counts)
        places = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        others = earlier[owners] - 1 - places  # numbers among the events of other requests

        own, request = self._own, self._own.request[rows][owners]
        own_before = np.searchsorted(own.by_other, request * own.stride + others, side="right")
        own_before = np.where(request < 0, 0, own_before - own.starts[request])
        return Past(counts, self._first[rows][owners] + others + own_before)


def _events_before(users: np.ndarray, of_users: np.ndarray, is_event: np.ndarray) -> np.ndarray:
    """Counts, by row, the events of all users before its own."""
    before = np.concatenate([[0], np.cumsum(is_event)])
    return before[np.searchsorted(users, of_users)]


def _ends(users: np.ndarray, ticks: np.ndarray, is_event: np.ndarray, delay: float) -> np.ndarray:
    """Counts, by row, the events of users before its own and its user's early enough ones."""
    events = np.flatnonzero(is_event)
    all_users = np.concatenate([users, users[events]])
    all_ticks = np.concatenate([ticks - delay, ticks[events]])
    is_one = np.arange(len(all_users)) >= len(users)

    # At an equal tick a row stands before events: these do not count.
    order = np.lexsort((is_one, all_ticks, all_users))
    ends = np.empty(len(all_users), np.int64)
    ends[order] = np.cumsum(is_one[order])
    return ends[: len(users)]


def _own_events(
    users: np.ndarray, is_event: np.ndarray, requests: np.ndarray, first: np.ndarray
) -> _OwnEvents:
    """Groups events by their requests; a request is one of one user."""
    order = np.lexsort((requests, users))
    is_new = np.ones(len(order), bool)
    is_new[1:] = (np.diff(users[order]) != 0) | (np.diff(requests[order]) != 0)
    request = np.empty(len(order), np.int64)
    request[order] = np.cumsum(is_new) - 1
    total = int(is_new.sum())
    request[requests == NO_REQUEST] = -1

    events = np.flatnonzero(is_event)
    numbers = np.arange(len(events)) - first[events]  # of each event among its user's
    of_requests = np.flatnonzero(request[events] >= 0)
    of_requests = of_requests[np.argsort(request[events][of_requests], kind="stable")]
    request_of, numbers = request[events][of_requests], numbers[of_requests]

    starts = np.searchsorted(request_of, np.arange(total + 1))
    ranks = np.arange(len(request_of)) - starts[request_of]
    stride = len(events) + 1
    keys = request_of * stride
    return _OwnEvents(request, starts, keys + numbers, keys + numbers - ranks, stride)
