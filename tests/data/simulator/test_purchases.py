"""The simulated feed as a shop: prices, purchases, amounts, and the feed without them."""

import gzip
import hashlib
import json
import math
from dataclasses import asdict, replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.special import expit

from lt4rec_tf.data.simulator import feed as simulator_feed
from lt4rec_tf.data.simulator.__main__ import main
from lt4rec_tf.data.simulator.feed import Feed
from lt4rec_tf.data.simulator.kinds import open_feed
from lt4rec_tf.data.simulator.purchases import ShopFeed
from lt4rec_tf.data.simulator.text import COLUMNS, SHOP_COLUMNS, SHOP_TRUTH_COLUMNS, TRUTH_COLUMNS
from lt4rec_tf.data.simulator.world import FeedSettings, SimulatorError
from lt4rec_tf.data.simulator.writer import simulate, write_shard
from tests.support.simulated import columns, impressions, lines, records, written_to

SMALL = FeedSettings(rows=3_000, users=80, videos=200, days=3, shards_per_day=2, seed=5)
SHOP = replace(SMALL, purchases=True)
LARGE = FeedSettings(rows=120_000, seed=5, purchases=True)

# SHA-256 of the text of all impressions of SMALL, made before there were purchases.
TEXT_SHA256 = "b092726e9a0cbb3b1645ea522d5b890b2e9ac412a3b89b7f94bf7d4ed4e38b92"


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    return written_to(tmp_path_factory.mktemp("feed"), SMALL)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return written_to(tmp_path_factory.mktemp("shop"), SHOP)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A log of the usual size: numbers by column, truth included, and its manifest."""
    directory, manifest = written_to(tmp_path_factory.mktemp("large"), LARGE)
    names = ("click", "price", "purchase", "amount", *SHOP_TRUTH_COLUMNS[1:])
    text = columns(directory, "impressions") | columns(directory, "truth")
    return {name: text[name].astype(float) for name in names}, manifest


@pytest.fixture(scope="module")
def feed():
    return ShopFeed(LARGE)


# Without purchases nothing has changed, and with them what was there before stays.


def test_a_feed_without_purchases_is_what_it_was_before_there_were_any(without):
    directory, _ = without
    text = b"".join(
        gzip.decompress(path.read_bytes()) for path in sorted((directory / "impressions").iterdir())
    )
    assert hashlib.sha256(text).hexdigest() == TEXT_SHA256
    manifest = (directory / "manifest.json").read_text()
    for word in ("purchase", "spent", "amount"):
        assert word not in manifest
    for folder, header in (("impressions", COLUMNS), ("truth", TRUTH_COLUMNS)):
        assert {file[0] for file in lines(directory, folder)} == {",".join(header)}


@pytest.mark.parametrize("folder", ["impressions", "truth"])
def test_purchases_only_append_columns(without, small, folder):
    header = SHOP_COLUMNS if folder == "impressions" else SHOP_TRUTH_COLUMNS
    added = len(header) - len(COLUMNS if folder == "impressions" else TRUTH_COLUMNS)
    found = lines(small[0], folder)
    assert {file[0] for file in found} == {",".join(header)}
    cut = [[line.rsplit(",", added)[0] for line in file] for file in found]
    assert cut == lines(without[0], folder)


def test_a_plain_feed_of_the_settings_knows_the_same_clicks_and_watching():
    plain, shop = (next(kind(SHOP).blocks(1, 100, 300)) for kind in (Feed, ShopFeed))
    for mine, its in zip(plain, shop, strict=True):
        for name, values in vars(mine).items():
            np.testing.assert_array_equal(values, getattr(its, name))


def test_a_manifest_from_before_is_that_of_a_feed_without_purchases(without):
    directory, manifest = without
    stored = json.loads((directory / "manifest.json").read_text())
    assert "purchases" not in stored["settings"]
    assert simulate(directory, SMALL) == manifest
    # Without purchases their rate does nothing.
    assert simulate(directory, replace(SMALL, purchase_rate=0.3)) == manifest
    with pytest.raises(SimulatorError, match="found a log with purchases False, expected True"):
        simulate(directory, SHOP)


def test_a_manifest_with_purchases_is_read_back(small):
    directory, manifest = small
    assert simulate(directory, SHOP) == manifest
    with pytest.raises(SimulatorError, match=r"purchase_rate 0\.12, expected 0\.2"):
        simulate(directory, replace(SHOP, purchase_rate=0.2))
    with pytest.raises(SimulatorError, match="purchases True, expected False"):
        simulate(directory, SMALL)


# The truth, by value.


def test_the_probability_is_the_documented_sum_of_causes():
    feed = ShopFeed(replace(SHOP, conflict=1.5))
    shown = impressions(1, source=11, position=3, hour=9)
    videos, users, day, shop = feed.world.videos, feed.world.users, feed.on_day(2), feed.shop
    price = shop.price[7] / 100
    budget = 12 * np.exp(0.6 * shop.affluence[3])
    score = (
        0.5 * day.user_vector[3] @ videos.vector[7] / 2
        + 0.1 * videos.vector[11] @ videos.vector[7] / 2
        - 1.5 * 0.5 * users.susceptibility[3] * videos.appeal[7]
        + 0.5 * videos.quality[7] + 0.1 * np.cos(np.pi) + 0.2 * (users.device[3] >= 2)
        + 0.8 * shop.buying_taste[3] - 0.7 * np.log(price / budget)
    )  # fmt: skip
    truth = feed.truth(2, shown)
    probability = expit(feed.purchase_intercept + score)
    np.testing.assert_allclose(truth.purchase, probability, rtol=1e-6)
    pieces = 1 + 0.5 * np.exp(0.8 * shop.affluence[3])
    np.testing.assert_allclose(truth.amount, probability * price * pieces, rtol=1e-6)


def test_truth_is_what_many_draws_of_one_impression_tend_to(feed):
    draws = 400_000
    shown = impressions(draws)
    truth = feed.truth(1, shown)
    rng = np.random.default_rng(0)
    clicked = feed.draw_outcomes(shown, truth, rng)
    happened = feed.draw_purchases(shown, truth, clicked, rng.random((2, draws)))
    np.testing.assert_array_equal(happened.play_time, clicked.play_time)
    of_clicks = happened.click == 1
    bought = happened.purchase == 1
    for drawn, expected in (
        (happened.purchase[of_clicks], truth.purchase[0]),
        (happened.amount[of_clicks] / 100, truth.amount[0]),
        (happened.amount[bought] / 100, truth.paid[0]),
    ):
        error = drawn.std() / np.sqrt(len(drawn))
        assert drawn.mean() == pytest.approx(expected, abs=5 * error)


def test_quantities_are_geometric(feed):
    draws = 200_000
    shown = impressions(draws)
    extra = feed.shop.extra[3]
    truth = replace(feed.truth(1, shown), click=np.ones(draws), purchase=np.ones(draws))
    rng = np.random.default_rng(0)
    happened = feed.draw_outcomes(shown, truth, rng)
    happened = feed.draw_purchases(shown, truth, happened, rng.random((2, draws)))
    quantity = happened.amount / feed.shop.price[7]
    for pieces in (1, 2, 3):
        share = (extra / (1 + extra)) ** pieces
        error = np.sqrt(share * (1 - share) / draws)
        assert (quantity > pieces).mean() == pytest.approx(share, abs=5 * error)
    # The bounds of the uniform numbers: one piece, and a number that is finite.
    ends = np.array([[0.0, 0.0], [0.0, np.nextafter(1.0, 0.0)]])
    last = feed.draw_purchases(
        impressions(2), feed.truth(1, impressions(2)), replace(happened, click=np.ones(2)), ends
    )
    assert last.amount[0] == feed.shop.price[7] < last.amount[1] < 10**9


def test_truth_is_calibrated_over_the_log(large):
    log, _ = large
    clicked = log["click"] == 1
    probability, purchase = log["purchase_probability"][clicked], log["purchase"][clicked]
    edges = [0, 0.02, 0.05, 0.1, 0.2, 0.4, 1]
    for low, high in pairwise(edges):
        inside = (probability >= low) & (probability < high)
        error = np.sqrt((probability * (1 - probability))[inside].sum())
        difference = purchase[inside].sum() - probability[inside].sum()
        assert abs(difference) < 4 * error
    surprise = log["amount"][clicked] - log["expected_amount"][clicked]
    assert abs(surprise.mean()) < 4 * surprise.std() / np.sqrt(len(surprise))


def test_appeal_raises_clicks_and_lowers_purchases_by_the_conflict():
    def effect(conflict):
        feed = ShopFeed(replace(SHOP, conflict=conflict))
        before = feed.truth(1, impressions(1))
        feed.world.videos.appeal[7] += 1
        after = feed.truth(1, impressions(1))
        odds = [np.log(truth.purchase / (1 - truth.purchase)) for truth in (before, after)]
        return after.click - before.click, (odds[1] - odds[0])[0]

    none, once, twice = (effect(conflict) for conflict in (0.0, 1.0, 2.0))
    assert none[0] == once[0] == twice[0] > 0.02
    assert none[1] == pytest.approx(0, abs=1e-12)
    assert once[1] < -0.2
    assert twice[1] == pytest.approx(2 * once[1])


# Marginals.


@pytest.mark.parametrize(
    "settings",
    [
        LARGE,
        replace(LARGE, rows=40_000, seed=1, days=1, purchase_rate=0.03),
        replace(LARGE, rows=40_000, seed=2, conflict=2.0, drift=3.0, purchase_rate=0.4),
    ],
    ids=["default", "rare", "common, strong conflict and drift"],
)
def test_the_purchase_rate_is_that_of_the_settings(settings, tmp_path):
    found = simulate(tmp_path, settings).purchase_rate
    # Of 16,000 clicks the share of .4 has a standard error of .004; exposure adds to it.
    assert found == pytest.approx(settings.purchase_rate, abs=0.003 + 0.03 * settings.purchase_rate)


def test_zeros_where_nothing_was_clicked_and_an_amount_exactly_where_purchased(large):
    log, _ = large
    assert not log["purchase"][log["click"] == 0].any()
    np.testing.assert_array_equal(log["amount"] > 0, log["purchase"] == 1)
    pieces = log["amount"] / np.maximum(log["price"], 0.01)
    np.testing.assert_allclose(pieces, np.rint(pieces), atol=1e-9)


def test_amounts_are_heavy_tailed(large):
    log, _ = large
    amount = log["amount"][log["purchase"] == 1]
    assert amount.max() > 30 * amount.mean()
    assert amount.std() > 1.2 * amount.mean()
    assert np.median(amount) < 0.7 * amount.mean()


def test_the_manifest_counts_purchases(large):
    log, manifest = large
    purchases = log["purchase"].sum()
    assert sum(shard.purchases for shard in manifest.shards) == purchases
    assert manifest.purchase_rate == pytest.approx(purchases / log["click"].sum())
    spent = sum(shard.spent for shard in manifest.shards)
    assert spent == pytest.approx(log["amount"].sum())
    assert manifest.mean_amount == pytest.approx(spent / purchases)


# Prices and means.


def share_explained(values, group):
    means = np.bincount(group, values) / np.maximum(np.bincount(group), 1)
    return 1 - ((values - means[group]) ** 2).mean() / values.var()


def test_prices_are_log_normal_and_partly_explained_by_category_and_publisher(feed):
    videos = feed.world.videos
    logarithm = np.log(feed.shop.price / 100)
    assert np.median(logarithm) == pytest.approx(np.log(12), abs=0.1)
    assert logarithm.std() == pytest.approx(0.9, abs=0.01)
    # Few categories: what they explain differs by some .1 between worlds.
    assert share_explained(logarithm, videos.category) == pytest.approx(0.3, abs=0.15)
    by_chance = np.random.default_rng(0).permutation(videos.publisher)
    of_publisher = share_explained(logarithm, videos.publisher)
    assert 0.25 < of_publisher < 0.6
    assert share_explained(logarithm, by_chance) < 0.15


def test_the_affluent_buy_more_pieces_and_find_less_dear(feed):
    rich, poor = feed.shop.affluence.argmax(), feed.shop.affluence.argmin()
    assert feed.shop.extra[rich] > 5 * feed.shop.extra[poor]
    videos = np.array([7, 7])
    dear = feed.shop.dearness(np.array([rich, poor]), videos)
    assert dear[0] < dear[1]


# Files.


def test_columns_hold_what_they_say(small):
    directory, _ = small
    shop = ShopFeed(SHOP)
    log, truth = columns(directory, "impressions"), columns(directory, "truth")
    video = np.array([int(name[1:]) for name in log["video_id"]])
    assert log["price"].tolist() == [f"{cents / 100:.2f}" for cents in shop.shop.price[video]]
    assert set(log["purchase"]) == {"0", "1"}
    assert set(log["amount"][log["purchase"] == "0"]) == {"0.00"}
    [(shown, chances, happened)] = shop.blocks(0, 0, 500)
    assert log["amount"][:500].tolist() == [f"{cents / 100:.2f}" for cents in happened.amount]
    for name, values in (
        ("purchase_probability", chances.purchase),
        ("expected_amount", chances.amount),
    ):
        np.testing.assert_allclose(truth[name][:500].astype(float), values, atol=1e-6)
    assert shown.number.tolist() == list(range(500))


def test_rows_depend_neither_on_shards_nor_on_where_a_range_starts(small, tmp_path, monkeypatch):
    directory, manifest = small
    simulate(tmp_path / "more", replace(SHOP, shards_per_day=5))
    for folder in ("impressions", "truth"):
        more, fewer = columns(tmp_path / "more", folder), columns(directory, folder)
        assert all((more[name] == fewer[name]).all() for name in fewer)
    for folder in ("impressions", "truth"):
        (tmp_path / "alone" / folder).mkdir(parents=True)
    alone = write_shard(open_feed(SHOP), tmp_path / "alone", day=2, part=1)
    assert alone == manifest.shards[-1]
    monkeypatch.setattr(simulator_feed, "BLOCK_ROWS", 64)
    feed = ShopFeed(SHOP)

    def amounts(*cuts):
        spans = pairwise(cuts)
        return np.concatenate([b[2].amount for s in spans for b in feed.blocks(1, *s)])

    np.testing.assert_array_equal(amounts(0, 1000), amounts(0, 1, 64, 200, 777, 1000))


def test_tfrecord_and_csv_hold_equal_rows(small, tmp_path):
    directory, _ = small
    manifest = simulate(tmp_path, replace(SHOP, format="tfrecord"))
    rows = records(tmp_path, manifest)
    expected = columns(directory, "impressions")
    assert all(set(record) == set(SHOP_COLUMNS) for record in rows)
    assert [record["purchase"].int64_list.value[0] for record in rows] == [
        int(value) for value in expected["purchase"]
    ]
    for name in ("price", "amount", "play_time_s"):
        found = [np.float32(record[name].float_list.value[0]) for record in rows]
        assert found == expected[name].astype(np.float32).tolist()
    assert lines(tmp_path, "truth") == lines(directory, "truth")


def test_a_feed_without_rows_in_a_shard_counts_no_purchases(tmp_path):
    settings = replace(SHOP, rows=5, shards_per_day=4)
    shards = simulate(tmp_path, settings).shards
    assert {shard.purchases for shard in shards if shard.rows == 0} == {0}


# Settings.


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_an_impossible_rate_is_named(rate):
    with pytest.raises(SimulatorError, match=r"^purchase_rate: found .*in \(0, 1\)"):
        FeedSettings(purchases=True, purchase_rate=rate)


@pytest.mark.parametrize(
    ("option", "purchases"), [([], False), (["--purchases"], True), (["--no-purchases"], False)]
)
def test_the_command_takes_purchases_as_a_switch(tmp_path, capsys, option, purchases):
    main(["simulator", f"--dir={tmp_path}", "--rows=500", "--days=2", *option])
    assert ("purchase, mean amount" in capsys.readouterr().out) == purchases
    asked = FeedSettings(rows=500, days=2, purchases=purchases)
    assert asdict(simulate(tmp_path, asked).settings) == asdict(asked.resolved())
