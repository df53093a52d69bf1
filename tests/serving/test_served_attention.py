"""Tasks that wear masks on the attention to events: versions answer as Keras does."""

import numpy as np
import pytest
import tensorflow as tf

from lt4rec_tf.serving.publish import publish
from lt4rec_tf.serving.rank import Ranking
from lt4rec_tf.serving.signatures import ServedModel
from tests.support.networks import build_masked
from tests.support.schemas import POOLINGS, watched_schema
from tests.support.served_networks import (
    MORE_FEATURES,
    answer,
    assert_ranked_as_rows,
    expected_answers,
    predictions,
    raw_rows,
)

pytestmark = pytest.mark.slow(minutes=1)

TASKS = ("ctr", "cvr", "like")
ALIKE = ("ctr", "like")  # tasks whose masks of the attention are equal


def masked_network(schema, **changes):
    network = build_masked(schema, **changes)
    rng = np.random.default_rng(4)
    for variable in network.variables.values():
        variable.assign_add(rng.normal(size=variable.shape, scale=0.3).astype(np.float32))
    shapes = network.kernel_shapes("ctr").items()
    of_attention = {
        group: {name: rng.random(shape) < 0.5 for name, shape in shapes}
        for group in ("alike", "cvr")
    }
    for task in network.tasks:
        drawn = of_attention["alike" if task in ALIKE else task]
        towers = {
            name: rng.random(mask.shape) < 0.6
            for name, mask in drawn.items()
            if name.startswith("tower_")
        }
        network.wear(task, drawn | towers)
    return network


CASES = ("attention", "transformer", "nearest by hash", "separate towers", "dcn_v2")


@pytest.fixture(scope="module", params=CASES)
def served(request, tmp_path_factory):
    """(network, schema, what serves it, its signatures)."""
    pooling = request.param if request.param in POOLINGS else "attention"
    schema = watched_schema(tmp_path_factory.mktemp("schema"), pooling, more=MORE_FEATURES)
    schema = schema.with_tasks(TASKS)
    cross = "dcn_v2" if request.param == "dcn_v2" else "gram"
    separate = request.param == "separate towers"
    network = masked_network(schema, cross=cross, separate_towers=separate)
    model = ServedModel(network, schema, ranking=Ranking(dict.fromkeys(network.tasks, 1.0)))
    return network, schema, model, model.signatures("serving_default", "cvr", "rank")


def test_rows_are_answered_as_the_network_predicts(served, tmp_path):
    network, schema, model, signatures = served
    raw = raw_rows(schema, 9)
    expected = expected_answers(network, schema, raw)
    for signature in ("serving_default", "cvr"):
        found = answer(signatures[signature], raw)
        for name, values in found.items():
            np.testing.assert_allclose(values, expected[signature][name], rtol=0, atol=1e-6)
    names = {name: signatures[name] for name in ("serving_default", "cvr")}
    checked = dict.fromkeys(names, raw), {name: expected[name] for name in names}
    publish(model, names, tmp_path / "feed", *checked)


@pytest.mark.parametrize(("requests", "candidates"), [(1, 5), (3, 4), (2, 1), (0, 3)])
def test_candidates_are_answered_as_rows_of_their_own(served, requests, candidates):
    network, schema, _, signatures = served
    assert_ranked_as_rows(network, schema, signatures["rank"], requests, candidates)


def test_tasks_with_equal_masks_share_what_is_stored(served):
    network, _, model, _ = served
    worn = model.network.worn
    assert worn.view_of["ctr"] == worn.view_of["like"] != worn.view_of["cvr"]
    kernels = len(network.attentions["attention.watched"].masked)
    assert len(worn.stored) == 2 * kernels
    for variable in worn.stored:
        assert (variable.numpy() == 0).any()


def test_no_mask_is_left_in_a_version(served, tmp_path):
    """Kernels are folded: neither masks nor kernels without them are stored."""
    network, _, model, signatures = served
    tf.saved_model.save(model, str(tmp_path), signatures=signatures)
    reader = tf.train.load_checkpoint(str(tmp_path / "variables" / "variables"))
    stored = [reader.get_tensor(name) for name in reader.get_variable_to_shape_map()]
    attention = network.attentions["attention.watched"]
    for task in network.tasks:
        for kernel, mask in attention.masks[task].items():
            whole = attention.parameters[kernel].numpy()
            assert any(np.array_equal(whole * mask.numpy(), values) for values in stored)
            for unwanted in (whole, mask.numpy()):
                assert not any(np.array_equal(unwanted, values) for values in stored)


def test_what_a_task_looks_for_differs(served):
    """With the masks of the other task a task answers otherwise."""
    network, schema, _, _ = served
    raw = raw_rows(schema, 9)
    before = predictions(network, schema, raw)["cvr"]
    mine, others = network.masks("cvr"), network.masks("ctr")
    swapped = {n: others[n] if n.startswith("attention.") else m for n, m in mine.items()}
    network.wear("cvr", swapped)
    after = predictions(network, schema, raw)["cvr"]
    network.wear("cvr", mine)
    assert np.abs(before - after).max() > 1e-4
