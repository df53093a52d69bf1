"""The simulated feed: its truth by value, its marginals, its files."""

import csv
import gzip
import hashlib
import json
import shutil
import subprocess
import sys
import tracemalloc
from collections import defaultdict
from dataclasses import asdict, replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from lt4rec_tf.data.simulator import feed as simulator_feed
from lt4rec_tf.data.simulator.exposure import NO_VIDEO, Impressions
from lt4rec_tf.data.simulator.feed import Feed, Truth
from lt4rec_tf.data.simulator.text import COLUMNS, TRUTH_COLUMNS
from lt4rec_tf.data.simulator.world import FeedSettings, SimulatorError
from lt4rec_tf.data.simulator.writer import MODEL_VERSION, simulate, write_shard
from tests.support.paths import PROJECT
from tests.support.simulated import records
from tests.support.turns import Aside, held_by_another, until

SETTINGS = FeedSettings(rows=60_000, users=1_000, videos=1_500, days=4, seed=5)
SMALL = FeedSettings(rows=3_000, users=80, videos=200, days=3, shards_per_day=2, seed=5)


def read(path):
    with gzip.open(path, "rt", newline="") as file:
        return list(csv.DictReader(file))


def read_all(directory, folder):
    return [row for path in sorted((directory / folder).iterdir()) for row in read(path)]


def contents(directory):
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def impressions(rows, **columns):
    """The same impression again and again, but for the columns given."""
    same = {"number": 0, "user": 3, "video": 7, "source": NO_VIDEO}
    same |= {"position": 1, "hour": 20, "network": 0}
    return Impressions(**{k: np.broadcast_to(v, rows) for k, v in (same | columns).items()})


@pytest.fixture(scope="module")
def feed():
    return Feed(SETTINGS)


@pytest.fixture(scope="module")
def log(feed):
    """All rows of the feed: impressions, truth and outcomes, with day and watch ratio."""
    columns = defaultdict(list)
    for day in range(SETTINGS.days):
        for block in feed.blocks(day, 0, feed.rows_of_day(day)):
            for part in block:
                for name, values in vars(part).items():
                    columns[f"p_{name}" if isinstance(part, Truth) else name].append(values)
            columns["expected"].append(block[1].watch_ratio)
            columns["day"].append(np.full(len(block[0].user), day))
    table = {name: np.concatenate(parts) for name, parts in columns.items()}
    table["duration_s"] = feed.world.videos.duration[table["video"]] / 10
    table["ratio"] = np.minimum(1, table["play_time"] / 1000 / table["duration_s"])
    return table


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    directory = tmp_path_factory.mktemp("feed")
    return directory, simulate(directory, SMALL)


# The truth, by value.


def test_probabilities_are_the_documented_sums_of_causes(feed):
    shown = impressions(1, source=11, position=3, hour=9, network=1)
    videos, users, day = feed.world.videos, feed.world.users, feed.on_day(2)
    interest = day.user_vector[3] @ videos.vector[7] / np.sqrt(4)
    similarity = videos.vector[11] @ videos.vector[7] / np.sqrt(4)
    appeal = users.susceptibility[3] * videos.appeal[7]
    position = np.log(0.41 / 0.59)
    evening = np.cos(np.pi)  # 9 o'clock is twelve hours from 21
    click = (
        0.75 * interest + 0.4 * similarity + 0.6 * appeal + 0.25 * videos.quality[7]
        - 0.18 * videos.duration_score[7] + 1.25 * position + 0.1 * evening
        + 0.2 * day.novelty[7] + 0.35 * users.propensity[3]
    )  # fmt: skip
    watch = (
        0.6 * interest + 0.1 * similarity - 0.6 * appeal + 0.5 * videos.quality[7]
        - 0.6 * videos.duration_score[7] + 0.05 * position + 0.1 * evening
        + 0.6 * users.completion_taste[3] - 0.2 + 0.2 * (users.device[3] >= 2)
    )  # fmt: skip
    truth, levels = feed.truth(2, shown), feed.intercepts
    np.testing.assert_allclose(truth.click, expit(levels.click + click), rtol=1e-6)
    np.testing.assert_allclose(truth.complete, expit(levels.complete + watch), rtol=1e-6)
    np.testing.assert_allclose(truth.partial_mean, expit(levels.partial + 0.45 * watch), rtol=1e-6)


