"""The simulated feed with moods: their truth, their pace, visits, and what a history tells."""

import json
from dataclasses import asdict, replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from lt4rec_tf.data.simulator import feed as simulator_feed
from lt4rec_tf.data.simulator import moods
from lt4rec_tf.data.simulator.__main__ import main
from lt4rec_tf.data.simulator.exposure import first_of_visits
from lt4rec_tf.data.simulator.feed import Feed
from lt4rec_tf.data.simulator.moods import MoodFeed, draw_midnights, moods_on_day, times
from lt4rec_tf.data.simulator.text import (
    COLUMNS,
    MOOD_COLUMNS,
    MOOD_TRUTH_COLUMNS,
    TRUTH_COLUMNS,
)
from lt4rec_tf.data.simulator.world import FeedSettings, SimulatorError
from lt4rec_tf.data.simulator.writer import MODEL_VERSION, simulate
from tests.support.simulated import (
    assert_same_whatever_the_shards,
    columns,
    impressions,
    lines,
    records,
    written_to,
)

SMALL = FeedSettings(rows=3_000, users=80, videos=200, days=3, shards_per_day=2, seed=5)
MOODY = replace(SMALL, moods=True)
LARGE = FeedSettings(rows=120_000, users=500, seed=5, moods=True)
START_MS = 1_767_571_200_000  # 2026-01-05 00:00 UTC
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    return written_to(tmp_path_factory.mktemp("feed"), SMALL)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return written_to(tmp_path_factory.mktemp("moods"), MOODY)


@pytest.fixture(scope="module")
def feed():
    return MoodFeed(LARGE)


@pytest.fixture(scope="module")
def log(feed):
    """All rows of a feed of the usual size: impressions, truth and outcomes; day, ratio, mood."""
    parts = []
    for day in range(LARGE.days):
        for shown, truth, happened in feed.blocks(day, 0, feed.rows_of_day(day)):
            duration = 100 * feed.world.videos.duration[shown.video]
            known = {f"p_{name}": values for name, values in vars(truth).items()}
            more = {
                "day": np.full(len(shown.user), day),
                "expected": truth.watch_ratio,
                "ratio": np.minimum(1, happened.play_time / duration),
                "mood": feed.mood_interest(day, shown),
            }
            parts.append(vars(shown) | known | vars(happened) | more)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


# With moods columns are appended, and without them nothing has changed.


def test_the_log_and_its_truth_gain_two_columns_each(without, small):
    assert list(MOOD_COLUMNS) == [*COLUMNS, "request_id", "time_ms"]
    assert MOOD_TRUTH_COLUMNS[:3] == TRUTH_COLUMNS
    assert len(MOOD_TRUTH_COLUMNS) == 5
    for folder, header in (("impressions", MOOD_COLUMNS), ("truth", MOOD_TRUTH_COLUMNS)):
        assert {file[0] for file in lines(small[0], folder)} == {",".join(header)}
    for folder, header in (("impressions", COLUMNS), ("truth", TRUTH_COLUMNS)):
        assert {file[0] for file in lines(without[0], folder)} == {",".join(header)}


def test_a_manifest_without_moods_does_not_name_them(without, small):
    directory, manifest = without
    assert "mood" not in (directory / "manifest.json").read_text()
    assert simulate(directory, SMALL) == manifest
    with pytest.raises(SimulatorError, match="found a log with moods False, expected True"):
        simulate(directory, MOODY)

    directory, manifest = small
    assert json.loads((directory / "manifest.json").read_text())["settings"]["moods"] is True
    assert simulate(directory, MOODY) == manifest
    with pytest.raises(SimulatorError, match="moods True, expected False"):
        simulate(directory, SMALL)


# Moods as a process.


@pytest.fixture(scope="module")
def path():
    """Moods of 20,000 users at every hour of three days, (72, users, 4)."""
    settings = replace(MOODY, users=20_000).resolved()
    midnights = draw_midnights(settings)
    assert midnights.shape == (SMALL.days + 2, 20_000, 4)
    return np.concatenate([moods_on_day(settings, midnights, day) for day in range(3)])


