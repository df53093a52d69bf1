"""MSSM against its equations in NumPy: gates of fields, hard concrete gates, the penalty."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from scipy.special import expit, logit

from lt4rec_tf.experiment.joint_training import train_model
from lt4rec_tf.experiment.trained_models import densities
from lt4rec_tf.models.layers.coded_dense import LEAST, MOST, PACE, TEMPERATURE, CodedDense
from lt4rec_tf.models.layers.field_gates import FieldGates
from lt4rec_tf.models.mssm import SHARED
from tests.support.networks import (
    ENCODER,
    batch_of_tasks,
    build_model,
    moved,
    read_variables,
    with_more_tasks,
)
from tests.support.training import (
    Killed,
    KilledProgress,
    assert_same_logits,
    begin_run,
    small_settings,
)
from tests.training.test_steps import step_of


def hard_concrete(s):
    return np.clip(s * (MOST - LEAST) + LEAST, 0, 1)


def coded(log_alpha, seed=3):
    """A layer whose output is the gates, for inputs of ones."""
    width = len(log_alpha)
    layer = CodedDense(width, keras.initializers.Identity(), seed=seed)
    layer(tf.ones((1, width)))
    layer.coding.assign(np.array(log_alpha, np.float32) / PACE)
    return layer


def test_gates_of_fields_by_hand():
    gates = FieldGates(keras.initializers.Ones())
    vectors = tf.constant([[[0.5, 0.0], [-1.0, 0.2]], [[0.0, -0.1], [2.0, 1.0]]])
    gates.build(vectors.shape)
    gates.directions.assign([[1.0, 2.0], [0.5, -1.0]])
    # g . e is .5, -.7; -.2, 0: a gate of 0 is closed exactly.
    expected = [[np.tanh(0.5), 0.0], [0.0, 0.0]]
    np.testing.assert_allclose(gates.gates(vectors), expected, rtol=1e-6)
    np.testing.assert_allclose(gates(vectors)[0], [[0.5 * np.tanh(0.5), 0], [0, 0]], rtol=1e-6)
    assert not gates(vectors).numpy()[1].any()


def test_coding_variables_at_inference_by_hand():
    log_alpha = np.array([-30.0, -2.5, -2.3, 0.0, 1.0, 2.5, 30.0])
    gates = coded(log_alpha).gates().numpy()
    np.testing.assert_allclose(gates, hard_concrete(expit(log_alpha)), rtol=1e-4, atol=1e-6)
    assert (gates == 0).tolist() == [True, True, False, False, False, False, False]
    assert (gates == 1).tolist() == [False] * 5 + [True, True]


def test_drawn_gates_have_the_hard_concrete_distribution():
    layer = coded(np.repeat([-2.0, 0.0, 1.5], 100))
    ones = tf.ones((1, 300))
    drawn = np.stack([layer(ones, training=True).numpy() for _ in range(200)])
    uniform = np.random.default_rng(1).random(200_000)
    for place, alpha in enumerate([-2.0, 0.0, 1.5]):
        found = drawn.reshape(200, 3, 100)[:, place]
        expected = hard_concrete(expit((logit(uniform) + alpha) / TEMPERATURE))
        assert np.mean(found) == pytest.approx(np.mean(expected), abs=0.01)
        assert np.mean(found == 1) == pytest.approx(np.mean(expected == 1), abs=0.01)
        # Eq. 12 of Louizos et al.: the chance that a gate is not 0.
        chance = expit(alpha - TEMPERATURE * np.log(-LEAST / MOST))
        assert np.mean(found > 0) == pytest.approx(chance, abs=0.01)
        assert layer.open_chances().numpy()[100 * place] == pytest.approx(chance, rel=1e-5)


def test_each_training_call_draws_anew_and_a_counter_set_back_repeats_it():
    layer, ones = coded(np.zeros(50)), tf.ones((1, 50))
    first, second = layer(ones, training=True).numpy(), layer(ones, training=True).numpy()
    assert (first != second).any()
    layer.calls.assign(1)
    np.testing.assert_array_equal(layer(ones, training=True), second)
    np.testing.assert_array_equal(coded(np.zeros(50))(ones, training=True), first)
    assert (coded(np.zeros(50), seed=4)(ones, training=True).numpy() != first).any()


def expected_logits(network, features, units):
    """The equations of the module's docstring in float64, with the gram cross layer."""
    values = {name: v.astype(np.float64) for name, v in read_variables(network).items()}
    fields = network.model.get_layer("shared.embedding")
    vectors = fields({name: features[name] for name in network.model.input}).numpy()
    vectors = vectors.astype(np.float64)
    cross = network.model.get_layer("shared.cross")
    inputs = {}
    for task in network.tasks:
        gates = np.maximum(
            np.tanh((vectors * values[f"{task}/cell/gates/directions"]).sum(axis=2)), 0
        )
        assert 0.1 < (gates == 0).mean() < 0.9
        inputs[f"{task}/cell"] = vectors * gates[:, :, np.newaxis]
    inputs[SHARED] = vectors
    read = []
    for cell, gated in inputs.items():
        crossed = cross(tf.constant(gated, tf.float32)).numpy()
        read.append(np.maximum(crossed @ values[f"{cell}/0/kernel"] + values[f"{cell}/0/bias"], 0))
    for depth, _ in enumerate(units, 1):
        cells = [*inputs] if depth < len(units) else [*inputs][:-1]
        # v_a = relu(sum_b (m_ab * u_b) W_ab + b_a), term by term.
        sums = []
        for cell in cells:
            coding = hard_concrete(expit(PACE * values[f"{cell}/{depth}/coding"]))
            edges = [0, *itertools.accumulate(u.shape[1] for u in read)]
            kernel = values[f"{cell}/{depth}/kernel"]
            terms = [
                (u * coding[a:b]) @ kernel[a:b]
                for u, (a, b) in zip(read, itertools.pairwise(edges), strict=True)
            ]
            sums.append(np.maximum(sum(terms) + values[f"{cell}/{depth}/bias"], 0))
        read = sums
    heads = [(values[f"{t}/head/kernel"], values[f"{t}/head/bias"]) for t in network.tasks]
    return {
        task: (top @ kernel + bias)[:, 0]
        for task, top, (kernel, bias) in zip(network.tasks, read, heads, strict=True)
    }