def test_truth_is_what_many_draws_of_one_impression_tend_to(feed):
    draws = 200_000
    shown = impressions(draws)
    truth = feed.truth(1, shown)
    happened = feed.draw_outcomes(shown, truth, np.random.default_rng(0))
    clicked = happened.click == 1
    ratio = np.minimum(1, happened.play_time[clicked] / (100 * feed.world.videos.duration[7]))
    # Five standard errors.
    assert clicked.mean() == pytest.approx(truth.click[0], abs=5 * 0.5 / np.sqrt(draws))
    error = 5 * 0.4 / np.sqrt(clicked.sum())
    assert ratio.mean() == pytest.approx(truth.watch_ratio[0], abs=error)
    assert (ratio == 1).mean() == pytest.approx(truth.complete[0], abs=1.25 * error)
    assert ratio[ratio < 1].mean() == pytest.approx(truth.partial_mean[0], abs=2 * error)


def test_truth_is_calibrated_over_the_log(log):
    clicked = log["click"] == 1
    for low in np.arange(0, 1, 0.2):
        inside = (log["p_click"] >= low) & (log["p_click"] < low + 0.2)
        error = 5 * 0.5 / np.sqrt(inside.sum())
        assert log["click"][inside].mean() == pytest.approx(
            log["p_click"][inside].mean(), abs=error
        )
    error = 5 * 0.27 / np.sqrt(clicked.sum())
    expected = log["expected"][clicked].mean()
    assert log["ratio"][clicked].mean() == pytest.approx(expected, abs=error)


def test_truth_ranks_clicks_well_but_not_perfectly(log):
    assert 0.76 < roc_auc_score(log["click"], log["p_click"]) < 0.81


def test_expected_watch_ratio_predicts_watching_better_than_a_constant(log):
    clicked = log["click"] == 1
    error = ((log["ratio"] - log["expected"])[clicked] ** 2).mean()
    assert error < 0.75 * log["ratio"][clicked].var()


def test_rows_change_only_with_the_model_version():
    # Made by version 1 itself: whoever has to change these numbers raises MODEL_VERSION.
    assert MODEL_VERSION == 1
    shown, truth, happened = next(Feed(SMALL).blocks(2, 0, 6))
    assert shown.user.tolist() == [28] * 6
    assert shown.video.tolist() == [154, 25, 17, 184, 30, 188]
    assert happened.play_time.tolist() == [0, 0, 38_100, 0, 0, 0]
    expected = [0.283591, 0.427388, 0.818703, 0.105088, 0.285305, 0.196881]
    np.testing.assert_allclose(truth.click, expected, atol=2e-6)


# The conflict.


def appeal_effect(feed):
    """Change of p(click) and of the expected watch ratio per unit of appeal, interest held."""
    appeal = feed.world.videos.appeal
    before = feed.truth(1, impressions(1))
    appeal[7] += 1
    after = feed.truth(1, impressions(1))
    appeal[7] -= 1
    return after.click - before.click, after.watch_ratio - before.watch_ratio


def test_appeal_raises_clicks_and_lowers_watching():
    clicks, watching = appeal_effect(Feed(SMALL))
    assert clicks > 0.02
    assert watching < -0.02


def test_conflict_scales_the_effect_on_watching_alone():
    none = appeal_effect(Feed(replace(SMALL, conflict=0.0)))
    once = appeal_effect(Feed(SMALL))
    twice = appeal_effect(Feed(replace(SMALL, conflict=2.0)))
    assert none[1] == 0
    assert twice[1] < 1.4 * once[1] < 0
    assert none[0] == once[0] == twice[0]


def test_interest_raises_clicks_and_watching(feed):
    day, videos = feed.on_day(1), feed.world.videos
    interest = videos.vector @ day.user_vector[3]
    alike = [int(interest.argmax()), int(interest.argmin())]
    shown = impressions(2, video=np.array(alike))
    for array in (videos.appeal, videos.quality, videos.duration_score):
        array[alike[1]] = array[alike[0]]
    truth = feed.truth(1, shown)
    assert truth.click[0] > truth.click[1]
    assert truth.watch_ratio[0] > truth.watch_ratio[1]


# Marginals.