def test_moods_are_standard_normal_at_every_hour(path):
    # Of 80,000 numbers the mean has a standard error of .0035, the variance one of .005.
    np.testing.assert_allclose(path.mean(axis=(1, 2)), 0, atol=5 * 0.0035)
    np.testing.assert_allclose(path.var(axis=(1, 2)), 1, atol=5 * 0.005)
    for hour in (0, 13, 47):
        between = np.corrcoef(path[hour].T) - np.eye(4)
        assert np.abs(between).max() < 5 / np.sqrt(20_000)


def test_the_autocorrelation_falls_by_e_in_six_hours_across_midnights_too(path):
    for start in (0, 9, 20, 23, 24):
        for later in (1, 3, 6, 12, 24, 40):
            measured = (path[start] * path[start + later]).mean()
            assert measured == pytest.approx(np.exp(-later / 6), abs=5 * 0.005), (start, later)


def test_the_mood_of_an_hour_tells_all_that_earlier_ones_tell(path):
    # The partial correlation of hours before and after a third is 0: within a day and across days.
    for before, now, after in ((5, 7, 8), (20, 23, 25), (22, 24, 27), (46, 48, 49)):
        kept = [np.exp(-(now - before) / 6), np.exp(-(after - now) / 6)]
        early = path[before] - kept[0] * path[now]
        late = path[after] - kept[1] * path[now]
        assert (early * late).mean() == pytest.approx(0, abs=5 / np.sqrt(80_000))


# The truth, by value.


def test_probabilities_are_the_documented_sums_of_causes():
    feed = MoodFeed(MOODY)
    plain = Feed(MOODY)
    shown = impressions(1, source=11, position=3, hour=9, network=1)
    causes = plain.causes(2, shown)
    video = feed.world.videos.vector[7]
    user = 0.6 * feed.on_day(2).user_vector[3] + 1.2 * feed.moods_on_day(2)[9, 3]
    interest = user @ video / 2 - causes["interest"]
    click, watch = plain._scores(2, shown)
    truth, levels = feed.truth(2, shown), feed.intercepts
    np.testing.assert_allclose(truth.click, expit(levels.click + click + 0.75 * interest))
    np.testing.assert_allclose(truth.complete, expit(levels.complete + watch + 0.6 * interest))
    np.testing.assert_allclose(
        truth.partial_mean, expit(levels.partial + 0.45 * (watch + 0.6 * interest))
    )


def test_without_the_mood_is_the_mean_over_all_moods():
    feed = MoodFeed(MOODY)
    shown = impressions(1)
    expected = feed.truth(1, shown)
    assert expected.click != expected.click_without_mood

    draws = 400_000
    drawn = np.random.default_rng(0).standard_normal((draws, 4))
    video = feed.world.videos.vector[7]
    along_video = (1.2 * drawn - 0.4 * feed.on_day(1).user_vector[3]) @ video / 2
    click, watch = Feed(MOODY)._scores(1, shown)
    chances = feed.truth_of_scores(click + 0.75 * along_video, watch + 0.6 * along_video)
    ratio = np.average(chances.watch_ratio, weights=chances.click)
    assert chances.click.mean() == pytest.approx(expected.click_without_mood[0], abs=0.0015)
    assert ratio == pytest.approx(expected.watch_ratio_without_mood[0], abs=0.0015)


def test_the_mean_over_moods_is_exact_to_the_decimals_of_the_truth(feed, monkeypatch):
    shown = next(feed.blocks(3, 0, 5_000))[0]
    written = feed.truth(3, shown)
    monkeypatch.setattr(moods, "AVERAGING_NODES", 60)
    finer = feed.truth(3, shown)
    for name in ("click_without_mood", "watch_ratio_without_mood"):
        np.testing.assert_allclose(getattr(written, name), getattr(finer, name), atol=5e-7)


