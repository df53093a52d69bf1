"""What moods of the simulated feed are worth, and what a history tells of them, by its truth.

    python benchmarks/moods.py --rows 120000 --users 500 --seeds 2020 1 2

No network is trained. Each line ranks the clicks of the last two days with all that moves them but
what it says: "the mood", or "the user", a user's lasting taste and inclination to click. A history
is of earlier requests of the user. Clicks, or clicks and all that was shown, are pooled in the
plainest way: their mean vector times the candidate's is an input of a logistic regression, fitted
to the days before. The filter is an extended Kalman filter of the moods by clicks and skips.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

import numpy as np
from sklearn.linear_model import LogisticRegression

from lt4rec_tf.data.simulator.feed import CLICK_WEIGHTS, sigmoid
from lt4rec_tf.data.simulator.moods import (
    HOURS,
    MOOD_HOURS,
    MOOD_STRENGTH,
    MS_PER_HOUR,
    MoodFeed,
)
from lt4rec_tf.data.simulator.world import FACTORS, FeedSettings
from lt4rec_tf.metrics.binary import auc

MEASURED_DAYS = 2  # the last ones
RECENT_HOURS, OLD_HOURS = 6, 24
EVENTS = 50  # of a history, at most
SHRINKAGE = 20  # events that a mean of few is drawn to 0 by

Log = Mapping[str, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=120_000)
    parser.add_argument("--users", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[2020])
    flags = parser.parse_args()

    columns = []
    for seed in flags.seeds:
        settings = FeedSettings(rows=flags.rows, users=flags.users, seed=seed, moods=True)
        feed = MoodFeed(settings)
        log = log_of(feed)
        columns.append(worth_of_moods(feed, log) | size_of_histories(feed, log))

    print(f"| {flags.rows} rows, {flags.users} users, seed | {' | '.join(map(str, flags.seeds))} |")
    print(f"|---|{'--:|' * len(columns)}")
    for name in columns[0]:
        values = [f"{column[name]:.4f}" for column in columns]
        print(f"| {name} | {' | '.join(values)} |")


def log_of(feed: MoodFeed) -> Log:
    """Returns all rows: impressions, truth ("p_..."), outcomes, and parts of the click's score."""
    parts = []
    for day in range(feed.settings.days):
        for shown, truth, happened in feed.blocks(day, 0, feed.rows_of_day(day)):
            known = {f"p_{name}": values for name, values in vars(truth).items()}
            score, _ = feed._scores(day, shown)
            mood = CLICK_WEIGHTS["interest"] * feed.mood_interest(day, shown)
            causes = feed.causes(day, shown)
            interest = CLICK_WEIGHTS["interest"] * causes["interest"] - mood
            duration = 100 * feed.world.videos.duration[shown.video]
            more = {
                "day": np.full(len(shown.user), day),
                "vector": feed.world.videos.vector[shown.video].astype(float),
                "mood": mood,
                "lasting": feed.intercepts.click + score - mood,
                "of_user": interest + CLICK_WEIGHTS["propensity"] * causes["propensity"],
                "p_ratio": truth.watch_ratio,
                "ratio": np.minimum(1, happened.play_time / duration),
            }
            parts.append(vars(shown) | known | vars(happened) | more)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def worth_of_moods(feed: MoodFeed, log: Log) -> dict[str, float]:
    measured = log["day"] >= feed.settings.days - MEASURED_DAYS
    click = log["click"]
    every_row, clicks = np.ones(len(click), bool), click == 1
    recent = {"youngest": 0, "oldest": RECENT_HOURS}
    old = {"youngest": OLD_HOURS, "oldest": np.inf}

    def of(scores: np.ndarray) -> float:
        return auc(click[measured], scores[measured])

    def of_history(known: np.ndarray, *histories: np.ndarray) -> float:
        inputs = np.stack([known, *histories], axis=1)
        fitted = LogisticRegression(C=1e6).fit(inputs[~measured], click[~measured])
        return of(fitted.decision_function(inputs))

    clicked = pooled(log, clicks, EVENTS, **recent)
    shown = pooled(log, every_row, len(click), **recent)
    clicked_before = pooled(log, clicks, EVENTS, **old)
    shown_before = pooled(log, every_row, len(click), **old)
    chances, reading = filtered(feed, log)
    lasting, of_others = log["lasting"], log["lasting"] - log["of_user"]

    error = {
        name: np.mean((log["ratio"] - log[name])[measured & clicks] ** 2)
        for name in ("p_ratio", "p_watch_ratio_without_mood")
    }
    hours = f"{RECENT_HOURS} hours"
    return {
        "AUC of clicks: the truth": of(log["p_click"]),
        "without the mood": of(log["p_click_without_mood"]),
        f"without the mood, with clicks of {hours}": of_history(lasting, clicked),
        f"without the mood, with clicks and skips of {hours}": of_history(lasting, clicked, shown),
        f"without the mood, with those older than {OLD_HOURS} hours": of_history(
            lasting, clicked_before, shown_before
        ),
        "without the mood, with the filter": of(chances),
        "without mood and user": of(of_others),
        f"without mood and user, with clicks of {hours}": of_history(of_others, clicked),
        f"without mood and user, with clicks and skips of {hours}": of_history(
            of_others, clicked, shown
        ),
        "correlation of the mood with the filter's": np.corrcoef(reading, log["mood"])[0, 1],
        "MSE of watch ratios: the truth": error["p_ratio"],
        "MSE of watch ratios: without the mood": error["p_watch_ratio_without_mood"],
    }