@pytest.mark.parametrize(
    "settings",
    [
        SETTINGS,
        FeedSettings(rows=40_000, seed=1, days=1),
        FeedSettings(rows=40_000, seed=2, conflict=2.0, drift=3.0),
        FeedSettings(
            rows=40_000, seed=3, click_rate=0.1, complete_rate=0.3, watch_ratio=0.6, categories=3
        ),
    ],
    ids=["default", "one day", "strong conflict and drift", "other targets"],
)
def test_marginals_are_those_of_the_settings(settings, tmp_path):
    manifest = simulate(tmp_path, settings)
    assert manifest.click_rate == pytest.approx(settings.click_rate, abs=0.015)
    # Of 4,000 clicks the share of complete ones has a standard error of 0.008.
    assert manifest.complete_rate == pytest.approx(settings.complete_rate, abs=0.02)
    assert manifest.watch_ratio == pytest.approx(settings.watch_ratio, abs=0.015)


def test_click_rate_falls_with_position_as_published(log):
    published = [0.563, 0.570, 0.407, 0.363, 0.355, 0.356, 0.325, 0.270, 0.271, 0.295]
    measured = [log["click"][log["position"] == p].mean() for p in range(1, 11)]
    np.testing.assert_allclose(measured, published, atol=0.05)


def test_durations_are_as_published(log):
    duration = log["duration_s"]
    assert duration.min() >= 15
    assert duration.max() <= 601
    # Few thousand videos with skewed popularity: their mean moves by several seconds.
    assert duration.mean() == pytest.approx(113, abs=15)
    assert np.median(duration) == pytest.approx(78, abs=10)


def test_longer_videos_are_watched_to_a_smaller_share_and_completed_less(log):
    clicked = log["click"] == 1
    bins = np.digitize(log["duration_s"], [60, 120, 240])
    ratios = [log["ratio"][clicked & (bins == k)] for k in range(4)]
    assert (np.diff([r.mean() for r in ratios]) < 0).all()
    assert (np.diff([(r == 1).mean() for r in ratios]) < 0).all()


def test_play_time_is_zero_exactly_where_not_clicked(log):
    np.testing.assert_array_equal(log["play_time"] > 0, log["click"] == 1)


def test_some_completed_videos_are_played_on(log):
    beyond = log["play_time"] / 1000 > log["duration_s"]
    completed = log["ratio"] == 1
    assert beyond.sum() / completed.sum() == pytest.approx(0.15, abs=0.02)


# Exposure.


def test_a_request_shows_different_videos_at_rising_positions(log):
    request = np.cumsum(log["position"] == 1)
    continues = np.flatnonzero(log["position"] > 1)
    for name in ("user", "hour", "network", "source", "day"):
        np.testing.assert_array_equal(log[name][continues], log[name][continues - 1])
    assert (np.diff(log["position"])[continues - 1] == 1).all()
    pairs = np.stack([request, log["video"]], axis=1)
    assert len(np.unique(pairs, axis=0)) == len(pairs)
    assert (log["video"] != log["source"]).all()
    assert log["position"].max() == 10