@pytest.mark.parametrize(("chance", "tolerance"), [("p_click", 4), ("p_click_without_mood", 8)])
def test_truth_is_calibrated_over_the_log(log, chance, tolerance):
    # Without moods the errors of a visit are of one sign: its rows are fewer than they seem.
    for low, high in pairwise([0, 0.2, 0.4, 0.6, 0.8, 1]):
        inside = (log[chance] >= low) & (log[chance] < high)
        error = tolerance * 0.5 / np.sqrt(inside.sum())
        assert log["click"][inside].mean() == pytest.approx(log[chance][inside].mean(), abs=error)


def test_the_expected_watch_ratio_is_calibrated_on_clicks(log):
    clicked = log["click"] == 1
    for name in ("expected", "p_watch_ratio_without_mood"):
        for low, high in pairwise([0.3, 0.6, 0.8, 0.9, 1]):
            inside = clicked & (log[name] >= low) & (log[name] < high)
            error = 8 * 0.27 / np.sqrt(inside.sum())
            assert log["ratio"][inside].mean() == pytest.approx(log[name][inside].mean(), abs=error)


def test_marginals_are_those_of_the_settings(log):
    clicked = log["click"] == 1
    assert clicked.mean() == pytest.approx(LARGE.click_rate, abs=0.015)
    assert log["ratio"][clicked].mean() == pytest.approx(LARGE.watch_ratio, abs=0.015)


def test_few_visits_do_not_decide_on_the_calibration(feed):
    # Of some 940 requests a day; visits would bring 80 users.
    for _, shown in feed.calibration_sample():
        assert len(np.unique(shown.user)) > 250


def test_rows_change_only_with_the_model_version():
    # Made by version 1 itself: whoever has to change these numbers raises MODEL_VERSION.
    assert MODEL_VERSION == 1
    shown, truth, happened = next(MoodFeed(MOODY).blocks(2, 0, 6))
    assert shown.user.tolist() == [28] * 6
    assert shown.video.tolist() == [153, 159, 188, 195, 20, 115]
    assert shown.time.tolist() == [START_MS + 48 * HOUR_MS] * 6
    assert happened.play_time.tolist() == [132_466, 32_501, 156_266, 0, 32_521, 22_800]
    expected = [0.974311, 0.599447, 0.450511, 0.285940, 0.830562, 0.331267]
    np.testing.assert_allclose(truth.click, expected, atol=2e-6)
    expected = [0.968833, 0.507136, 0.403270, 0.466459, 0.625292, 0.320710]
    np.testing.assert_allclose(truth.click_without_mood, expected, atol=2e-6)


def test_impressions_do_not_depend_on_moods(monkeypatch):
    moved = next(MoodFeed(MOODY).blocks(1, 0, 1_000))
    monkeypatch.setattr(moods, "MOOD_STRENGTH", 0.0)
    calm = next(MoodFeed(MOODY).blocks(1, 0, 1_000))
    for name, values in vars(moved[0]).items():
        np.testing.assert_array_equal(values, getattr(calm[0], name))
    np.testing.assert_allclose(calm[1].click, calm[1].click_without_mood)
    np.testing.assert_allclose(calm[1].watch_ratio, calm[1].watch_ratio_without_mood)
    assert np.abs(moved[1].click - moved[1].click_without_mood).mean() > 0.1


# What a history is worth.


def test_the_mood_is_worth_what_the_documents_say(log):
    truth = roc_auc_score(log["click"], log["p_click"])
    without = roc_auc_score(log["click"], log["p_click_without_mood"])
    assert 0.79 < truth < 0.84
    assert 0.04 < truth - without < 0.08

    clicked = log["click"] == 1
    error = {
        name: ((log["ratio"] - log[name])[clicked] ** 2).mean()
        for name in ("expected", "p_watch_ratio_without_mood")
    }
    assert error["expected"] < 0.98 * error["p_watch_ratio_without_mood"]


def history_score(feed, log, is_event, youngest=0, oldest=6):
    """<mean vector of a user's events some hours earlier, v> / 2; 0 where there are none."""
    score = np.zeros(len(log["user"]))
    vectors = feed.world.videos.vector
    for user in np.unique(log["user"]):
        rows = np.flatnonzero(log["user"] == user)
        events = rows[is_event[rows]]
        hours = log["time"][events] / HOUR_MS
        now = log["time"][rows] / HOUR_MS
        first = np.searchsorted(hours, now - oldest, side="left")
        end = np.searchsorted(hours, now - youngest, side="left")
        for row, begin, stop in zip(rows, first, end, strict=True):
            if stop > begin:
                mean = vectors[log["video"][events[begin:stop]]].mean(axis=0)
                score[row] = mean @ vectors[log["video"][row]] / 2
    return score


