"""The simulated feed with reactions: their truth, their shares, and the feed without them."""

import json
from dataclasses import asdict, replace
from itertools import combinations, pairwise

import numpy as np
import pytest
from scipy.special import expit, logit

from lt4rec_tf.data.simulator import feed as simulator_feed
from lt4rec_tf.data.simulator.__main__ import main
from lt4rec_tf.data.simulator.feed import Feed
from lt4rec_tf.data.simulator.reactions import (
    REACTION_RATES,
    REACTIONS,
    ReactionFeed,
    draw_reactions,
)
from lt4rec_tf.data.simulator.text import (
    COLUMNS,
    REACTION_COLUMNS,
    REACTION_TRUTH_COLUMNS,
    TRUTH_COLUMNS,
)
from lt4rec_tf.data.simulator.world import (
    REACTION_STREAM,
    FeedSettings,
    SimulatorError,
    stream,
)
from lt4rec_tf.data.simulator.writer import simulate
from tests.support.simulated import (
    assert_same_whatever_the_shards,
    columns,
    impressions,
    lines,
    records,
    written_to,
)

SMALL = FeedSettings(rows=3_000, users=80, videos=200, days=3, shards_per_day=2, seed=5)
REACTING = replace(SMALL, reactions=True)
LARGE = FeedSettings(rows=120_000, seed=5, reactions=True)


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    return written_to(tmp_path_factory.mktemp("feed"), SMALL)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return written_to(tmp_path_factory.mktemp("reactions"), REACTING)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A log of the usual size: numbers by column, truth included, and its manifest."""
    directory, manifest = written_to(tmp_path_factory.mktemp("large"), LARGE)
    text = columns(directory, "impressions") | columns(directory, "truth")
    names = ("click", *REACTIONS, *REACTION_TRUTH_COLUMNS[1:])
    return {name: text[name].astype(float) for name in names}, manifest


@pytest.fixture(scope="module")
def feed():
    return ReactionFeed(LARGE)


# With reactions what was there before stays, and without them nothing has changed.


@pytest.mark.parametrize("folder", ["impressions", "truth"])
def test_reactions_only_append_columns(without, small, folder):
    header = REACTION_COLUMNS if folder == "impressions" else REACTION_TRUTH_COLUMNS
    found = lines(small[0], folder)
    assert {file[0] for file in found} == {",".join(header)}
    assert len(header) - len(COLUMNS if folder == "impressions" else TRUTH_COLUMNS) == 6
    assert [[line.rsplit(",", 6)[0] for line in file] for file in found] == lines(
        without[0], folder
    )


def test_a_plain_feed_of_the_settings_knows_the_same_clicks_and_watching():
    plain, reacting = (next(kind(REACTING).blocks(1, 100, 300)) for kind in (Feed, ReactionFeed))
    for mine, its in zip(plain, reacting, strict=True):
        for name, values in vars(mine).items():
            np.testing.assert_array_equal(values, getattr(its, name))


def test_a_manifest_without_reactions_does_not_name_them(without, small):
    directory, manifest = without
    assert "reaction" not in (directory / "manifest.json").read_text()
    assert simulate(directory, SMALL) == manifest
    with pytest.raises(SimulatorError, match="found a log with reactions False, expected True"):
        simulate(directory, REACTING)

    directory, manifest = small
    assert simulate(directory, REACTING) == manifest
    with pytest.raises(SimulatorError, match="reactions True, expected False"):
        simulate(directory, SMALL)


# The truth, by value.


def test_the_probability_is_the_documented_sum_of_causes():
    feed = ReactionFeed(replace(REACTING, conflict=1.5))
    shown = impressions(1, source=11, position=3, hour=9)
    videos, users = feed.world.videos, feed.world.users
    user, video = feed.on_day(2).user_vector[3], videos.vector[7]
    appeal = 1.5 * users.susceptibility[3] * videos.appeal[7]
    interest, similarity = user @ video / 2, videos.vector[11] @ video / 2
    quality, duration = videos.quality[7], videos.duration_score[7]
    large_screen = users.device[3] >= 2
    shared = {
        "like": 0.6 * interest + 0.1 * similarity - 0.3 * appeal + 0.5 * quality - 0.1,
        "follow": 0.5 * interest - 0.3 * appeal + 0.6 * quality + 0.2 * feed.on_day(2).novelty[7],
        "comment": 0.4 * interest + 0.3 * appeal - 0.2 - 0.2 * large_screen,
        "share": (
            0.2 * interest - 0.2 * appeal + 0.5 * quality - 0.3 * duration - 0.3 * large_screen
        ),
        "save": (0.5 * interest + 0.1 * similarity - 0.4 * appeal + 0.4 * quality + 0.4 * duration),
        "dislike": -0.6 * interest - 0.1 * similarity + 0.5 * appeal - 0.5 * quality,
    }  # evening is cos(pi) = -1 at 9 o'clock
    expected = []
    for index, name in enumerate(REACTIONS):
        own = 0.6 * feed.tastes.propensity[index, 3]
        own += 0.6 * user @ feed.tastes.rotation[index] @ video / 2
        expected.append(expit(feed.reaction_intercepts[index] + shared[name] + own))
    np.testing.assert_allclose(feed.truth(2, shown).reactions, [expected], rtol=1e-6)


def test_truth_is_what_many_draws_of_one_impression_tend_to(feed):
    draws = 400_000
    shown = impressions(draws)
    truth = feed.truth(1, shown)
    rng = np.random.default_rng(0)
    clicked = feed.draw_outcomes(shown, truth, rng)
    happened = draw_reactions(truth, clicked, rng.random((len(REACTIONS), draws)))
    np.testing.assert_array_equal(happened.play_time, clicked.play_time)
    reactions = happened.reactions[happened.click == 1]
    expected = truth.reactions[0]
    error = np.sqrt(expected * (1 - expected) / len(reactions))
    assert (np.abs(reactions.mean(axis=0) - expected) < 5 * error).all()


def test_truth_is_calibrated_over_the_log(large):
    log, _ = large
    clicked = log["click"] == 1
    for name in REACTIONS:
        probability, reacted = log[f"{name}_probability"][clicked], log[name][clicked]
        for low, high in pairwise([0, 0.01, 0.03, 0.1, 0.3, 1]):
            inside = (probability >= low) & (probability < high)
            error = np.sqrt((probability * (1 - probability))[inside].sum())
            difference = reacted[inside].sum() - probability[inside].sum()
            assert abs(difference) <= 4 * error, (name, low)


# What is alike in reactions, and what each has of its own.


def test_rotations_are_orthogonal_and_each_reaction_has_its_own(feed):
    rotations = feed.tastes.rotation
    for rotation in rotations:
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(4), atol=1e-12)
    for mine, its in combinations(rotations, 2):
        assert np.abs(mine - its).max() > 0.1
    correlations = np.corrcoef(feed.tastes.propensity) - np.eye(len(REACTIONS))
    assert np.abs(correlations).max() < 5 / np.sqrt(feed.tastes.propensity.shape[1])


def test_reactions_are_partly_alike_and_partly_in_conflict(large):
    log, _ = large
    clicked = log["click"] == 1
    odds = [logit(np.clip(log[f"{name}_probability"][clicked], 1e-6, 1)) for name in REACTIONS]
    correlation = dict(zip(REACTIONS, np.corrcoef(odds), strict=True))
    like, dislike = REACTIONS.index("like"), REACTIONS.index("dislike")
    for name in ("follow", "share", "save"):
        assert 0.15 < correlation[name][like] < 0.8
        assert correlation[name][dislike] < -0.1


def test_appeal_lowers_likes_and_raises_dislikes_by_the_conflict():
    def effect(conflict):
        feed = ReactionFeed(replace(REACTING, conflict=conflict))
        before = feed.truth(1, impressions(1)).reactions[0]
        feed.world.videos.appeal[7] += 1
        return logit(feed.truth(1, impressions(1)).reactions[0]) - logit(before)

    none, once, twice = (effect(conflict) for conflict in (0.0, 1.0, 2.0))
    np.testing.assert_allclose(none, 0, atol=1e-12)
    np.testing.assert_allclose(twice, 2 * once)
    by_name = dict(zip(REACTIONS, once, strict=True))
    assert by_name["like"] < -0.1
    assert by_name["dislike"] > 0.2


# Marginals.


@pytest.mark.parametrize(
    "settings",
    [LARGE, replace(LARGE, rows=40_000, seed=2, conflict=2.0, drift=3.0)],
    ids=["default", "strong conflict and drift"],
)
def test_the_shares_of_clicks_are_the_documented_ones(settings, tmp_path):
    rates = simulate(tmp_path, settings).reaction_rates
    assert list(rates) == list(REACTION_RATES)
    for name, rate in REACTION_RATES.items():
        # Of 16,000 clicks the share of .02 has a standard error of .0011; exposure adds to it.
        assert rates[name] == pytest.approx(rate, abs=0.004 + 0.05 * rate)


def test_nobody_reacts_without_a_click(large):
    log, _ = large
    for name in REACTIONS:
        assert set(log[name]) == {0, 1}
        assert not log[name][log["click"] == 0].any()


def test_the_manifest_counts_reactions(large):
    log, manifest = large
    for name in REACTIONS:
        assert sum(shard.reactions[name] for shard in manifest.shards) == log[name].sum()
        rate = log[name].sum() / log["click"].sum()
        assert manifest.reaction_rates[name] == pytest.approx(rate)


# Files.


def test_columns_hold_what_they_say(small):
    directory, manifest = small
    log, truth = columns(directory, "impressions"), columns(directory, "truth")
    [(_, chances, happened)] = ReactionFeed(REACTING).blocks(0, 0, 500)
    for index, name in enumerate(REACTIONS):
        assert log[name][:500].tolist() == happened.reactions[:, index].astype(str).tolist()
        written = truth[f"{name}_probability"][:500].astype(float)
        np.testing.assert_allclose(written, chances.reactions[:, index], atol=1e-6)
    stored = json.loads((directory / "manifest.json").read_text())
    assert stored["settings"]["reactions"] is True
    assert stored["shards"][0]["reactions"] == manifest.shards[0].reactions


def test_rows_depend_neither_on_shards_nor_on_where_a_range_starts(small, tmp_path, monkeypatch):
    assert_same_whatever_the_shards(small, REACTING, tmp_path)
    monkeypatch.setattr(simulator_feed, "BLOCK_ROWS", 64)
    feed = ReactionFeed(REACTING)

    def reactions(*cuts):
        spans = pairwise(cuts)
        return np.concatenate([b[2].reactions for s in spans for b in feed.blocks(1, *s)])

    np.testing.assert_array_equal(reactions(0, 1000), reactions(0, 1, 64, 200, 777, 1000))


def test_each_block_has_numbers_of_its_own(monkeypatch):
    monkeypatch.setattr(simulator_feed, "BLOCK_ROWS", 64)
    blocks = list(ReactionFeed(REACTING).blocks(1, 0, 128))
    for number, (_, truth, happened) in enumerate(blocks):
        uniform = stream(REACTING.seed, REACTION_STREAM, 1, number).random((6, 64))
        expected = (truth.reactions > uniform.T) & (happened.click == 1)[:, None]
        np.testing.assert_array_equal(happened.reactions, expected)


def test_tfrecord_and_csv_hold_equal_rows(small, tmp_path):
    manifest = simulate(tmp_path, replace(REACTING, format="tfrecord"))
    rows = records(tmp_path, manifest)
    expected = columns(small[0], "impressions")
    assert all(set(record) == set(REACTION_COLUMNS) for record in rows)
    for name in REACTIONS:
        found = [str(record[name].int64_list.value[0]) for record in rows]
        assert found == expected[name].tolist()


# Settings.


def test_reactions_and_purchases_exclude_one_another():
    with pytest.raises(SimulatorError, match=r"^reactions: found True, expected False with purc"):
        FeedSettings(purchases=True, reactions=True)


@pytest.mark.parametrize(("option", "reactions"), [([], False), (["--reactions"], True)])
def test_the_command_takes_reactions_as_a_switch(tmp_path, capsys, option, reactions):
    main(["simulator", f"--dir={tmp_path}", "--rows=500", "--days=2", *option])
    assert ("dislike" in capsys.readouterr().out) == reactions
    asked = FeedSettings(rows=500, days=2, reactions=reactions)
    assert asdict(simulate(tmp_path, asked).settings) == asdict(asked.resolved())
