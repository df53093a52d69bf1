"""Sessions on the simulated feed: fates, rankings, intervals, and the command of Table 3."""

import contextlib
import dataclasses
import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from lt4rec_tf import simulate_online
from lt4rec_tf.core import artifacts
from lt4rec_tf.core.command import exit_on_error
from lt4rec_tf.core.flags import ConfigError, build, from_settings, parse_flags
from lt4rec_tf.data.input.pipeline import batches
from lt4rec_tf.data.input.source import open_source
from lt4rec_tf.data.input.splits import SplitRule
from lt4rec_tf.data.simulator.candidates import candidates_as_text, read_lines, text_to_ids
from lt4rec_tf.data.simulator.exposure import NO_VIDEO
from lt4rec_tf.data.simulator.feed import REPLAY_MEAN, REPLAY_SHARE, Feed, Truth
from lt4rec_tf.data.simulator.kinds import open_feed
from lt4rec_tf.data.simulator.moods import times
from lt4rec_tf.data.simulator.sessions import (
    Draws,
    Exponents,
    SessionBlock,
    SessionPlan,
    outcomes,
    partial_ratio,
    rank_scores,
    session_blocks,
    show,
)
from lt4rec_tf.data.simulator.world import FeedSettings, SimulatorError
from lt4rec_tf.data.simulator.writer import simulate
from lt4rec_tf.experiment.evaluation import open_run
from lt4rec_tf.experiment.online_simulation import (
    folders_by_model,
    load_networks,
    measure,
    predictor,
    ranking_tasks,
    shared_feed,
)
from lt4rec_tf.experiment.trained_models import load_model
from lt4rec_tf.metrics.sessions import SessionRatios, session_ratios
from lt4rec_tf.models.heads.of_task import prediction
from lt4rec_tf.reports.online import by_policy, online_table
from lt4rec_tf.schema.label_quantiles import LEVELS, LabelQuantiles, with_label_quantiles
from lt4rec_tf.schema.reader import load_schema
from lt4rec_tf.schema.variants import with_head
from lt4rec_tf.training.predictions import make_predictor
from tests.support.commands import run_training
from tests.support.networks import build_small
from tests.support.paths import PROJECT
from tests.support.schemas import few_features

pytestmark = pytest.mark.slow(minutes=1)
PLAN = SessionPlan(sessions=60, requests=3, candidates=20, shown=4, seed=1)
SCHEMA = PROJECT / "configs" / "schemas" / "simulated_feed.toml"


@pytest.fixture(scope="module")
def feed():
    return Feed(FeedSettings(rows=6000, seed=5))


@pytest.fixture(scope="module")
def block(feed):
    """All sessions of PLAN, which fit one block."""
    (block,) = session_blocks(feed, PLAN)
    return block


def uniform_draws(rows, seed):
    return Draws(*np.random.default_rng(seed).random((5, rows)))


def taken(table, rows):
    return type(table)(
        **{field.name: getattr(table, field.name)[rows] for field in dataclasses.fields(table)}
    )


def constant_truth(rows, click, complete, partial_mean):
    return Truth(*(np.full(rows, value) for value in (click, complete, partial_mean)))


# What becomes of a video that is shown.


def test_a_fate_is_that_of_its_draws():
    draws = Draws(
        click=np.array([0.6, 0.59, 0.0, 0.0]),
        complete=np.array([0.0, 0.3, 0.3, 0.31]),
        replay=np.array([0.0, REPLAY_SHARE, 0.0, 0.0]),
        replay_length=np.array([0.0, 0.9, 1 - np.exp(-1), 0.0]),
        partial=np.full(4, 0.5),
    )
    truth = constant_truth(4, click=0.6, complete=0.31, partial_mean=0.5)
    happened = outcomes(truth, np.full(4, 10_000), draws)
    assert happened.click.tolist() == [0, 1, 1, 1]
    # Not clicked; to the end; to the end and on by the mean length; half, the median of Beta.
    assert happened.play_time.tolist() == [0, 10_000, 10_000 + 10_000 * REPLAY_MEAN, 5_000]


