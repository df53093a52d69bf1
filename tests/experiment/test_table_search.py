"""Tickets of embedding tables: pruned, laid out, looked up, searched, resumed, trained with."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from lt4rec_tf.core import artifacts
from lt4rec_tf.core.flags import ConfigError
from lt4rec_tf.experiment.initial_weights import keep_start
from lt4rec_tf.experiment.joint_training import train_model
from lt4rec_tf.experiment.paths import table_search
from lt4rec_tf.experiment.run import table_ticket, theta_0
from lt4rec_tf.experiment.stages import steps_to_come
from lt4rec_tf.experiment.ticket_search import find_ticket
from lt4rec_tf.experiment.trained_models import load_model, training_seconds
from lt4rec_tf.models.layers.field_vectors import FieldVectors
from lt4rec_tf.models.layers.table_layout import layout_of, table_offsets
from lt4rec_tf.models.registry import network_of
from lt4rec_tf.reports.search_tables import table_levels
from lt4rec_tf.schema.variants import with_bucket_share
from lt4rec_tf.serving.embedding_tables import ServedTables
from lt4rec_tf.tickets.embedding_tables import (
    TableTicket,
    prune_tables,
    read_ticket,
    units,
    whole,
    write_ticket,
)
from lt4rec_tf.tickets.masks import MaskError
from lt4rec_tf.training import checkpoint
from lt4rec_tf.training.trainer import Trainer
from tests.support.evaluations import CTR, CVR
from tests.support.networks import random_ticket, read_variables, small_batch
from tests.support.training import Killed, KilledProgress, begin_run, small_feed, small_settings

pytestmark = pytest.mark.slow(minutes=1)

UNITS = ("number", "row", "dimension")
DIMENSION = 4
ROWS = {"user": 6, "item": 3}


def rows_of(schema):
    return schema.table_rows


# Pruning


def test_rows_stay_by_their_length_over_all_tables():
    tables = {
        "user": np.diag([6.0, 0.1, 4.0, 0.2, 0.3, 5.0])[:, :4],  # the last two rows are 0
        "item": np.array([[0.0, 0, 0, 0], [1, 1, 1, 1], [0.15, 0, 0, 0]]),
    }
    cut = prune_tables(whole("row", ROWS, 4), tables, keep=4)
    assert cut.masks["user"].tolist() == [True, False, True, True, False, False]
    assert cut.masks["item"].tolist() == [False, True, False]
    # 3 + 1 rows of their own, and a shared one of each table
    assert cut.numbers(ROWS, 4) == 4 * (3 + 1 + 1 + 1)
    once_more = prune_tables(cut, {name: -table for name, table in tables.items()}, keep=1)
    assert [name for name, mask in once_more.masks.items() if mask.any()] == ["user"]


def test_a_rank_falls_where_a_table_holds_least_for_its_numbers():
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]  # no axis is a singular vector
    user = np.zeros((6, 4))
    user[:4] = np.diag([9.0, 3.0, 1.0, 0.1])
    item = np.zeros((3, 4))
    item[:3, :3] = np.diag([5.0, 0.2, 0.05])
    tables = {"user": user @ turn, "item": item @ turn}
    # worth of a number: user 81/6, 9/6, 1/6, .01/6; item 25/3, .04/3, .0025/3, 0
    ranks = {
        # the first of each: 6 + 3
        9: (1, 1),
        14: (1, 1),  # user's second takes 6: 15; item's second is behind it, but fits: see below
        15: (2, 1),
        21: (3, 1),
        24: (3, 2),
        36: (4, 4),
    }
    for keep, (of_user, of_item) in ranks.items():
        cut = prune_tables(whole("dimension", ROWS, 4), tables, keep)
        kept = {name: int(mask.sum()) for name, mask in cut.masks.items()}
        if keep == 14:  # item's second (3 numbers) takes the room in which user's does not fit
            assert kept == {"user": 1, "item": 2}
            continue
        assert kept == {"user": of_user, "item": of_item}, keep
        assert cut.numbers(ROWS, 4) <= keep
        assert all((np.diff(mask.astype(int)) <= 0).all() for mask in cut.masks.values())
    with pytest.raises(ValueError, match="9 numbers or more"):
        prune_tables(whole("dimension", ROWS, 4), tables, keep=8)


def test_a_dimension_of_a_large_table_must_be_worth_its_many_numbers():
    user, item = np.zeros((6, 4)), np.zeros((3, 4))
    user[0, 0], user[1, 1] = 9.0, 0.25  # .0625 of squares by 6 numbers
    item[0, 0], item[1, 1] = 5.0, 0.2  # .04 by 3
    cut = prune_tables(whole("dimension", ROWS, 4), {"user": user, "item": item}, keep=15)
    assert cut.masks["user"].sum() == 1
    assert cut.masks["item"].sum() > 1


@given(st.sampled_from(UNITS), st.integers(0, 2**32 - 1), st.floats(0.3, 1.0), st.floats(0.6, 1.0))
def test_rounds_cut_no_more_than_asked_and_nothing_comes_back(unit, seed, first, second):
    rng = np.random.default_rng(seed)
    ticket = whole(unit, ROWS, 4)
    total = units(ticket, ROWS, 4)
    keep = max(1, round(total * first))
    for share in (first, first * second):
        keep = max(1 if unit != "dimension" else 9, round(total * share))
        tables = {name: rng.normal(size=(rows, 4)) for name, rows in ROWS.items()}
        cut = prune_tables(ticket, tables, keep)
        for name, mask in cut.masks.items():
            assert not (mask & ~ticket.masks[name]).any()
        kept = sum(int(mask.sum()) for mask in cut.masks.values())
        if unit == "dimension":
            assert 9 <= cut.numbers(ROWS, 4) <= keep
        else:
            assert kept == keep
        ticket = cut


@pytest.mark.parametrize("unit", UNITS)
def test_a_ticket_is_read_as_it_was_written(unit, small_schema, tmp_path):
    ticket, rows = random_ticket(unit, small_schema, DIMENSION), rows_of(small_schema)
    write_ticket(tmp_path / "ticket.npz", ticket)
    again = read_ticket(tmp_path / "ticket.npz", unit, rows, DIMENSION)
    assert again.unit == unit
    for name, mask in ticket.masks.items():
        np.testing.assert_array_equal(again.masks[name], mask)
    with pytest.raises(MaskError, match="expected"):
        read_ticket(tmp_path / "ticket.npz", unit, rows | {"user": 7}, DIMENSION + 1)


# Layout and lookups


def as_cut(ticket, tables, schema):
    """What whole tables become, computed number by number."""
    first = table_offsets(schema)
    cut = tables.copy()
    for name, rows in rows_of(schema).items():
        mask, block = ticket.masks[name], cut[first[name] :][:rows]
        if ticket.unit == "number":
            block[~mask] = 0
        elif ticket.unit == "dimension":
            block[:, ~mask] = 0
        elif not mask.all():
            block[~mask] = block[np.flatnonzero(~mask)[0]]
    return cut


def zeros(_):
    return keras.initializers.Zeros()


def layer_with(ticket, schema, tables):
    layer = FieldVectors(schema, DIMENSION, zeros, ticket)
    features = small_batch(rows=9)["features"]
    layer(features)
    for name, values in layer.layout.taken(tables).items():
        layer.parts[name].assign(values)
    return layer, features


@pytest.mark.parametrize("unit", UNITS)
def test_what_a_ticket_leaves_is_looked_up_as_cut_tables_would_be(unit, small_schema):
    ticket = random_ticket(unit, small_schema, DIMENSION)
    rows = sum(rows_of(small_schema).values())
    tables = np.random.default_rng(5).normal(size=(rows, DIMENSION)).astype(np.float32)
    cut = as_cut(ticket, tables, small_schema)
    layer, features = layer_with(ticket, small_schema, tables)
    plain, _ = layer_with(None, small_schema, cut)
    np.testing.assert_array_equal(layer(features).numpy(), plain(features).numpy())
    values = {name: part.numpy() for name, part in layer.parts.items()}
    np.testing.assert_array_equal(layer.layout.spread(values), cut)
    numbers = ticket.numbers(rows_of(small_schema), DIMENSION)
    if unit != "number":  # really smaller
        assert numbers == sum(part.size for part in values.values()) < tables.size
    else:
        assert numbers == np.count_nonzero(values["table"])


def test_ids_that_share_a_row_train_it_together(small_schema):
    ticket = whole("row", rows_of(small_schema), DIMENSION)
    ticket.masks["user"][3:] = False
    rows = sum(rows_of(small_schema).values())
    layer, features = layer_with(ticket, small_schema, np.ones((rows, DIMENSION), np.float32))
    features["user"] = tf.constant([1, 3, 4, 20, 3, 2, 1, 0, 0], tf.int64)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(features)[:, 0])
    gradient = tf.convert_to_tensor(tape.gradient(total, layer.parts["table"])).numpy()
    # rows 0, 1, 2 and, behind them, the shared one
    assert gradient[:4, 0].tolist() == [2, 2, 1, 4]


def test_cut_numbers_have_no_gradient(small_schema):
    ticket = random_ticket("number", small_schema, DIMENSION)
    rows = sum(rows_of(small_schema).values())
    layer, features = layer_with(ticket, small_schema, np.ones((rows, DIMENSION), np.float32))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(features))
    gradient = tf.convert_to_tensor(tape.gradient(total, layer.parts["table"])).numpy()
    assert (gradient[~layer.layout.mask] == 0).all()
    assert (gradient[layer.layout.mask] != 0).any()


@examples(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.sampled_from([8, 24, 2**18]))
def test_a_server_finds_the_rows_that_training_had(small_schema, seed, share, at_a_time):
    rng = np.random.default_rng(seed)
    masks = {name: rng.random(rows) < share for name, rows in rows_of(small_schema).items()}
    layer = FieldVectors(small_schema, DIMENSION, zeros, TableTicket("row", masks))
    layer(small_batch(rows=2)["features"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lt4rec_tf.serving.embedding_tables.AT_A_TIME", at_a_time)
        served = ServedTables(layer, tf.float32, f"rows_{seed}_{share}")
    np.testing.assert_array_equal(served.tables().row_of.numpy(), layer.layout.row_of)


# Searches and models

FLAGS = ("--embedding_density=0.4", "--embedding_rounds=2", "--rounds=1", "--models=s_weight")


def ended(folder, settings, schema):
    """A run's theta_0, tickets and sparse sharing, as `train` makes them."""
    run, network = begin_run(settings, schema, folder)
    tickets = [find_ticket(run, network, task) for task in run.tasks]
    train_model(run, "s_weight", tickets)
    return run


