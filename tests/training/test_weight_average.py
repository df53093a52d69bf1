"""Moving averages of weights."""

import numpy as np
import tensorflow as tf

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


def test_a_stage_keeps_the_average_of_its_steps_and_the_tables_as_they_are(small_schema, tmp_path):
    seen = []

    def trained(folder, **changes):
        network = build_small(small_schema)
        progress = quiet_progress()
        progress.step = lambda losses, rows=None: seen.append(read_variables(network))
        trainer = small_trainer(network, small_schema, progress=progress, **changes)
        start = read_variables(network)
        trainer.fit(folder, "stage", Plan(2, keep_last=True))
        return start, read_variables(network)

    _, plain = trained(tmp_path / "plain")
    seen.clear()
    start, found = trained(tmp_path / "averaged", weight_average=0.4)
    assert len(seen) == 2 * STEPS
    for name, expected in start.items():
        if name.startswith("embedding/"):
            np.testing.assert_array_equal(found[name], plain[name])
            continue
        for step, weights in enumerate(seen, 1):
            decay = min(0.4, step / (step + 9))
            expected = decay * expected + (1 - decay) * weights[name]
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-6, err_msg=name)
        # The training itself goes on from the weights.
        np.testing.assert_array_equal(seen[-1][name], plain[name])