def test_partial_ratios_are_the_quantiles_of_the_beta_distribution():
    rng = np.random.default_rng(0)
    mean, uniform = rng.uniform(0.05, 0.95, 500), rng.random(500)
    expected = scipy.stats.beta.ppf(uniform, 3 * mean, 3 * (1 - mean))
    np.testing.assert_allclose(partial_ratio(mean, uniform), expected, atol=1e-8)


def test_fates_are_distributed_as_the_log_is(feed):
    shown, truth, _ = next(feed.blocks(6, 0, 850))
    often = np.tile(np.arange(850), 200)
    shown, truth = taken(shown, often), taken(truth, often)
    duration = 100 * feed.world.videos.duration[shown.video]
    ours = outcomes(truth, duration, uniform_draws(len(often), 1))
    logged = feed.draw_outcomes(shown, truth, np.random.default_rng(2))
    assert ours.click.mean() == pytest.approx(logged.click.mean(), abs=0.005)
    mine, theirs = (
        (happened.play_time / duration)[happened.click == 1] for happened in (ours, logged)
    )
    assert scipy.stats.ks_2samp(mine, theirs).statistic < 0.01
    assert mine.max() > 2  # some are played on for more than their length


@given(st.integers(0, 10**6), st.floats(0, 0.3), st.floats(0, 0.3), st.floats(0, 0.3))
def test_higher_chances_never_shorten_what_is_watched(seed, click, complete, partial):
    low = constant_truth(50, 0.3, 0.4, 0.5)
    high = constant_truth(50, 0.3 + click, 0.4 + complete, 0.5 + partial)
    draws, duration = uniform_draws(50, seed), np.full(50, 78_000)
    before, after = (outcomes(truth, duration, draws) for truth in (low, high))
    assert np.all(after.click >= before.click)
    assert np.all(after.play_time >= before.play_time)


# Sessions.


def by_request(values, plan=PLAN):
    return values.reshape(-1, plan.requests, plan.candidates)


def test_a_session_is_one_user_at_one_hour_in_one_network(feed, block):
    for values in (block.candidates.user, block.candidates.hour, block.candidates.network):
        sessions = by_request(values)
        assert len(sessions) == PLAN.sessions
        assert np.all(sessions == sessions[:, :1, :1])
    sources = by_request(block.candidates.source)
    assert np.all(sources == sources[:, :, :1])
    assert np.any(sources[:, 0, 0] != sources[:, 1, 0])
    assert block.day == feed.settings.days  # after the log's last
    assert set(block.candidates.position) == {1}


def test_candidates_differ_from_each_other_and_from_the_source(block):
    videos = by_request(block.candidates.video).reshape(-1, PLAN.candidates)
    source = by_request(block.candidates.source)[:, :, 0].ravel()
    assert all(len(set(request)) == PLAN.candidates for request in videos.tolist())
    assert not np.any(videos == source[:, None])
    assert 0 < np.mean(source == NO_VIDEO) < 0.3


def test_the_first_sessions_do_not_depend_on_how_many_there_are(feed):
    plan = replace(PLAN, sessions=600)
    assert plan.blocks == 3  # of 273
    lengths = [len(block.draws.click) for block in session_blocks(feed, plan)]
    assert lengths == [273 * 60, 273 * 60, 54 * 60]
    (few,) = session_blocks(feed, PLAN)
    many = next(session_blocks(feed, plan))
    np.testing.assert_array_equal(many.candidates.video[:3600], few.candidates.video)
    np.testing.assert_array_equal(many.draws.partial[:3600], few.draws.partial)


def test_another_seed_gives_other_sessions(feed, block):
    (again,) = session_blocks(feed, PLAN)
    (other,) = session_blocks(feed, replace(PLAN, seed=2))
    np.testing.assert_array_equal(again.candidates.user, block.candidates.user)
    np.testing.assert_array_equal(again.draws.click, block.draws.click)
    assert np.any(other.candidates.user != block.candidates.user)
    assert np.any(other.draws.click != block.draws.click)


def test_more_candidates_than_the_feed_has_videos_are_refused(feed):
    with pytest.raises(SimulatorError, match="candidates: found 150, expected at most 100, half"):
        next(session_blocks(feed, replace(PLAN, candidates=150)))


# Rankings.