@pytest.mark.parametrize("unit", UNITS)
def test_all_models_wear_the_ticket_of_the_tables(unit, small_schema, tmp_path):
    settings = small_settings(*FLAGS, f"--embedding_unit={unit}")
    run = ended(tmp_path, settings, small_schema)
    rows = rows_of(small_schema)
    ticket = table_ticket(tmp_path, settings, small_schema)
    found = table_search(tmp_path)
    assert found["levels"][0]["density"] == 1
    last = found["levels"][-1]
    assert last["numbers"] == ticket.numbers(rows, DIMENSION)
    kept = sum(int(mask.sum()) for mask in ticket.masks.values())
    if unit == "number":
        assert kept == round(0.4 * DIMENSION * sum(rows.values()))
    elif unit == "row":
        assert kept == round(0.4 * sum(rows.values()))
    else:
        assert last["density"] <= 0.4
    # theta_0 is the draw, rewound: what the ticket leaves of the whole network's
    drawn = checkpoint.read(tmp_path / "initial", "embedding/table")
    layout = layout_of(small_schema, DIMENSION, ticket)
    for name, values in layout.taken(drawn).items():
        start = checkpoint.read(theta_0(run), f"embedding/{name}")
        np.testing.assert_array_equal(start, values)
    network = load_model(tmp_path, "s_weight", settings, small_schema)
    trained = {n: v for n, v in read_variables(network).items() if n.startswith("embedding/")}
    assert sum(values.size for values in trained.values()) == sum(
        part.rows * part.width for part in layout.parts
    )
    if unit == "number":
        assert (trained["embedding/table"][~layout.mask] == 0).all()
    histories = (tmp_path / "tables").glob("level_*/training/history.json")
    searching = sum(artifacts.read_json(path)["seconds"] for path in histories)
    assert training_seconds(tmp_path, "s_weight", run.tasks) > searching > 0
    assert not list((tmp_path / "tables").glob("level_*/training/weights"))


