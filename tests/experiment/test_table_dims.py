"""Tables of given lengths: drawn, looked up, trained, continued on the next day and served."""

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf import train
from lt4rec_tf.data.input.features import features_to_ids
from lt4rec_tf.data.input.pipeline import raw_batches
from lt4rec_tf.experiment import logs, run_folder
from lt4rec_tf.experiment.joint_training import train_model
from lt4rec_tf.experiment.run import given_tables, table_ticket, theta_0
from lt4rec_tf.experiment.trained_models import load_model
from lt4rec_tf.models.registry import network_of
from lt4rec_tf.training import checkpoint
from tests.support.commands import run_main, run_training
from tests.support.daily_feed import flags, write_day, write_schema
from tests.support.networks import read_variables, small_batch
from tests.support.training import begin_run, small_settings
from tests.support.versions import session_answers

DIMS = "--table_dims=video=2,user=1"


def built(schema, *more, model="s_weight"):
    settings = small_settings(*more)
    return network_of(settings, schema, model, tables=given_tables(settings, schema))


def tables_of(variables):
    return {name: v.shape for name, v in variables.items() if name.startswith("embedding/")}


def shapes_by_width(rows):
    others = sum(rows.values()) - rows["user"] - rows["video"]
    return {
        "embedding/table_1": (rows["user"], 1),
        "embedding/table_2": (rows["video"], 2),
        "embedding/table_4": (others, 4),
    }


def test_vectors_of_short_rows_are_filled_up_with_0(small_schema):
    layer = built(small_schema, DIMS).model.get_layer("shared.embedding")
    features = small_batch(rows=9)["features"]
    vectors = layer(features).numpy()
    names = [feature.name for feature in small_schema.features]
    for name, width in (("user", 1), ("video", 2), ("source", 2)):
        table = layer.parts[f"table_{width}"].numpy()
        first = layer.layout.first_row[small_schema.feature(name).table]
        expected = np.pad(table[first + features[name].numpy()], [(0, 0), (0, 4 - width)])
        np.testing.assert_array_equal(vectors[:, names.index(name)], expected)
        assert np.any(expected)


def test_a_lookup_takes_one_gather_for_each_length(small_schema):
    """However many tables have it."""
    layer = built(small_schema, "--table_dims=video=2,user=2").model.get_layer("shared.embedding")
    features = small_batch(rows=9)["features"]
    graph = tf.function(lambda: layer(features)).get_concrete_function().graph
    gathers = [op for op in graph.get_operations() if op.type == "ResourceGather"]
    assert len(gathers) == 2


def test_tables_of_two_lengths_do_not_draw_the_same_numbers(small_schema):
    parts = built(small_schema, DIMS).model.get_layer("shared.embedding").parts
    drawn = [part.numpy().ravel() for part in parts.values()]
    assert len(np.unique(np.concatenate(drawn))) == sum(map(len, drawn))
    again = built(small_schema, DIMS).model.get_layer("shared.embedding").parts
    for name, part in parts.items():
        np.testing.assert_array_equal(part.numpy(), again[name].numpy())


@pytest.mark.parametrize("model", ["base", "mmoe"])
def test_every_network_has_tables_of_these_lengths(small_schema, model):
    found = tables_of(built(small_schema, DIMS, model=model).variables)
    assert found == shapes_by_width(small_schema.table_rows)


def test_models_start_from_short_tables_and_train_them(small_schema, tmp_path):
    settings = small_settings(DIMS, "--models=hard_sharing", "--own_embedding=cvr=3")
    run, searched = begin_run(settings, small_schema, tmp_path)
    start = checkpoint.read_all(theta_0(run))
    expected = shapes_by_width(small_schema.table_rows)
    assert tables_of(start) == tables_of(searched.variables) == expected
    assert start["cvr/embedding/table"].shape == (sum(small_schema.table_rows.values()), 3)

    train_model(run, "hard_sharing")
    trained = read_variables(load_model(tmp_path, "hard_sharing", settings, small_schema))
    assert tables_of(trained) == expected
    for name in expected:
        assert np.any(trained[name] != start[name])
    assert not (tmp_path / "tables").exists()  # nothing was searched


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A day's run, and the next day's, which goes on from it."""
    folder = tmp_path_factory.mktemp("dims")
    write_schema(folder)
    common = [
        DIMS,
        "--embedding_density=1",
        "--models=hard_sharing",
        "--tasks=ctr",
        "--batch_size=99",
    ]
    for day in range(2):
        write_day(folder / f"day_{day}", day)
    first = [f"--run_dir={folder}/first", f"--data_dir={folder}/day_0", "--split=random"]
    run_training(*flags(folder, *first, *common))
    next_day = [f"--run_dir={folder}/next", f"--data_dir={folder}/day_1"]
    next_day += [f"--warm_start={folder}/first", "--split=none"]
    run_main(train.main, *flags(folder, *next_day, *common))
    return folder


@pytest.mark.slow(minutes=1)
def test_the_next_day_goes_on_with_short_tables_of_more_users(home):
    settings, schema = run_folder.read_run(home / "first")
    before = read_variables(load_model(home / "first", "hard_sharing", settings, schema))
    assert tables_of(before) == shapes_by_width(schema.table_rows)

    settings, grown = run_folder.read_run(home / "next")
    after = read_variables(load_model(home / "next", "hard_sharing", settings, grown))
    assert tables_of(after) == shapes_by_width(grown.table_rows)
    assert grown.table_rows["user"] > schema.table_rows["user"]
    assert table_ticket(home / "next", settings, grown).masks["user"].sum() == 1
    # Training leaves rows alone that the day has not: videos are 20 of 30 buckets at most.
    moved = np.any(after["embedding/table_2"] != before["embedding/table_2"], axis=1)
    assert 0 < np.count_nonzero(moved) <= 20
    assert not (home / "next" / "tables").exists()


@pytest.mark.slow(minutes=1)
def test_the_served_version_answers_as_the_network_does(home):
    settings, schema = run_folder.read_run(home / "next")
    source = logs.read_audited(logs.open_logs(settings.data, schema), home / "next")
    raw = next(iter(raw_batches(source, "train", 9)))
    raw = {name: values.numpy() for name, values in raw.items()}
    network = load_model(home / "next", "hard_sharing", settings, schema)
    ids = features_to_ids(schema, {name: tf.constant(values) for name, values in raw.items()})
    expected = tf.sigmoid(network.model(ids, training=False)["ctr"]).numpy()
    answers = session_answers(home / "next" / "saved_model" / "1", "ctr", raw)
    np.testing.assert_allclose(answers["pctr"], expected, rtol=1e-5)