def fates(feed, block, plan, chosen):
    """What `show` must give, place by place: (sessions, 3) for the places chosen a request."""
    sums = np.zeros((plan.sessions, 3))
    for request, places in enumerate(chosen):
        for position, place in enumerate(places, start=1):
            row = [request * plan.candidates + place]
            one = replace(taken(block.candidates, row), position=np.array([position]))
            seconds = feed.world.videos.duration[one.video] / 10
            truth = feed.truth(block.day, one)
            happened = outcomes(truth, 1000 * seconds, taken(block.draws, row))
            watched = happened.play_time / 1000
            earned = [watched, happened.click, np.minimum(1, watched / seconds)]
            sums[request // plan.requests] += np.ravel(earned)
    return sums


def test_the_best_of_each_request_are_shown_from_position_one_down(feed, block):
    rng = np.random.default_rng(3)
    requests = PLAN.sessions * PLAN.requests
    order = np.array([rng.permutation(PLAN.candidates) for _ in range(requests)])
    scores = np.empty(order.shape)
    np.put_along_axis(scores, order, np.arange(PLAN.candidates, 0, -1.0)[None], axis=1)
    expected = fates(feed, block, PLAN, order[:, : PLAN.shown].tolist())
    np.testing.assert_allclose(np.transpose(show(feed, block, PLAN, scores.ravel())), expected)


def test_equal_scores_give_equal_outcomes(feed):
    plan = replace(
        PLAN, sessions=50, candidates=100
    )  # as many as a sort needs to disturb equal ones
    (block,) = session_blocks(feed, plan)
    scores = np.random.default_rng(4).random(len(block.draws.click))
    np.testing.assert_array_equal(
        show(feed, block, plan, scores), show(feed, block, plan, 7 * scores)
    )
    place = np.tile(np.arange(100), plan.sessions * plan.requests)
    tied = np.floor(5 * scores)
    np.testing.assert_array_equal(
        show(feed, block, plan, tied), show(feed, block, plan, tied - place / 1000)
    )


def test_where_two_policies_agree_the_same_happens(feed, block):
    mine = np.random.default_rng(5).random(len(block.draws.click))
    yours = mine.copy()
    half = len(mine) // 2
    yours[half:] = yours[half:][::-1]
    before, after = show(feed, block, PLAN, mine), show(feed, block, PLAN, yours)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a[: PLAN.sessions // 2], b[: PLAN.sessions // 2])
        assert np.any(a[PLAN.sessions // 2 :] != b[PLAN.sessions // 2 :])


def test_a_score_that_is_no_number_is_refused(feed, block):
    scores = np.zeros(len(block.draws.click))
    scores[3] = np.nan
    with pytest.raises(ValueError, match="1 scores are not finite"):
        show(feed, block, PLAN, scores)


def test_scores_are_equation_3():
    pctr, pcvr, seconds = np.array([0.5, 0.2]), np.array([0.25, 0.5]), np.array([10.0, 40.0])
    scores = rank_scores(pctr, pcvr, seconds, Exponents(2, 0.5, 1))
    np.testing.assert_allclose(scores, [0.25 * 0.5 * 10, 0.04 * 0.5**0.5 * 40])
    np.testing.assert_allclose(rank_scores(pctr, pcvr, seconds, Exponents(1, 0, 0)), pctr)


def test_the_oracle_beats_a_random_policy_and_its_own_reverse(feed):
    plan = replace(PLAN, sessions=270)
    (block,) = session_blocks(feed, plan)
    truth = feed.truth(block.day, block.candidates)
    seconds = feed.world.videos.duration[block.candidates.video] / 10
    best = rank_scores(truth.click, truth.watch_ratio, seconds, Exponents(1, 1, 1))
    policies = [best, np.random.default_rng(6).random(len(best)), -best]
    watched = [show(feed, block, plan, scores)[0] for scores in policies]
    oracle, random, reverse = (seconds.mean() for seconds in watched)
    assert oracle > 1.5 * random > 1.5 * 1.5 * reverse
    found = session_ratios(
        np.array([watched]), np.ones((1, 3, plan.sessions)), replicates=200, seed=0
    )
    assert np.all(found.difference_high[1:] < 0)


# Intervals.


def some_sessions(runs=1, policies=1, sessions=400, seed=0):
    rng = np.random.default_rng(seed)
    clicks = rng.integers(1, 9, (runs, policies, sessions)).astype(float)
    return clicks * rng.random(clicks.shape), clicks


def test_the_interval_of_one_run_is_the_percentile_bootstrap_over_sessions():
    ratios, clicks = some_sessions(policies=2)
    found = session_ratios(ratios, clicks, replicates=4000, seed=1)

    def cvr(ratios, clicks, axis=-1):
        return ratios.sum(axis=axis) / clicks.sum(axis=axis)

    expected = scipy.stats.bootstrap(
        (ratios[0, 1], clicks[0, 1]), cvr, paired=True, n_resamples=4000, method="percentile",
        vectorized=True, rng=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip
    assert found.value[1] == ratios[0, 1].sum() / clicks[0, 1].sum()
    np.testing.assert_allclose([found.low[1], found.high[1]], expected, atol=0.002)
    assert found.difference[1] == found.value[1] - found.value[0]


def test_runs_are_drawn_too():
    """Sessions that do not vary leave the choice of runs alone: 27 draws of three runs."""
    seconds = np.repeat(np.array([[[1.0], [2.0]], [[2.0], [5.0]], [[3.0], [11.0]]]), 10, axis=2)
    found = session_ratios(seconds, np.ones_like(seconds), replicates=20_000, seed=3)
    draws = np.stack(np.meshgrid(*[range(3)] * 3), axis=-1).reshape(27, 3)
    differences = np.array([1.0, 3.0, 8.0])[draws].mean(axis=1)
    np.testing.assert_allclose(found.difference, [0, 4])
    bounds = np.percentile(np.repeat(differences, 1000), [2.5, 97.5])
    np.testing.assert_allclose([found.difference_low[1], found.difference_high[1]], bounds)
    np.testing.assert_allclose(found.by_run[:, 1], [2, 5, 11])


@given(st.integers(0, 1000), st.integers(1, 3))
def test_swapping_policies_flips_the_sign_and_equal_ones_differ_by_nothing(seed, runs):
    ratios, clicks = some_sessions(runs, 2, 30, seed)
    forth = session_ratios(ratios, clicks, replicates=50, seed=seed)
    back = session_ratios(ratios[:, ::-1], clicks[:, ::-1], replicates=50, seed=seed)
    assert forth.difference[1] == -back.difference[1]
    np.testing.assert_allclose(
        [forth.difference_low[1], forth.difference_high[1]],
        [-back.difference_high[1], -back.difference_low[1]],
    )
    twice = session_ratios(ratios[:, [0, 0]], clicks[:, [0, 0]], replicates=50, seed=seed)
    for part in (twice.difference, twice.difference_low, twice.difference_high):
        assert part.tolist() == [0, 0]


def test_without_a_click_there_is_no_ratio():
    clicks = np.array([[[0.0, 0.0], [0.0, 2.0]]])
    found = session_ratios(clicks / 2, clicks, replicates=100, seed=0)
    assert np.isnan([found.value[0], found.low[0], found.high[0], found.difference[1]]).all()
    # A replicate that drew the session without a click twice does not count.
    assert (found.value[1], found.low[1], found.high[1]) == (0.5, 0.5, 0.5)


def test_intervals_do_not_depend_on_how_replicates_are_cut(monkeypatch):
    ratios, clicks = some_sessions(2, 2, 50)
    whole = session_ratios(ratios, clicks, replicates=40, seed=7)
    monkeypatch.setattr("lt4rec_tf.metrics.sessions._DRAWN_TOGETHER", 350)
    cut = session_ratios(ratios, clicks, replicates=40, seed=7)
    np.testing.assert_allclose(cut.low, whole.low)


def test_the_table_is_bold_where_a_difference_is_clear():
    found = SessionRatios(
        by_run=np.array([[200.0, 210.0, 201.0]]),
        value=np.array([200.0, 210.0, 201.0]),
        low=np.array([190.0, 200.0, 192.0]),
        high=np.array([205.0, 220.0, 211.0]),
        difference=np.array([0.0, 10.0, 1.0]),
        difference_low=np.array([0.0, 4.0, -2.0]),
        difference_high=np.array([0.0, 16.0, 4.0]),
    )
    policies = ["base", "clear", "unclear"]
    lines = online_table(policies, {"view_time": found, "ctr": found}).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert cells[0] == ["policy", "view time a session, s", "to base", "CTR", "to base"]
    assert cells[2][:3] == ["base", "200.0 [190.0, 205.0]", "-"]
    assert cells[3][2] == "**+10.0 (+5.00 %)** [+4.0, +16.0]"
    assert cells[3][4] == "**+10.0000** [+4.0000, +16.0000]"
    assert cells[4][1:3] == ["201.0 [192.0, 211.0]", "+1.0 (+0.50 %) [-2.0, +4.0]"]
    assert lines[-1].startswith("one run: intervals are over sessions")
    barely = dataclasses.replace(found, difference_low=np.array([0.0, 0.01, -2.0]))
    assert "| +10.0 (+5.00 %) [+0.0, +16.0] " in online_table(policies, {"view_time": barely})
    two = dataclasses.replace(found, by_run=np.zeros((2, 3)))
    assert "one run" not in online_table(policies, {"ctr": two})
    kept = by_policy(policies, ["run"], {"ctr": found})
    assert kept["clear"]["ctr"]["difference_high"] == 16
    assert kept["unclear"]["ctr"]["by_run"] == {"run": 201}


def test_statistics_are_those_of_table_3():
    plan = SessionPlan(sessions=2, requests=5, candidates=9, shown=2, seed=0)
    base = [[100.0, 300.0], [2, 6], [1.0, 3.5]]  # seconds, clicks, watch ratios of two sessions
    other = [[200.0, 400.0], [5, 5], [5.0, 4.0]]
    found = measure(np.array([[base, other]]), plan)
    assert found["view_time"].value.tolist() == [200, 300]
    np.testing.assert_allclose(found["cvr"].value, [4.5 / 8, 0.9])
    np.testing.assert_allclose(found["ctr"].value, [8 / 20, 0.5])


# Candidates as a model reads them.


def logged_block(feed, day):
    """The impressions of the log's day, as candidates."""
    ((shown, *_),) = feed.blocks(day, 0, feed.rows_of_day(day))
    return SessionBlock(day, shown, uniform_draws(len(shown.user), 0))


def same_features(found, expected):
    assert set(found) == set(expected)
    for name in found:
        np.testing.assert_array_equal(found[name].numpy(), expected[name].numpy(), err_msg=name)


def test_candidates_of_a_feed_of_records_are_read_as_those_of_lines(tmp_path):
    hashed = SCHEMA.with_name("simulated_feed_hashed.toml")  # no vocabulary to be counted first
    text = hashed.read_text().replace('"csv"', '"tfrecord"').replace("*.csv.gz", "*.tfrecord.gz")
    (tmp_path / "records.toml").write_text(text.replace('separator = "|"\n', ""))
    settings = FeedSettings(rows=700, shards_per_day=1)
    sources = []
    for file_format, schema in [("csv", hashed), ("tfrecord", tmp_path / "records.toml")]:
        folder = tmp_path / file_format
        simulate(folder, replace(settings, format=file_format))
        sources.append(open_source(load_schema(schema), folder, SplitRule()))
    feed = Feed(settings)
    text = candidates_as_text(feed.world, logged_block(feed, 6))
    lines, records = (text_to_ids(read_lines(source), text) for source in sources)
    same_features(records, lines)


def test_sessions_of_a_feed_with_moods_are_read_without_times(tmp_path):
    settings = FeedSettings(rows=700, seed=5, moods=True)
    simulate(tmp_path / "logs", settings)
    last_day = float(times(6, np.zeros(1, int), np.zeros(1))[0])
    by_time = SplitRule("time", validation_from=last_day, test_from=last_day)
    sources = []
    for name, rule in (("simulated_moods", by_time), ("simulated_feed", SplitRule())):
        text = SCHEMA.with_name(f"{name}.toml").read_text()
        hashed = text.replace('kind = "fitted"', 'kind = "hash", buckets = 50')
        (tmp_path / f"{name}.toml").write_text(hashed)
        schema = load_schema(tmp_path / f"{name}.toml")
        sources.append(open_source(schema, tmp_path / "logs", rule))

    feed = open_feed(settings)
    (block,) = session_blocks(feed, PLAN)
    text = candidates_as_text(feed.world, block)
    same_features(*(text_to_ids(read_lines(source), text) for source in sources))

    truth = feed.truth(block.day, block.candidates)
    assert block.day == 7
    assert np.abs(truth.click - truth.click_without_mood).mean() > 0.05


def test_a_head_that_reads_durations_gets_those_of_the_candidates(tmp_path):
    settings = FeedSettings(rows=700)
    simulate(tmp_path, settings)
    schema = load_schema(few_features("simulated_feed_hashed", tmp_path))
    curve = np.linspace(0, 1, LEVELS + 1)
    curves = [tuple(c.tolist()) for c in (curve, curve**2, curve**3, curve**4)]
    quantiles = LabelQuantiles(tuple(curves), (20.0, 60.0))
    schema = with_label_quantiles(with_head(schema, "d2q"), {"cvr": quantiles})
    source = replace(open_source(schema, tmp_path, SplitRule()), schema=schema)
    network, feed = build_small(schema), open_feed(settings)
    (block,) = session_blocks(feed, PLAN)

    predict = predictor({("one", "cvr"): (network, "cvr")}, feed, source, tmp_path)
    found = predict(block)["one", "cvr"]
    ids = text_to_ids(read_lines(source), candidates_as_text(feed.world, block))
    outputs = network.task_models["cvr"](ids, training=False)
    seconds = (feed.world.videos.duration[block.candidates.video] / 10).astype(np.float32)
    expected = prediction(schema.task("cvr"), outputs, tf.constant(seconds)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert not np.allclose(found, prediction(schema.task("cvr"), outputs).numpy(), rtol=1e-2)


def test_sessions_of_a_shop_are_refused_by_the_column_that_they_lack(tmp_path):
    simulate(tmp_path, FeedSettings(rows=70, purchases=True))
    schema = load_schema(PROJECT / "configs" / "schemas" / "simulated_shop.toml")
    with pytest.raises(SimulatorError, match=r"simulated_shop.toml: found features of price"):
        read_lines(open_source(schema, tmp_path, SplitRule()))


def test_sessions_of_a_feed_with_reactions_are_read_without_them(tmp_path):
    settings = FeedSettings(rows=700, seed=5, reactions=True)
    simulate(tmp_path / "logs", settings)
    sources = []
    for name in ("simulated_reactions", "simulated_feed"):
        text = SCHEMA.with_name(f"{name}.toml").read_text()
        hashed = text.replace('kind = "fitted"', 'kind = "hash", buckets = 50')
        (tmp_path / f"{name}.toml").write_text(hashed)
        schema = load_schema(tmp_path / f"{name}.toml")
        sources.append(open_source(schema, tmp_path / "logs", SplitRule()))

    feed = open_feed(settings)
    (block,) = session_blocks(feed, PLAN)
    text = candidates_as_text(feed.world, block)
    same_features(*(text_to_ids(read_lines(source), text) for source in sources))

    likes = replace(sources[0], schema=sources[0].schema.with_tasks(["like"]))
    with pytest.raises(SimulatorError, match="found tasks like, expected one whose label is of"):
        read_lines(likes)


# The command.


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("online")


@pytest.fixture(scope="module")
def run(home):
    """A small run with all models on a simulated feed."""
    flags = [
        f"--schema={few_features('simulated_feed', home)}", f"--data_dir={home}/feed",
        "--simulate_rows=3000", "--split=time",
        "--hidden_units=8,4", "--embedding_dim=2", "--rounds=1", "--epochs=1", "--batch_size=256",
        "--learning_rate=0.01", "--reading=memory", f"--run_dir={home}/run",
        "--models=base,hard_sharing,s_weight",
    ]  # fmt: skip
    run_training(*flags)
    return home / "run"


SMALL = ["--sessions=40", "--requests=2", "--candidates=8", "--shown=3"]


def ended(capsys, *flags):
    capsys.readouterr()
    code = exit_on_error(simulate_online.main, ["simulate_online", *map(str, flags)])
    out, err = capsys.readouterr()
    return code, out, err


def refusal(capsys, *flags):
    code, out, err = ended(capsys, *flags)
    assert (code, out) == (2, "")
    return err[err.index("error: ") :].strip()


def test_candidates_are_read_and_scored_as_the_log_is(run):
    folder, settings, schema, source = open_run(str(run), "")
    feed = Feed(shared_feed([source]))
    block = logged_block(feed, feed.settings.days - 1)
    (batch,) = batches(source, "test", 10_000)
    text = candidates_as_text(feed.world, block)
    same_features(text_to_ids(read_lines(source), text), batch["features"])

    networks = load_networks(folders_by_model(folder)[0], schema)
    found = predictor(networks, feed, source, folder)(block)
    models = {"base": None, "hard_sharing": ["cvr"], "s_weight": ["ctr", "cvr"]}
    assert set(found) == {
        ("base", "ctr"), ("base", "cvr"), ("hard_sharing", "cvr"), ("s_weight", "ctr"),
        ("s_weight", "cvr"),
    }  # fmt: skip
    for model, task in found:
        name = f"base_{task}" if models[model] is None else model
        network = load_model(folder, name, settings, schema)
        predictions = make_predictor(network, network.tasks)(batches(source, "test", 500))
        expected = predictions.of(schema.task(task))
        np.testing.assert_allclose(found[model, task], expected, rtol=1e-5)


def test_a_model_that_diverged_is_named(run):
    folder, _, schema, source = open_run(str(run), "")
    feed = Feed(shared_feed([source]))
    networks = load_networks(folders_by_model(folder)[0], schema)
    networks["hard_sharing", "cvr"][0].heads["cvr"].bias.assign([np.nan])
    predict = predictor(networks, feed, source, folder)
    with pytest.raises(artifacts.RunError, match="pcvr NaN of model hard_sharing, which diverged"):
        predict(next(session_blocks(feed, replace(PLAN, sessions=2))))


@pytest.fixture(scope="module")
def printed(run, home):
    """(printed text, error text) of the command, which writes first.json."""
    out, err = io.StringIO(), io.StringIO()
    argv = ["simulate_online", f"--runs={run}", *SMALL, f"--output={home}/first.json"]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = exit_on_error(simulate_online.main, argv)
    assert code == 0, err.getvalue()
    return out.getvalue(), err.getvalue()


def test_the_command_prints_a_table_and_writes_the_same_numbers_again(run, home, printed, capsys):
    flags = [f"--runs={run}", *SMALL]
    out, err = printed
    lines = out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:7]] == [
        "base", "hard_cvr", "s_weight_cvr", "s_weight", "oracle",
    ]  # fmt: skip
    assert lines[-1] == f"written to {home}/first.json"
    assert "step 1/1" in err
    _, again, _ = ended(capsys, *flags, f"--output={home}/second.json")
    assert again.replace("second", "first") == out
    assert (home / "second.json").read_bytes() == (home / "first.json").read_bytes()

    found = artifacts.read_json(home / "first.json")
    assert found["settings"]["sessions"] == 40
    assert found["feed"]["rows"] == 3000
    assert found["day"] == 7
    assert found["rows"]["s_weight_cvr"] == ["base", "s_weight"]
    for name, statistics in found["policies"].items():
        for ratio in statistics.values():
            assert ratio["low"] <= ratio["value"] <= ratio["high"]
            assert ratio["by_run"] == {str(run): ratio["value"]}
            assert name != "base" or ratio["difference"] == 0
    oracle = found["policies"]["oracle"]["view_time"]
    assert all(oracle["value"] > other["view_time"]["value"] for other in
               list(found["policies"].values())[:-1])  # fmt: skip
    assert f"{oracle['value']:.1f} [" in lines[6]


def test_the_flags_say_which_sessions_are_served():
    flags = ["simulate_online", "--runs=given", *SMALL, "--seed=2"]
    values = parse_flags(flags, "", [simulate_online._Flags])
    plan = from_settings(SessionPlan, build(simulate_online._Flags, values))
    assert plan == SessionPlan(sessions=40, requests=2, candidates=8, shown=3, seed=2)


def test_the_exponents_decide_what_a_policy_earns(run, home, capsys):
    nothing = ["--ctr_exponent=0", "--cvr_exponent=0", "--length_exponent=0"]
    code, *_ = ended(capsys, f"--runs={run}", *SMALL, *nothing, f"--output={home}/zero.json")
    assert code == 0
    policies = artifacts.read_json(home / "zero.json")["policies"]
    # All candidates are worth the same: every policy, the oracle too, shows the first.
    assert all(policies[name] == policies["base"] for name in policies)


def test_several_runs_are_averaged_and_kept(run, home, printed, capsys):
    copy = home / "copy"
    shutil.copytree(run, copy)
    code, _, err = ended(capsys, f"--runs={run},{copy}", *SMALL, f"--output={home}/two.json")
    assert code == 0
    assert "0 s left" in err
    one, two = (artifacts.read_json(home / f"{name}.json")["policies"] for name in ("first", "two"))
    for name in one:
        for statistic, ratio in two[name].items():
            assert ratio["by_run"] == dict.fromkeys(
                [str(run), str(copy)], one[name][statistic]["value"]
            )
            assert ratio["difference"] == one[name][statistic]["difference"]
    message = refusal(capsys, f"--runs={run},{copy}/../run", *SMALL)
    assert "expected different runs: each counts once" in message


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("--sessions=0", "--sessions: found 0, expected 1 or more"),
        ("--requests=0", "--requests: found 0, expected 1 or more"),
        ("--shown=11", "--shown: found 11, expected 1 to 10"),
        ("--candidates=3", "--shown: found 4, expected 1 to 3"),
        ("--seed=-1", "--seed: found -1, expected a whole number from 0 to 2^63 - 1"),
        ("--ctr_exponent=nan", "--ctr_exponent: found nan, expected a finite number"),
        ("--runs=", "--runs: found (), expected folders of trained runs"),
    ],
)
def test_a_flag_that_no_session_can_have_is_refused(capsys, flag, expected):
    assert refusal(capsys, "--runs=given", flag) == f"error: {expected}"


def test_too_many_candidates_are_refused(run, capsys):
    message = refusal(capsys, f"--runs={run}", "--candidates=101")
    assert "candidates: found 101, expected at most 100, half of the feed's videos" in message


def test_logs_that_are_no_simulated_feed_are_refused(run, tmp_path):
    *_, source = open_run(str(run), "")

    def refused(match, *folders):
        with pytest.raises(SimulatorError, match=match):
            shared_feed([replace(source, data_dir=folder) for folder in folders])

    refused(
        "manifest.json: found no such file, expected the manifest of a simulated feed", tmp_path
    )
    manifest = tmp_path / "manifest.json"
    manifest.write_text("[]")
    refused("manifest.json: found no settings of the simulator", tmp_path)
    kept = json.loads((source.data_dir / "manifest.json").read_text())
    manifest.write_text(json.dumps(kept | {"model_version": 0}))
    refused("found a log with model_version 0, expected 1", tmp_path)
    manifest.write_text(json.dumps(kept))
    shutil.copytree(source.data_dir / "impressions", tmp_path / "impressions")
    refused(r"truth/day_00_part_000.csv.gz: found no file, expected a shard", tmp_path)
    other = tmp_path / "other"
    simulate(other, FeedSettings(rows=700, seed=3))
    refused("found different feeds, expected runs on one", source.data_dir, other)


def test_a_run_without_a_model_is_refused(run, home, capsys):
    lacking = home / "lacking"
    shutil.copytree(run, lacking)
    (lacking / "rows" / "s_weight" / "training" / "done").unlink()
    assert "model s_weight is not trained" in refusal(capsys, f"--runs={lacking}", *SMALL)
    found = artifacts.read_json(lacking / "config.json")
    found["settings"]["rows"] = ["base", "hard_sharing"]
    artifacts.write_json(lacking / "config.json", found)
    message = refusal(capsys, f"--runs={lacking}", *SMALL)
    assert "found models base_ctr, base_cvr, hard_sharing, expected s_weight too" in message


def test_the_tasks_must_be_a_click_and_what_it_is_worth():
    schema = load_schema(SCHEMA)
    assert ranking_tasks(schema) == ("ctr", "cvr")
    with pytest.raises(ConfigError, match="found tasks ctr, expected a click and one continuous"):
        ranking_tasks(schema.with_tasks(["ctr"]))