def test_rows_that_training_never_looks_up_go_first(small_schema, tmp_path):
    """However long they were drawn."""
    seen = {name: np.zeros(count, bool) for name, count in rows_of(small_schema).items()}
    for batch in small_feed(small_schema).train(0, 0):
        for feature in small_schema.features:
            if feature.name != "age":  # a number, no id
                seen[feature.table][batch["features"][feature.name].numpy().ravel()] = True
    density = 0.5 * sum(map(np.sum, seen.values())) / sum(map(len, seen.values()))
    flags = ("--embedding_stddev=1", f"--embedding_density={density}", "--embedding_rounds=1")
    settings = small_settings(*flags, "--models=s_weight")
    begin_run(settings, small_schema, tmp_path)
    kept = table_ticket(tmp_path, settings, small_schema).masks
    assert not any((kept[name] & ~seen[name]).any() for name in ("user", "video", "tag"))


def test_a_search_that_is_killed_goes_on(small_schema, tmp_path):
    settings = small_settings(*FLAGS, "--embedding_unit=row", "--checkpoint_steps=1")
    unbroken = begin_run(settings, small_schema, tmp_path / "whole")[0]
    kills = 0
    while True:
        try:
            broken = begin_run(settings, small_schema, tmp_path / "broken", KilledProgress(at=4))[0]
            break
        except Killed:
            kills += 1
    assert kills >= 3
    for name in read_variables(network_of(settings, small_schema, "s_weight")):
        first, second = (checkpoint.read(theta_0(run), name) for run in (unbroken, broken))
        np.testing.assert_array_equal(first, second, err_msg=name)
    assert table_search(unbroken.searches) == table_search(broken.searches)