def test_exposure_is_skewed_and_recommended_videos_resemble_the_source(feed, log):
    shown = np.sort(np.bincount(log["video"], minlength=SETTINGS.videos))[::-1]
    assert shown[: SETTINGS.videos // 10].sum() > 0.3 * shown.sum()
    category = feed.world.videos.category
    sourced = log["source"] != NO_VIDEO
    same = category[log["video"][sourced]] == category[log["source"][sourced]]
    by_chance = (np.bincount(category) / len(category)) ** 2
    assert same.mean() > 0.4 > 3 * by_chance.sum()
    assert (~sourced).mean() == pytest.approx(0.12, abs=0.02)


def test_new_videos_and_users_appear_from_their_day_on(feed, log):
    videos, users = feed.world.videos, feed.world.users
    assert (videos.release_day > 0).mean() == pytest.approx(0.3, abs=0.001)
    assert (users.first_day > 0).mean() == pytest.approx(0.2, abs=0.001)
    assert (log["day"] >= videos.release_day[log["video"]]).all()
    assert (log["day"] >= users.first_day[log["user"]]).all()
    cold = log["day"] == videos.release_day[log["video"]]
    assert (cold & (log["day"] == 3)).any()


def test_rows_are_in_order_of_time_and_evenings_are_busiest(log):
    for day in range(SETTINGS.days):
        assert (np.diff(log["hour"][log["day"] == day]) >= 0).all()
    by_hour = np.bincount(log["hour"], minlength=24)
    assert len(by_hour) == 24
    assert by_hour.argmax() == 21


def test_interests_and_popularity_drift_unless_told_not_to():
    moving, still = Feed(SMALL), Feed(replace(SMALL, drift=0.0, new_video_share=0.0))
    assert not np.allclose(moving.on_day(0).user_vector, moving.on_day(2).user_vector)
    assert not np.allclose(moving.on_day(0).popular, moving.on_day(2).popular)
    np.testing.assert_array_equal(still.on_day(0).user_vector, still.on_day(2).user_vector)
    np.testing.assert_array_equal(still.on_day(0).popular, still.on_day(2).popular)


# Files.


def test_the_log_has_its_columns_and_its_truth_row_by_row(written):
    directory, manifest = written
    names = {path.name for path in (directory / "impressions").iterdir()}
    assert names == {f"day_0{d}_part_00{p}.csv.gz" for d in range(3) for p in range(2)}
    feed = Feed(SMALL)
    for shard in manifest.shards:
        rows, truth = read(directory / shard.impressions), read(directory / shard.truth)
        assert list(rows[0]) == list(COLUMNS)
        assert list(truth[0]) == list(TRUTH_COLUMNS)
        assert [row["impression_id"] for row in rows] == [row["impression_id"] for row in truth]
        assert len(rows) == shard.rows
        day, first = rows[0]["impression_id"][1:].split("i")
        [(shown, chances, happened)] = feed.blocks(int(day), int(first), int(first) + len(rows))
        for k in (0, len(rows) - 1):
            assert rows[k]["user_id"] == f"u{shown.user[k]}"
            assert rows[k]["video_id"] == f"v{shown.video[k]}"
            assert float(rows[k]["play_time_s"]) == happened.play_time[k] / 1000
            assert float(truth[k]["click_probability"]) == pytest.approx(chances.click[k], abs=1e-6)
            assert float(truth[k]["expected_watch_ratio"]) == pytest.approx(
                chances.watch_ratio[k], abs=1e-6
            )


def test_columns_hold_what_they_say(written):
    directory, _ = written
    videos = Feed(SMALL).world.videos
    rows = read_all(directory, "impressions")
    assert len({row["impression_id"] for row in rows}) == SMALL.rows
    assert {row["tags"].count("|") for row in rows} == {0, 1, 2}
    assert any(row["tags"] == "" for row in rows)
    assert any(row["source_video_id"] == "-1" for row in rows)
    assert {row["network"] for row in rows} == {"wifi", "4g", "5g"}
    for row in rows[::50]:
        video = int(row["video_id"][1:])
        tags = [f"t{tag}" for tag in videos.tags[video] if tag >= 0]
        assert row["tags"] == "|".join(tags)
        assert row["category"] == f"c{videos.category[video]}"
        assert row["publisher_id"] == f"p{videos.publisher[video]}"
        assert float(row["duration_s"]) == videos.duration[video] / 10
        assert float(row["cover_quality"]) == videos.cover_quality[video] / 1000
        assert row["source_video_id"] != row["video_id"]


def test_cover_quality_is_a_noisy_observation_of_appeal(feed):
    observed = feed.world.videos.cover_quality / 1000
    assert np.corrcoef(observed, feed.world.videos.appeal)[0, 1] == pytest.approx(0.894, abs=0.02)


def test_the_manifest_counts_and_signs_what_is_there(written):
    directory, manifest = written
    rows = read_all(directory, "impressions")
    clicked = [row for row in rows if row["click"] == "1"]
    ratios = [min(1.0, float(r["play_time_s"]) / float(r["duration_s"])) for r in clicked]
    assert manifest.rows == len(rows) == sum(shard.rows for shard in manifest.shards)
    assert manifest.clicks == len(clicked)
    assert manifest.watch_ratio == pytest.approx(np.mean(ratios))
    assert manifest.complete_rate == pytest.approx(np.mean(np.array(ratios) == 1))
    for shard in manifest.shards:
        file = (directory / shard.impressions).read_bytes()
        assert hashlib.sha256(file).hexdigest() == shard.impressions_sha256
        truth = (directory / shard.truth).read_bytes()
        assert hashlib.sha256(truth).hexdigest() == shard.truth_sha256


def test_same_settings_same_bytes_other_seed_other_bytes(written, tmp_path):
    directory, _ = written
    simulate(tmp_path / "again", SMALL)
    assert contents(tmp_path / "again") == contents(directory)
    simulate(tmp_path / "other", replace(SMALL, seed=6))
    path = "impressions/day_00_part_000.csv.gz"
    assert contents(directory)[path][4:8] == bytes(4)  # gzip's time stamp
    assert contents(tmp_path / "other")[path] != contents(directory)[path]


def test_rows_do_not_depend_on_the_number_of_shards(written, tmp_path):
    directory, _ = written
    simulate(tmp_path, replace(SMALL, shards_per_day=7))
    assert len(list((tmp_path / "impressions").iterdir())) == 21
    for folder in ("impressions", "truth"):
        assert read_all(tmp_path, folder) == read_all(directory, folder)


def test_rows_do_not_depend_on_where_a_range_of_blocks_starts(monkeypatch):
    monkeypatch.setattr(simulator_feed, "BLOCK_ROWS", 64)
    feed = Feed(SMALL)

    def videos(*cuts):
        spans = pairwise(cuts)
        return np.concatenate([b[0].video for s in spans for b in feed.blocks(1, *s)])

    np.testing.assert_array_equal(videos(0, 1000), videos(0, 1, 64, 200, 777, 1000))


def test_a_shard_can_be_made_alone(written, tmp_path):
    directory, manifest = written
    for folder in ("impressions", "truth"):
        (tmp_path / folder).mkdir()
    shard = write_shard(Feed(SMALL), tmp_path, day=2, part=1)
    assert shard == manifest.shards[-1]
    assert contents(tmp_path)[shard.impressions] == contents(directory)[shard.impressions]


def test_memory_does_not_grow_with_rows():
    def peak(rows):
        feed = Feed(replace(SMALL, rows=rows))
        tracemalloc.start()
        for _ in feed.blocks(0, 0, feed.rows_of_day(0)):
            pass
        high = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return high

    assert peak(1_200_000) < 1.2 * peak(150_000)


def test_tfrecord_and_csv_hold_equal_rows(written, tmp_path):
    directory, _ = written
    manifest = simulate(tmp_path, replace(SMALL, format="tfrecord"))
    parsed = []
    for feature in records(tmp_path, manifest):
        row = {}
        for name, kind in COLUMNS.items():
            if name == "tags":
                row[name] = b"|".join(feature[name].bytes_list.value).decode()
            elif kind is int:
                row[name] = str(feature[name].int64_list.value[0])
            elif kind is float:
                row[name] = np.float32(feature[name].float_list.value[0])
            else:
                row[name] = feature[name].bytes_list.value[0].decode()
        parsed.append(row)
    expected = [
        {k: np.float32(v) if COLUMNS[k] is float else v for k, v in row.items()}
        for row in read_all(directory, "impressions")
    ]
    assert parsed == expected
    assert read_all(tmp_path, "truth") == read_all(directory, "truth")


def test_every_row_is_written_when_days_are_shorter_than_shards_are_many(tmp_path):
    settings = FeedSettings(rows=5, users=20, videos=200, days=3, shards_per_day=4)
    manifest = simulate(tmp_path, settings)
    assert len(manifest.shards) == 12
    assert len(read_all(tmp_path, "impressions")) == 5


# Resume and refusal.


def test_a_complete_log_is_not_made_again(written):
    directory, manifest = written
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
    assert simulate(directory, SMALL) == manifest
    assert {path: path.stat().st_mtime_ns for path in directory.rglob("*")} == before


def test_a_log_cut_short_is_made_again(written, tmp_path):
    directory, _ = written
    (tmp_path / "impressions").mkdir()
    (tmp_path / "impressions" / "day_00_part_000.csv.gz").write_bytes(b"half")
    (tmp_path / "impressions" / "day_09_part_000.csv.gz").write_bytes(b"of other settings")
    (tmp_path / "impressions" / ".day_00_part_001.csv.gz.5f.tmp").write_bytes(b"half")
    simulate(tmp_path, SMALL)
    assert contents(tmp_path) == contents(directory)


WRITE = """
import json, sys
from dataclasses import asdict
from lt4rec_tf.data.simulator.writer import simulate
from lt4rec_tf.data.simulator.world import FeedSettings
print(json.dumps(asdict(simulate(sys.argv[1], FeedSettings(**json.loads(sys.argv[2]))))))
"""


def test_processes_that_want_one_feed_at_once_all_get_it_whole(written, tmp_path):
    directory, manifest = written
    command = [sys.executable, "-c", WRITE, str(tmp_path), json.dumps(asdict(SMALL))]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT) for _ in range(4)
    ]
    printed = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert printed == [json.dumps(asdict(manifest)) + "\n"] * 4
    assert contents(tmp_path) == contents(directory)