def test_recent_clicks_tell_of_the_mood_and_old_ones_do_not(feed, log):
    def correlation(score):
        informed = score != 0
        assert informed.mean() > 0.5
        return np.corrcoef(score[informed], log["mood"][informed])[0, 1]

    clicked = log["click"] == 1
    assert correlation(history_score(feed, log, clicked)) > 0.2
    assert abs(correlation(history_score(feed, log, clicked, 24, 1_000))) < 0.06


def test_a_history_adds_to_all_that_is_known_without_the_mood(feed, log):
    known = np.log(log["p_click_without_mood"] / (1 - log["p_click_without_mood"]))
    clicked = history_score(feed, log, log["click"] == 1)
    shown = history_score(feed, log, log["click"] >= 0)
    early, late = log["day"] < 5, log["day"] >= 5

    def measured(*inputs):
        table = np.stack(inputs, axis=1)
        found = LogisticRegression(C=1e6).fit(table[early], log["click"][early])
        return roc_auc_score(log["click"][late], found.decision_function(table[late]))

    assert measured(known, clicked) > measured(known) + 0.002
    assert measured(known, clicked, shown) > measured(known) + 0.01


# Requests, visits and times.


def test_rows_of_a_request_share_its_id_and_its_time(log):
    begins = log["position"] == 1
    ids = log["day"] * 10**9 + log["request"]
    assert len(np.unique(ids)) == begins.sum()
    np.testing.assert_array_equal(begins[1:], ids[1:] != ids[:-1])
    np.testing.assert_array_equal(log["request"][begins], log["number"][begins])
    continues = np.flatnonzero(~begins)
    for name in ("user", "time", "hour", "network", "source", "request"):
        np.testing.assert_array_equal(log[name][continues], log[name][continues - 1])