@pytest.mark.parametrize(("units", "above"), [((8, 6, 4), (6, 4)), ((5,), (5,))])
def test_mssm_is_its_equations(small_schema, units, above):
    schema = with_more_tasks(small_schema)
    network = moved(build_model("mssm", schema, hidden_units=units))
    features = batch_of_tasks(schema)["features"]
    answers = network.model(features)
    expected = expected_logits(network, features, above)
    for task, logits in expected.items():
        assert np.ptp(logits) > 0.05
        np.testing.assert_allclose(answers[task], logits, rtol=2e-4, atol=2e-5, err_msg=task)
    assert ENCODER.cross == "gram"


def test_the_penalty_is_the_expected_share_of_open_coding_variables(small_schema):
    network = moved(build_model("mssm", small_schema, mask_penalty=0.7))
    coding = [v for name, v in read_variables(network).items() if name.endswith("/coding")]
    log_alpha = PACE * np.concatenate(coding)
    assert log_alpha.size == 3 * 3 * 8 + 2 * 3 * 6  # layers above the first: of three, of two
    chances = expit(log_alpha - TEMPERATURE * np.log(-LEAST / MOST))
    assert float(network.penalty()) == pytest.approx(0.7 * chances.mean(), rel=1e-5)
    assert build_model("mssm", small_schema, mask_penalty=0.0).penalty is None


def test_a_step_learns_the_penalty_too_whatever_the_weights_of_the_losses(small_schema):
    """At a penalty that outweighs all else every coding variable falls by a step of Adam."""
    network = build_model("mssm", small_schema, mask_penalty=1e6)
    before = read_variables(network)
    step_of(network, small_schema, ["ctr", "cvr"])(batch_of_tasks(small_schema))
    after = read_variables(network)
    for name in before:
        if name.endswith("/coding"):
            assert (after[name] < before[name]).all(), name


def test_densities_are_the_shares_of_what_each_task_reads_of_cells(small_schema):
    network = build_model("mssm", small_schema)
    assert densities(network) == {"ctr": 1.0, "cvr": 1.0}
    for depth, width in ((1, 24), (2, 18)):
        closed = np.arange(width) % 3 == 0
        network.variables[f"cvr/cell/{depth}/coding"].assign(np.where(closed, -1.0, 0.0))
    found = densities(network)
    assert found["ctr"] == 1.0
    assert found["cvr"] == pytest.approx(2 / 3)


def test_a_closed_coding_variable_takes_a_unit_away(small_schema):
    network = moved(build_model("mssm", small_schema))
    features = batch_of_tasks(small_schema)["features"]
    for depth in (1, 2):
        coding = network.variables[f"cvr/cell/{depth}/coding"]
        coding.assign(np.where(np.arange(coding.shape[0]) < 2, -1.0, 1.0))
    before = network.model(features)["cvr"].numpy()
    kernel = network.variables["cvr/cell/1/kernel"]
    kernel.assign(kernel + np.where(np.arange(kernel.shape[0]) < 2, 9.0, 0.0)[:, np.newaxis])
    np.testing.assert_array_equal(network.model(features)["cvr"], before)


@pytest.mark.slow
def test_a_training_killed_at_any_step_ends_as_an_unbroken_one(small_schema, tmp_path):
    """Draws of the gates depend on the number of calls before, which a checkpoint holds."""

    def begin(folder, progress=None):
        settings = small_settings("--models=mssm", "--checkpoint_steps=2")
        return begin_run(settings, small_schema, tmp_path / folder, progress)[0]

    unbroken = begin("unbroken")
    train_model(unbroken, "mssm")
    with pytest.raises(Killed):
        train_model(begin("killed", KilledProgress(4)), "mssm")
    resumed = begin("killed")
    train_model(resumed, "mssm")
    assert_same_logits(unbroken, resumed, "mssm")