def test_a_feed_that_another_process_wrote_meanwhile_is_left_as_it_is(written, tmp_path, capsys):
    directory, _ = written
    with held_by_another(tmp_path) as holder:
        waiting = Aside(lambda: simulate(tmp_path, SMALL))
        until(lambda: "waiting until" in capsys.readouterr().err)
        shutil.copytree(directory, tmp_path, dirs_exist_ok=True)
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
        holder.stdin.close()
        waiting.ended()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")} == before


@pytest.mark.parametrize("folder", ["impressions", "truth"])
def test_a_shard_that_changed_is_named_though_its_size_did_not(tmp_path, folder):
    simulate(tmp_path, SMALL)
    shard = tmp_path / folder / "day_01_part_000.csv.gz"
    content = bytearray(shard.read_bytes())
    content[-9] ^= 1
    shard.write_bytes(content)
    with pytest.raises(
        SimulatorError, match=rf"{folder}/day_01_part_000\.csv\.gz: found another content"
    ):
        simulate(tmp_path, SMALL)


def test_other_settings_are_refused_with_the_difference(written):
    directory, _ = written
    with pytest.raises(SimulatorError, match=r"manifest\.json: found .*seed 5, expected 6; take"):
        simulate(directory, replace(SMALL, seed=6))


def test_a_log_of_an_older_model_is_refused(written, tmp_path):
    directory, _ = written
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["model_version"] = 0
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(SimulatorError, match="model_version 0, expected"):
        simulate(tmp_path, SMALL)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"settings": {"colour": 1}, "shards": []}'])