def size_of_histories(feed: MoodFeed, log: Log) -> dict[str, float]:
    clicks = np.zeros(len(log["user"]))
    for _, rows, first, end in histories(log, log["click"] == 1, len(clicks), 0, RECENT_HOURS):
        clicks[rows] = end - first
    users = len(np.unique(log["user"]))
    return {
        "users with impressions": users,
        "impressions a user and day": len(clicks) / users / feed.settings.days,
        f"clicks in the {RECENT_HOURS} hours before a row: mean": clicks.mean(),
        "share of rows with none": np.mean(clicks == 0),
        "with 5 or more": np.mean(clicks >= 5),
        f"with {EVENTS} or more": np.mean(clicks >= EVENTS),
    }


def histories(log: Log, is_event: np.ndarray, most: int, youngest: float, oldest: float):
    """Yields users' (events, rows, first event of each row's history, one past its last)."""
    hours = (log["time"] - log["time"][0]) / MS_PER_HOUR
    for user in np.unique(log["user"]):
        rows = np.flatnonzero(log["user"] == user)
        events = rows[is_event[rows]]
        # Events of the same request have its time: they are not before it.
        end = np.searchsorted(hours[events], hours[rows] - youngest, side="left")
        first = np.searchsorted(hours[events], hours[rows] - oldest, side="left")
        yield events, rows, np.maximum(first, end - most), end


def pooled(log: Log, is_event: np.ndarray, most: int, youngest: float, oldest: float) -> np.ndarray:
    """Returns <mean vector of a row's history, the row's> / sqrt(FACTORS), (rows,)."""
    score = np.zeros(len(is_event))
    for events, rows, first, end in histories(log, is_event, most, youngest, oldest):
        sums = np.concatenate([np.zeros((1, FACTORS)), np.cumsum(log["vector"][events], axis=0)])
        mean = (sums[end] - sums[first]) / (end - first + SHRINKAGE)[:, None]
        score[rows] = np.einsum("rk,rk->r", mean, log["vector"][rows]) / np.sqrt(FACTORS)
    return score


def filtered(feed: MoodFeed, log: Log) -> tuple[np.ndarray, np.ndarray]:
    """Returns p(click) by the moods' filter, (rows,), and what it takes the mood's share to be.

    All that lasts is known. A request is predicted by earlier ones; then its rows are learned, each
    by one step of an extended Kalman filter with the logistic likelihood.
    """
    hour = HOURS * log["day"] + log["hour"]
    along = CLICK_WEIGHTS["interest"] * MOOD_STRENGTH / np.sqrt(FACTORS) * log["vector"]
    start = np.flatnonzero(log["position"] == 1)
    size = np.diff(np.append(start, len(hour)))
    user = log["user"][start]
    by_user = np.argsort(user, kind="stable")
    turn = np.empty(len(start), int)  # of a request among its user's
    turn[by_user] = np.arange(len(start)) - np.searchsorted(user[by_user], user[by_user])

    users = feed.settings.users
    mean, last = np.zeros((users, FACTORS)), np.zeros(users)
    spread = np.tile(np.eye(FACTORS), (users, 1, 1))
    chance, reading = np.zeros(len(hour)), np.zeros(len(hour))
    for number in range(turn.max() + 1):
        requests = np.flatnonzero(turn == number)
        who = user[requests]
        kept = np.exp((last[who] - hour[start[requests]]) / MOOD_HOURS)[:, None]
        last[who] = hour[start[requests]]
        mean[who] *= kept
        fresh = (1 - kept**2)[:, :, None] * np.eye(FACTORS)
        spread[who] = kept[:, :, None] ** 2 * spread[who] + fresh

        places = range(size[requests].max())
        rows_of = [start[requests[size[requests] > place]] + place for place in places]
        for rows in rows_of:
            at, who = along[rows], log["user"][rows]
            reading[rows] = np.einsum("rk,rk->r", at, mean[who])
            doubt = np.einsum("ri,rij,rj->r", at, spread[who], at)
            chance[rows] = sigmoid(
                (log["lasting"][rows] + reading[rows]) / np.sqrt(1 + np.pi / 8 * doubt)
            )
        for rows in rows_of:
            at, who = along[rows], log["user"][rows]
            expected = sigmoid(log["lasting"][rows] + np.einsum("rk,rk->r", at, mean[who]))
            variance = expected * (1 - expected)
            pull = np.einsum("rij,rj->ri", spread[who], at)
            gain = pull / (np.einsum("rk,rk->r", at, pull) + 1 / variance)[:, None]
            mean[who] += gain * ((log["click"][rows] - expected) / variance)[:, None]
            spread[who] -= gain[:, :, None] * pull[:, None, :]
    return chance, reading


if __name__ == "__main__":
    main()