def test_a_finished_search_is_not_repeated(small_schema, tmp_path, monkeypatch):
    settings = small_settings(*FLAGS)
    run = begin_run(settings, small_schema, tmp_path)[0]
    steps = steps_to_come(settings, run.tasks, tmp_path, tmp_path, small_feed(small_schema))
    whole_run = steps_to_come(settings, run.tasks, tmp_path / "n", tmp_path / "n", run.feed)
    assert whole_run - steps == 3 * run.feed.steps_per_epoch

    def never(*_):
        raise AssertionError

    monkeypatch.setattr(Trainer, "fit", never)
    keep_start(run)


def test_tables_of_one_dimension_each_need_room_for_it():
    assert small_settings("--embedding_density=0.25", "--embedding_unit=dimension")
    with pytest.raises(ConfigError, match=r"embedding_density: found 0.24, expected 0.25 or more"):
        small_settings("--embedding_density=0.24", "--embedding_unit=dimension")


def test_what_tables_take_in_a_version(small_schema):
    rows = sum(rows_of(small_schema).values())
    bits = {"number": rows * DIMENSION, "row": rows, "dimension": 0}
    for unit in UNITS:
        ticket = random_ticket(unit, small_schema, DIMENSION)
        layout = layout_of(small_schema, DIMENSION, ticket)
        numbers = ticket.numbers(rows_of(small_schema), DIMENSION)
        assert layout.stored_bytes() == 4 * numbers + -(-bits[unit] // 8)
    assert layout_of(small_schema, DIMENSION).stored_bytes() == 4 * rows * DIMENSION


def test_fewer_buckets(small_schema):
    fewer = with_bucket_share(small_schema, 0.1)
    assert {f.name: f.ids.buckets for f in fewer.features if f.ids.kind == "hash"} == {
        "user": 2,
        "video": 3,
        "tags": 1,
        "source": 3,
    }
    assert with_bucket_share(small_schema, 1.0) == small_schema


def test_the_levels_of_a_search_are_shown_with_every_tasks_metric():
    levels = [
        {"density": 1.0, "numbers": 1200, "validation": {"ctr": {"auc": 0.7}, "cvr": {"mse": 0.1}}},
        {
            "density": 0.25,
            "numbers": 300,
            "validation": {"ctr": {"auc": None}, "cvr": {"mse": 0.2}},
        },
    ]
    assert table_levels({"unit": "row", "levels": levels}, [CTR, CVR]).splitlines() == [
        "| level | density | numbers | CTR AUC | CVR MSE on clicks |",
        "| ----: | ------: | ------: | ------: | ----------------: |",
        "|     0 |   1.000 |   1,200 | 0.70000 |           0.10000 |",
        "|     1 |   0.250 |     300 |       - |           0.20000 |",
    ]