def test_a_damaged_manifest_is_named(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(SimulatorError, match=r"manifest\.json: found no manifest"):
        simulate(tmp_path, SMALL)


def test_a_lost_shard_is_named(tmp_path):
    simulate(tmp_path, SMALL)
    (tmp_path / "truth" / "day_01_part_000.csv.gz").unlink()
    with pytest.raises(SimulatorError, match=r"truth/day_01_part_000\.csv\.gz: found no file"):
        simulate(tmp_path, SMALL)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rows", 0),
        ("days", 0),
        ("seed", -1),
        ("conflict", -0.5),
        ("drift", float("nan")),
        ("click_rate", 1.0),
        ("watch_ratio", 0.4),
        ("new_video_share", 0.95),
        ("videos", 20),
        ("tags", 5),
        ("format", "parquet"),
    ],
)
def test_impossible_settings_are_named(name, value):
    with pytest.raises(SimulatorError, match=f"^{name}: found "):
        FeedSettings(**{name: value})


def test_counts_follow_the_rows():
    settings = FeedSettings(rows=600_000).resolved()
    assert (settings.users, settings.videos, settings.publishers) == (15_000, 20_000, 1_666)
    assert settings.resolved() == settings


def test_the_command_writes_a_log(tmp_path):
    def run(seed):
        command = [sys.executable, "-m", "lt4rec_tf.data.simulator", f"--dir={tmp_path}"]
        options = ["--rows=500", "--days=2", f"--seed={seed}"]
        root = PROJECT
        return subprocess.run(command + options, capture_output=True, text=True, cwd=root)

    done, refused = run(3), run(4)
    assert done.returncode == 0, done.stderr
    assert "500 impressions in 4 shards" in done.stdout
    assert refused.returncode == 2
    assert "seed 3, expected 4" in refused.stderr