def test_times_rise_with_the_rows_and_say_hour_and_day(log):
    since = log["time"] - START_MS
    begins = np.flatnonzero(log["position"] == 1)
    assert (np.diff(since[begins]) > 0).all()
    np.testing.assert_array_equal(since // (24 * HOUR_MS), log["day"])
    np.testing.assert_array_equal(since // HOUR_MS % 24, log["hour"])
    within_hour = since[begins] % HOUR_MS
    assert within_hour.mean() / HOUR_MS == pytest.approx(0.5, abs=5 * 0.29 / np.sqrt(len(begins)))


def test_times_begin_and_end_with_the_hour():
    # The first hour has 3 of 120 parts of the traffic, the last one 5.
    passed = np.array([0, 1.5 / 120, 3 / 120, 115 / 120, 1])
    found = times(2, np.array([0, 0, 0, 23, 23]), passed) - START_MS - 48 * HOUR_MS
    expected = [0, HOUR_MS / 2, HOUR_MS - 1, 23 * HOUR_MS, 24 * HOUR_MS - 1]
    np.testing.assert_allclose(found, expected, atol=1)


def test_the_first_day_is_a_date():
    assert np.datetime64(int(times(5, np.array([0]), np.zeros(1))[0]), "ms") == np.datetime64(
        "2026-01-10T00:00"
    )


def test_a_visit_is_a_chain_of_requests_of_one_place():
    first = first_of_visits(20_000, 17_400, np.random.default_rng(0))  # six at a time
    assert (first <= np.arange(20_000)).all()
    np.testing.assert_array_equal(first[first], first)
    sizes = np.bincount(first)[np.unique(first)]
    # 1,700 geometric numbers.
    assert sizes.mean() == pytest.approx(12, abs=5 * 12 / np.sqrt(1_700))
    assert sizes.std() == pytest.approx(np.sqrt(12 * 11), abs=2)


def test_visits_take_minutes_and_users_come_by_their_activity(feed, log):
    begins = np.flatnonzero(log["position"] == 1)
    user, time = log["user"][begins], log["time"][begins]
    order = np.lexsort((time, user))
    gaps = np.diff(time[order])[np.diff(user[order]) == 0] / 60_000
    within_visit = gaps[gaps < 60]
    assert len(within_visit) / len(begins) > 0.75
    assert np.mean(within_visit) == pytest.approx(4, abs=1)

    # Visits are few: of each tenth of the users by activity, their share of the requests.
    there = feed.world.users.first_day == 0
    tenth = np.argsort(np.argsort(feed.world.users.activity[there])) * 10 // there.sum()
    shown = np.bincount(user, minlength=LARGE.users)[there]
    found = np.bincount(tenth, weights=shown) / shown.sum()
    expected = np.bincount(tenth, weights=feed.world.users.activity[there])
    np.testing.assert_allclose(found, expected / expected.sum(), atol=0.06)


def test_visits_of_crowded_feeds_lie_within_a_block():
    first = first_of_visits(1_900, 10**9, np.random.default_rng(0))
    sizes = np.bincount(first)[np.unique(first)]
    assert sizes.mean() > 7
    assert np.mean(first == np.arange(1_900)) < 0.2


# Files.


def test_columns_hold_what_they_say(small):
    directory, _ = small
    log, truth = columns(directory, "impressions"), columns(directory, "truth")
    [(shown, chances, happened)] = MoodFeed(MOODY).blocks(0, 0, 500)
    assert log["request_id"][:500].tolist() == [f"d0r{number}" for number in shown.request]
    assert log["time_ms"][:500].tolist() == shown.time.astype(str).tolist()
    assert log["click"][:500].tolist() == happened.click.astype(str).tolist()
    for column, expected in (
        ("click_probability", chances.click),
        ("click_probability_without_mood", chances.click_without_mood),
        ("expected_watch_ratio_without_mood", chances.watch_ratio_without_mood),
    ):
        np.testing.assert_allclose(truth[column][:500].astype(float), expected, atol=1e-6)


def test_rows_depend_neither_on_shards_nor_on_where_a_range_starts(small, tmp_path, monkeypatch):
    assert_same_whatever_the_shards(small, MOODY, tmp_path)
    monkeypatch.setattr(simulator_feed, "BLOCK_ROWS", 64)
    feed = MoodFeed(MOODY)

    def rows(*cuts):
        blocks = [block for span in pairwise(cuts) for block in feed.blocks(1, *span)]
        return [
            np.concatenate([getattr(block[part], name) for block in blocks])
            for part, name in ((0, "time"), (0, "request"), (1, "click"), (2, "click"))
        ]

    for whole, cut in zip(rows(0, 1000), rows(0, 1, 64, 200, 777, 1000), strict=True):
        np.testing.assert_array_equal(whole, cut)


def test_tfrecord_and_csv_hold_equal_rows(small, tmp_path):
    manifest = simulate(tmp_path, replace(MOODY, format="tfrecord"))
    rows = records(tmp_path, manifest)
    expected = columns(small[0], "impressions")
    assert all(set(record) == set(MOOD_COLUMNS) for record in rows)
    times_of_records = [str(record["time_ms"].int64_list.value[0]) for record in rows]
    assert times_of_records == expected["time_ms"].tolist()
    requests = [record["request_id"].bytes_list.value[0].decode() for record in rows]
    assert requests == expected["request_id"].tolist()


# Settings.


@pytest.mark.parametrize("other", ["purchases", "reactions"])
def test_moods_stand_alone(other):
    with pytest.raises(SimulatorError, match=r"^moods: found True, expected False with purchases"):
        FeedSettings(moods=True, **{other: True})


@pytest.mark.parametrize(("option", "with_moods"), [([], False), (["--moods"], True)])
def test_the_command_takes_moods_as_a_switch(tmp_path, option, with_moods):
    main(["simulator", f"--dir={tmp_path}", "--rows=500", "--days=2", *option])
    asked = FeedSettings(rows=500, days=2, moods=with_moods)
    assert asdict(simulate(tmp_path, asked).settings) == asdict(asked.resolved())
