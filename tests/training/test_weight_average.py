"""Moving averages of weights."""

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.training import table_average
from lt4rec_tf.training.plan import Plan
from lt4rec_tf.training.weight_average import WeightAverage
from tests.support.networks import build_small, read_variables
from tests.support.training import STEPS, quiet_progress, small_trainer


def test_the_average_by_value():
    weight = tf.Variable([1.0, 5.0])
    average = WeightAverage({"w": weight}, 0.3)
    average.start()
    expected = np.array([1.0, 5.0])
    for step, value in enumerate([3.0, -2.0, 7.0, 0.5, 2.0], 1):
        weight.assign([value, 5.0])
        average.after_step(step)
        decay = min(0.3, step / (step + 9))  # .1, .18, .25, then .3
        expected = decay * expected + (1 - decay) * np.array([value, 5.0])
    np.testing.assert_allclose(average.state["average/w"], expected, rtol=1e-6)
    assert average.state["average/w"].numpy()[1] == 5.0


def test_it_is_worn_for_a_while():
    weight = tf.Variable([1.0])
    average = WeightAverage({"w": weight}, 0.5)
    weight.assign([3.0])
    with average.worn():
        assert weight.numpy() == [1.0]
    assert weight.numpy() == [3.0]


def test_rows_touched_now_and_then_have_the_average_of_all_steps():
    rng = np.random.default_rng(3)
    tables = {"t": tf.Variable(rng.normal(size=(6, 2)), dtype=tf.float32)}
    tables["u"] = tf.Variable(rng.normal(size=(3, 1)), dtype=tf.float32)
    variables = list(tables.values())
    average = WeightAverage({}, 0.7, tables)
    average.start()
    expected = {name: table.numpy().astype(np.float64) for name, table in tables.items()}

    @tf.function(autograph=False)
    def take(rows, change):
        of_t = tf.IndexedSlices(change, rows, (6, 2))
        average.before_update([of_t, None], variables)
        tables["t"].scatter_add(of_t)

    # Row 5 is never touched, row 4 once, row 0 twice in a step; u as a whole in the last step.
    for step, rows in enumerate([[0, 1], [0, 0, 3], [4, 0], [3], [], [1, 3], [0]], 1):
        take(tf.constant(rows, tf.int64), tf.constant(rng.normal(size=(len(rows), 2)), tf.float32))
        if step == 7:
            average.before_update([None, tf.ones((3, 1))], variables)
            tables["u"].assign_add(tf.ones((3, 1)))
        average.after_step(step)
        decay = min(0.7, step / (step + 9))
        for name, table in tables.items():
            expected[name] = decay * expected[name] + (1 - decay) * table.numpy()
        if step == 3:  # a look in between changes nothing
            with average.worn():
                np.testing.assert_allclose(tables["t"], expected["t"], rtol=1e-5)
    weights = {name: table.numpy() for name, table in tables.items()}
    with average.worn():
        for name, table in tables.items():
            np.testing.assert_allclose(table, expected[name], rtol=1e-5)
        np.testing.assert_array_equal(tables["t"][5], weights["t"][5])
    np.testing.assert_array_equal(tables["t"], weights["t"])


def test_tables_are_brought_up_to_date_in_parts_as_at_once(monkeypatch):
    def averaged(rows_at_a_time):
        monkeypatch.setattr(table_average, "_ROWS_AT_A_TIME", rows_at_a_time)
        rng = np.random.default_rng(5)
        table = tf.Variable(rng.normal(size=(21, 3)), dtype=tf.float32)
        average = WeightAverage({}, 0.9, {"t": table})
        average.start()
        for step in range(1, 5):
            change = tf.IndexedSlices(tf.ones((2, 3)), rng.integers(0, 21, 2), (21, 3))
            average.before_update([change], [table])
            table.scatter_add(change)
            average.after_step(step)
        with average.worn():
            worn = table.numpy()
        return worn, average.state["average_seen/t"].numpy()

    for in_parts, at_once in zip(averaged(8), averaged(100), strict=True):
        np.testing.assert_array_equal(in_parts, at_once)
    assert len(np.unique(averaged(8)[1])) == 1  # all rows have seen all steps


@pytest.mark.parametrize("of_tables", ["same", "adagrad"])
def test_a_stage_keeps_the_average_of_its_steps(small_schema, tmp_path, of_tables):
    seen = []

    def trained(folder, **changes):
        network = build_small(small_schema)
        progress = quiet_progress()
        progress.step = lambda losses, rows=None: seen.append(read_variables(network))
        trainer = small_trainer(
            network, small_schema, progress=progress, embedding_optimizer=of_tables, **changes
        )
        start = read_variables(network)
        trainer.fit(folder, "stage", Plan(2, keep_last=True))
        return start, read_variables(network)

    _, plain = trained(tmp_path / "plain")
    seen.clear()
    start, found = trained(tmp_path / "averaged", weight_average=0.4)
    assert len(seen) == 2 * STEPS
    for name, expected in start.items():
        for step, weights in enumerate(seen, 1):
            decay = min(0.4, step / (step + 9))
            expected = decay * expected + (1 - decay) * weights[name]
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-6, err_msg=name)
        # The training itself goes on from the weights.
        np.testing.assert_array_equal(seen[-1][name], plain[name])
